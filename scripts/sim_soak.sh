#!/usr/bin/env bash
# Runs simulated clusters on fresh seeds until told to stop, and keeps a summary.
set -euo pipefail
# shellcheck source=scripts/lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"

ROUND_SEEDS=2000

usage() {
  cat <<END
usage: scripts/sim_soak.sh [--hours H] [--first SEED] [--jobs N] [--out FILE]

Runs skein_sim, $ROUND_SEEDS seeds at a time, until H hours have passed (default: until Ctrl-C) or a seed
fails. Fresh seeds follow from the time of day, unless --first names one. After each round a line
goes to FILE (results/sim_soak.txt), and a failure with its trace and the command that replays it.
Exit 0: no violation; 1: a violation.

SKEIN_BIN_DIR names a folder with skein_sim to use as it is, without building.

examples:
  scripts/sim_soak.sh --hours 8
  scripts/sim_soak.sh --first 1 --hours 0.5 --jobs 1
END
}

on_signal() {
  trap '' INT TERM HUP
  STOPPED=true
  stop_child
}

# The last line of a round's output that says how much was done.
totals_of() { grep -E '^[0-9]+ seeds, ' "$1" | tail -n 1; }

main() {
  local hours='' first=$(($(date +%s) * 1000)) jobs out=$ROOT/results/sim_soak.txt
  jobs=$(nproc)
  while [[ $# -gt 0 ]]; do
    case $1 in
      --hours | --first | --jobs | --out)
        [[ $# -ge 2 ]] || usage_error "$1 needs a value"
        case $1 in
          --hours) hours=$2 ;;
          --first) first=$2 ;;
          --jobs) jobs=$2 ;;
          --out) out=$2 ;;
        esac
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
  [[ $hours =~ ^([0-9]+(\.[0-9]+)?)?$ ]] || usage_error "--hours needs a number, not '$hours'"
  [[ $first =~ ^[0-9]+$ ]] || usage_error "--first needs a number, not '$first'"
  if [[ -z ${SKEIN_BIN_DIR:-} ]]; then
    "$ROOT/scripts/setup.sh"
    build_preset release skein_sim || die "the build failed, see above"
  fi
  local binary=${SKEIN_BIN_DIR:-$ROOT/build/release/bin}/skein_sim
  [[ -x $binary ]] || die "$binary is missing or not executable"
  soak "$binary" "$hours" "$first" "$jobs" "$out"
}

# soak BINARY HOURS FIRST JOBS OUT
soak() {
  local binary=$1 seconds=0 first=$3 jobs=$4 out=$5 last status
  [[ -z $2 ]] || seconds=$(awk -v hours="$2" 'BEGIN { printf "%d", hours * 3600 }')
  mkdir -p "$(dirname "$out")"
  SCRATCH=$(mktemp)
  STOPPED=false
  trap on_signal INT TERM HUP
  trap 'rm -f "$SCRATCH"' EXIT
  while ! $STOPPED && { [[ -z $2 ]] || ((SECONDS < seconds)); }; do
    last=$((first + ROUND_SEEDS - 1)) status=0
    run_child "$binary" --seeds "$first..$last" --jobs "$jobs" --quiet >"$SCRATCH" || status=$?
    if $STOPPED; then break; fi
    if ((status != 0)); then
      cat "$SCRATCH" >>"$out"
      tail -n 4 "$SCRATCH"
      complain "seed range $first..$last failed; the whole trace is in $out"
      exit 1
    fi
    say "$(date -u +%FT%TZ) seeds $first to $last: $(totals_of "$SCRATCH")" | tee -a "$out"
    first=$((last + 1))
  done
  say "no violation; summary in $out"
}

main "$@"
