#!/usr/bin/env bash
# Training steps of ours and of PyTorch in turn, three rounds, with 1 thread and with 2. Takes about 2 minutes.
# PYTHON names an interpreter that finds torch; PEER_LIBRARY_PATH a folder with an OpenMP-flavoured OpenBLAS for it.
set -euo pipefail
cd "$(dirname "$0")/.."
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE

bench=build/release/bin/tc_bench
python=${PYTHON:-/usr/bin/python3}
libraries=${PEER_LIBRARY_PATH:-/usr/lib/x86_64-linux-gnu/openblas-openmp}

[ -x "$bench" ] || { echo "build first: cmake --preset release && cmake --build --preset release"; exit 1; }
peer=yes
"$python" -c "import torch" 2>/dev/null || { peer=; echo "skipped: $python finds no torch (Debian: python3-torch)"; }

for threads in 1 2; do
    for round in 1 2 3; do
        echo "-- $threads threads, round $round"
        "$bench" --filter training --threads "$threads"
        if [ -n "$peer" ]; then
            LD_LIBRARY_PATH=$libraries OMP_NUM_THREADS=$threads "$python" benchmarks/peers/torch_training.py "$threads"
        fi
    done
done
