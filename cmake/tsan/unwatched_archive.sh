#!/usr/bin/env bash
# unwatched_archive.sh ARCHIVE SOURCE COPY: makes a copy of a static library that calls
# unwatched_NAME for each of these that SOURCE defines, and keeps its templates and inline functions
# apart from those of the same names in other code.
set -euo pipefail
archive=$1 source=$2 copy=$3
names=$(mktemp)
trap 'rm -f "$names"' EXIT
grep -oE '\bunwatched_\w+' "$source" | sort -u | sed -E 's/^unwatched_(.*)/\1 &/' >"$names"
nm "$archive" 2>/dev/null | awk '$2 ~ /^[Wn]$/ {print $3, $3 ".rocksdb"}' | sort -u >>"$names"
objcopy --redefine-syms="$names" "$archive" "$copy"
