#!/usr/bin/env bash
# Every C file is as clang-format writes it.
set -euo pipefail
source "$(dirname "$0")/../common.sh"

mapfile -t files < <(c_sources)
if ((${#files[@]})) && ! report=$(clang_format --dry-run -Werror "${files[@]}" 2>&1); then
    grep -E ': error: ' <<<"$report" | cut -d: -f1,2 | sort -t: -k1,1 -u || echo "$report"
    echo "These lines are the first of their files that scripts/format.sh would change"
    exit 1
fi
