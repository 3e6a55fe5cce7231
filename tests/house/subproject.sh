#!/usr/bin/env bash
# Ness as a part of another project's source tree (add_subdirectory, FetchContent): neither its command nor
# its tests, nor a build type; its rooms shared, or static where that project says so. And installed as static
# libraries: every room is found with all that it is made of. Compiled is the room `device` alone; in place of
# the others stand empty archives (tools/test --long: all of them).
#   subproject.sh SOURCE_DIRECTORY
set -euo pipefail
source=$1
here=$(cd "$(dirname "$0")" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
if command -v ccache >/dev/null; then
  export CMAKE_CXX_COMPILER_LAUNCHER=ccache CCACHE_NOHASHDIR=1 CCACHE_BASEDIR=$scratch
  export CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
fi
logged() { "$@" >"$scratch/log" 2>&1 || { cat "$scratch/log"; exit 1; }; }

for shared in "" -DBUILD_SHARED_LIBS=OFF; do
  echo "== a part of another project $shared"
  rm -rf "$scratch/around"
  logged cmake -S "$here/around" -B "$scratch/around" -G Ninja -DNESS_SOURCE="$source" \
    -DCMAKE_CXX_FLAGS=-O1 $shared
  logged cmake --build "$scratch/around" --target relax
  "$scratch/around/relax"
done

echo "== installed as static libraries"
logged cmake -S "$source" -B "$scratch/build" -G Ninja -DCMAKE_CXX_FLAGS=-O1 \
  -DBUILD_SHARED_LIBS=OFF -DNESS_TESTS=OFF -DCMAKE_SKIP_RPATH=ON
logged cmake --build "$scratch/build" --target ness_device
find "$scratch/build" -name cmake_install.cmake -exec sed -n 's/.*FILES "\([^"]*\)".*/\1/p' {} + | sort -u |
  while read -r file; do
    [ -e "$file" ] && continue
    case $file in
      *.a) ar crs "$file" ;;
      */ness) touch "$file" ;;
    esac
  done
logged cmake --install "$scratch/build" --prefix "$scratch/prefix"
logged cmake -S "$here/static" -B "$scratch/stranger" -G Ninja \
  -DCMAKE_PREFIX_PATH="$scratch/prefix" -DCMAKE_CXX_FLAGS=-O1
logged cmake --build "$scratch/stranger" --target relax
"$scratch/stranger/relax"
ninja -C "$scratch/stranger" -t commands everything >"$scratch/link"
for library in hdf5 crypto libz deflate xxhash klu cholmod hwy tbb serialport muparser; do
  grep -q "$library" "$scratch/link" || { echo "a static room does not hand on $library"; exit 1; }
done
echo "all as it should be"
