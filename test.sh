#!/bin/bash
# Installs what is missing, builds krait with its tests and runs them:
#   ./test.sh           the release tree and all of its tests
#   ./test.sh --all     besides the parsers under AddressSanitizer and UBSan, kernels and the bits of whole
#                       models on AArch64 (by qemu), and whole models as the next lesser CPU would
#   ./test.sh --long    what takes longer; its last lines belong in the notebook
#   ./test.sh --tidy    clang-tidy over all sources, and the release tree
#   ./test.sh STAGE...  some of the functions below
set -euo pipefail
cd "$(dirname "$0")"
jobs=$(nproc)

build() {  # PRESET [TARGET...]
  local preset=$1
  shift
  cmake --preset "$preset" > /dev/null
  cmake --build --preset "$preset" -j "$jobs" ${1:+--target "$@"}
}
run_tests() {  # PRESET [OPTION...]
  local preset=$1
  shift
  ctest --preset "$preset" -j "$jobs" "$@"
}

release() {
  build release
  run_tests release
}
parsers() {
  build asan io_tests text_tests tokenizer_tests fast_fuzzers
  run_tests asan -L parser
}
aarch64() {
  ./packages.sh aarch64
  build aarch64 kernels_tests path_tests
  run_tests aarch64 -L bits
}
# Kernels and the bits of models are tested on every level anyway, and avx_vnni adds products only.
lesser() {
  build release
  local level
  level=$(build/release/krait info --json | python3 -c 'import json, sys
print(*[isa for isa in json.load(sys.stdin)["isa_available"][:-1] if isa != "avx_vnni"][-1:])')
  [ -z "$level" ] || KRAIT_ISA=$level run_tests release -L whole
}

sanitizers() {
  build asan
  run_tests asan -LE parser
}
threads() {
  build tsan core_tests kernels_tests runtime_tests
  run_tests tsan -R '^(core|kernels|runtime)_tests'
}
reference() {
  build release
  KRAIT_ISA=reference run_tests release -L whole
}
# Every parser for a minute, from its corpus on.
fuzz() {
  ./packages.sh clang-14 libclang-rt-14-dev
  build fuzz fuzzers
  local findings target corpus
  findings=$(mktemp -d)
  for target in tests/fuzz/fuzz_*.cc; do
    target=$(basename "$target" .cc)
    corpus=$findings/$target
    mkdir "$corpus"
    build/fuzz/"$target" -max_total_time=60 -jobs=0 -print_final_stats=1 \
      -artifact_prefix="$findings/" "$corpus" tests/fuzz/corpus/"${target#fuzz_}" > "$corpus.log" 2>&1 ||
      { tail -n 40 "$corpus.log"; echo "what broke $target lies in $findings"; return 1; }
    grep stat::number_of_executed_units "$corpus.log" | sed "s/^/$target /"
  done
  rm -rf "$findings"
}
other_compiler() {
  ./packages.sh clang-14
  build clang
  run_tests clang -LE slow
}
transformers() {
  python3 -c 'import tokenizers, torch, transformers' || { echo "not compared: no transformers"; return; }
  build release krait_cli
  tests/compare_transformers.py --krait build/release/krait --model models/krait-demo \
    --text share/calibration.txt --max-tokens 4000
}

tidy() {
  ./packages.sh clang-tidy
  tests/policy/tidy.sh
}

case "${1:-}" in
  "") stages=(release) ;;
  --all) stages=(release parsers aarch64 lesser) ;;
  --long) stages=(sanitizers threads reference fuzz other_compiler transformers) ;;
  --tidy) stages=(tidy release) ;;
  -*) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; exit 2 ;;
  *) stages=("$@") ;;
esac
known=(release parsers aarch64 lesser sanitizers threads reference fuzz other_compiler transformers tidy)
for stage in "${stages[@]}"; do
  [[ " ${known[*]} " == *" $stage "* ]] || { echo "no stage $stage; there are ${known[*]}" >&2; exit 2; }
done

./packages.sh
if [ ${#stages[@]} -eq 1 ]; then
  ${stages[0]}
  exit
fi

# A shell for each, so that one that fails hides no other.
summary=
failed=0
for stage in "${stages[@]}"; do
  echo "== $stage"
  SECONDS=0
  result=passed
  "./$(basename "$0")" "$stage" || { result=FAILED; failed=1; }
  printf -v line '| %s | %s | %d:%02d |' "$stage" "$result" $((SECONDS / 60)) $((SECONDS % 60))
  summary+=$line$'\n'
done
echo
echo "$(date -u +%F), commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown), $jobs CPUs"
printf '| stage | result | min:s |\n|---|---|---|\n%s' "$summary"
exit $failed
