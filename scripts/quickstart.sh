#!/usr/bin/env bash
# From a fresh clone to a trained and served model: installs what is missing, builds, trains a
# classifier of Fashion-MNIST for a few epochs, saves it, and answers requests with it.
set -euo pipefail
source "$(dirname "$0")/common.sh"

output=build/quickstart
model=$output/fashion_mnist.tcm

say "Dependencies"
scripts/install_deps.sh

say "Building the library, the tool and the examples into build/release"
cmake --preset release
cmake --build --preset release --target tensorc_tool fashion_mnist_train fashion_mnist_serve

say "Training on Fashion-MNIST; checkpoints go to $output"
mkdir -p "$output"
build/release/bin/fashion_mnist_train --epochs 3 --checkpoints "$output" --model "$model"

say "Serving $model"
build/release/bin/fashion_mnist_serve "$model"

say "Next"
cat <<END
examples/linear_regression.c     the shortest introduction
examples/fashion_mnist_train/    the program that trained
examples/fashion_mnist_serve/    the program that served
build/release/bin/tensorc        the command line: looks into graphs, checkpoints and models
scripts/test.sh                  runs every test
END
