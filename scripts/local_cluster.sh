#!/usr/bin/env bash
# A cluster of skeind processes on this machine: start, look, hurt, stop.
set -euo pipefail
# shellcheck source=scripts/lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
TOOL=$ROOT/scripts/lib/cluster_tool.py

READY_SECONDS=20
STOP_SECONDS=10
LOCK_SECONDS=1800

usage() {
  cat <<END
usage: scripts/local_cluster.sh COMMAND [OPTION...]

  start        build if needed, start the nodes that are not running, wait for a leader
  stop         stop all nodes, gracefully if they let us; the data stays
  status       table of the nodes
  kill N       kill -9 node N             restart N    stop node N and start it again
  pause N      SIGSTOP to node N          resume N     SIGCONT to node N
  logs N       the last lines of node N's log (-f: follow it)
  wipe         delete all data of the stopped cluster (asks; --yes: does not)

options:
  --nodes 1|3|5     how many nodes (3)
  --base-port PORT  node N listens on 127.0.0.1:PORT+N-1 (7411)
  --dir DIR         where data and logs are (.skein in the project's folder)
  -- FLAG...        with start: more flags for every skeind
  --help            this text

Nodes are called n1, n2, n3; N may be written 1 or n1. The later commands remember --nodes and
--base-port of the first start. In the environment, SKEIN_CLUSTER_DIR and SKEIN_BASE_PORT stand for
--dir and --base-port where those are not given, and SKEIN_BIN_DIR names a folder with skeind and
skein to use as they are, without building.

examples:
  scripts/local_cluster.sh start
  scripts/local_cluster.sh kill 1 && scripts/local_cluster.sh status
  scripts/local_cluster.sh start --dir /tmp/other --base-port 7511 --nodes 5
  scripts/local_cluster.sh stop && scripts/local_cluster.sh wipe --yes
END
}

# --- what is remembered -----------------------------------------------------------------------

conf_value() {
  sed -n "s/^$1=//p" "$DIR/cluster.conf" 2>/dev/null | head -n 1 || true
}

# The size and ports of the cluster in DIR, else the options, else the defaults.
load_conf() {
  local nodes base
  nodes=$(conf_value nodes) base=$(conf_value base_port)
  if [[ -n $nodes && -n $NODES && $NODES != "$nodes" ]]; then
    die "$DIR holds a cluster of $nodes nodes, not $NODES: wipe it first, or use another --dir"
  fi
  if [[ -n $base && -n $BASE_PORT && $BASE_PORT != "$base" ]]; then
    die "$DIR holds a cluster with base port $base, not $BASE_PORT: wipe it first, or use another --dir"
  fi
  NODES=${NODES:-${nodes:-3}} BASE_PORT=${BASE_PORT:-${base:-${SKEIN_BASE_PORT:-7411}}}
  if [[ ${#SKEIND_FLAGS[@]} -eq 0 && -f $DIR/cluster.conf ]]; then
    mapfile -t SKEIND_FLAGS < <(sed -n 's/^flag=//p' "$DIR/cluster.conf")
  fi
}

save_conf() {
  {
    say "nodes=$NODES"
    say "base_port=$BASE_PORT"
    [[ ${#SKEIND_FLAGS[@]} -eq 0 ]] || printf 'flag=%s\n' "${SKEIND_FLAGS[@]}"
  } >"$DIR/cluster.conf"
}

require_cluster() {
  [[ -f $DIR/cluster.conf ]] || die "there is no cluster in $DIR: start one, or name its --dir"
  load_conf
}

address_of() { say "127.0.0.1:$((BASE_PORT + $1 - 1))"; }

# Its arguments, with commas between them.
join_words() {
  local IFS=,
  say "$*"
}

all_addresses() {
  local i list=()
  for ((i = 1; i <= NODES; i++)); do list+=("$(address_of "$i")"); done
  join_words "${list[@]}"
}

# --- processes --------------------------------------------------------------------------------

# pid_of N: its process, if it runs. A pid file proves nothing: the number may have been given to
# another process since, so the command line must be that of this node's skeind.
pid_of() {
  local pid words
  pid=$(cat "$DIR/n$1.pid" 2>/dev/null) || return 1
  [[ $pid =~ ^[0-9]+$ && -r /proc/$pid/cmdline ]] || return 1
  { mapfile -d '' -t words <"/proc/$pid/cmdline"; } 2>/dev/null || return 1
  [[ ${#words[@]} -gt 2 && " ${words[*]} " == *skeind*" --data-dir $DIR/n$1/data "* ]] || return 1
  say "$pid"
}

# running, paused or stopped
process_state() {
  local pid stat
  if ! pid=$(pid_of "$1") || ! stat=$(cat "/proc/$pid/stat" 2>/dev/null); then
    say stopped
    return
  fi
  stat=${stat##*) }
  case ${stat%% *} in
    T | t) say paused ;;
    Z | X) say stopped ;;
    *) say running ;;
  esac
}

any_running() {
  local i
  for ((i = 1; i <= NODES; i++)); do
    [[ $(process_state "$i") == stopped ]] || return 0
  done
  return 1
}

# wait_until SECONDS COMMAND...: polls; status 1 if the time is over.
wait_until() {
  local deadline=$(($(date +%s%N) + $1 * 1000000000))
  shift
  until "$@"; do
    (($(date +%s%N) < deadline)) || return 1
    sleep 0.05
  done
}

is_stopped() { [[ $(process_state "$1") == stopped ]]; }

all_stopped() {
  local i
  for i in "$@"; do is_stopped "$i" || return 1; done
}

# stop_nodes N...: all at once, then waits for each.
stop_nodes() {
  local i pid
  for i in "$@"; do
    if pid=$(pid_of "$i"); then
      # A paused process hears SIGTERM only once it goes on.
      { kill -TERM "$pid" && kill -CONT "$pid"; } 2>/dev/null || true
    fi
  done
  if ! wait_until "$STOP_SECONDS" all_stopped "$@"; then
    for i in "$@"; do
      pid=$(pid_of "$i") || continue
      note "n$i did not stop within $STOP_SECONDS s: kill -9"
      kill -KILL "$pid" 2>/dev/null || true
    done
    wait_until "$STOP_SECONDS" all_stopped "$@" || die "some nodes cannot be killed: see status"
  fi
  for i in "$@"; do rm -f "$DIR/n$i.pid"; done
}

launch() {
  local id=n$1 i members=() pid
  for ((i = 1; i <= NODES; i++)); do members+=("n$i=$(address_of "$i")"); done
  mkdir -p "$DIR/$id"
  STARTED+=("$1")
  # A session of its own: the terminal's Ctrl-C is not for the nodes. Without the lock, which
  # would be held as long as the node lives. A signal waits until the process can be found again.
  trap 'INTERRUPTED=true' INT TERM HUP
  setsid nohup "$SKEIND" --id "$id" --data-dir "$DIR/$id/data" --listen "$(address_of "$1")" \
    --advertise "$(address_of "$1")" --initial-cluster "$(join_words "${members[@]}")" \
    "${SKEIND_FLAGS[@]}" >>"$DIR/$id/skeind.log" 2>&1 </dev/null {LOCK}>&- &
  pid=$!
  disown "$pid"
  say "$pid" >"$DIR/$id.pid"
  wait_until 5 is_found_or_gone "$1" "$pid" || true
  trap on_signal INT TERM HUP
  ! $INTERRUPTED || on_signal
}

# The launched process has this script's command line for a moment, then that of skeind.
is_found_or_gone() { pid_of "$1" >/dev/null || ! kill -0 "$2" 2>/dev/null; }

show_log() {
  printf '%s\n' "last lines of $DIR/n$1/skeind.log:" >&2
  tail -n 12 "$DIR/n$1/skeind.log" 2>/dev/null | sed 's/^/    /' >&2 || true
}

# --- what the cluster says --------------------------------------------------------------------

ask_status() {
  timeout 3 "$SKEIN" --endpoints "$(all_addresses)" --output json status \
    >"$STATUS" 2>/dev/null || true
}

cluster_ready() {
  local i
  for i in "${STARTED[@]}"; do
    [[ $(process_state "$i") != stopped ]] || return 0  # wait_ready finds out who died
  done
  ask_status
  python3 "$TOOL" ready "$NODES" "$STATUS"
}

node_ready() {
  [[ $(process_state "$1") != stopped ]] || return 0
  ask_status
  python3 "$TOOL" reachable "n$1" "$STATUS"
}

# wait_ready COMMAND...: until it says so; if that takes too long or a node dies, shows why and
# stops what this call started.
wait_ready() {
  local i late=false
  wait_until "$READY_SECONDS" "$@" || late=true
  for i in "${STARTED[@]}"; do
    if is_stopped "$i"; then
      complain "n$i ended at once"
      show_log "$i"
      late=dead
    fi
  done
  [[ $late != false ]] || return 0
  if [[ $late == true ]]; then
    complain "not ready within $READY_SECONDS s: no leader, or a node that does not answer"
    for i in "${STARTED[@]}"; do show_log "$i"; done
  fi
  stop_nodes "${STARTED[@]}"
  die "stopped what was started; the data is still in $DIR"
}

print_table() {
  local i state pid lines=()
  for ((i = 1; i <= NODES; i++)); do
    state=$(process_state "$i")
    pid=-
    [[ $state == stopped ]] || pid=$(pid_of "$i") || pid=-
    lines+=("n$i $(address_of "$i") $state $pid")
  done
  python3 "$TOOL" table "$STATUS" "${lines[@]}"
}

print_hints() {
  local skein=$SKEIN
  [[ $skein != "$PWD"/* ]] || skein=./${skein#"$PWD"/}
  [[ $BASE_PORT -eq 7411 ]] || skein+=" --endpoints $(address_of 1)"
  say ""
  say "Try:"
  say "  $skein put greeting 'hello, world'"
  say "  $skein get greeting"
  say "  $skein status"
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
  for ((i = 1; i <= NODES; i++)); do
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
  for ((i = 1; i <= NODES; i++)); do
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
  local answer=''
  require_cluster
  take_lock
  ! any_running || die "the cluster is running; stop it first"
  if ! $YES; then
    [[ -t 0 ]] || die "wipe deletes all data in $DIR; say --yes to mean it"
    read -r -p "Delete all data and logs of the cluster in $DIR? [y/N] " answer
    [[ $answer == [yY]* ]] || die "nothing was deleted"
  fi
  rm -rf -- "$DIR"/n[0-9] "$DIR"/n[0-9].pid "$DIR/cluster.conf" "$DIR/.lock"
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
  require_cluster
  [[ $NODE =~ ^[1-9]$ && $NODE -le $NODES ]] || usage_error "there is no node '$NODE' among n1 to n$NODES"
}

main() {
  DIR=${SKEIN_CLUSTER_DIR:-$ROOT/.skein} NODES='' BASE_PORT='' INTERRUPTED=false COMMAND='' NODE='' YES=false FOLLOW=false LOCK=
  SKEIND_FLAGS=() STARTED=()
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
    kill | restart | pause | resume | logs) require_node ;;
    '')
      usage >&2
      exit 2
      ;;
    *) [[ -z $NODE ]] || usage_error "$COMMAND takes no node" ;;
  esac
  case $COMMAND in
    start | stop | status | restart | logs | wipe) "do_$COMMAND" ;;
    kill) signal_node KILL killed ;;
    pause) signal_node STOP paused ;;
    resume) signal_node CONT resumed ;;
    *) usage_error "unknown command '$COMMAND'" ;;
  esac
}

main "$@"
