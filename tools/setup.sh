# Sourced by tools/run and tools/test: installs what is missing and builds.
# ness_packages PART..: installs the packages of these parts of tools/packages that are
# not there, without asking.
# ness_build PRESET TESTS [TARGET..]: configures, with the tests if TESTS is ON, and
# builds; says how far it is.

ness_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# The packages of some parts, a line each.
ness_packages_of() {
  local part
  for part in "$@"; do
    sed -n "/^\[$part\]/,/^\[/{/^\[/d;s/#.*//;p}" "$ness_root/tools/packages" | xargs -n1
  done
}

ness_packages() {
  local missing=() sudo=() package
  for package in $(ness_packages_of "$@"); do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' ||
      missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  echo "Installing: ${missing[*]}" >&2
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || {
      echo "Ness needs these Debian packages, and neither root nor sudo is available: ${missing[*]}" >&2
      return 1
    }
    sudo=(sudo)
  fi
  "${sudo[@]}" apt-get update -qq >&2
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
}

# What is built stays configured: tools/run leaves the tests of a build directory that has them.
ness_has_tests() { grep -qs '^NESS_TESTS:BOOL=ON' "$ness_root/build/$1/CMakeCache.txt"; }

# Ninja's lines in, one line out for every tenth of the way; all else goes to the log.
ness_tenths() {
  awk -v log_file="$1" '
    /^ness-build / {
      if ($2 <= 1) tenth = 0  # another round: the first had made the build files anew
      if ($3 > 0 && int(10 * $2 / $3) > tenth) {
        tenth = int(10 * $2 / $3)
        printf "building: %d %%, %d of %d steps, after %d s, about %d s to go\n",
          10 * tenth, $2, $3, $4, $4 * ($3 - $2) / $2
        fflush()
      }
      next
    }
    { print >> log_file }'
}

ness_build() {
  local preset=$1 tests=$2 log status=0
  shift 2
  local directory=$ness_root/build/$preset targets=()
  [ $# -gt 0 ] && targets=(--target "$@")
  if [ ! -e "$directory/.ninja_log" ]; then
    # Processor time with an empty compiler cache: tests/README.md.
    local minutes=12
    if [ "${1:-}" = ness ]; then minutes=6; elif [ "$preset" = asan ]; then minutes=24; fi
    echo "Building Ness in $directory, for the first time:" \
      "about $minutes minutes of processor time, on $(nproc) cores" >&2
  fi
  log=$(mktemp)
  (
    cd "$ness_root"
    cmake --preset "$preset" -DNESS_TESTS="$tests" >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
    if [ -t 2 ]; then
      NINJA_STATUS="[%p, %f of %t steps, %e s] " cmake --build --preset "$preset" "${targets[@]}" >&2
    else
      set -o pipefail
      : >"$log"
      NINJA_STATUS="ness-build %f %t %e " cmake --build --preset "$preset" "${targets[@]}" 2>&1 |
        ness_tenths "$log" >&2 || { cat "$log" >&2; exit 1; }
    fi
  ) || status=$?
  rm -f "$log"
  return $status
}
