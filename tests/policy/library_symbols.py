#!/usr/bin/env python3
"""The library never prints and never ends its host, and shows what include/krait declares and no more.

usage: library_symbols.py libkrait.a NM [--debug] [--self-test]
       library_symbols.py libkrait.so NM --exports ROOT

Looks at the symbols that the objects of the static library want; with --debug the assertions of a Debug
build are allowed (assert() calls __assert_fail). With --exports at what the shared library shows: it and
what the headers mark as KRAIT_API have to be the same.
"""
import pathlib
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


COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
CLASS = re.compile(r"\b(?:class|struct) KRAIT_API (\w+)")
FUNCTION = re.compile(r"^KRAIT_API [^;{(]*?(\w+)\(", re.MULTILINE)
SHOWN = re.compile(r"^(?:typeinfo (?:name )?for |vtable for )?krait::(\w+)(?:::(~?\w+))?"
                   r"(?:\[abi:cxx11\])?(?:\(.*\)(?: const)?)?$")


def wrong_exports(symbols, headers):
    """`symbols`: demangled; `headers`: their text."""
    headers = COMMENT.sub("", headers)
    classes, functions = set(CLASS.findall(headers)), set(FUNCTION.findall(headers))
    words = set(re.findall(r"~?\w+", headers))
    missing = classes | functions
    found = []
    for symbol in symbols:
        shown = SHOWN.match(symbol)
        name, member = shown.groups() if shown else (symbol, None)
        in_cpp = not name.startswith("krait_")
        if (bool(shown) != in_cpp or name not in classes | functions
                or (member and (name not in classes or member not in words))):
            found.append(f"shows {symbol}, which include/krait does not declare")
        missing.discard(name)
    return found + [f"does not show {name}" for name in sorted(missing)]


def self_test_exports():
    headers = ("// KRAIT_API void nothing();\nclass KRAIT_API A : B {\n  void f();\n};\nstruct C;\n"
               "KRAIT_API int g(int);\nKRAIT_API krait_status krait_h(void);\n")
    good = ["krait::A::f[abi:cxx11]() const", "typeinfo for krait::A", "krait::g(int)", "krait_h",
            "krait::A::A(std::vector<int> const&)"]
    assert not wrong_exports(good, headers), wrong_exports(good, headers)
    for bad in ("krait::C::f()", "krait::A::Impl::f()", "krait::A::other()", "krait::g::f()", "main",
                "std::vector<krait::A>::f()", "krait_i", "krait::io::g(int)", "krait::nothing()"):
        assert len(wrong_exports([*good, bad], headers)) == 1, bad
    for i in (2, 3):
        assert len(wrong_exports(good[:i] + good[i + 1:], headers)) == 1, good[i]


def self_test():
    self_test_exports()
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
    if "--exports" in sys.argv:
        output = subprocess.run([sys.argv[2], "-D", "-C", "--defined-only", sys.argv[1]],
                                capture_output=True, text=True, check=True).stdout
        headers = "\n".join(path.read_text(encoding="utf-8") for path in
                            pathlib.Path(sys.argv[4]).glob("include/krait/*.h"))
        symbols = [line.split(maxsplit=2)[2] for line in output.splitlines()]
        found = wrong_exports(symbols, headers)
        print("\n".join(found) or f"{len(symbols)} symbols")
        return 1 if found else 0
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
