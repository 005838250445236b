#!/usr/bin/env bash
# A folder includes only the public headers, itself, and what its layer may stand on.
set -euo pipefail
source "$(dirname "$0")/../common.sh"

declare -A may_include=(
    [base]=""
    [core]="base"
    [graph]="core base"
    [ops]="graph core base"
    [autodiff]="ops graph core base"
    [compiler]="autodiff ops graph core base"
    [runtime]="compiler autodiff ops graph core base"
    [kernels]="core base"
    [serialize]="graph core base"
    [nn]="" [data]="" [summary]="" [serving]=""
)

# room <path>: the folder of src/ that holds a file, or the folder of the repository.
room() {
    local path=${1#src/}
    echo "${path%%/*}"
}

report() {
    echo "$1:$2: $3"
    violations=$((violations + 1))
}

violations=0
mapfile -t folders < <(existing_folders include src tools examples benchmarks)
while IFS=: read -r file line text; do
    [[ $text =~ [\<\"]([^\>\"]+)[\>\"] ]] || continue
    header=${BASH_REMATCH[1]}
    from=$(room "$file")
    to=${header%%/*}
    if [[ $header == *../* ]]; then
        report "$file" "$line" "\"$header\": write the path from src/ on"
    elif [[ $header == */* && -v may_include[$to] && $from != "$to" ]]; then
        allowed=${may_include[$from]:-}
        if [[ $file == src/kernels/cuda/host.c ]]; then
            allowed+=" base" # whose sentences it stands for
        elif [[ $file == src/kernels/cuda/* ]]; then
            allowed=core # and of that what is compiled into the plug-in: the linker sees to it
        fi
        if [[ " $allowed " != *" $to "* ]]; then
            report "$file" "$line" \
                "\"$header\": $from may include the public headers, itself${allowed:+, ${allowed// /, }}"
        fi
    fi
done < <(grep -rnE --include='*.[ch]' --include='*.cu' --include='*.cuh' '^[[:space:]]*#[[:space:]]*include' "${folders[@]}" /dev/null)

((violations == 0))
