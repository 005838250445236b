#!/usr/bin/env bash
# Installs with apt-get what the build needs and this machine lacks; with --test, what the tests
# need as well. Does nothing where nothing is missing.
set -euo pipefail

packages=(
    build-essential cmake ninja-build pkg-config
    libprotobuf-c-dev protobuf-c-compiler zlib1g-dev
    libcmocka-dev dataset-fashion-mnist
)
if [[ ${1:-} == --test ]]; then
    packages+=(clang-format)
fi

if ! command -v apt-get >/dev/null; then
    echo "No apt-get here. The build needs what Debian calls: ${packages[*]}"
    exit 0
fi

missing=()
for package in "${packages[@]}"; do
    status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
    if [[ $status != installed ]]; then
        missing+=("$package")
    fi
done
if ((${#missing[@]} == 0)); then
    echo "All dependencies are installed"
    exit 0
fi

as_root=()
if ((EUID != 0)); then
    if ! command -v sudo >/dev/null; then
        echo "Packages are missing, and neither root nor sudo is at hand to install them. Run as root:" >&2
        echo "    apt-get update && apt-get install ${missing[*]}" >&2
        exit 1
    fi
    as_root=(sudo)
fi

echo "Installing ${missing[*]}"
"${as_root[@]}" apt-get update
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install --yes --no-install-recommends "${missing[@]}"
