#!/usr/bin/env bash
# Installs the Debian packages that building, testing and measuring Skein needs.
set -euo pipefail
# shellcheck source=scripts/lib/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"

PACKAGES=(
  g++ cmake ninja-build ccache lld pkg-config python3
  libgrpc++-dev protobuf-compiler-grpc protobuf-compiler libprotobuf-dev
  librocksdb-dev libabsl-dev libgtest-dev libcli11-dev libspdlog-dev libfmt-dev libxxhash-dev
  nlohmann-json3-dev libtomlplusplus-dev libjemalloc-dev
  gnuplot-nox clang-format
)
DEV_PACKAGES=(clang-tidy shellcheck)

usage() {
  cat <<END
usage: scripts/setup.sh [--dev] [--list]

Installs, as Debian packages, whatever is missing to build, test and measure Skein (Debian 12).
Does nothing, quickly, when all is there. Needs root or sudo only if something is missing.

  --dev    also what developers of Skein want: ${DEV_PACKAGES[*]}
  --list   print the missing packages and stop
  --help   this text

SKEIN_SKIP_SETUP=1 in the environment makes this do nothing: for systems other than Debian, where
the libraries were installed in some other way.
END
}

# Prints those of its arguments that are not installed, one to a line.
missing_packages() {
  declare -A installed=()
  local name state
  while read -r name state; do
    [[ $state == installed ]] && installed[$name]=1
  done < <(dpkg-query -W -f='${Package} ${db:Status-Status}\n' "$@" 2>/dev/null || true)
  for name in "$@"; do
    [[ -n ${installed[$name]:-} ]] || say "$name"
  done
}

# One line for each tenth of the work, or a line that rewrites itself on a terminal.
show_progress() {
  local total=$1 line done=0 step width
  step=$((total / 10 > 0 ? total / 10 : 1))
  width=$(tput cols 2>/dev/null || echo 80)
  while read -r line; do
    case $line in
      Get:*) [[ -t 1 ]] && printf '\r\e[K%.*s' "$((width - 1))" "downloading ${line#Get:*[0-9] }" ;;
      'Setting up '*)
        done=$((done + 1))
        if [[ -t 1 ]]; then
          printf '\r\e[K[%d/%d] %.*s' "$done" "$total" "$((width - 15))" "$line"
        elif ((done % step == 0 || done == total)); then
          say "[$done/$total] $line"
        fi
        ;;
    esac
  done
  [[ -t 1 ]] && printf '\r\e[K'
  return 0
}

# run_apt WHAT TOTAL ARGUMENT...: apt-get as root, with progress; its words only if it fails.
run_apt() {
  local what=$1 total=$2 log status=0
  shift 2
  log=$(mktemp)
  "${AS_ROOT[@]}" env DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 \
    apt-get -y -o DPkg::Lock::Timeout=120 "$@" 2>&1 </dev/null |
    tee "$log" | show_progress "$total" || status=$?
  if [[ $status -ne 0 ]]; then
    complain "$what failed (apt-get $1, exit $status). Its last lines:"
    tail -n 15 "$log" | sed 's/^/    /' >&2
    rm -f "$log"
    say "Check the network and /etc/apt/sources.list, or install by hand:" \
      "apt-get install ${MISSING[*]}" >&2
    exit 1
  fi
  rm -f "$log"
}

choose_root() {
  AS_ROOT=()
  if [[ $(id -u) -ne 0 ]]; then
    command -v sudo >/dev/null || die "${#MISSING[@]} packages are missing, and installing them \
needs root, but this is not root and sudo is not installed. As root, run: apt-get install ${MISSING[*]}"
    AS_ROOT=(sudo)
    sudo -v || die "sudo was refused. As root, run: apt-get install ${MISSING[*]}"
  fi
}

install_missing() {
  choose_root
  title "installing ${#MISSING[@]} missing packages"
  say "${MISSING[*]}"
  say "reading package lists"
  run_apt "reading the package lists" 1 update
  local total
  total=$(apt-get -s install --no-install-recommends "${MISSING[@]}" 2>/dev/null |
    grep -c '^Inst' || true)
  say "installing $total packages, dependencies included"
  run_apt "installing packages" "$total" install --no-install-recommends "${MISSING[@]}"
  mapfile -t MISSING < <(missing_packages "${MISSING[@]}")
  [[ ${#MISSING[@]} -eq 0 ]] || die "still missing after installing: ${MISSING[*]}"
  say "all packages are installed"
}

main() {
  local wanted=("${PACKAGES[@]}") list=false
  while [[ $# -gt 0 ]]; do
    case $1 in
      --dev) wanted+=("${DEV_PACKAGES[@]}") ;;
      --list) list=true ;;
      -h | --help)
        usage
        exit 0
        ;;
      *) usage_error "unknown argument '$1'" ;;
    esac
    shift
  done
  [[ -z ${SKEIN_SKIP_SETUP:-} ]] || exit 0
  if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    die "this system has no apt-get: install the equivalents of these Debian packages, then set \
SKEIN_SKIP_SETUP=1: ${wanted[*]}"
  fi
  mapfile -t MISSING < <(missing_packages "${wanted[@]}")
  if $list; then
    [[ ${#MISSING[@]} -eq 0 ]] || printf '%s\n' "${MISSING[@]}"
  elif [[ ${#MISSING[@]} -gt 0 ]]; then
    install_missing
  fi
}

main "$@"
