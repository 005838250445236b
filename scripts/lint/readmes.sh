#!/usr/bin/env bash
# Each folder of src/ says in a README what it is for.
set -euo pipefail
source "$(dirname "$0")/../common.sh"

missing=0
for folder in src/*/; do
    if [[ -d $folder && ! -e ${folder}README.md ]]; then
        echo "${folder}README.md is missing"
        missing=1
    fi
done
((missing == 0))
