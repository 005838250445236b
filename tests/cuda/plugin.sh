#!/usr/bin/env bash
# The CUDA plug-in as it is built: one symbol, nothing of libtensorc, and a reason where there is no
# GPU. plugin.sh BUILD_FOLDER
set -euo pipefail

build=$1
plugin=$build/lib/libtensorc_cuda.so

symbols=$(nm --dynamic --defined-only "$plugin" | awk '{ print $3 }')
if [[ $symbols != tensorc_backend ]]; then
    echo "exports something else than tensorc_backend: $symbols"
    exit 1
fi
if readelf --dynamic "$plugin" | grep -E 'NEEDED.*libtensorc'; then
    echo "needs libtensorc"
    exit 1
fi
devices=$(TENSORC_PLUGIN_PATH=$build/lib "$build"/bin/tensorc devices)
echo "$devices"
if ! grep -qE '^cuda:0 |^cuda: .*(driver|no device)' <<<"$devices"; then
    echo "names neither a device nor what is missing"
    exit 1
fi
