#!/usr/bin/env bash
# A C file or header stays within 600 lines.
set -euo pipefail
source "$(dirname "$0")/../common.sh"

limit=600
c_sources | tr '\n' '\0' | xargs -0 --no-run-if-empty wc -l | awk -v limit="$limit" '
    $2 != "total" && $1 > limit { printf "%s:%d: more than %d lines\n", $2, $1, limit; over = 1 }
    END { exit over }'
