#!/usr/bin/env bash
# Restarts all nodes of the local cluster, one by one, while it serves; the leader last.
set -euo pipefail
# shellcheck source=scripts/lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
# shellcheck source=scripts/lib/cluster_nodes.sh
source "$ROOT/scripts/lib/cluster_nodes.sh"

LEVEL_SECONDS=120
PROBE_RATE=200
PROBE=

usage() {
  cat <<END
usage: scripts/rolling_restart.sh [--dir DIR]

Restarts the nodes of the local cluster one by one, as after an upgrade, and waits each time until
the node is level again. Before the last one is restarted it hands leadership over. All the while a
probe writes $PROBE_RATE times a second (the key bench-0000000000); the longest pause between two
successful writes is printed in the end.

options:
  --dir DIR   where the cluster is (.skein in the project's folder; in the environment,
              SKEIN_CLUSTER_DIR)
  --help      this text

The binaries are built first if need be, unless SKEIN_BIN_DIR names a folder that has them.

example:
  git pull && scripts/rolling_restart.sh
END
}

skein() { run_child "$SKEIN" --endpoints "$(all_addresses)" "$@"; }
cluster() { run_child "$ROOT/scripts/local_cluster.sh" --dir "$DIR" "$@"; }

node_level() {
  ask_status
  python3 "$TOOL" level "n$1" "$STATUS"
}

leader_now() {
  ask_status
  python3 "$TOOL" leader "$STATUS"
}

start_probe() {
  "$SKEIN" --endpoints "$(all_addresses)" --timeout 30 --output json bench put --clients 1 \
    --rate "$PROBE_RATE" --keys 1 --value-size 8 --warmup 0 --duration 86400 >"$PROBE_REPORT" &
  PROBE=$!
}

# The probe reports when it is told to end.
stop_probe() {
  local status=0
  [[ -n $PROBE ]] || return 0
  kill -TERM "$PROBE" 2>/dev/null || true
  wait "$PROBE" || status=$?
  PROBE=
  return "$status"
}

restart() {
  local begun=$SECONDS
  say "restarting n$1"
  cluster restart "$1" >/dev/null
  wait_until "$LEVEL_SECONDS" node_level "$1" ||
    die "n$1 is not level after $LEVEL_SECONDS s: see scripts/local_cluster.sh logs $1; the others go on without it"
  say "n$1 is level after $((SECONDS - begun)) s"
}

# The next of the nodes in LEFT that does not lead; else the leader, after it has handed over.
next_node() {
  local leader i
  leader=$(leader_now)
  for i in "${LEFT[@]}"; do
    [[ n$i == "$leader" ]] || { NEXT=$i && return; }
  done
  NEXT=${LEFT[0]}
  [[ ${#NUMBERS[@]} -eq 1 ]] || skein --output table transfer || die "n$NEXT cannot hand leadership over; it was not restarted"
}

restart_all() {
  local i rest
  LEFT=("${NUMBERS[@]}")
  while [[ ${#LEFT[@]} -gt 0 ]]; do
    next_node
    restart "$NEXT"
    rest=()
    for i in "${LEFT[@]}"; do [[ $i == "$NEXT" ]] || rest+=("$i"); done
    LEFT=("${rest[@]}")
  done
}

clean_up() {
  stop_child
  stop_probe || true
  rm -f "$STATUS" "$PROBE_REPORT"
}

main() {
  local i begun=$SECONDS
  DIR=${SKEIN_CLUSTER_DIR:-$ROOT/.skein} NODES='' BASE_PORT='' SKEIND_FLAGS=() NUMBERS=() JOINED=() REMOVED=()
  while [[ $# -gt 0 ]]; do
    case $1 in
      --dir) [[ $# -ge 2 && -n $2 ]] || usage_error "--dir needs a folder" && DIR=$2 && shift ;;
      -h | --help | help) usage && exit 0 ;;
      *) usage_error "unknown argument '$1'" ;;
    esac
    shift
  done
  DIR=$(realpath -m -- "$DIR")
  SKEIN=${SKEIN_BIN_DIR:-$ROOT/build/release/bin}/skein
  require_cluster
  [[ -x $SKEIN ]] || die "$SKEIN is missing: build it, or start the cluster, which does"
  STATUS=$DIR/.status.$$.json PROBE_REPORT=$DIR/.probe.$$.json
  trap clean_up EXIT
  trap 'complain interrupted; exit 130' INT TERM HUP
  for i in "${NUMBERS[@]}"; do
    node_level "$i" || die "n$i is not level: all nodes must be before the first one is restarted"
  done
  start_probe
  restart_all
  stop_probe || die "the probe's writes failed: see above"
  say "restarted ${NUMBERS[*]/#/n} in $((SECONDS - begun)) s"
  python3 "$TOOL" probe "$PROBE_REPORT"
}

main "$@"
