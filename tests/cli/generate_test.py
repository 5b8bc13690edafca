#!/usr/bin/env python3
"""krait generate as its users meet it: what it writes, states, seeds, signals.

usage: generate_test.py KRAIT [unittest arguments]

Runs on a tiny random model that it writes itself.
"""
import os
import pathlib
import re
import signal
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import program  # noqa: E402
from program import TEXT, Base  # noqa: E402


class Generate(Base):
    def test_generate_is_reproducible_and_streams_utf8(self):
        arguments = ("generate", self.model, "-p", TEXT, "-n", 40, "--temperature", 2, "--top-k", 0,
                     "--top-p", 1, "--min-p", 0, "--ignore-eos")
        first = self.succeed(*arguments, "--seed", 3)
        self.assertEqual(first.stdout, self.succeed(*arguments, "--seed", 3, "-t", 1).stdout)
        self.assertNotEqual(first.stdout, self.succeed(*arguments, "--seed", 4).stdout)
        first.stdout.decode("utf-8")
        self.assertRegex(first.stderr.decode(), r"prefill: \d+ tokens, [\d.]+ tokens/s; "
                         r"decode: 40 tokens, [\d.]+ tokens/s; peak memory \S+ \S+, state")
        self.assertEqual(self.succeed(*arguments, "--quiet").stderr, b"")

    def test_state_continues_a_text(self):
        state = self.folder / "state"
        greedy = ("--temperature", 0, "--ignore-eos", "-q")
        whole = self.succeed("generate", self.model, "-p", "hello there", "-n", 8, *greedy).stdout
        self.succeed("generate", self.model, "-p", "hello", "-n", 0, "--save-state", state, *greedy)
        rest = self.succeed("generate", self.model, "-p", " there", "-n", 8, "--state", state, *greedy)
        self.assertEqual(rest.stdout, whole)

    def test_state_alone_goes_on(self):
        state = self.folder / "state"
        options = ("--temperature", 2, "--top-k", 0, "--top-p", 1, "--min-p", 0, "--ignore-eos", "-q")

        def text(*arguments):
            return self.succeed("generate", self.model, *arguments, *options).stdout.replace(b"\n", b"")
        whole = text("-p", "hello", "-n", 30, "--seed", 5)
        for cut in range(0, 31, 3):
            first = text("-p", "hello", "-n", cut, "--seed", 5, "--save-state", state)
            rest = text("--state", state, "-n", 30 - cut)  # the random numbers go on
            self.assertEqual(first + rest, whole, cut)

    def test_a_seed_by_chance_is_told(self):
        arguments = ("generate", self.model, "-p", TEXT, "-n", 40, "--temperature", 2, "--ignore-eos")
        first, second = self.succeed(*arguments), self.succeed(*arguments)
        self.assertNotEqual(first.stdout, second.stdout)
        seed = re.search(r"seed (\d+)\)", first.stderr.decode()).group(1)
        self.assertEqual(self.succeed(*arguments, "--seed", seed).stdout, first.stdout)

    def test_interrupt_ends_the_text(self):
        process = subprocess.Popen([program.KRAIT, "generate", str(self.model), "-p", TEXT, "-n", "100000000",
                                    "--ignore-eos"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdout.read(20)  # it has begun
        process.send_signal(signal.SIGINT)
        rest, report = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130)
        rest.decode()  # no half characters
        self.assertIn(b"cancelled", report)
        self.assertTrue(rest.endswith(b"\n"))


if __name__ == "__main__":
    program.KRAIT = os.path.abspath(sys.argv.pop(1))
    unittest.main(verbosity=1)
