#!/usr/bin/env bash
# run.sh <build folder>: installs a build into a folder of its own, then builds and runs a program
# against it in every way that the documentation names.
set -euo pipefail

build=$(realpath "$1")
here=$(realpath "$(dirname "$0")")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
prefix=$work/prefix
compiler=${CC:-cc}

# Shows what a command says only where it fails.
quietly() {
    if ! "$@" >"$work/log" 2>&1; then
        cat "$work/log"
        exit 1
    fi
}

quietly cmake --install "$build" --prefix "$prefix"
libdir=$(dirname "$(find "$prefix" -name libtensorc.a)")
export PKG_CONFIG_PATH=$libdir/pkgconfig

needs_shared_library() {
    readelf --dynamic "$1" | grep -q 'NEEDED.*libtensorc\.so\.0'
}

echo "pkg-config, shared"
# Several flags in one word are what pkg-config gives.
# shellcheck disable=SC2046
"$compiler" "$here/main.c" $(pkg-config --cflags --libs tensorc) -o "$work/pkg_shared"
LD_LIBRARY_PATH=$libdir "$work/pkg_shared"
needs_shared_library "$work/pkg_shared"

echo "C++"
# shellcheck disable=SC2046
"${CXX:-c++}" -std=c++17 -Wall -Wextra -Werror "$here/main.cpp" \
    $(pkg-config --cflags --libs tensorc) -o "$work/cxx"
LD_LIBRARY_PATH=$libdir "$work/cxx"

echo "find_package"
quietly cmake -S "$here" -B "$work/outside" -DCMAKE_PREFIX_PATH="$prefix"
quietly cmake --build "$work/outside"
"$work/outside/outside_shared"
"$work/outside/outside_static"
needs_shared_library "$work/outside/outside_shared"
if needs_shared_library "$work/outside/outside_static"; then
    echo "outside_static is not static"
    exit 1
fi

if [[ -x $prefix/bin/tensorc ]]; then
    echo "the installed tool finds the installed library"
    env -u LD_LIBRARY_PATH ldd "$prefix/bin/tensorc" | grep -q "libtensorc.so.0 => $prefix"
fi

echo "pkg-config, static"
rm "$libdir"/libtensorc.so*
# shellcheck disable=SC2046
"$compiler" "$here/main.c" $(pkg-config --static --cflags --libs tensorc) -o "$work/pkg_static"
"$work/pkg_static"
