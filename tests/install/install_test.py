#!/usr/bin/env python3
"""Installs krait into a temporary prefix and builds and runs users of it.

usage: install_test.py BUILD CONFIG COMPILER

1. find_package(krait) and krait::krait; 2. pkg-config --static; 3. the installed program, which must
find what it needs below its own prefix. The prefix is moved after the installation: nothing may
depend on where it was.
"""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "cli"))
import tiny_model  # noqa: E402


def run(*command, **kwargs):
    print("$", *command, flush=True)
    return subprocess.run([str(c) for c in command], check=True, **kwargs)


def output_of(*command, **kwargs):
    return run(*command, stdout=subprocess.PIPE, text=True, **kwargs).stdout


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
            f"-DCMAKE_CXX_COMPILER={compiler}", "-DCMAKE_BUILD_TYPE=Debug", stdout=subprocess.DEVNULL)
        run("cmake", "--build", folder / "build", stdout=subprocess.DEVNULL)
        run(folder / "build" / "consumer", model, folder / "quantized-1")

        pkgconfig = next(prefix.rglob("krait.pc")).parent
        env = {**os.environ, "PKG_CONFIG_PATH": str(pkgconfig)}
        flags = output_of("pkg-config", "--cflags", "--libs", "--static", "krait", env=env).split()
        run(compiler, HERE / "consumer" / "main.cc", "-o", folder / "by-pkg-config", *flags)
        run(folder / "by-pkg-config", model, folder / "quantized-2")
        for file in ("config.json", "model.safetensors"):
            first, second = (folder / f"quantized-{i}" / file for i in (1, 2))
            assert first.read_bytes() == second.read_bytes(), file

        krait = prefix / "bin" / "krait"
        text = output_of(krait, "generate", model, "-p", "hello", "-n", "5", "-q")
        assert text.endswith("\n"), text
        headers = {p.name for p in (prefix / "include").rglob("*.h")}
        assert headers == {p.name for p in (HERE.parents[1] / "include" / "krait").glob("*.h")}, headers
        if (HERE.parents[1] / "models" / "krait-demo" / "config.json").exists():
            installed = prefix / "share" / "krait" / "models" / "krait-demo"
            without = {k: v for k, v in os.environ.items() if k != "KRAIT_MODEL"}
            told = output_of(krait, "inspect", env=without)
            assert told.startswith(str(installed)), told
    return 0


if __name__ == "__main__":
    assert shutil.which("pkg-config"), "pkg-config is needed"
    sys.exit(main())
