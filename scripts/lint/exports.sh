#!/usr/bin/env bash
# The shared library exports what src/exports.txt lists, and all of it begins with tc_.
# With --update, writes the list.
set -euo pipefail
source "$(dirname "$0")/../common.sh"

library=build/release/lib/libtensorc.so
list=src/exports.txt
if [[ ! -e $library ]]; then
    echo "$library is not built yet, its exports are not checked"
    exit 0
fi

exports() {
    nm --dynamic --defined-only "$library" | awk '{ print $NF }' | LC_ALL=C sort
}

if [[ ${1:-} == --update ]]; then
    exports >"$list"
    echo "$list lists $(wc -l <"$list") symbols"
elif ! diff --unified=0 --label "$list" --label "$library" "$list" <(exports); then
    echo "Where the difference is meant, run scripts/lint.sh --update-exports"
    exit 1
fi

if grep --line-number --invert-match '^tc_' "$list"; then
    echo "$list: public symbols begin with tc_"
    exit 1
fi
