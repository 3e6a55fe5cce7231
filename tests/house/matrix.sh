#!/usr/bin/env bash
# Ness as a library, in every way at once: shared and static, by g++ and by clang++ with every warning an
# error; built whole, installed, and used by a stranger's project. Half an hour; tools/test --long runs it.
#   matrix.sh SOURCE_DIRECTORY
set -euo pipefail
source=$1
here=$(cd "$(dirname "$0")" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
logged() { "$@" >"$scratch/log" 2>&1 || { cat "$scratch/log"; exit 1; }; }
for compiler in g++ clang++; do
  command -v $compiler >/dev/null || { echo "== no $compiler here: left out"; continue; }
  for shared in ON OFF; do
    echo "== $compiler, BUILD_SHARED_LIBS=$shared"
    rm -rf "$scratch"/*
    logged cmake -S "$source" -B "$scratch/build" -G Ninja -DCMAKE_CXX_COMPILER=$compiler \
      -DCMAKE_CXX_FLAGS=-Werror -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=$shared -DNESS_TESTS=OFF
    logged cmake --build "$scratch/build"
    logged cmake --install "$scratch/build" --prefix "$scratch/prefix"
    "$scratch/prefix/bin/ness" --version
    for stranger in stranger static; do
      logged cmake -S "$here/$stranger" -B "$scratch/$stranger" -G Ninja -DCMAKE_CXX_COMPILER=$compiler \
        -DCMAKE_PREFIX_PATH="$scratch/prefix"
      logged cmake --build "$scratch/$stranger"
      "$scratch/$stranger/relax"
    done
    logged cmake --build "$scratch/static" --target everything
    "$scratch/static/everything"
  done
done
echo "all as it should be"
