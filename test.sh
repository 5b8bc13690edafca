#!/bin/bash
# Installs what is missing, builds krait with its tests, and runs them all: the parsers also under
# AddressSanitizer and UBSan, the kernels and whole models also as a lesser CPU would and, under qemu, on
# AArch64. ./test.sh --quick leaves out the sanitizers and AArch64, ./test.sh --tidy reads the sources with
# clang-tidy first (six minutes more).
set -euo pipefail
cd "$(dirname "$0")"

quick=no
[ "${1:-}" = --quick ] && quick=yes
tidy=no
[ "${1:-}" = --tidy ] && tidy=yes
jobs=$(nproc)

./packages.sh
cmake --preset release > /dev/null
cmake --build --preset release -j "$jobs"

if [ $tidy = yes ]; then
  ./packages.sh clang-tidy
  tests/policy/tidy.sh
fi

if [ $quick = no ]; then
  parsers=(io_tests tokenizer_tests)
  cmake --preset asan > /dev/null
  fuzz=$(cd tests/fuzz && ls fuzz_*.cc 2>/dev/null | sed 's/\.cc$//')
  # shellcheck disable=SC2086
  cmake --build --preset asan -j "$jobs" --target "${parsers[@]}" $fuzz
  ctest --preset asan -j "$jobs" -L parser

  echo "== AArch64"
  ./packages.sh aarch64
  cmake --preset aarch64 > /dev/null
  cmake --build --preset aarch64 -j "$jobs" --target kernels_tests path_tests
  ctest --preset aarch64 -j "$jobs" -L bits
fi

# Kernels and the bits of models are tested on all levels anyway; avx_vnni adds products only. Whole
# models run once more as the next lesser CPU would.
lesser=$(build/release/krait info --json | python3 -c \
  'import json, sys; print(*[isa for isa in json.load(sys.stdin)["isa_available"][:-1] if isa != "avx_vnni"][-1:])')
if [ -n "$lesser" ]; then
  echo "== KRAIT_ISA=$lesser"
  KRAIT_ISA=$lesser ctest --preset release -j "$jobs" -L whole
fi

echo "== all tests"
ctest --preset release -j "$jobs"
