#!/usr/bin/env python3
"""Documents hold together: links and anchors exist, pages are short, history stands in the notebook.

usage: links.py ROOT [--self-test]

Looks at the Markdown files that git tracks (at all files where there is no git): every relative link
and anchor leads somewhere, and so does every path docs/... that a source names. Pages that users read
have at most so many lines. No page but the notebook and the changelog tells what was true before.
"""
import pathlib
import re
import sys
import tempfile

import files

LENGTHS = (("README.md", 80), ("docs/guide/", 150), ("docs/methods/", 150), ("docs/internals/", 150),
           ("docs/results/summary.md", 120))
HISTORY = re.compile(r"\b(until then|used to be|was called|were called|formerly|no longer|previously)\b",
                     re.IGNORECASE)
MAY_TELL_HISTORY = ("docs/results/notebook/", "CHANGELOG.md")
FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]*`")
LINK = re.compile(r"\]\(([^()\s]+)\)")
HEADING = re.compile(r"^#{1,6} +(.*?) *#*$", re.MULTILINE)
DOCUMENT = re.compile(r"\bdocs/[\w/-]+\.(?:md|svg|json)\b")
# Not ours: copied from elsewhere, or a made-up tree of a test.
OTHERS = ("tests/golden/", "tests/fuzz/corpus/", "tests/policy/links.py", "tests/policy/files.py",
          "training/logs/")


def anchors(text):
    """Of the headings, as GitHub makes them: lower case, no punctuation, dashes for spaces."""
    found, seen = set(), {}
    for heading in HEADING.findall(FENCE.sub("", text)):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        count = seen[slug] = seen.get(slug, -1) + 1
        found.add(f"{slug}-{count}" if count else slug)
    return found


def broken_links(root, name, text):
    prose = CODE.sub("", FENCE.sub("", text))
    for target in LINK.findall(prose):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (root / name).parent / path if path else root / name
        if not file.exists():
            yield f"{name}: no such file: {target}"
        elif anchor and file.suffix == ".md" and anchor not in anchors(file.read_text("utf-8")):
            yield f"{name}: no such heading: {target}"


def violations(root, names):
    for name in names:
        path = root / name
        if not path.is_file() or name.startswith(OTHERS):
            continue
        if path.suffix == ".md":
            text = path.read_text(encoding="utf-8")
            yield from broken_links(root, name, text)
            lines = text.count("\n")
            for place, most in LENGTHS:
                if (name == place or place.endswith("/") and name.startswith(place)) and lines > most:
                    yield f"{name}: {lines} lines, at most {most}"
            if not name.startswith(MAY_TELL_HISTORY):
                for number, line in enumerate(text.splitlines(), 1):
                    if word := HISTORY.search(line):
                        yield f"{name}:{number}: \"{word.group()}\" belongs into docs/results/notebook/"
        elif not files.is_source(name):
            continue
        else:
            text = path.read_text(encoding="utf-8", errors="replace")
        if not name.startswith(MAY_TELL_HISTORY):
            for document in sorted(set(DOCUMENT.findall(text))):
                if not (root / document).exists():
                    yield f"{name}: no such document: {document}"


def self_test():
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        (root / "docs/guide").mkdir(parents=True)
        (root / "docs/a.md").write_text("# One `two`, three\n\n## Again\n\n## Again\n")
        cases = [
            ("[x](b.md)", "no such file: b.md"),
            ("[x](docs/a.md#four)", "no such heading: docs/a.md#four"),
            ("x\n\n[x](#here)", "no such heading: #here"),
            ("x" * 3 + "\n" * 81, "81 lines, at most 80"),
            ("It was called y.", '"was called"'),
            ("see docs/b.md", "no such document: docs/b.md"),
        ]
        for text, expected in cases:
            (root / "README.md").write_text(text)
            found = list(violations(root, ["README.md"]))
            assert any(expected in v for v in found), (text, expected, found)
        (root / "README.md").write_text(
            "[a](docs/a.md#one-two-three) [b](docs/a.md#again-1) [c](https://x.y/z)\n"
            "`[d](e.md)`\n```\n[f](g.md)\n```\nsee docs/a.md\n")
        assert not list(violations(root, ["README.md", "docs/a.md"]))
        (root / "CHANGELOG.md").write_text("It was called y.\n")
        assert not list(violations(root, ["CHANGELOG.md"]))
        (root / "a.cc").write_text("// docs/c.md\n")
        assert list(violations(root, ["a.cc"]))


def main():
    self_test()
    if "--self-test" in sys.argv:
        return 0
    root = pathlib.Path(sys.argv[1])
    found = list(violations(root, files.tracked(root)))
    print("\n".join(found) or "documents hold together")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
