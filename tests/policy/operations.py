#!/usr/bin/env python3
"""Models and the runtime compute by the table of operations alone: no object of theirs calls a kernel
that a device would have to bring besides.

    operations.py SOURCE_TREE NM KERNELS_OBJECT... -- USER_OBJECT...
"""

import pathlib
import re
import subprocess
import sys

# What the host alone does when a model is loaded or described.
HOST = (
    "krait::check_linear(",
    "krait::cpu_operations",
    "krait::format_",
    "krait::formats",
    "krait::hadamard_supported(",
    "krait::largest_hadamard_block(",
    "krait::microkernels(",
)


def defined_by(nm, objects):
    """Functions and tables that the objects define, but for inline ones: those belong to all."""
    out = subprocess.run([nm, "-C", "--defined-only", "--extern-only", *objects], check=True,
                         capture_output=True, text=True).stdout
    lines = [line.split(maxsplit=2) for line in out.splitlines()]
    return {line[2] for line in lines if len(line) == 3 and line[1] not in "WVwv"}


def used_by(nm, user):
    out = subprocess.run([nm, "-C", "--undefined-only", user], check=True, capture_output=True,
                         text=True).stdout
    return {line.split(maxsplit=1)[1] for line in out.splitlines() if line.startswith(" ")}


def main():
    source, nm, *rest = sys.argv[1:]
    split = rest.index("--")
    kernels, users = defined_by(nm, rest[:split]), rest[split + 1:]
    calls = {(user, name) for user in users for name in used_by(nm, user) & kernels}
    found = [f"{user}: calls {name}, which is not in the table of operations"
             for user, name in sorted(calls) if not name.startswith(HOST)]
    # What must be found to trust the rest: the one who makes contexts names both.
    for name in ("krait::microkernels(", "krait::cpu::linear("):
        if not any(known.startswith(name) for known in kernels):
            found.append(f"no {name}...) in the objects of src/kernels: are these the right ones?")
    if not any(name.startswith("krait::microkernels(") for _, name in calls):
        found.append("nothing calls krait::microkernels(): are these the right objects?")
    for folder in ("models", "runtime"):
        for path in sorted(pathlib.Path(source, "src", folder).rglob("*")):
            if path.suffix in (".cc", ".h") and "test" not in path.name:
                for number, line in enumerate(path.read_text().splitlines(), 1):
                    if re.search(r"[.>]kernels(->|\.)|\bcpu::", line):
                        found.append(f"{path}:{number}: calls a microkernel: {line.strip()}")
    print("\n".join(found) or f"{len(users)} objects call no kernel but through the table")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
