# shellcheck shell=bash
# The nodes of a local cluster: which there are, their processes, and what they say. Sourced by
# local_cluster.sh, which sets DIR, SKEIND, SKEIN, STATUS and what parse() knows.

TOOL=$ROOT/scripts/lib/cluster_tool.py
READY_SECONDS=20
STOP_SECONDS=10

# --- what is remembered -----------------------------------------------------------------------

conf_value() {
  sed -n "s/^$1=//p" "$DIR/cluster.conf" 2>/dev/null | head -n 1 || true
}

conf_values() { sed -n "s/^$1=//p" "$DIR/cluster.conf" 2>/dev/null || true; }

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
    mapfile -t SKEIND_FLAGS < <(conf_values flag)
  fi
  mapfile -t JOINED < <(conf_values joined)
  mapfile -t REMOVED < <(conf_values removed)
  list_nodes
}

# NUMBERS: the nodes that the cluster began with and were not removed, and those that were added.
list_nodes() {
  local i
  mapfile -t NUMBERS < <(
    {
      for ((i = 1; i <= NODES; i++)); do is_among "$i" "${REMOVED[@]}" || say "$i"; done
      [[ ${#JOINED[@]} -eq 0 ]] || printf '%s\n' "${JOINED[@]}"
    } | sort -nu
  )
}

# is_among WORD WORD...: whether the first is one of the others.
is_among() {
  local word
  for word in "${@:2}"; do [[ $word != "$1" ]] || return 0; done
  return 1
}

# remember_added N, remember_removed N
remember_added() {
  is_among "$1" "${NUMBERS[@]}" || JOINED+=("$1")
  list_nodes
  save_conf
}
remember_removed() {
  local i kept=()
  for i in "${JOINED[@]}"; do [[ $i == "$1" ]] || kept+=("$i"); done
  JOINED=("${kept[@]}")
  (($1 > NODES)) || is_among "$1" "${REMOVED[@]}" || REMOVED+=("$1")
  list_nodes
  save_conf
}

save_conf() {
  {
    say "nodes=$NODES"
    say "base_port=$BASE_PORT"
    [[ ${#JOINED[@]} -eq 0 ]] || printf 'joined=%s\n' "${JOINED[@]}"
    [[ ${#REMOVED[@]} -eq 0 ]] || printf 'removed=%s\n' "${REMOVED[@]}"
    [[ ${#SKEIND_FLAGS[@]} -eq 0 ]] || printf 'flag=%s\n' "${SKEIND_FLAGS[@]}"
  } >"$DIR/.cluster.conf.new"
  mv "$DIR/.cluster.conf.new" "$DIR/cluster.conf"
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

# all_addresses [N]: of all nodes but N.
all_addresses() {
  local i list=()
  for i in "${NUMBERS[@]}"; do [[ $i == "${1:-}" ]] || list+=("$(address_of "$i")"); done
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
  for i in "${NUMBERS[@]}"; do
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

# A node is told the cluster as it began, or where to find the one that it joins.
launch() {
  local id=n$1 i members=() cluster pid
  if is_among "$1" "${JOINED[@]}"; then
    cluster=(--join "$(all_addresses "$1")")
  else
    for ((i = 1; i <= NODES; i++)); do members+=("n$i=$(address_of "$i")"); done
    cluster=(--initial-cluster "$(join_words "${members[@]}")")
  fi
  mkdir -p "$DIR/$id"
  STARTED+=("$1")
  # A process group of its own: the terminal's Ctrl-C is not for the nodes. Not a session, for Linux
  # divides the processor among sessions first (sched_autogroup_enabled), and one node at work would
  # hold up another for tens of milliseconds. Without the lock, which would be held as long as the
  # node lives. A signal waits until the process can be found again.
  trap 'INTERRUPTED=true' INT TERM HUP
  set -m
  nohup "$SKEIND" --id "$id" --data-dir "$DIR/$id/data" --listen "$(address_of "$1")" \
    --advertise "$(address_of "$1")" "${cluster[@]}" "${SKEIND_FLAGS[@]}" >>"$DIR/$id/skeind.log" 2>&1 </dev/null {LOCK}>&- &
  pid=$!
  set +m
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
  python3 "$TOOL" ready "${#NUMBERS[@]}" "$STATUS"
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
  [[ -z $HINT ]] || complain "$HINT"
  die "stopped what was started; the data is still in $DIR"
}

print_table() {
  local i state pid lines=()
  for i in "${NUMBERS[@]}"; do
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
  [[ $BASE_PORT -eq 7411 ]] || skein+=" --endpoints $(address_of "${NUMBERS[0]}")"
  say ""
  say "Try:"
  say "  $skein put greeting 'hello, world'"
  say "  $skein get greeting"
  say "  $skein status"
}
