#!/bin/bash
# Installs the Debian packages of packages.txt, and those given as arguments, that are missing; says
# nothing where none is.
set -euo pipefail
cd "$(dirname "$0")"

missing=()
while read -r package; do
  [ -n "$package" ] || continue
  dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed ||
    missing+=("$package")
done < <(cat packages.txt; printf '%s\n' "$@")
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
