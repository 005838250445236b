#!/usr/bin/env bash
# Checks what the compiler does not: format, layers, sizes, headers, exports, READMEs.
#
#   scripts/lint.sh                    every check of scripts/lint/
#   scripts/lint.sh layers format      only these
#   scripts/lint.sh --update-exports   writes src/exports.txt from the release build
set -euo pipefail
source "$(dirname "$0")/common.sh"

if [[ ${1:-} == --update-exports ]]; then
    exec scripts/lint/exports.sh --update
fi

checks=("$@")
if ((${#checks[@]} == 0)); then
    checks=(format layers size headers exports words readmes)
fi

failed=()
for check in "${checks[@]}"; do
    if "scripts/lint/$check.sh"; then
        echo "lint $check: ok"
    else
        echo "lint $check: FAILED"
        failed+=("$check")
    fi
done
if ((${#failed[@]})); then
    echo "Failed: ${failed[*]}"
    exit 1
fi
