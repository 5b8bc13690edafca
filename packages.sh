#!/bin/bash
# Installs the Debian packages of packages.txt, and those given as arguments, that are missing; says
# nothing where none is. "packages.sh aarch64" installs what the preset aarch64 needs besides: the cross
# compiler, qemu, and in build/sysroot-aarch64 (not on the system) the libraries of the target.
set -euo pipefail
cd "$(dirname "$0")"

sysroot=build/sysroot-aarch64
target_packages=(libcli11-dev libfmt-dev libfmt9 libgtest-dev libpcre2-8-0 libpcre2-dev libutf8proc-dev
  libutf8proc2 nlohmann-json3-dev)

# Asks apt as a machine of the target would, with lists of its own.
unpack_sysroot() {
  local folder package
  folder=$(mktemp -d)
  # shellcheck disable=SC2064
  trap "rm -rf '$folder'" EXIT
  mkdir -p "$folder"/lists/partial "$folder"/cache/archives/partial "$folder"/root
  local as_target=(apt-get -q -o APT::Architecture=arm64 -o APT::Architectures=arm64
    -o "Dir::State::lists=$folder/lists" -o "Dir::Cache=$folder/cache" -o APT::Sandbox::User=root)
  echo "unpacking into $sysroot: ${target_packages[*]}" >&2
  "${as_target[@]}" update
  (cd "$folder" && "${as_target[@]}" download "${target_packages[@]}")
  for package in "$folder"/*.deb; do dpkg -x "$package" "$folder/root"; done
  mkdir -p build
  rm -rf "$sysroot"
  mv "$folder/root" "$sysroot"
}

wanted=()
for argument in "$@"; do
  if [ "$argument" = aarch64 ]; then
    wanted+=(g++-aarch64-linux-gnu qemu-user)
    [ -d "$sysroot" ] || unpack_sysroot
  else
    wanted+=("$argument")
  fi
done

missing=()
while read -r package; do
  [ -n "$package" ] || continue
  dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed ||
    missing+=("$package")
done < <(cat packages.txt; printf '%s\n' "${wanted[@]}")
[ ${#missing[@]} -eq 0 ] && exit 0

echo "installing: ${missing[*]}" >&2
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo > /dev/null ||
    { echo "packages.sh: run as root: apt-get install ${missing[*]}" >&2; exit 1; }
  as_root=(sudo)
fi
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -q
"${as_root[@]}" apt-get install -q -y --no-install-recommends "${missing[@]}"
