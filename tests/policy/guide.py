#!/usr/bin/env python3
"""The guide has what the program says of itself.

usage: guide.py ROOT KRAIT [--write]

Every command of `krait --help` has a section "## krait COMMAND" in a page of docs/guide/, with every
example of its own help; no other section is called so. What stands in any page of docs/ between
<!-- krait ... --> and <!-- end --> is what that command prints; with --write it is put there.
"""
import pathlib
import re
import shlex
import subprocess
import sys

import readme_commands

SECTION = re.compile(r"^## krait (\S+)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^<!-- (krait [^\n]*) -->\n(.*?)^<!-- end -->\n", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^  ([a-z]+) {2,}\S", re.MULTILINE)


def output(krait, *words):
    return subprocess.run([krait, *words], capture_output=True, text=True, check=True).stdout


def commands_of(text):
    """Names in the list of subcommands of `krait --help`."""
    return COMMAND.findall(re.split(r"^\S*subcommands:?\s*$", text, flags=re.I | re.M)[-1])


def examples_of(text):
    lines = text.partition("Examples:\n")[2].splitlines()
    return [line.strip() for line in lines if line.startswith("  ")]


def violations(sections, helps):
    """`sections`: text by command, of the guide; `helps`: text by command, of the program."""
    for command in sections.keys() - helps.keys():
        yield f"docs/guide: a section for krait {command}, which is no command"
    for command, text in helps.items():
        if command not in sections:
            yield f"docs/guide: no section \"## krait {command}\""
            continue
        told = set(readme_commands.commands(sections[command]))
        for example in examples_of(text):
            if example not in told:
                yield f"docs/guide: krait {command}: lacks the example of --help: {example}"


def written_blocks(text, run):
    return BLOCK.sub(lambda m: f"<!-- {m.group(1)} -->\n{run(m.group(1))}<!-- end -->\n", text)


def self_test():
    helps = {"a": "x\n\nExamples:\n  krait a -b\n  krait a", "c": ""}
    assert examples_of(helps["a"]) == ["krait a -b", "krait a"]
    assert commands_of("Options:\n  -h  x\n\nSubcommands:\n  a    Does a\n  c    Does c\n") == ["a", "c"]
    good = {"a": "```sh\nkrait a -b\nkrait a\n```\n", "c": ""}
    assert not list(violations(good, helps))
    assert len(list(violations({"a": "```sh\nkrait a\n```\n", "d": ""}, helps))) == 3
    block = "x\n<!-- krait a -->\nold\n<!-- end -->\ny\n"
    assert written_blocks(block, lambda c: c + "\n") == block.replace("old", "krait a")


def main():
    self_test()
    if "--self-test" in sys.argv:
        return 0
    root, krait = pathlib.Path(sys.argv[1]), sys.argv[2]
    sections = {}
    for path in sorted((root / "docs/guide").glob("*.md")):
        sections.update(SECTION.findall(path.read_text(encoding="utf-8")))
    helps = {name: output(krait, name, "--help") for name in commands_of(output(krait, "--help"))}
    assert helps, "no commands in krait --help"
    found = list(violations(sections, helps))
    for path in sorted((root / "docs").rglob("*.md")):
        text = path.read_text(encoding="utf-8")
        written = written_blocks(text, lambda c: output(krait, *shlex.split(c)[1:]))
        if written != text and "--write" in sys.argv:
            path.write_text(written, encoding="utf-8")
        elif written != text:
            found.append(f"{path.relative_to(root)}: a block is not what the program prints: "
                         "run guide.py ROOT KRAIT --write")
    print("\n".join(found) or f"{len(helps)} commands")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
