# shellcheck shell=bash
# Nodes that join and leave a local cluster. Sourced by local_cluster.sh.

# ask QUESTION: on the terminal; where nobody can be asked, no.
ask() {
  local answer=''
  [[ -t 0 ]] || return 1
  read -r -p "$1 [y/N] " answer
  [[ $answer == [yY]* ]]
}

member() { run_child "$SKEIN" --endpoints "$(all_addresses)" --output json member "$@"; }

# What is left of an earlier life of the node would not fit the cluster.
clear_old_data() {
  [[ -e $DIR/n$1/data ]] || return 0
  $YES || ask "n$1 has data of its own in $DIR/n$1. Delete it?" ||
    die "n$1 has data of its own in $DIR/n$1; say --yes to delete it"
  rm -rf -- "${DIR:?}/n$1"
}

do_add() {
  local address
  prepare_binaries
  take_lock
  load_conf
  any_running || die "the cluster is not running: start it first"
  address=$(address_of "$NODE")
  ((${address##*:} <= 65535)) || die "n$NODE would have port ${address##*:}: choose a lower number"
  if ! is_among "$NODE" "${NUMBERS[@]}"; then
    clear_old_data "$NODE"
    check_ports "$NODE"
    member add "n$NODE" "$address" --promote-when-caught-up >/dev/null || exit $?
    remember_added "$NODE"
  fi
  if is_stopped "$NODE"; then
    check_ports "$NODE"
    launch "$NODE"
    say "started n$NODE, which joins the cluster"
    HINT="n$NODE is a member all the same: mend what is wrong and call 'add $NODE' again, or 'remove $NODE'"
    wait_ready node_ready "$NODE"
    STARTED=()
  fi
  HINT="n$NODE goes on catching up; 'add $NODE' waits again"
  member wait "n$NODE" --voter >/dev/null || exit $?
  say "n$NODE is level, and a voter"
  ask_status
  print_table
}

do_remove() {
  local status=0
  [[ -x $SKEIN ]] || die "$SKEIN is missing: start the cluster, which builds it"
  take_lock
  load_conf
  any_running || die "the cluster is not running: start it first"
  member remove "n$NODE" >/dev/null 2>"$STATUS" || status=$?
  if [[ $status -ne 0 ]] && ! grep -q NOT_FOUND "$STATUS"; then
    cat "$STATUS" >&2
    exit "$status"
  fi
  stop_nodes "$NODE"
  remember_removed "$NODE"
  say "n$NODE is removed and stopped"
  if $YES || ask "Delete its data and log in $DIR/n$NODE?"; then
    rm -rf -- "${DIR:?}/n$NODE"
  elif [[ -e $DIR/n$NODE ]]; then
    say "its data is still in $DIR/n$NODE"
  fi
  ask_status
  print_table
}
