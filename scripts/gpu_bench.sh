#!/usr/bin/env bash
# The section "device" of tc_bench beside PyTorch (eager, replayed CUDA graphs, torch.compile), beside
# the best algorithm of cuBLASLt called directly, and the time to a first step, all in one run on the
# GPU that is here. Without one it says so and exits with 77.
#
#   scripts/gpu_bench.sh [FILTER]     workloads whose name has the text
#
# BUILD is the build folder (default build/gpu: scripts/gpu_test.sh makes it), PYTHON finds torch.
set -euo pipefail
source "$(dirname "$0")/common.sh"

filter=${1:-}
build=${BUILD:-build/gpu}
python=${PYTHON:-python3}
bench=$build/bin/tc_bench

if ! nvidia-smi -L >/dev/null 2>&1; then
    echo "There is no GPU here: nvidia-smi lists none. Nothing was measured."
    exit 77
fi
if [[ ! -x $bench ]]; then
    echo "Build first: scripts/gpu_test.sh" >&2
    exit 1
fi

nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
say "libtensorc"
"$bench" --device cuda:0 --filter "${filter:-device}"
say "process start to first step"
time "$bench" --device cuda:0 --filter "4-8-8-2 SGD step" --once
if [[ -x $build/bin/cublaslt_gemm ]]; then
    say "cuBLASLt, all algorithms"
    "$build"/bin/cublaslt_gemm
fi
if "$python" -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' 2>/dev/null; then
    say "PyTorch"
    "$python" benchmarks/peers/torch_gpu_peer.py --start
    "$python" benchmarks/peers/torch_gpu_peer.py ${filter:+"$filter"}
else
    echo "skipped: $python finds no PyTorch with CUDA"
fi
