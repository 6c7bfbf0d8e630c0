#!/usr/bin/env bash
# Installs, builds, runs all tests, and says what ran and how long it took.
set -euo pipefail
# shellcheck source=scripts/lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"

SUITES=(style unit contract story simulation server integration)
ASAN_SUITES=(unit contract story simulation client server integration)
# Stories and the simulation have one thread.
TSAN_SUITES=(unit contract client server integration)

usage() {
  cat <<END
usage: scripts/test.sh [--full] [--only REGEX] [--verbose]

Installs missing packages, builds the release preset and runs every test. The last line is
"N passed, N failed" (", N skipped" may follow). Exit 0 only if tests ran and none failed.
A build that fails counts as one failed test.

  --full         then also build with sanitizers, and run ${ASAN_SUITES[*]} with address and
                 undefined, ${TSAN_SUITES[*]} with thread
  --only REGEX   only the tests whose names match
  --verbose      the output of every test, not only of those that fail
  --help         this text

examples:
  scripts/test.sh --only Election
  scripts/test.sh --only '^style'
END
}

# Every process that a test starts inherits this, so that none can stay behind unseen.
RUN_MARK=SKEIN_TEST_RUN=$$-$(date +%s%N)
SCRATCH=
STARTED=$SECONDS
REPORT=()  # preset, suite, seconds, exit status, JUnit file, five to a suite

# Processes of this run's tests that are still alive.
left_behind() {
  grep -lzsx "$RUN_MARK" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3 || true
}

cleanup() {
  local pid
  if [[ -n $CHILD ]]; then
    kill -TERM -- "-$CHILD" 2>/dev/null || stop_child
    wait "$CHILD" 2>/dev/null || true
    CHILD=
  fi
  for pid in $(left_behind); do
    kill -KILL "$pid" 2>/dev/null || true
  done
  [[ -z $SCRATCH ]] || rm -rf "$SCRATCH"
}

on_signal() {
  trap '' INT TERM
  cleanup
  complain "interrupted; no summary"
  exit 130
}

build() {
  local preset=$1
  title "building ($preset)"
  if ! build_preset "$preset"; then
    complain "the $preset build failed, see above"
    summary --build-failed
    exit 1
  fi
}

jobs_of() {
  case $1 in
    unit | contract | story | style) nproc ;;
    *) echo 1 ;;
  esac
}

# run_suite PRESET SUITE EXCLUDED_LABELS: a test with two labels runs in the earlier suite only.
run_suite() {
  local preset=$1 suite=$2 excluded=$3 began=$SECONDS status=0
  local results=$ROOT/build/$preset/test-results/$suite.xml
  local arguments=(--test-dir "$ROOT/build/$preset" --output-junit "$results" -j "$(jobs_of "$suite")")
  [[ $suite == other ]] || arguments+=(-L "^$suite\$")
  [[ -z $excluded ]] || arguments+=(-LE "^($excluded)\$")
  [[ -z $ONLY ]] || arguments+=(-R "$ONLY")
  if $VERBOSE; then arguments+=(-V); else arguments+=(--output-on-failure); fi
  rm -f "$results"
  # Nothing to run, nothing to say.
  [[ $(ctest "${arguments[@]}" -N | tail -n 1) != 'Total Tests: 0' ]] || return 0
  title "$suite ($preset)"
  # A session of its own: one signal reaches the tests and all that they started.
  run_child env --default-signal=INT "$RUN_MARK" TMPDIR="$SCRATCH" TEST_TMPDIR="$SCRATCH" \
    setsid ctest "${arguments[@]}" || status=$?
  REPORT+=("$preset" "$suite" "$((SECONDS - began))" "$status" "$results")
}

# run_suites PRESET SUITE...
run_suites() {
  local preset=$1 earlier='' suite
  shift
  for suite in "$@"; do
    run_suite "$preset" "$suite" "$earlier"
    earlier=${earlier:+$earlier|}$suite
  done
}

check_left_behind() {
  local deadline=$((SECONDS + 3)) pids
  while pids=$(left_behind) && [[ -n $pids && $SECONDS -lt $deadline ]]; do
    sleep 0.1
  done
  [[ -n $pids ]] || return 0
  complain "the tests left processes behind:"
  # shellcheck disable=SC2086  # one argument for each
  ps -o pid,args -p "$(echo $pids | tr ' ' ,)" >&2 || true
  LEFT_BEHIND=(--left-behind)
}

summary() {
  local status=0
  [[ -z $SCRATCH ]] || rm -rf "$SCRATCH"
  title "summary"
  python3 "$ROOT/scripts/lib/test_summary.py" --total-seconds "$((SECONDS - STARTED))" "$@" \
    "${REPORT[@]}" || status=$?
  return "$status"
}

main() {
  FULL=false ONLY='' VERBOSE=false LEFT_BEHIND=()
  while [[ $# -gt 0 ]]; do
    case $1 in
      --full) FULL=true ;;
      --only)
        [[ $# -ge 2 ]] || usage_error "--only needs a regular expression"
        ONLY=$2
        shift
        ;;
      --only=*) ONLY=${1#*=} ;;
      --verbose) VERBOSE=true ;;
      -h | --help)
        usage
        exit 0
        ;;
      *) usage_error "unknown argument '$1'" ;;
    esac
    shift
  done
  trap on_signal INT TERM HUP
  trap cleanup EXIT
  "$ROOT/scripts/setup.sh"
  mkdir -p "$ROOT/build"
  SCRATCH=$(mktemp -d "$ROOT/build/test-tmp.XXXXXX")
  build release
  run_suites release "${SUITES[@]}" other
  if $FULL; then
    build asan
    run_suites asan "${ASAN_SUITES[@]}"
    build tsan
    run_suites tsan "${TSAN_SUITES[@]}"
  fi
  check_left_behind
  summary "${LEFT_BEHIND[@]}"
}

main "$@"
