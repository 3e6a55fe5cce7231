#!/usr/bin/env bash
# clang-tidy over the sources, with the checks of .clang-tidy; part of tools/test --long.
#   tidy.sh SOURCE_DIRECTORY [PATTERN]   PATTERN: of the sources' paths, default all but the tests
set -euo pipefail
source=$1
pattern=${2:-/(core|sim|protocols|drivers|tools)/}
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
cmake -S "$source" -B "$build" -G Ninja -DCMAKE_CXX_COMPILER=clang++ -DCMAKE_BUILD_TYPE=Release \
  -DNESS_TESTS=OFF -DCMAKE_EXPORT_COMPILE_COMMANDS=ON -DCMAKE_DISABLE_PRECOMPILE_HEADERS=ON >"$build/log" ||
  { cat "$build/log"; exit 1; }
run-clang-tidy -p "$build" -quiet -j "$(nproc)" "$pattern" >"$build/found" 2>"$build/said" || {
  grep -E ' (warning|error): ' "$build/found" | sort -u
  exit 1
}
