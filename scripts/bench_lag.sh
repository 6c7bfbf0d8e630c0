#!/usr/bin/env bash
# How late followers receive, store, apply and show writes, as numbers, plots and one HTML page.
set -euo pipefail
# shellcheck source=scripts/lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
CLUSTER=("$ROOT/scripts/local_cluster.sh")

usage() {
  cat <<END
usage: scripts/bench_lag.sh [--quick] [--out DIR] [-- FLAG...]

Starts three nodes of its own on free ports, with their data below build/, finds how many puts a
second they can take, and then offers 25, 50, 75 and 90 % of that while it watches every follower.
Writes into DIR (results/): lag.html, lag-*.svg, lag.json and lag-*.csv. About 3 minutes; --quick:
less than one. What stands after -- goes to \`skein bench lag\`, e.g. -- --rates 50,100 --clients 256.

SKEIN_BIN_DIR names a folder with skeind and skein to use as they are, without building.
END
}

cleanup() {
  trap '' INT TERM HUP
  stop_child
  if [[ -n $DIR ]]; then
    "${CLUSTER[@]}" stop >/dev/null 2>&1 || true
    rm -rf "$DIR"
  fi
}

main() {
  local out=$ROOT/results base skein flags=()
  DIR=''
  while [[ $# -gt 0 ]]; do
    case $1 in
      --quick) flags+=(--quick) ;;
      --out)
        [[ $# -ge 2 ]] || usage_error "--out needs a folder"
        out=$2
        shift
        ;;
      -h | --help)
        usage
        exit 0
        ;;
      --)
        shift
        flags+=("$@")
        break
        ;;
      *) usage_error "unknown argument '$1'" ;;
    esac
    shift
  done
  command -v gnuplot >/dev/null || die "gnuplot is missing: apt-get install gnuplot-nox"
  skein=${SKEIN_BIN_DIR:-$ROOT/build/release/bin}/skein
  mkdir -p "$ROOT/build" "$out" || die "cannot write to $out"
  DIR=$(mktemp -d "$ROOT/build/lag.XXXXXX")
  trap cleanup EXIT
  trap 'exit 130' INT TERM HUP
  base=$(python3 "$ROOT/scripts/lib/cluster_tool.py" free-ports 3)
  CLUSTER+=(--dir "$DIR/cluster" --base-port "$base" --nodes 3)

  run_child "${CLUSTER[@]}" start >"$DIR/start.log" || {
    cat "$DIR/start.log" >&2
    die "the cluster did not start"
  }
  title "measuring"
  python3 "$ROOT/scripts/lib/smoke_report.py" disk "$DIR" >"$DIR/disk.json"
  run_child "$skein" --endpoints "127.0.0.1:$base" --output json bench lag --raw "$DIR/raw" \
    "${flags[@]}" >"$DIR/lag.json"
  note "drawing"
  python3 "$ROOT/scripts/lib/lag_report.py" --merge "$DIR/lag.json" "$DIR/disk.json" \
    >"$DIR/raw/lag.json"
  run_child python3 "$ROOT/scripts/lib/lag_report.py" "$DIR/raw"
  rm -f "$out"/lag-*.svg "$out"/lag-*.csv
  cp "$DIR"/raw/lag* "$out"
  title "result"
  python3 "$ROOT/scripts/lib/lag_report.py" --table "$out"
  say ""
  say "report: $(realpath --relative-to="$PWD" "$out/lag.html")"
}

main "$@"
