"""The program under test, and what its tests share: a model, a text, and what must come out."""
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

import tiny_model

KRAIT = ""
TEXT = "It is a truth universally acknowledged, that he who reads the help needs no other help. "


def run(*arguments, stdin=b"", env=None, **kwargs):
    return subprocess.run([KRAIT, *map(str, arguments)], input=stdin, capture_output=True,
                          env={**os.environ, **(env or {})}, timeout=240, check=False, **kwargs)


class Base(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="krait-cli-test-"))
        cls.model = cls.folder / "model"
        tiny_model.write(cls.model)
        cls.text = cls.folder / "text.txt"
        cls.text.write_text(TEXT * 20)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def succeed(self, *arguments, **kwargs):
        done = run(*arguments, **kwargs)
        self.assertEqual(done.returncode, 0, (arguments, done))
        return done

    def refuse(self, code, expected, *arguments, **kwargs):
        """The command fails with `code`, nothing on stdout and one line that says `expected`."""
        done = run(*arguments, **kwargs)
        message = done.stderr.decode()
        self.assertEqual(done.returncode, code, (arguments, done))
        self.assertEqual(done.stdout, b"", (arguments, done))
        self.assertRegex(message, r"\Akrait: error: [^\n]+\n\Z", arguments)
        self.assertIn(expected, message, arguments)

    def quantized(self, recipe):
        output = self.folder / recipe
        if not output.exists():
            self.succeed("quantize", self.model, "-o", output, "--recipe", recipe, "--samples", 4,
                         "--seq-len", 32)
        return output

    def json_of(self, *arguments, **kwargs):
        return json.loads(self.succeed(*arguments, "--json", **kwargs).stdout.decode("utf-8"))
