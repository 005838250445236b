#!/usr/bin/env bash
# Everything a change must pass: lint, the tests of the release build, the same under the address
# and undefined behaviour sanitizers, and the threaded ones under the thread sanitizer.
#
#   scripts/test.sh           all of it
#   scripts/test.sh --quick   lint and the release build
#
# The last line counts the tests of all builds together.
set -euo pipefail
source "$(dirname "$0")/common.sh"

quick=false
case ${1:-} in
    "") ;;
    --quick) quick=true ;;
    *) echo "usage: scripts/test.sh [--quick]" >&2; exit 2 ;;
esac

threaded=(base runtime data)
logs=build/test-logs
mkdir -p "$logs"
rm -f "$logs"/*.log
failed_steps=()

# step <name> <command>...: runs it, says how long it took, and goes on where it fails.
step() {
    local name=$1 start=$SECONDS outcome=ok
    shift
    say "$name"
    if ! "$@"; then
        outcome=FAILED
        failed_steps+=("$name")
    fi
    printf -- '-- %s: %s, %d s\n' "$name" "$outcome" $((SECONDS - start))
    [[ $outcome == ok ]]
}

# build <preset> [<target>...]: CUDA kernels, where nvcc is found, for one architecture alone.
build() {
    cmake --preset "$1" -DTENSORC_WERROR=ON -DTENSORC_CUDA_ARCHITECTURES=90 && cmake --build --preset "$1" ${2:+--target "${@:2}"}
}

# run_tests <preset> [<ctest option>...]
run_tests() {
    local launcher=()
    # The thread sanitizer cannot place its shadow where addresses are randomized too widely.
    if [[ $1 == tsan ]] && setarch --addr-no-randomize true 2>/dev/null; then
        launcher=(setarch --addr-no-randomize)
    fi
    "${launcher[@]}" ctest --preset "$1" --parallel "$(nproc)" "${@:2}" | tee "$logs/$1.log"
}

# build_and_test <preset> [<label>...]: with labels, only the tests of these folders.
build_and_test() {
    local preset=$1 labels=() targets=() select=() label
    shift
    if (($#)); then
        mapfile -t labels < <(for label; do existing_folders "tests/$label"; done)
        targets=("${labels[@]/#tests\//tests_}")
        select=(--label-regex "^($(IFS='|'; echo "$*"))\$")
    fi
    step "build $preset" build "$preset" "${targets[@]}" &&
        step "test $preset" run_tests "$preset" "${select[@]}"
}

step "dependencies" scripts/install_deps.sh --test
step "lint" scripts/lint.sh format layers size headers words readmes || true
if build_and_test release; then
    step "lint of the exports" scripts/lint.sh exports || true
fi
if ! $quick; then
    build_and_test asan || true
    build_and_test tsan "${threaded[@]}" || true
fi

say "took $SECONDS s"
if ((${#failed_steps[@]})); then
    printf 'failed: %s\n' "${failed_steps[@]}"
fi
cat /dev/null "$logs"/*.log 2>/dev/null | awk '
    /^ *[0-9]+\/[0-9]+ Test +#[0-9]+: / {
        if (/\*\*\*Skipped /) skipped++
        else if (/ Passed /) passed++
        else failed++
    }
    END { printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped }'
((${#failed_steps[@]} == 0))
