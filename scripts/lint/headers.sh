#!/usr/bin/env bash
# Each public header compiles alone as C11 and as C++17, and the programs of tests/headers, which
# use every macro, compile as strict C11.
set -euo pipefail
source "$(dirname "$0")/../common.sh"

c11=(cc -std=c11 -pedantic -Wall -Wextra -Werror -Iinclude -fsyntax-only -x c)
cxx17=(c++ -std=c++17 -Wall -Wextra -Werror -Iinclude -fsyntax-only -x c++)

mapfile -t headers < <(existing_folders include | xargs -I{} find {} -name '*.h' | LC_ALL=C sort)
mapfile -t programs < <(existing_folders tests/headers | xargs -I{} find {} -name '*.c' | LC_ALL=C sort)

failures=0
try() {
    local subject=$1 language=$2
    shift 2
    if ! "$@"; then
        echo "$subject: does not compile as $language"
        failures=$((failures + 1))
    fi
}

for header in "${headers[@]}"; do
    line="#include <${header#include/}>"
    try "$header" C11 "${c11[@]}" - <<<"$line"
    try "$header" C++17 "${cxx17[@]}" - <<<"$line"
done
for program in "${programs[@]}"; do
    try "$program" C11 "${c11[@]}" "$program"
done

# Those programs leave no macro out, but for the parts of others and the attributes of functions.
used=$(grep -ohE '\b(tc|TC)_[A-Za-z0-9_]+\b' "${programs[@]}" | LC_ALL=C sort -u)
while read -r macro; do
    if [[ ! $macro =~ (_|^TC_BUILD[0-9]|^TC_API|^TC_MUST_USE|^TC_PRINTF)$ ]] && ! grep -qx "$macro" <<<"$used"; then
        echo "$macro: no program of tests/headers uses it"
        failures=$((failures + 1))
    fi
done < <(sed -nE 's/^ *# *define ((tc|TC)_[A-Za-z0-9_]+).*/\1/p' "${headers[@]}" | LC_ALL=C sort -u)
((failures == 0))
