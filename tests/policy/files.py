#!/usr/bin/env python3
"""Habits of source files: at most 500 lines (800 outside src, include and tests), ASCII only, no left-over marks, no private paths.

usage: files.py ROOT [--self-test]

Looks at the files that git tracks (at all files where there is no git).
"""
import os
import pathlib
import re
import subprocess
import sys

MAX_LINES = {"src": 500, "include": 500, "tests": 500}  # 800 elsewhere
SOURCE = {".h", ".cc", ".cu", ".cpp", ".py", ".cmake", ".sh"}
SOURCE_NAMES = {"CMakeLists.txt", "run", ".clang-format", ".clang-tidy"}
# Data that is not written by hand, or is about odd bytes.
DATA = ("tests/golden/", "tests/fuzz/corpus/", "models/", "share/", "training/runs/")
# Split so that this file does not find itself.
MARKS = re.compile("|".join(["TO" + "DO", "FIX" + "ME", "\\bXX" + "X\\b", "HA" + "CK\\b",
                             "DIS" + "ABLED_", "GTEST_" + "SKIP\\(\\)"]))
PRIVATE = re.compile("/wo" + "rk/|/ho" + "me/[a-z]|/ro" + "ot/")


def tracked(root):
    git = subprocess.run(["git", "-C", root, "ls-files", "-z"], capture_output=True, check=False)
    if git.returncode == 0:
        return [n for n in git.stdout.decode().split("\0") if n]
    names = []
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = [s for s in subfolders if not s.startswith((".git", "build"))]
        names += [os.path.relpath(os.path.join(folder, f), root) for f in files]
    return names


def is_source(name):
    path = pathlib.PurePosixPath(name)
    return path.suffix in SOURCE or path.name in SOURCE_NAMES


def violations_in(name, data):
    found = []
    if is_source(name) and not name.startswith(DATA):
        lines = data.count(b"\n")
        most = MAX_LINES.get(name.partition("/")[0], 800)
        if lines > most:
            found.append(f"{name}: {lines} lines, at most {most}")
        for number, line in enumerate(data.split(b"\n"), 1):
            if any(byte > 126 or (byte < 32 and byte != 9) for byte in line):
                found.append(f"{name}:{number}: only ASCII, write an escape: {line!r}")
            if b"\t" in line:
                found.append(f"{name}:{number}: a tab")
            if line.endswith(b" "):
                found.append(f"{name}:{number}: a space at the end of the line")
            text = line.decode("ascii", "replace")
            if MARKS.search(text):
                found.append(f"{name}:{number}: unfinished work: {text.strip()}")
            if PRIVATE.search(text):
                found.append(f"{name}:{number}: a path of one machine: {text.strip()}")
    if name.endswith(".md") and PRIVATE.search(data.decode("utf-8", "replace")):
        found.append(f"{name}: a path of one machine")
    return found


def self_test():
    cases = [
        ("src/core/a.cc", b"x\n" * 501, "501 lines, at most 500"),
        ("src/core/a.cc", "caf\u00e9\n".encode(), "only ASCII"),
        ("src/core/a.cc", b"\tint x;\n", "a tab"),
        ("src/core/a.cc", b"int x; \n", "space at the end"),
        ("src/core/a.cc", b"// TO" + b"DO: later\n", "unfinished"),
        ("src/core/a.cc", b'open("/ho' + b'me/me/file")\n', "path of one machine"),
        ("docs/a.md", b"see /wo" + b"rk/x\n", "path of one machine"),
    ]
    for name, data, expected in cases:
        found = violations_in(name, data)
        assert any(expected in v for v in found), (name, expected, found)
    assert not violations_in("src/core/a.cc", b"int x;\n" * 500)
    assert not violations_in("tests/golden/cases.py", "caf\u00e9".encode())


def main():
    self_test()
    if "--self-test" in sys.argv:
        return 0
    root, found = sys.argv[1], []
    for name in tracked(root):
        path = pathlib.Path(root, name)
        if path.is_file():
            found += violations_in(name, path.read_bytes())
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
