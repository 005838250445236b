#!/usr/bin/env bash
# Ours and the peers in turn, three rounds. A peer that is not there is named and left out.
#     benchmarks/compare.sh [overhead|training|inference|memory]...     default: all
# PYTHON finds torch (Debian: python3-torch), ONNXRUNTIME_PYTHON onnxruntime and onnx, GGML is the built
# peers/ggml_overhead.c, PEER_LIBRARY_PATH a folder with an OpenMP-flavoured OpenBLAS for PyTorch.
set -euo pipefail
cd "$(dirname "$0")/.."
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE

bench=build/release/bin/tc_bench
python=${PYTHON:-/usr/bin/python3}
onnxruntime=${ONNXRUNTIME_PYTHON:-$python}
ggml=${GGML:-}
libraries=${PEER_LIBRARY_PATH:-/usr/lib/x86_64-linux-gnu/openblas-openmp}

[ -x "$bench" ] || { echo "build first: cmake --preset release && cmake --build --preset release"; exit 1; }

has() { "$1" -c "import $2" 2>/dev/null; }
torch=; has "$python" torch && torch=yes || echo "skipped: $python finds no torch"
onnx=; { has "$onnxruntime" onnxruntime && has "$onnxruntime" onnx; } && onnx=yes ||
    echo "skipped: $onnxruntime finds no onnxruntime and onnx"
[ -x "$ggml" ] || { ggml=; echo "skipped: GGML names no program"; }

run_torch() {
    [ -z "$torch" ] || LD_LIBRARY_PATH=$libraries OMP_NUM_THREADS=${threads:-1} "$python" -W ignore \
        benchmarks/peers/torch_peer.py "$@"
}
run_onnx() { [ -z "$onnx" ] || "$onnxruntime" benchmarks/peers/onnxruntime_peer.py "$@"; }

overhead() {
    threads=1
    "$bench" --filter overhead --threads 1
    [ -z "$ggml" ] || "$ggml"
    run_onnx 1 chain
    run_onnx 1 4-8-8-2
    run_torch 1 4-8-8-2
}

# Section by section of tc_bench, each network beside the peers'.
training() {
    "$bench" --filter training --threads "$threads"
    run_torch "$threads" batch\ 128
    run_torch "$threads" LeNet
    run_torch "$threads" tiny
}
inference() {
    "$bench" --filter inference --threads "$threads"
    run_torch "$threads" ResNet
    run_torch "$threads" GPT-2
    run_onnx "$threads" ResNet
}

memory() {
    threads=1
    "$bench" --filter memory --threads 1
    for batch in 1 8; do
        run_torch --memory "ResNet-50 batch $batch"
        run_onnx --memory "$batch"
    done
    run_torch --memory "tiny GPT 6 x 384, 8 x 256 tokens AdamW"
}

for section in "${@:-overhead training inference memory}"; do
    for part in $section; do
        case $part in
        overhead | memory)
            for round in 1 2 3; do
                echo "-- $part, round $round"
                "$part"
            done ;;
        training | inference)
            for threads in 1 2; do
                for round in 1 2 3; do
                    echo "-- $part, $threads threads, round $round"
                    "$part"
                done
            done ;;
        *) echo "unknown section: $part"; exit 2 ;;
        esac
    done
done
