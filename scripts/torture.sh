#!/usr/bin/env bash
# Hurts clusters of real nodes under a checked load, and says whether they kept their promises.
set -euo pipefail
# shellcheck source=scripts/lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"

usage() {
  cat <<END
usage: scripts/torture.sh [--minutes M] [--seed N] [--nodes 3|5] [--fault NAME]... [--report FILE]

Starts clusters of its own on free ports, writes and reads all the while, kills and pauses nodes,
cuts, delays and corrupts the links between them, and after each round checks that no acknowledged
write was lost, none applied twice, and no read staler than allowed. Builds first if needed.

  --minutes M    how long (2)
  --seed N       draws the same faults again; their timing still varies
  --nodes 3|5    nodes of each cluster (3, and every third cluster 5)
  --fault NAME   only this kind of fault; may be repeated; an unknown NAME lists them all
  --report FILE  writes the report, in markdown, to FILE
  --help         this text

Exit 0: no promise was broken; 1: one was, and data, logs and history are kept in a folder that is
named; 130: interrupted by Ctrl-C, with the report so far. SKEIN_BIN_DIR names a folder with
skein_torture to use as it is, without building.

examples:
  scripts/torture.sh
  scripts/torture.sh --minutes 60 --report torture.md
  scripts/torture.sh --seed 7 --fault kill-leader --fault deaf-leader
END
}

# whole_or_decimal OPTION VALUE
whole_or_decimal() {
  [[ $2 =~ ^[0-9]+(\.[0-9]+)?$ ]] || usage_error "$1 must be a number, not '$2'"
}

on_signal() {
  trap '' INT TERM HUP
  # It finishes its round, tells what it saw, and ends.
  [[ -z $CHILD ]] || kill -INT "$CHILD" 2>/dev/null || true
  [[ -z $CHILD ]] || wait "$CHILD" || true
  exit 130
}

main() {
  local minutes=2 binary arguments=()
  while [[ $# -gt 0 ]]; do
    case $1 in
      --minutes | --seed | --nodes | --fault | --report)
        [[ $# -ge 2 ]] || usage_error "$1 needs a value"
        if [[ $1 == --minutes ]]; then
          whole_or_decimal "$1" "$2"
          minutes=$2
        else
          arguments+=("$1" "$2")
        fi
        shift
        ;;
      -h | --help)
        usage
        exit 0
        ;;
      *) usage_error "unknown argument '$1'" ;;
    esac
    shift
  done
  trap on_signal INT TERM HUP
  if [[ -z ${SKEIN_BIN_DIR:-} ]]; then
    "$ROOT/scripts/setup.sh"
    build_preset release skein_torture || die "the build failed, see above"
  fi
  binary=${SKEIN_BIN_DIR:-$ROOT/build/release/bin}/skein_torture
  [[ -x $binary ]] || die "$binary is missing or not executable"
  run_child "$binary" --minutes "$minutes" "${arguments[@]}"
}

main "$@"
