#!/bin/bash
# Installs what is missing, builds krait, and runs it on the demo model: quantizes it, says what was
# lost, and generates text from the integers. Arguments go to `krait demo`: ./demo.sh -p 'The river'
set -euo pipefail
cd "$(dirname "$0")"

./packages.sh
cmake --preset release > /dev/null
cmake --build --preset release --target krait_cli
exec build/release/krait demo "$@"
