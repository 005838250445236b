#!/usr/bin/env bash
# Formats every C file in place, or those named on the command line.
set -euo pipefail
if (($#)); then
    mapfile -t files < <(realpath -- "$@")
else
    files=()
fi
source "$(dirname "$0")/common.sh"

if ((${#files[@]} == 0)); then
    mapfile -t files < <(c_sources)
fi
if ((${#files[@]})); then
    clang_format -i "${files[@]}"
fi
echo "Formatted ${#files[@]} files"
