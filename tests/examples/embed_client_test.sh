#!/usr/bin/env bash
# Installs the build into an empty folder, builds examples/embed_client with find_package(skein)
# alone, and runs it against a three-node cluster.
#
#   embed_client_test.sh BUILD_DIR SOURCE_DIR
set -euo pipefail

build=$1
source=$2
work=$(mktemp -d)
export SKEIN_BIN_DIR=$build/bin

cleanup() {
  "$source/scripts/local_cluster.sh" stop --dir "$work/cluster" >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

fail() {
  echo "FAILED: $1" >&2
  exit 1
}

cmake --install "$build" --prefix "$work/prefix" >"$work/install.log" || fail "cmake --install"
cp -r "$source/examples/embed_client" "$work/example"
cmake -G Ninja -S "$work/example" -B "$work/example/build" -DCMAKE_BUILD_TYPE=Release \
  -DCMAKE_PREFIX_PATH="$work/prefix" || fail "configuring the example"
cmake --build "$work/example/build" || fail "building the example"

base=$(python3 "$source/scripts/lib/cluster_tool.py" free-ports 3)
"$source/scripts/local_cluster.sh" start --dir "$work/cluster" --base-port "$base" ||
  fail "starting the cluster"
said=$("$work/example/build/embed_client" "127.0.0.1:$((base + 1))") || fail "running the example"
echo "$said"
[[ $said == *"wrote user:1 at revision 1"* ]] || fail "the write was not told"
[[ $said == *"read user:1 = Ada from n"* ]] || fail "the write was not read back"
[[ $said == *"token 11"* ]] || fail "the batch was not written"

# Without a cluster it says what to do, and does not hang.
"$source/scripts/local_cluster.sh" stop --dir "$work/cluster"
if timeout 20 "$work/example/build/embed_client" "127.0.0.1:$base" 2>"$work/stderr"; then
  fail "it succeeded without a cluster"
fi
grep -q "what to do" "$work/stderr" || fail "no hint: $(cat "$work/stderr")"
echo "the example works"
