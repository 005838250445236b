#!/usr/bin/env bash
# No notes to oneself: what is left to do is an issue, not a comment.
set -euo pipefail
source "$(dirname "$0")/../common.sh"

mapfile -t folders < <(existing_folders .ci benchmarks cmake docs examples include scripts src tests tools)
if grep -rnIwE 'TO[D]O|FIX[M]E|X[X]X' "${folders[@]}" ./*.md CMakeLists.txt; then
    exit 1
fi
