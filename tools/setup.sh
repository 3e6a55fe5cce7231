# Sourced by tools/run and tools/test: installs what is missing and builds.
# ness_packages: installs the packages of tools/packages that are not there, without asking.
# ness_build PRESET [TARGET..]: configures and builds.

ness_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

ness_packages() {
  local wanted missing=() sudo=()
  wanted=$(sed 's/#.*//' "$ness_root/tools/packages" | xargs)
  for package in $wanted; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  echo "Installing: ${missing[*]}" >&2
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "Ness needs these Debian packages, and neither root nor sudo is at hand: ${missing[*]}" >&2; return 1; }
    sudo=(sudo)
  fi
  "${sudo[@]}" apt-get update -qq >&2
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
}

ness_build() {
  local preset=$1
  shift
  local log
  log=$(mktemp)
  # A first build takes minutes: ninja's own progress shows on a terminal, elsewhere silence until something is wrong.
  (
    cd "$ness_root"
    cmake --preset "$preset" >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
    local targets=()
    [ $# -gt 0 ] && targets=(--target "$@")
    if [ -t 2 ]; then
      cmake --build --preset "$preset" "${targets[@]}" >&2
    else
      cmake --build --preset "$preset" "${targets[@]}" >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
    fi
  )
  local status=$?
  rm -f "$log"
  return $status
}
