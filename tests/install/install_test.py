#!/usr/bin/env python3
"""Installs krait into a temporary prefix and builds and runs users of it.

usage: install_test.py BUILD CONFIG COMPILER

1. find_package(krait), krait::krait and krait::krait_shared; 2. pkg-config, shared and --static; 3. the
installed program, which must find what it needs below its own prefix; 4. the examples in C and C++ by
all of these, which must write what the program writes and stand in the guide. The prefix is moved after
the installation: nothing may depend on where it was.
"""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PROMPT = "The river"
sys.path.insert(0, str(HERE.parent / "cli"))
import tiny_model  # noqa: E402


def run(*command, **kwargs):
    print("$", *command, flush=True)
    return subprocess.run([str(c) for c in command], check=True, **kwargs)


def output_of(*command, **kwargs):
    return run(*command, stdout=subprocess.PIPE, text=True, **kwargs).stdout


def check_examples(programs, krait, model, env):
    """They say what the program says, and what is wrong."""
    words = ("-p", PROMPT, "-n", "40", "--temperature", "0", "-q")
    expected = output_of(krait, "generate", model, *words)
    assert len(expected) > 20, expected
    for program in programs:
        told = output_of(program, model, PROMPT, env=env)
        assert told.rstrip("\n") == expected.rstrip("\n"), (told, expected)
        failed = subprocess.run([program, "/nowhere", PROMPT], env=env, capture_output=True, text=True,
                                check=False)
        assert failed.returncode == 1 and failed.stderr.startswith("not_found: "), failed
    for name, fence, page in (("generate.c", "c", "c.md"), ("generate.cc", "cpp", "library.md")):
        text = (ROOT / "examples" / name).read_text(encoding="utf-8")
        guide = (ROOT / "docs" / "guide" / page).read_text(encoding="utf-8")
        assert f"```{fence}\n{text}```\n" in guide, f"docs/guide/{page} does not show {name}"


def main():
    build, config, compiler = sys.argv[1:4]
    with tempfile.TemporaryDirectory(prefix="krait-install-test-") as name:
        folder = pathlib.Path(name)
        run("cmake", "--install", build, "--config", config, "--prefix", folder / "first",
            stdout=subprocess.DEVNULL)
        prefix = folder / "moved"
        (folder / "first").rename(prefix)
        model = folder / "model"
        tiny_model.write(model)

        run("cmake", "-S", HERE / "consumer", "-B", folder / "build", f"-DCMAKE_PREFIX_PATH={prefix}",
            f"-DCMAKE_CXX_COMPILER={compiler}", f"-DEXAMPLES={ROOT / 'examples'}", stdout=subprocess.DEVNULL)
        run("cmake", "--build", folder / "build", stdout=subprocess.DEVNULL)
        run(folder / "build" / "consumer", model, folder / "quantized-1")

        pkgconfig = next(prefix.rglob("krait.pc")).parent
        env = {**os.environ, "PKG_CONFIG_PATH": str(pkgconfig)}
        flags = output_of("pkg-config", "--cflags", "--libs", "--static", "krait", env=env).split()
        flags[flags.index("-lkrait")] = "-l:libkrait.a"
        run(compiler, "-std=c++20", HERE / "consumer" / "main.cc", "-o", folder / "static", *flags)
        run(folder / "static", model, folder / "quantized-2")
        flags = output_of("pkg-config", "--cflags", "--libs", "krait", env=env).split()
        run("cc", "-std=c11", ROOT / "examples" / "generate.c", "-o", folder / "shared", *flags)
        for file in ("config.json", "model.safetensors"):
            first, second = (folder / f"quantized-{i}" / file for i in (1, 2))
            assert first.read_bytes() == second.read_bytes(), file

        krait = prefix / "bin" / "krait"
        text = output_of(krait, "generate", model, "-p", "hello", "-n", "5", "-q")
        assert text.endswith("\n"), text
        headers = {p.name for p in (prefix / "include").rglob("*.h")}
        assert headers == {p.name for p in (ROOT / "include" / "krait").glob("*.h")}, headers
        if (ROOT / "models" / "krait-demo" / "config.json").exists():
            installed = prefix / "share" / "krait" / "models" / "krait-demo"
            without = {k: v for k, v in os.environ.items() if k != "KRAIT_MODEL"}
            told = output_of(krait, "inspect", env=without)
            assert told.startswith(str(installed)), told
            programs = [*sorted((folder / "build").glob("generate_*")), folder / "shared"]
            assert len(programs) == 5, programs
            libraries = str(next(prefix.rglob("libkrait.so")).parent)
            check_examples(programs, krait, installed, {**os.environ, "LD_LIBRARY_PATH": libraries})
    return 0


if __name__ == "__main__":
    assert shutil.which("pkg-config"), "pkg-config is needed"
    sys.exit(main())
