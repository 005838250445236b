#!/usr/bin/env bash
# Everything that needs a GPU: builds for the card that is here, runs the operator cases, gradient
# checks and sessions on it, trains and serves across devices, and looks at a sample of kernels with
# compute-sanitizer. Ends with a summary; without a GPU it says so and exits with 77.
#
#   scripts/gpu_test.sh [DEVICE]     default cuda:0
#
# BUILD is the build folder (default build/gpu), CMAKE_PREFIX_PATH finds dependencies elsewhere.
set -euo pipefail
source "$(dirname "$0")/common.sh"

device=${1:-cuda:0}
build=${BUILD:-build/gpu}
logs=$build/logs
names=()
outcomes=()

if ! nvidia-smi -L >/dev/null 2>&1; then
    echo "There is no GPU here: nvidia-smi lists none. Nothing was tested."
    exit 77
fi

# step <name> <command>...: runs it into a log of its own and notes how it went.
step() {
    local name=$1 start=$SECONDS outcome log
    shift
    log=$logs/${name// /_}.log
    say "$name"
    if "$@" >"$log" 2>&1; then
        outcome=ok
    elif (($? == 77)); then
        outcome=skipped
    else
        outcome=FAILED
        tail -n 30 "$log"
    fi
    names+=("$name")
    outcomes+=("$outcome, $((SECONDS - start)) s")
    printf -- '-- %s: %s\n' "$name" "${outcomes[-1]}"
    [[ $outcome == ok ]]
}

configure() {
    local major_minor
    major_minor=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader -i 0 | tr -d '. \r')
    cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DTENSORC_CUDA_ARCHITECTURES="$major_minor"
    cmake --build "$build"
}

# Trains on one device and serves what was saved on another: both must classify alike.
train_and_serve() {
    local on=$1 elsewhere=$2 model=$build/${1//:/_}.tcm trained served
    trained=$("$build"/bin/fashion_mnist_train --epochs 1 --device "$on" --model "$model" ${FASHION_MNIST:+--data "$FASHION_MNIST"} | tee /dev/stderr | tail -n 1)
    served=$("$build"/bin/fashion_mnist_serve "$model" --device "$elsewhere" --show 0 ${FASHION_MNIST:+--data "$FASHION_MNIST"} | tee /dev/stderr | tail -n 1)
    echo "trained on $on: $trained; served on $elsewhere: $served"
    awk -v a="${trained//[^0-9.]/}" -v b="${served//[^0-9.]/}" 'BEGIN { exit !(a > 80 && (a - b) ^ 2 <= 0.01) }'
}

sanitize() {
    command -v compute-sanitizer >/dev/null || return 77
    local tool case
    for tool in memcheck racecheck initcheck synccheck; do
        for case in add softmax reduce_sum transpose matmul layer_norm gather attention conv2d max_pool2d apply_adam; do
            TENSORC_TEST_DEVICE=$device compute-sanitizer --tool "$tool" --error-exitcode 1 --quiet "$build"/bin/test_ops "$case" || return 1
        done
    done
}

mkdir -p "$logs"
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
if step "build" configure; then
    "$build"/bin/tensorc devices
    step "operators" env TENSORC_TEST_DEVICE="$device" "$build"/bin/test_ops || true
    step "random graphs" env TENSORC_TEST_DEVICE="$device" "$build"/bin/test_compiler_differential 1 1000 || true
    step "random numbers" env TENSORC_TEST_DEVICE="$device" "$build"/bin/test_kernels_random_device || true
    step "training" "$build"/bin/test_runtime_devices_train || true
    step "train on $device serve on cpu" train_and_serve "$device" cpu || true
    step "train on cpu serve on $device" train_and_serve cpu "$device" || true
    step "compute-sanitizer" sanitize || true
fi

say "summary"
failed=0
for i in "${!names[@]}"; do
    printf '%-40s %s\n' "${names[i]}" "${outcomes[i]}"
    [[ ${outcomes[i]} != FAILED* ]] || failed=1
done
exit "$failed"
