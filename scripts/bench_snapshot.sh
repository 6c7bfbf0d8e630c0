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
usage: scripts/bench_snapshot.sh [--gigabytes N] [--rate N] [--rounds N] [--apart DIR]
                                 [--out FILE] [-- FLAG...]

Starts three nodes of its own on free ports, with their data below build/, fills them, and adds a
fourth, which fetches a snapshot: some times while a probe writes, and as often while nobody does.
Compares the probe's latency and the leader's memory with what they were just before, and the speed
without writes with that of cp of the same files just after. Prints a table and writes the numbers
to FILE (results/snapshot.json).

  --gigabytes N  how much state (5), above 0.1; five times as much disk space is needed for a while
  --rate N       the probe's writes of 100 bytes a second (200)
  --rounds N     how often each is measured (3); before each of those beside writes the probe writes
                 for 10 to 60 s without. One round says little: neither p99 nor cp is steady
  --apart DIR    as near as one machine comes to a machine for each node: the leader has the disk to
                 itself, the others have their data in DIR, in memory such as /dev/shm, of which
                 four times as much is needed; the source of the snapshot and the new node have a
                 core, the leader, the other follower and the probe the others
  --out FILE     where to write the numbers
  -- FLAG...     more flags for every skeind
  --help         this text

SKEIN_BIN_DIR names a folder with skeind and skein to use as they are, without building.

examples:
  scripts/bench_snapshot.sh --gigabytes 1 --rounds 1
  scripts/bench_snapshot.sh -- --snapshot-bytes-per-second-beside-writes 0
END
}

cleanup() {
  trap '' INT TERM HUP
  stop_child
  local process
  for process in $PROBE $NEW; do
    kill -TERM "$process" 2>/dev/null || true
    wait "$process" || true
  done
  [[ -z $DIR ]] || "${CLUSTER[@]}" stop >/dev/null 2>&1 || true
  rm -rf ${DIR:+"$DIR"} ${AWAY:+"$AWAY"}
}

report() { run_child python3 "$ROOT/scripts/lib/snapshot_report.py" "$@"; }

leader_now() {
  "$SKEIN" --endpoints "$ENDPOINTS" --output json status >"$DIR/status.json"
  python3 "$ROOT/scripts/lib/cluster_tool.py" leader "$DIR/status.json"
}

# pin NODE CORES: NODE is a name.
pin() { taskset --all-tasks --cpu-list --pid "$2" "$(cat "$DIR/cluster/$1.pid")" >/dev/null; }

# It waits for its own disk before it answers, so no follower gets far ahead of it.
lead_with_n3() {
  "$SKEIN" --endpoints "$ENDPOINTS" transfer n3 >"$DIR/transfer.log" 2>&1 ||
    die "n3 does not lead: $(cat "$DIR/transfer.log")"
}

# Which of two followers that have equally little to do is the source is known: the lower id.
set_apart() {
  local cores=0-$((LAST_CORE - 1))
  pin n2 "$LAST_CORE"
  pin n1 "$cores"
  pin n3 "$cores"
  ON_THE_LEADERS=(taskset --cpu-list "$cores") ON_THE_NEW=(taskset --cpu-list "$LAST_CORE")
}

# The leader will be n3, and keeps the disk. The others find theirs by a link.
move_apart() {
  local name
  AWAY=$(mktemp -d "$APART/skein_snapshot.XXXXXX")
  mkdir "$DIR/cluster"
  for name in cluster/n1 cluster/n2 cluster/n4 copy; do
    mkdir "$AWAY/${name##*/}"
    ln -s "$AWAY/${name##*/}" "$DIR/$name"
  done
}

check_source() {
  local offers=$DIR/offers
  grep 'n4 needs the log' "$DIR/cluster/n3/skeind.log" >"$offers" || true
  if [[ ! -s $offers ]] || grep -vq 'offered a snapshot of n2"' "$offers"; then
    die "a snapshot did not come from n2, for which a core was kept"
  fi
}

# fetch NAME LEADER [PROBE]: the processes of the leader and the probe, which is ended when the new
# node is level. A learner, so that the leader waits for the same nodes as before.
fetch() {
  local waiting
  "$SKEIN" --endpoints "$ENDPOINTS" member add n4 "$NEW_ADDRESS" --learner >"$DIR/add.log" 2>&1 ||
    die "the node could not be added: $(cat "$DIR/add.log")"
  mkdir -p "$DIR/cluster/n4"
  : >"$DIR/cluster/n4/skeind.log"
  "$SKEIN" --endpoints "$ENDPOINTS" member wait n4 >"$DIR/wait.log" 2>&1 &
  waiting=$!
  "${ON_THE_NEW[@]}" "$SKEIND" --id n4 --data-dir "$DIR/cluster/n4/data" --listen "$NEW_ADDRESS" \
    --join "$ENDPOINTS" "${FLAGS[@]}" 2>>"$DIR/cluster/n4/skeind.log" &
  NEW=$!
  report watch "$DIR" "$1" "$2" "$NEW" "$waiting" "${@:3}" || {
    kill -TERM "$waiting" 2>/dev/null || true
    die "the new node did not become level: $(tail -n 5 "$DIR/cluster/n4/skeind.log" "$DIR/wait.log")"
  }
  wait "$waiting" || die "the new node did not become level: $(tail -n 5 "$DIR/wait.log")"
}

leave() {
  kill -TERM "$NEW" || true
  wait "$NEW" || die "the new node has failed: $(tail -n 5 "$DIR/cluster/n4/skeind.log")"
  NEW=
  "$SKEIN" --endpoints "$ENDPOINTS" member remove n4 --yes >"$DIR/remove.log" 2>&1 ||
    die "the node could not be removed: $(cat "$DIR/remove.log")"
  rm -rf "$DIR/cluster/n4/data"
  sync
}

probe_before() {
  report stolen "$DIR" "before_$1"
  run_child "${ON_THE_LEADERS[@]}" "${PROBING[@]}" \
    --duration "$(awk "BEGIN { d = $GIGABYTES * 12; print (d < 10 ? 10 : d > 60 ? 60 : d) }")" \
    >"$DIR/puts_before_$1.json"
  report stolen "$DIR" "before_$1"
}

# measure_beside_writes LEADER ROUND
measure_beside_writes() {
  note "round $2 of $ROUNDS: writing $RATE times a second"
  probe_before "$2"
  note "round $2 of $ROUNDS: adding a node beside the writes"
  "${ON_THE_LEADERS[@]}" "${PROBING[@]}" --duration 86400 >"$DIR/puts_beside_$2.json" &
  PROBE=$!
  fetch "beside_$2" "$1" "$PROBE"
  wait "$PROBE" || true
  PROBE=
  leave
  report settle "$DIR"
}

# measure_alone LEADER ROUND: the copy takes the room of the node that has left.
measure_alone() {
  note "round $2 of $ROUNDS: adding a node while nobody writes"
  fetch "alone_$2" "$1"
  leave
  report settle "$DIR"
  note "round $2 of $ROUNDS: copying the same files"
  mkdir -p "$DIR/copy"
  report copy "$DIR" >"$DIR/copy_$2.json"
  rm -rf "$DIR/copy/snapshots"
  report settle "$DIR"
}

measure() {
  local leader keys round
  keys=$(awk "BEGIN { print int($GIGABYTES * 1e9 / $VALUE_BYTES) }")
  PUTTING=("$SKEIN" --endpoints "$ENDPOINTS" --output json bench put)
  PROBING=("${PUTTING[@]}" --rate "$RATE" --clients 64 --keys 1000 --value-size 100)
  [[ -z $APART ]] || lead_with_n3
  note "writing $GIGABYTES GB"
  run_child "${PUTTING[@]}" --preload --clients 64 --value-size "$VALUE_BYTES" --keys "$keys" \
    --duration 0.1 --warmup 0 >/dev/null
  note "waiting until nothing is compacted any more"
  report settle "$DIR"
  [[ -z $APART ]] || set_apart
  leader=$(cat "$DIR/cluster/$(leader_now).pid")
  for ((round = 1; round <= ROUNDS; round++)); do measure_beside_writes "$leader" "$round"; done
  for ((round = 1; round <= ROUNDS; round++)); do measure_alone "$leader" "$round"; done
  [[ -z $APART ]] || check_source
}

main() {
  local out=$ROOT/results/snapshot.json base
  DIR='' APART='' AWAY='' PROBE='' NEW='' GIGABYTES=5 RATE=200 ROUNDS=3
  FLAGS=(--log-retention-bytes "$RETENTION_BYTES")
  ON_THE_LEADERS=(env) ON_THE_NEW=(env) LAST_CORE=$(($(nproc) - 1))
  while [[ $# -gt 0 ]]; do
    case $1 in
      --gigabytes)
        [[ ${2:-} =~ ^[0-9]{1,4}(\.[0-9]{1,3})?$ && $2 =~ [1-9] ]] ||
          usage_error "$1 needs a number above 0"
        GIGABYTES=$2
        shift
        ;;
      --rate)
        [[ ${2:-} =~ ^[1-9][0-9]{0,5}$ ]] || usage_error "$1 needs a number above 0"
        RATE=$2
        shift
        ;;
      --rounds)
        [[ ${2:-} =~ ^[1-9][0-9]{0,2}$ ]] || usage_error "$1 needs a number above 0"
        ROUNDS=$2
        shift
        ;;
      --apart)
        [[ -d ${2:-} ]] || usage_error "$1 needs a folder that exists"
        [[ $LAST_CORE -ge 1 ]] || die "$1 needs two cores"
        APART=$2
        shift
        ;;
      --out)
        [[ $# -ge 2 ]] || usage_error "--out needs a file"
        out=$2
        shift
        ;;
      --)
        shift
        FLAGS+=("$@")
        break
        ;;
      -h | --help)
        usage
        exit 0
        ;;
      *) usage_error "unknown argument '$1'" ;;
    esac
    shift
  done
  SKEIN=${SKEIN_BIN_DIR:-$ROOT/build/release/bin}/skein SKEIND=${SKEIN}d
  mkdir -p "$ROOT/build" "$(dirname "$out")"
  DIR=$(mktemp -d "$ROOT/build/skein_snapshot.XXXXXX")
  trap cleanup EXIT
  trap 'exit 130' INT TERM HUP
  base=$(python3 "$ROOT/scripts/lib/cluster_tool.py" free-ports 4)
  NEW_ADDRESS=127.0.0.1:$((base + 3))
  ENDPOINTS=127.0.0.1:$base,127.0.0.1:$((base + 1)),127.0.0.1:$((base + 2))
  [[ -z $APART ]] || move_apart
  CLUSTER+=(--dir "$DIR/cluster")
  run_child "${CLUSTER[@]}" start --base-port "$base" --nodes 3 -- "${FLAGS[@]}"
  title "measuring"
  measure
  title "result"
  report report "$DIR" "$out"
}

main "$@"
