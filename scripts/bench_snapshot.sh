#!/usr/bin/env bash
# How fast a new node gets its state, and what writes feel of it.
set -euo pipefail
# shellcheck source=scripts/lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
CLUSTER=("$ROOT/scripts/local_cluster.sh")
VALUE_BYTES=65536
RETENTION_BYTES=$((64 << 20))

usage() {
  cat <<END
usage: scripts/bench_snapshot.sh [--gigabytes N] [--rate N] [--limit BYTES] [--new-node-on DIR]
                                 [--out FILE]

Starts three nodes of its own on free ports, with their data below build/, fills them, and adds a
fourth, which fetches a snapshot, while a probe writes. Compares the speed of the snapshot with
that of cp of the same files, the probe's latency with what it was before, and the leader's memory
with what it was before. Prints a table and writes the numbers to FILE (results/snapshot.json).

  --gigabytes N  how much state (5); five times as much disk space is needed for a while
  --rate N       the probe's writes of 100 bytes a second (500)
  --limit BYTES  skeind's --snapshot-bytes-per-second: how fast a node may send (0: no limit)
  --new-node-on DIR
                 a folder on another disk, for the new node's data and the copy of cp, as if it
                 were on a machine of its own; /dev/shm will do, if there is memory for it
  --out FILE     where to write the numbers
  --help         this text

SKEIN_BIN_DIR names a folder with skeind and skein to use as they are, without building.

example:
  scripts/bench_snapshot.sh --gigabytes 1
END
}

cleanup() {
  trap '' INT TERM HUP
  stop_child
  [[ -z $PROBE ]] || kill -TERM "$PROBE" 2>/dev/null || true
  [[ -z $DIR ]] || "${CLUSTER[@]}" stop >/dev/null 2>&1 || true
  rm -rf ${DIR:+"$DIR"} ${OTHER:+"$OTHER"}
}

bench() { "$SKEIN" --endpoints "$ENDPOINTS" --output json bench put "$@"; }
probe() { bench --rate "$RATE" --clients 64 --keys 1000 --value-size 100 --duration "$1"; }

leader_pid() {
  "$SKEIN" --endpoints "$ENDPOINTS" --output json status >"$DIR/status.json"
  cat "$DIR/cluster/$(python3 "$ROOT/scripts/lib/cluster_tool.py" leader "$DIR/status.json").pid"
}

resident_kib() { sed -n 's/^VmRSS:[[:space:]]*\([0-9]*\) kB/\1/p' "/proc/$1/status"; }

add_node() {
  "${CLUSTER[@]}" add 4 >"$DIR/add.log" 2>&1 &
  CHILD=$!
  while kill -0 "$CHILD" 2>/dev/null; do
    resident_kib "$1" >>"$DIR/memory"
    sleep 0.2
  done
  wait "$CHILD" || die "the node could not be added: $(tail -n 5 "$DIR/add.log")"
  CHILD=
}

measure() {
  local pid
  note "writing $GIGABYTES GB"
  run_child bench --preload --clients 64 --value-size "$VALUE_BYTES" \
    --keys "$((GIGABYTES * 1000000000 / VALUE_BYTES))" --duration 0.1 --warmup 0 >/dev/null
  note "waiting until nothing is compacted any more"
  run_child python3 "$ROOT/scripts/lib/snapshot_report.py" settle "$DIR"
  note "writing $RATE times a second"
  run_child probe 20 >"$DIR/before.json"
  pid=$(leader_pid)
  resident_kib "$pid" >"$DIR/memory"
  note "adding a node"
  "$SKEIN" --endpoints "$ENDPOINTS" --output json bench put --rate "$RATE" --clients 64 \
    --keys 1000 --value-size 100 --duration 86400 >"$DIR/during.json" &
  PROBE=$!
  add_node "$pid"
  kill -TERM "$PROBE"
  wait "$PROBE" || true
  PROBE=
  note "copying the same files"
  mkdir "${OTHER:-$DIR}/copy"
  python3 "$ROOT/scripts/lib/snapshot_report.py" copy "$DIR" "${OTHER:-$DIR}" >"$DIR/copy.json"
}

main() {
  local out=$ROOT/results/snapshot.json base on=''
  DIR='' OTHER='' PROBE='' GIGABYTES=5 RATE=500 LIMIT=0
  while [[ $# -gt 0 ]]; do
    case $1 in
      --gigabytes | --rate)
        [[ ${2:-} =~ ^[1-9][0-9]{0,5}$ ]] || usage_error "$1 needs a number above 0"
        if [[ $1 == --rate ]]; then RATE=$2; else GIGABYTES=$2; fi
        shift
        ;;
      --limit)
        [[ ${2:-} =~ ^[0-9]{1,12}$ ]] || usage_error "$1 needs a number of bytes"
        LIMIT=$2
        shift
        ;;
      --new-node-on)
        [[ -d ${2:-} ]] || usage_error "$1 needs a folder that exists"
        on=$2
        shift
        ;;
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
  SKEIN=${SKEIN_BIN_DIR:-$ROOT/build/release/bin}/skein
  mkdir -p "$ROOT/build" "$(dirname "$out")"
  DIR=$(mktemp -d "$ROOT/build/snapshot.XXXXXX")
  trap cleanup EXIT
  if [[ -n $on ]]; then
    OTHER=$(mktemp -d "$on/skein_snapshot.XXXXXX")
    mkdir -p "$OTHER/n4" "$DIR/cluster"
    ln -s "$OTHER/n4" "$DIR/cluster/n4"
  fi
  trap 'exit 130' INT TERM HUP
  base=$(python3 "$ROOT/scripts/lib/cluster_tool.py" free-ports 4)
  ENDPOINTS=127.0.0.1:$base,127.0.0.1:$((base + 1)),127.0.0.1:$((base + 2))
  CLUSTER+=(--dir "$DIR/cluster")
  run_child "${CLUSTER[@]}" start --base-port "$base" --nodes 3 -- \
    --log-retention-bytes "$RETENTION_BYTES" --snapshot-bytes-per-second "$LIMIT"
  title "measuring"
  measure
  title "result"
  python3 "$ROOT/scripts/lib/snapshot_report.py" report "$DIR" "$out"
}

main "$@"
