#!/usr/bin/env bash
# The speeds that the project promises, measured on this machine, beside what was promised.
set -euo pipefail
# shellcheck source=scripts/lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
CLUSTER=("$ROOT/scripts/local_cluster.sh")

usage() {
  cat <<END
usage: scripts/bench_smoke.sh [--quick] [--out FILE]

Starts three nodes of its own on free ports, with their data below build/, and measures puts,
follower gets, a mix of both, and how long writes stand still when the leader is killed. Prints a
table and writes the numbers to FILE (results/smoke.json). About 2 minutes; --quick: about 30 s.

SKEIN_BIN_DIR names a folder with skeind and skein to use as they are, without building.
END
}

cleanup() {
  trap '' INT TERM HUP
  stop_child
  [[ -z $WRITER ]] || kill -TERM "$WRITER" 2>/dev/null || true
  if [[ -n $DIR ]]; then
    "${CLUSTER[@]}" stop >/dev/null 2>&1 || true
    rm -rf "$DIR"
  fi
}

bench() {
  local name=$1
  shift
  note "$name"
  run_child "$SKEIN" --endpoints "$ENDPOINTS" --output json bench "$@" >"$DIR/$name.json"
}

# Prints the leader's id once the cluster is whole again.
whole_cluster_leader() {
  local deadline=$((SECONDS + 30))
  while ((SECONDS < deadline)); do
    timeout 3 "$SKEIN" --endpoints "$ENDPOINTS" --output json status >"$DIR/status.json" 2>/dev/null || true
    if python3 "$ROOT/scripts/lib/cluster_tool.py" ready 3 "$DIR/status.json"; then
      python3 "$ROOT/scripts/lib/cluster_tool.py" leader "$DIR/status.json"
      return
    fi
    sleep 0.1
  done
  die "the cluster was not whole again within 30 s; logs: $("${CLUSTER[@]}" logs 1 | tail -n 5)"
}

# One kill: a writer that starts an operation every 2 ms, whatever happened to those before; the
# longest time from an intended start to the acknowledgement is how long writes stood still.
measure_failover() {
  local number=$1 leader status=0
  leader=$(whole_cluster_leader)
  "$SKEIN" --endpoints "$ENDPOINTS" --output json bench put --clients 16 --rate 500 \
    --value-size 100 --duration 4 >"$DIR/failover_$number.json" &
  WRITER=$!
  sleep 1.5
  "${CLUSTER[@]}" kill "$leader" >/dev/null
  wait "$WRITER" || status=$?
  WRITER=
  [[ -s $DIR/failover_$number.json ]] || die "the writer failed during failover, exit $status"
  "${CLUSTER[@]}" restart "$leader" >/dev/null
}

main() {
  local quick=false out=$ROOT/results/smoke.json i base seconds=10 kills=10
  DIR='' WRITER=
  while [[ $# -gt 0 ]]; do
    case $1 in
      --quick) quick=true ;;
      --out)
        [[ $# -ge 2 ]] || usage_error "--out needs a file"
        out=$2
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
  if $quick; then seconds=3 kills=3; fi
  SKEIN=${SKEIN_BIN_DIR:-$ROOT/build/release/bin}/skein
  mkdir -p "$ROOT/build" "$(dirname "$out")"
  DIR=$(mktemp -d "$ROOT/build/smoke.XXXXXX")
  trap cleanup EXIT
  trap 'exit 130' INT TERM HUP
  base=$(python3 "$ROOT/scripts/lib/cluster_tool.py" free-ports 3)
  ENDPOINTS=127.0.0.1:$base,127.0.0.1:$((base + 1)),127.0.0.1:$((base + 2))
  CLUSTER+=(--dir "$DIR/cluster" --base-port "$base" --nodes 3)

  run_child "${CLUSTER[@]}" start
  title "measuring"
  python3 "$ROOT/scripts/lib/smoke_report.py" disk "$DIR" >"$DIR/disk.json"
  local load=(--clients 64 --value-size 100 --duration "$seconds")
  bench put put "${load[@]}"
  bench get get "${load[@]}"
  bench mixed mixed "${load[@]}"
  for ((i = 1; i <= kills; i++)); do
    note "failover $i of $kills"
    measure_failover "$i"
  done
  title "result"
  python3 "$ROOT/scripts/lib/smoke_report.py" report "$DIR" "$out"
}

main "$@"
