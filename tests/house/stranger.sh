#!/usr/bin/env bash
# Installs Ness from a build tree into an empty prefix and builds and runs a stranger's project against it:
# plainly, with -march=native (other vector alignments than the libraries'), and with the address sanitizer.
#   stranger.sh BUILD_DIRECTORY
set -euo pipefail
build=$1
source=$(cd "$(dirname "$0")/stranger" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cmake --install "$build" --prefix "$scratch/prefix" >"$scratch/install.log"
# Whoever writes a driver or a device links neither a file format nor a digest.
device=$(find "$scratch/prefix" -name 'libness_device.so' | head -1)
readelf -d "$device" | grep NEEDED
if readelf -d "$device" | grep -E 'hdf5|crypto|ssl|libz|deflate'; then
  echo "libness_device must link none of these"
  exit 1
fi
for flags in "" "-march=native" "-fsanitize=address"; do
  echo "== a stranger's project with flags '$flags'"
  cmake -S "$source" -B "$scratch/build" -DCMAKE_PREFIX_PATH="$scratch/prefix" -DCMAKE_BUILD_TYPE=Release \
    -DCMAKE_CXX_FLAGS="$flags" >"$scratch/configure.log" || { cat "$scratch/configure.log"; exit 1; }
  cmake --build "$scratch/build"
  "$scratch/build/stranger"
  "$scratch/build/relax"
  rm -rf "$scratch/build"
done
