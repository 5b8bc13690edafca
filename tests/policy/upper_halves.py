#!/usr/bin/env python3
"""Functions that use wide vector registers clear their upper halves before they return.

usage: upper_halves.py OBJDUMP OBJECT... [--self-test]

Otherwise all SSE code after them is many times slower, until something clears them. GCC does it at every
return but of a function that takes or returns a vector: such a one must be inlined.
"""
import re
import subprocess
import sys

FUNCTION = re.compile(r"^[0-9a-f]+ <(.*)>:$")


def violations(name, listing):
    """listing: of `objdump -d --no-show-raw-insn`"""
    found, function, wide, clears, returns = [], None, False, False, False
    for line in [*listing.splitlines(), "0 <>:"]:
        start = FUNCTION.match(line)
        if start:
            if function and wide and returns and not clears:
                found.append(f"{name}: {function} returns with dirty upper halves")
            function, wide, clears, returns = start.group(1), False, False, False
        wide |= bool(re.search(r"%[yz]mm", line))
        clears |= "vzeroupper" in line
        returns |= bool(re.search(r"\tret", line))
    return found


def self_test():
    dirty = "0 <f>:\n 0:\tvaddps %ymm0,%ymm1,%ymm0\n 4:\tret\n"
    assert violations("a.o", dirty) == ["a.o: f returns with dirty upper halves"]
    assert not violations("a.o", dirty.replace(" 4:\tret", " 4:\tvzeroupper\n 7:\tret"))
    assert not violations("a.o", dirty.replace("%ymm", "%xmm"))
    assert not violations("a.o", dirty.replace("ret", "jmp 0 <g>"))


def main():
    self_test()
    if "--self-test" in sys.argv:
        return 0
    objects = [o for o in sys.argv[2:] if re.search(r"_avx\w*\.cc\.o$", o)]
    found = [] if objects else ["no objects of AVX given"]
    for name in objects:
        listing = subprocess.run([sys.argv[1], "-d", "--no-show-raw-insn", name], check=True,
                                 capture_output=True, text=True).stdout
        found += violations(name.rpartition("/")[2], listing)
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
