#!/usr/bin/env python3
"""Commands in README.md, CONTRIBUTING.md and docs/ exist, but those of the notebook.

usage: readme_commands.py ROOT KRAIT

Looks at fenced blocks of shell (```sh, ```bash, ```console) and the lines in them that start a
command: ./script must be an executable file; of `krait COMMAND --flag`, the command and each flag
must be in the help of the program.
"""
import functools
import pathlib
import re
import shlex
import subprocess
import sys

BLOCK = re.compile(r"^```(?:sh|bash|console)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)


def commands(text):
    """Command lines of all shell blocks, continuation lines joined, prompts and comments removed."""
    for block, console in ((m.group(1), m.group(0).startswith("```console"))
                           for m in BLOCK.finditer(text)):
        for line in block.replace("\\\n", " ").splitlines():
            if console and not line.startswith("$ "):
                continue  # output
            line = line.removeprefix("$ ").strip()
            if line and not line.startswith("#"):
                yield line


@functools.lru_cache(maxsize=None)
def program_help(krait, *command):
    done = subprocess.run([krait, *command, "--help"], capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else None


def violations_of(line, root, help_of):
    try:
        words = shlex.split(line, comments=True)
    except ValueError:
        return [f"not a shell command: {line}"]
    found = []
    # One line may hold several commands.
    for part in " ".join(shlex.quote(w) for w in words).replace("'|'", "\n").replace(
            "'&&'", "\n").replace("';'", "\n").splitlines():
        words = [w for w in shlex.split(part) if not re.match(r"^[A-Z_]+=", w)]
        if not words:
            continue
        program = words[0]
        if program.startswith("./") and not program.startswith("./build"):
            path = root / program
            if not path.is_file() or not path.stat().st_mode & 0o100:
                found.append(f"{program} is no executable file")
        if pathlib.PurePosixPath(program).name != "krait" or len(words) < 2:
            continue
        if words[1].startswith("-"):
            text = help_of()
        else:
            text = help_of(words[1])
            if text is None:
                found.append(f"no command: krait {words[1]}")
                continue
        for word in words[1:]:
            flag = word.partition("=")[0]
            if re.match(r"^--?[a-z][a-z0-9-]*$", flag) and not re.search(
                    rf"(?<![\w-]){re.escape(flag)}(?![\w-])", text):
                found.append(f"no flag {flag} in: {line}")
    return found


def self_test():
    help_of = {(): "krait --version", ("bench",): "-p,--prompt INT"}
    look = lambda *c: help_of.get(c)  # noqa: E731
    root = pathlib.Path(__file__).resolve().parent
    assert list(commands("```sh\n# x\nkrait a \\\n  -b\n```\n")) == ["krait a    -b"]
    assert list(commands("```console\n$ krait a\noutput\n```\n")) == ["krait a"]
    assert violations_of("krait nothing", root, look)
    assert violations_of("krait bench --missing 3", root, look)
    assert violations_of("./missing.sh", root, look)
    assert violations_of("cat x | krait nothing -p -", root, look)
    assert not violations_of("KRAIT_ISA=avx2 krait bench -p 512 --prompt 3", root, look)


def main():
    self_test()
    if "--self-test" in sys.argv:
        return 0
    root, krait = pathlib.Path(sys.argv[1]), sys.argv[2]
    found, seen = [], 0
    pages = (*sorted(root.glob("*.md")), *sorted((root / "docs").rglob("*.md")))
    for path in (page for page in pages if "notebook" not in page.parts):
        for line in commands(path.read_text(encoding="utf-8")):
            seen += 1
            found += [f"{path.name}: {v}" for v in
                      violations_of(line, root, lambda *c: program_help(krait, *c))]
    print("\n".join(found) or f"{seen} commands")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
