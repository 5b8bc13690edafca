#!/usr/bin/env python3
"""The library never prints and never ends its host: looks at the symbols that its objects want.

usage: library_symbols.py libkrait.a NM [--debug] [--self-test]

With --debug the assertions of a Debug build are allowed (assert() calls __assert_fail).
"""
import re
import subprocess
import sys

FORBIDDEN = re.compile(
    r"^(printf|vprintf|puts|putchar|putc|perror|psignal|stdout|stderr|__printf_chk|__vprintf_chk"
    r"|abort|exit|_exit|_Exit|quick_exit|__assert_fail|raise|system|syslog"
    r"|_ZSt4cout|_ZSt4cerr|_ZSt4clog|_ZSt5wcout|_ZSt5wcerr"   # std::cout and friends
    r"|_ZNSt8ios_base4InitC1Ev"                                # <iostream> is included
    r"|_ZN3fmt2v\d+6vprint.*)$")                               # fmt::print to stdout or a FILE*


def violations(nm_output, debug):
    """nm_output: of `nm -A --undefined-only`, lines "lib.a:object.o:     U symbol"."""
    found = []
    for line in nm_output.splitlines():
        fields = line.split()
        if len(fields) < 2:
            continue
        symbol = fields[-1].partition("@")[0]
        if FORBIDDEN.match(symbol) and not (debug and symbol == "__assert_fail"):
            found.append(f"{fields[0].rstrip(':')} uses {symbol}")
    return found


def self_test():
    for symbol in ("printf", "puts", "stderr", "abort", "exit", "_ZSt4cout", "__assert_fail",
                   "_ZN3fmt2v96vprintENS0_17basic_string_viewIcEE", "stdout@GLIBC_2.2.5"):
        line = f"libkrait.a:a.cc.o:                 U {symbol}\n"
        assert violations(line, debug=False), symbol
    assert not violations("libkrait.a:a.cc.o: U __assert_fail\n", debug=True)
    assert not violations("libkrait.a:a.cc.o: U snprintf\nlibkrait.a:a.cc.o: U memcpy\n", debug=False)


def main():
    self_test()
    if "--self-test" in sys.argv:
        return 0
    output = subprocess.run([sys.argv[2], "-A", "--undefined-only", sys.argv[1]],
                            capture_output=True, text=True, check=True).stdout
    if not output:
        print(f"no symbols in {sys.argv[1]}")
        return 1
    found = violations(output, "--debug" in sys.argv)
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
