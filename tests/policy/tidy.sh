#!/bin/bash
# clang-tidy over the library and the program (not the tests, nor what only AArch64 compiles): about three
# minutes on two cores.
# usage: tests/policy/tidy.sh [FILE...]
set -euo pipefail
cd "$(dirname "$0")/../.."

cmake --preset release > /dev/null
if [ $# -gt 0 ]; then
  files=("$@")
else
  mapfile -t files < <(git ls-files 'src/*.cc' | grep -Ev '_(test|bench|neon|neon_dotprod|neon_i8mm)\.cc$')
fi
printf '%s\0' "${files[@]}" |
  xargs -0 -n 1 -P "$(nproc)" clang-tidy -p build/release --quiet 2> >(grep -v 'warnings generated\|warnings treated' >&2)
echo "clang-tidy: ${#files[@]} files clean"
