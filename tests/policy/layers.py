#!/usr/bin/env python3
"""Layers of the source tree: an include may only go downwards.

usage: layers.py ROOT [--self-test]

Reads every #include of include/ and src/ and compares it with the graph of src/layers.txt, which is the
one of docs/internals/architecture.md. Also refused: cycles between headers, and intrinsics or threads
in models.
"""
import pathlib
import re
import sys
import tempfile


def read_layers(path):
    """src/layers.txt: folder of src/ -> the folders it may include (besides itself)"""
    lines = [line.partition(":") for line in path.read_text(encoding="utf-8").splitlines()
             if line and not line.startswith("#")]
    return {folder: set(used.split()) for folder, _, used in lines}


BELOW = read_layers(pathlib.Path(__file__).resolve().parents[2] / "src" / "layers.txt")
# public headers that belong to a folder: it and whoever may include it may include them
OWNER = {"engine.h": "runtime", "session.h": "runtime", "generate.h": "runtime",
         "quantize.h": "quant", "krait.h": "capi"}
NOT_IN_MODELS = {"immintrin.h", "arm_neon.h", "thread", "mutex", "atomic", "future",
                 "condition_variable", "core/thread_pool.h", "core/cpu_info.h"}
INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)', re.MULTILINE)


def sources(root):
    for folder in ("include", "src"):
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in (".h", ".cc", ".cu"):
                yield path


def allowed(folder, header):
    """May a file of src/<folder> (or "include") include the quoted or <> header?"""
    top, _, rest = header.partition("/")
    if top == "krait":
        owner = OWNER.get(rest)
        return folder == "include" or owner is None or owner == folder or owner in BELOW[folder]
    if top in BELOW:
        return folder != "include" and (top == folder or top in BELOW[folder])
    return True  # a system or library header


def violations(root):
    found = []
    graph = {}
    for path in sources(root):
        relative = path.relative_to(root)
        folder = relative.parts[1] if relative.parts[0] == "src" else "include"
        if folder != "include" and folder not in BELOW:
            found.append(f"{relative}: folder src/{folder} is in no layer of src/layers.txt")
            continue
        edges = set()
        for quoted, angled in INCLUDE.findall(path.read_text(encoding="utf-8")):
            header = quoted or angled
            if not allowed(folder, header):
                found.append(f"{relative}: {folder} may not include {header}")
            if quoted and not header.startswith("krait/") and folder == "include":
                found.append(f"{relative}: a public header may only include std and krait/, "
                             f"not {header}")
            if quoted and folder != "include" and header.partition("/")[0] not in (*BELOW, "krait"):
                found.append(f"{relative}: write {header} as a path from src/ or in <>")
            if folder == "models" and header in NOT_IN_MODELS and "_test" not in path.name:
                found.append(f"{relative}: models know neither intrinsics nor threads: {header}")
            base = "include/" if header.startswith("krait/") else "src/"
            edges.add(base + header)
        graph[str(relative)] = edges
    return found + header_cycles(graph)


def header_cycles(graph):
    state, found = {}, []

    def visit(node, trail):
        state[node] = "open"
        for target in sorted(graph.get(node, ())):
            if state.get(target) == "open":
                found.append("headers include each other: " +
                             " -> ".join(trail[trail.index(target):] + [target]))
            elif target in graph and target not in state:
                visit(target, trail + [target])
        state[node] = "done"

    for node in sorted(graph):
        if node not in state:
            visit(node, [node])
    return found


def stands_bottom_up(layers):
    """Each folder uses only those before it."""
    seen = set()
    for folder, used in layers.items():
        if not used <= seen:
            return False
        seen.add(folder)
    return True


def self_test():
    """Each kind of violation, made up in a temporary tree, must be found."""
    cases = [
        ("src/kernels/a.cc", '#include "io/json.h"\n', "kernels may not include io/json.h"),
        ("src/core/a.h", '#include "kernels/context.h"\n', "core may not include"),
        ("src/quant/a.cc", '#include "runtime/sampler.h"\n', "quant may not include"),
        ("src/runtime/a.cc", '#include "krait/quantize.h"\n', "runtime may not include"),
        ("src/models/a.cc", "#include <immintrin.h>\n", "neither intrinsics"),
        ("include/krait/a.h", '#include "core/check.h"\n', "include may not include core"),
        ("include/krait/a.h", '#include "fmt/format.h"\n', "only include std"),
        ("src/io/a.h", '#include "json.h"\n', "path from src/"),
        ("src/server/a.h", "", "in no layer"),
    ]
    assert stands_bottom_up(BELOW) and not stands_bottom_up({"a": {"b"}, "b": set()})
    for name, text, expected in cases:
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            for made in ("src", "include"):
                (root / made).mkdir()
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
            found = violations(root)
            assert any(expected in v for v in found), (name, text, found)
    cycle = header_cycles({"src/core/a.h": {"src/core/b.h"}, "src/core/b.h": {"src/core/a.h"}})
    assert len(cycle) == 1, cycle
    assert not header_cycles({"src/core/a.h": {"src/core/b.h"}, "src/core/b.h": set()})


def main():
    self_test()
    if "--self-test" in sys.argv:
        return 0
    found = violations(pathlib.Path(sys.argv[1]))
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
