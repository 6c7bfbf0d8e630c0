# shellcheck shell=bash
# What the scripts share: words on the terminal, and a build that can be interrupted. Sourced.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export ROOT

if [[ -t 1 && -z ${NO_COLOR:-} ]]; then
  BOLD=$'\e[1m' RED=$'\e[31m' GREEN=$'\e[32m' DIM=$'\e[2m' PLAIN=$'\e[0m'
else
  BOLD='' RED='' GREEN='' DIM='' PLAIN=''
fi
export BOLD RED GREEN DIM PLAIN

say() { printf '%s\n' "$*"; }
note() { printf '%s%s%s\n' "$DIM" "$*" "$PLAIN"; }
title() { printf '\n%s== %s ==%s\n' "$BOLD" "$*" "$PLAIN"; }
complain() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
# usage_error MESSAGE: wrong use of a script, exit 2.
usage_error() {
  complain "$* (see ${0##*/} --help)"
  exit 2
}
die() {
  complain "$*"
  exit 1
}

# The process that run_child waits for; empty between calls.
CHILD=

# Runs a long command so that a signal to this script reaches it at once: bash delivers traps
# during `wait`, but not while a foreground command runs.
run_child() {
  local status=0
  "$@" &
  CHILD=$!
  wait "$CHILD" || status=$?
  CHILD=
  return "$status"
}

# For traps: ends the command that run_child started, if there is one.
stop_child() {
  [[ -n $CHILD ]] || return 0
  kill -TERM "$CHILD" 2>/dev/null || true
  wait "$CHILD" 2>/dev/null || true
  CHILD=
}

# build_preset PRESET [TARGET...]: configures if that was never done, then builds. One build at a
# time in each tree; a second caller waits. Silent if there is nothing to do.
build_preset() {
  local preset=$1
  shift
  local tree=$ROOT/build/$preset lock
  mkdir -p "$tree"
  exec {lock}>"$tree/.build_lock"
  if ! flock -n "$lock"; then
    note "another build of $preset is running; waiting for it"
    run_child flock "$lock"
  fi
  local status=0
  if [[ ! -f $tree/build.ninja ]]; then
    run_child env --chdir="$ROOT" cmake --preset "$preset" || status=$?
  fi
  if [[ $status -eq 0 ]] && ! ninja -C "$tree" -n "$@" 2>/dev/null | grep -q 'no work to do'; then
    NINJA_STATUS='[%f/%t, %es] ' run_child ninja -C "$tree" "$@" || status=$?
  fi
  exec {lock}>&-
  return "$status"
}
