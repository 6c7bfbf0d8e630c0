#!/usr/bin/env bash
# A cluster of skeind processes on this machine: start, look, hurt, stop.
set -euo pipefail
# shellcheck source=scripts/lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
# shellcheck source=scripts/lib/cluster_nodes.sh
source "$ROOT/scripts/lib/cluster_nodes.sh"
# shellcheck source=scripts/lib/cluster_members.sh
source "$ROOT/scripts/lib/cluster_members.sh"

LOCK_SECONDS=1800

usage() {
  cat <<END
usage: scripts/local_cluster.sh COMMAND [OPTION...]

  start        build if needed, start the nodes that are not running, wait for a leader
  stop         stop all nodes, gracefully if they let us; the data stays
  status       table of the nodes
  kill N       kill -9 node N             restart N    stop node N and start it again
  pause N      SIGSTOP to node N          resume N     SIGCONT to node N
  add N        a new node N joins: waits until it is level and votes
  remove N     node N leaves and is stopped; asks whether to delete its data (--yes: does it)
  logs N       the last lines of node N's log (-f: follow it)
  wipe         delete all data of the stopped cluster (asks; --yes: does not)

options:
  --nodes 1|3|5     how many nodes (3)
  --base-port PORT  node N listens on 127.0.0.1:PORT+N-1 (7411)
  --dir DIR         where data and logs are (.skein in the project's folder)
  -- FLAG...        with start: more flags for every skeind
  --help            this text

Nodes are called n1, n2, n3; N may be written 1 or n1. The later commands remember --nodes and
--base-port of the first start, and who was added and removed. In the environment, SKEIN_CLUSTER_DIR and SKEIN_BASE_PORT stand for
--dir and --base-port where those are not given, and SKEIN_BIN_DIR names a folder with skeind and
skein to use as they are, without building.

examples:
  scripts/local_cluster.sh start
  scripts/local_cluster.sh kill 1 && scripts/local_cluster.sh status
  scripts/local_cluster.sh add 4 && scripts/local_cluster.sh remove 1 --yes
  scripts/local_cluster.sh start --dir /tmp/other --base-port 7511 --nodes 5
  scripts/local_cluster.sh stop && scripts/local_cluster.sh wipe --yes
END
}

# --- commands ---------------------------------------------------------------------------------

take_lock() {
  exec {LOCK}>"$DIR/.lock"
  if ! flock -n "$LOCK"; then
    note "another local_cluster.sh is at work on $DIR; waiting for it"
    run_child flock -w "$LOCK_SECONDS" "$LOCK" || die "gave up waiting for the lock $DIR/.lock"
  fi
}

make_dir() {
  if ! mkdir -p "$DIR" 2>/dev/null || ! : 2>/dev/null >"$DIR/.writable"; then
    die "cannot write to $DIR: choose another --dir, or mend its permissions"
  fi
  rm -f "$DIR/.writable"
}

prepare_binaries() {
  if [[ -z ${SKEIN_BIN_DIR:-} ]]; then
    "$ROOT/scripts/setup.sh"
    build_preset release skeind skein || die "the build failed, see above"
  fi
  local binary
  for binary in "$SKEIND" "$SKEIN"; do
    [[ -x $binary ]] || die "$binary is missing or not executable"
  done
}

# check_ports N...: the ports of these nodes must be free.
check_ports() {
  local i ports=() taken port pid words
  for i in "$@"; do ports+=("$((BASE_PORT + i - 1))"); done
  taken=$(python3 "$TOOL" port-owner "${ports[@]}")
  [[ -n $taken ]] || return 0
  while read -r port pid words; do
    if [[ $pid == - ]]; then
      complain "port $port is in use by a process that this user cannot see"
    else
      complain "port $port is in use by process $pid: $words"
    fi
  done <<<"$taken"
  die "free the ports, or choose others with --base-port"
}

do_start() {
  local i missing=()
  make_dir
  prepare_binaries
  take_lock
  load_conf
  for i in "${NUMBERS[@]}"; do
    ! is_stopped "$i" || missing+=("$i")
  done
  if [[ ${#missing[@]} -eq 0 ]]; then
    say "already running in $DIR:"
    ask_status
    print_table
    return
  fi
  check_ports "${missing[@]}"
  save_conf
  for i in "${missing[@]}"; do launch "$i"; done
  say "started ${missing[*]/#/n} in $DIR, waiting for a leader"
  wait_ready cluster_ready
  STARTED=()
  print_table
  print_hints
}

do_stop() {
  local i running=()
  require_cluster
  take_lock
  for i in "${NUMBERS[@]}"; do
    is_stopped "$i" || running+=("$i")
  done
  stop_nodes "${running[@]}"
  if [[ ${#running[@]} -eq 0 ]]; then say "was not running"; else say "stopped ${running[*]/#/n}"; fi
}

do_status() {
  require_cluster
  if any_running && [[ -x $SKEIN ]]; then ask_status; fi
  print_table
  any_running || exit 1
}

# signal_node SIGNAL WORD
signal_node() {
  local pid
  require_cluster
  pid=$(pid_of "$NODE") || die "n$NODE is not running"
  kill "-$1" "$pid"
  [[ $1 != KILL ]] || wait_until "$STOP_SECONDS" is_stopped "$NODE"
  say "n$NODE (pid $pid) $2"
}

do_restart() {
  require_cluster
  prepare_binaries
  take_lock
  is_stopped "$NODE" || stop_nodes "$NODE"
  check_ports "$NODE"
  launch "$NODE"
  wait_ready node_ready "$NODE"
  STARTED=()
  print_table
}

do_logs() {
  require_cluster
  [[ -f $DIR/n$NODE/skeind.log ]] || die "n$NODE has no log yet"
  if $FOLLOW; then
    exec tail -n 200 -f "$DIR/n$NODE/skeind.log"
  fi
  tail -n 200 "$DIR/n$NODE/skeind.log"
}

do_wipe() {
  require_cluster
  take_lock
  ! any_running || die "the cluster is running; stop it first"
  if ! $YES; then
    [[ -t 0 ]] || die "wipe deletes all data in $DIR; say --yes to mean it"
    ask "Delete all data and logs of the cluster in $DIR?" || die "nothing was deleted"
  fi
  rm -rf -- "$DIR"/n[0-9] "$DIR"/n[0-9][0-9] "$DIR"/n[0-9]{,[0-9]}.pid "$DIR/cluster.conf" "$DIR/.lock"
  rmdir --ignore-fail-on-non-empty "$DIR"
  say "wiped $DIR"
}

# --- command line -----------------------------------------------------------------------------

on_signal() {
  trap '' INT TERM HUP
  stop_child
  if [[ ${#STARTED[@]} -gt 0 ]]; then
    complain "interrupted; stopping what was started"
    stop_nodes "${STARTED[@]}"
  else
    complain "interrupted"
  fi
  [[ -z $HINT ]] || complain "$HINT"
  exit 130
}

# option_value OPTION VALUE PATTERN WHAT
option_value() {
  [[ $2 =~ ^($3)$ ]] || usage_error "$1 must be $4, not '$2'"
}

parse() {
  local positional=()
  while [[ $# -gt 0 ]]; do
    case $1 in
      --nodes | --base-port | --dir)
        [[ $# -ge 2 ]] || usage_error "$1 needs a value"
        set_option "$1" "$2"
        shift
        ;;
      --nodes=* | --base-port=* | --dir=*) set_option "${1%%=*}" "${1#*=}" ;;
      --yes | -y) YES=true ;;
      --follow | -f) FOLLOW=true ;;
      -h | --help | help)
        usage
        exit 0
        ;;
      --)
        shift
        SKEIND_FLAGS=("$@")
        break
        ;;
      -*) usage_error "unknown option '$1'" ;;
      *) positional+=("$1") ;;
    esac
    shift
  done
  COMMAND=${positional[0]:-}
  NODE=${positional[1]:-}
  NODE=${NODE#n}
  [[ ${#positional[@]} -le 2 ]] || usage_error "too many arguments"
}

check_port() {
  option_value "$1" "$2" '[1-9][0-9]{0,4}' "a port"
  (($2 <= 65531)) || usage_error "$1 must be at most 65531"
}

set_option() {
  case $1 in
    --nodes)
      option_value "$1" "$2" '1|3|5' "1, 3 or 5"
      NODES=$2
      ;;
    --base-port)
      check_port "$1" "$2"
      BASE_PORT=$2
      ;;
    --dir)
      [[ -n $2 ]] || usage_error "--dir must not be empty"
      DIR=$2
      ;;
  esac
}

require_node() {
  [[ -n $NODE ]] || usage_error "$COMMAND needs a node, e.g. $COMMAND 1"
  [[ $NODE =~ ^[1-9][0-9]?$ ]] || usage_error "'$NODE' is not a node: they are called n1 to n99"
  require_cluster
  [[ $COMMAND == add ]] || is_among "$NODE" "${NUMBERS[@]}" ||
    usage_error "there is no node '$NODE' among ${NUMBERS[*]/#/n}"
}

main() {
  DIR=${SKEIN_CLUSTER_DIR:-$ROOT/.skein} NODES='' BASE_PORT='' INTERRUPTED=false COMMAND='' NODE='' YES=false FOLLOW=false LOCK='' HINT=''
  SKEIND_FLAGS=() STARTED=() NUMBERS=() JOINED=() REMOVED=()
  [[ -z ${SKEIN_BASE_PORT:-} ]] || check_port SKEIN_BASE_PORT "$SKEIN_BASE_PORT"
  parse "$@"
  # As the nodes are told it, so that it can be found again on their command lines.
  DIR=$(realpath -m -- "$DIR")
  SKEIND=${SKEIN_BIN_DIR:-$ROOT/build/release/bin}/skeind
  SKEIN=${SKEIN_BIN_DIR:-$ROOT/build/release/bin}/skein
  STATUS=$DIR/.status.$$.json  # this process's own: others may ask at the same time
  trap 'rm -f "$STATUS"' EXIT
  trap on_signal INT TERM HUP
  case $COMMAND in
    kill | restart | pause | resume | logs | add | remove) require_node ;;
    '')
      usage >&2
      exit 2
      ;;
    *) [[ -z $NODE ]] || usage_error "$COMMAND takes no node" ;;
  esac
  case $COMMAND in
    start | stop | status | restart | logs | wipe | add | remove) "do_$COMMAND" ;;
    kill) signal_node KILL killed ;;
    pause) signal_node STOP paused ;;
    resume) signal_node CONT resumed ;;
    *) usage_error "unknown command '$COMMAND'" ;;
  esac
}

main "$@"
