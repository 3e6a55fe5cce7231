#!/usr/bin/env bash
# What tools/run and tools/test rest on: the parts of the list of packages, the lines that say how far a
# build is, a configuration without the packages of the tests, and one with them that compiles the
# command in the same way.
#   build_test.sh SOURCE_DIRECTORY
set -euo pipefail
source=$1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
source "$source/tools/setup.sh"
fail() { echo "FAILED: $*"; exit 1; }

echo "== packages"
ness_packages_of run >"$scratch/run"
ness_packages_of run test long | sort >"$scratch/both"
sed 's/#.*//; /^\[/d' "$source/tools/packages" | xargs -n1 | sort >"$scratch/listed"
cmp "$scratch/both" "$scratch/listed" || fail "a package is in no part of tools/packages"
[ -z "$(uniq -d "$scratch/both")" ] || fail "listed twice: $(uniq -d "$scratch/both")"
grep -qx libhdf5-dev "$scratch/run" || fail "the log needs libhdf5-dev"
! grep -E 'catch2|benchmark|python|sigrok|lxi' "$scratch/run" ||
  fail "tools/run installs what serves tests alone"
[ "$(sed 's/#.*//' "$source/tools/packages" | wc -l)" -gt 30 ] || fail "the list is too short to be it"

echo "== how far it is"
{
  echo "ness-build 1 1 0.5 Re-running CMake"
  for i in $(seq 1 40); do
    echo "ness-build $i 40 $((i * 3)).250 Building $i"
    if [ "$i" = 7 ]; then echo "x.cpp:1: error: expected"; fi
  done
} | ness_tenths "$scratch/log" >"$scratch/lines"
[ "$(grep -c '^building: ' "$scratch/lines")" = 11 ] ||
  fail "expected a line a tenth, found: $(cat "$scratch/lines")"
grep -qx 'building: 50 %, 20 of 40 steps, after 60 s, about 60 s to go' "$scratch/lines" ||
  fail "$(cat "$scratch/lines")"
[ "$(cat "$scratch/log")" = "x.cpp:1: error: expected" ] || fail "what the compiler says is lost"

echo "== without and with the packages of the tests"
configure() {
  cmake -S "$source" -B "$scratch/$1" -G Ninja -DCMAKE_BUILD_TYPE=Release "${@:2}" >"$scratch/$1.log" 2>&1 ||
    { cat "$scratch/$1.log"; exit 1; }
}
configure without -DNESS_TESTS=OFF \
  -DCMAKE_DISABLE_FIND_PACKAGE_Catch2=ON -DCMAKE_DISABLE_FIND_PACKAGE_benchmark=ON
ninja -C "$scratch/without" -t targets all >"$scratch/targets"
grep -q '^ness:' "$scratch/targets" || fail "no command"
! grep -q 'test_device' "$scratch/targets" || fail "tests are configured"
# What tools/run has built, tools/test does not build again: the commands are the same.
ninja -C "$scratch/without" -t commands ness >"$scratch/commands-without"
cmake -S "$source" -B "$scratch/without" -DNESS_TESTS=ON \
  -UCMAKE_DISABLE_FIND_PACKAGE_Catch2 -UCMAKE_DISABLE_FIND_PACKAGE_benchmark >"$scratch/with.log" 2>&1 ||
  { cat "$scratch/with.log"; exit 1; }
ninja -C "$scratch/without" -t targets all >"$scratch/targets"
grep -q '^test_device:' "$scratch/targets" || fail "tests are not configured"
ninja -C "$scratch/without" -t commands ness | diff - "$scratch/commands-without" >"$scratch/changed" ||
  { head -5 "$scratch/changed"; fail "the tests change how the command is built"; }
echo "all as it should be"
