# shellcheck shell=bash
# Sourced by the other scripts: goes to the root of the repository and gives them words to speak with.

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

say() {
    printf '\n== %s\n' "$*"
}

# existing_folders <folder>...: those of them that exist.
existing_folders() {
    local folder
    for folder in "$@"; do
        if [[ -d $folder ]]; then
            echo "$folder"
        fi
    done
}

# c_sources: every C and CUDA file and header that people write, one per line.
c_sources() {
    local folders
    mapfile -t folders < <(existing_folders include src tests tools examples benchmarks)
    if ((${#folders[@]})); then
        find "${folders[@]}" -name '*.[ch]' -o -name '*.cu' -o -name '*.cuh' | LC_ALL=C sort
    fi
}

clang_format() {
    local program
    for program in clang-format-14 clang-format; do
        if command -v "$program" >/dev/null; then
            "$program" "$@"
            return
        fi
    done
    echo "clang-format is missing: run scripts/install_deps.sh --test" >&2
    return 1
}
