#!/usr/bin/env bash
# under_sanitizer.sh COMMAND...: runs a test of a sanitizer preset. CMake puts it before every test
# binary of these presets. Fails if the sanitizer reported anything in the test's process or in one
# that it started: a node that the test kills has no exit status that tells.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
reports=$(mktemp -d "${TMPDIR:-/tmp}/sanitizer.XXXXXX")
trap 'rm -rf "$reports"' EXIT

export ASAN_OPTIONS=log_path=$reports/report:${ASAN_OPTIONS:-}
export UBSAN_OPTIONS=log_path=$reports/report:print_stacktrace=1:${UBSAN_OPTIONS:-}
export TSAN_OPTIONS=log_path=$reports/report:suppressions=$here/tsan.supp:${TSAN_OPTIONS:-}

# The thread sanitizer of this compiler needs addresses that are not randomised.
fixed_addresses=(setarch "$(uname -m)" -R)
"${fixed_addresses[@]}" true 2>/dev/null || fixed_addresses=()

status=0
"${fixed_addresses[@]}" "$@" || status=$?
for report in "$reports"/report*; do
  [[ -s $report ]] || continue
  cat "$report" >&2
  status=66
done
exit "$status"
