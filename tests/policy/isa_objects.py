#!/usr/bin/env python3
"""Objects compiled for one instruction set define nothing that another object could pick up.

usage: isa_objects.py ROOT COMPILER NM ISA FLAG... [--self-test]

Compiles every src/**/*_ISA.cc without optimisation (which hides the hazard) and with FLAGs. A weak
symbol (an inline function or template of some header) would be merged by the linker with the same
symbol of other objects, and a machine without ISA would stumble over it. Allowed are local symbols
and constants of namespace krait, the tables of microkernels.
"""
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import tempfile

CONSTANT = re.compile(r"^krait::\w+$")


def violations(name, nm_output):
    """nm_output: of `nm -C --defined-only`, lines "address type symbol"."""
    found, constants = [], 0
    for line in nm_output.splitlines():
        match = re.match(r"^[0-9a-f]*\s+(\w)\s+(.*)$", line)
        if not match:
            continue
        kind, symbol = match.groups()
        if kind in "WwVvu":
            found.append(f"{name}: weak symbol {symbol}")
        elif kind in "RD" and CONSTANT.match(symbol):
            constants += 1
        elif kind.isupper():
            found.append(f"{name}: exports {symbol} ({kind})")
    if not constants:
        found.append(f"{name}: exports no table of microkernels")
    return found


def object_symbols(root, compiler, nm, flags, source, folder):
    target = os.path.join(folder, source.stem + ".o")
    subprocess.run([compiler, "-std=c++20", "-O0", "-ffp-contract=off", *flags, "-I", f"{root}/src",
                    "-I", f"{root}/include", "-c", str(source), "-o", target], check=True)
    return subprocess.run([nm, "-C", "--defined-only", target], capture_output=True, text=True,
                          check=True).stdout


def check_tree(root, compiler, nm, isa, flags):
    files = sorted(pathlib.Path(root, "src").rglob(f"*_{isa}.cc"))
    if not files:
        return [f"no *_{isa}.cc below {root}/src"]
    with tempfile.TemporaryDirectory() as folder, \
            concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        outputs = pool.map(
            lambda f: object_symbols(root, compiler, nm, flags, f, folder), files)
        return [v for f, out in zip(files, outputs) for v in violations(f.name, out)]


IMPURE = """
#include <algorithm>
#include <vector>
namespace krait {
extern const int table;
const int table = 1;
namespace { int twice(std::vector<int> v) { return std::max(v.at(0), 2); } }
int leaked(int x) { return twice({x}); }
}
"""
PURE = """
namespace krait {
struct Table { int (*f)(int); };
extern const Table table;
namespace { int twice(int x) { return 2 * x; } }
const Table table = {twice};
}
"""


def self_test(compiler, nm):
    for text, expected in ((IMPURE, ["weak symbol", "exports krait::leaked"]), (PURE, [])):
        with tempfile.TemporaryDirectory() as root:
            (pathlib.Path(root) / "src").mkdir()
            (pathlib.Path(root) / "include").mkdir()
            (pathlib.Path(root) / "src" / "a_made_up.cc").write_text(text)
            found = check_tree(root, compiler, nm, "made_up", [])
            assert bool(found) == bool(expected), found
            assert all(any(e in v for v in found) for e in expected), found


def main():
    args = [a for a in sys.argv[1:] if a != "--self-test"]
    root, compiler, nm, isa, *flags = args
    if "--self-test" in sys.argv:
        self_test(compiler, nm)
        return 0
    found = check_tree(root, compiler, nm, isa, flags)
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
