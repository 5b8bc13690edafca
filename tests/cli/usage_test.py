#!/usr/bin/env python3
"""The program as its users meet it: options, help, exit codes, streams, signals.

usage: usage_test.py KRAIT [unittest arguments]

Runs on a tiny random model that it writes itself.
"""
import json
import os
import pathlib
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import program  # noqa: E402
from program import TEXT, Base, run  # noqa: E402


class Usage(Base):
    def test_help_of_every_command_has_examples(self):
        overview = self.succeed("--help").stdout.decode()
        commands = re.findall(r"^  (\w+) +\S", overview.partition("Subcommands:\n")[2], re.MULTILINE)
        self.assertLessEqual({"demo", "quantize", "recall", "drift", "merge"}, set(commands))
        for command in commands:
            text = self.succeed(command, "--help").stdout.decode()
            self.assertIn(f"Usage: krait {command} ", text)
            examples = text.partition("Examples:\n")[2].strip().splitlines()
            self.assertGreaterEqual(len(examples), 2, command)
            for example in examples:
                self.assertIn(f"krait {command}", example)

    def test_version(self):
        self.assertRegex(self.succeed("--version").stdout.decode(), r"\Akrait \d+\.\d+\.\d+\n\Z")

    def test_wrong_usage_is_2(self):
        self.refuse(2, "subcommand")
        self.refuse(2, "nonsense", "nonsense")
        self.refuse(2, "--nonsense", "info", "--nonsense")
        self.refuse(2, "REFERENCE", "compare")
        self.refuse(2, "temperature", "generate", self.model, "-p", "a", "--temperature", "-1")
        self.refuse(2, "--output", "quantize", self.model)
        self.refuse(2, "-p TEXT", "generate", self.model)
        self.refuse(2, "--ids", "logits", self.model, "-o", self.folder / "x.npy")
        self.refuse(2, "--prompt", "tokenize", self.model, "-p", "a", "-f", self.text)
        self.refuse(2, "threads", "generate", self.model, "-p", "a", "-t", "0")
        self.refuse(2, "--dummy", "bench", self.model, "--dummy", "mamba-130m")

    def test_numbers_out_of_range_are_2_in_a_short_line(self):
        text = ("generate", self.model, "-p", "a", "-n", 1)
        cases = [("quantize", self.model, "-o", self.folder / "x", option, value)
                 for option in ("--samples", "--seq-len", "--seed", "-t")
                 for value in ("-1", "99999999999999999999", "1.5", "x", "")]
        cases += [("quantize", self.model, "-o", self.folder / "x", option, "0")
                  for option in ("--samples", "--seq-len", "-t")]
        cases += [(*text, "--temperature", value) for value in ("-1", "nan", "inf", "", "warm")]
        cases += [(*text, "--top-p", value) for value in ("0", "1.1", "nan", "-1")]
        cases += [(*text, "--min-p", value) for value in ("-0.1", "1.1", "nan")]
        cases += [(*text, "--repeat-penalty", value) for value in ("0", "-1", "nan")]
        cases += [(*text, "--top-k", "-1"), (*text, "-n", "-2"), (*text, "-n", "3000000000"), (*text, "--stop", ""),
                  (*text, "--seed", "-2"), (*text, "--seed", "99999999999999999999"), (*text, "--state", "")]
        cases += [("logits", self.model, "-o", self.folder / "x", "--ids", ids) for ids in ("", ",", "-1", "a")]
        cases += [("bench", self.model, option, value) for option in ("-p", "-n", "-d", "-b", "-r", "--beside")
                  for value in ("", "-1", "1e9", "99999999999")]
        cases += [("recall", self.model, option, value)
                  for option in ("--lengths", "--distances", "--needles", "--fillers", "--seed", "--kinds")
                  for value in ("", "-1")[:1 if option == "--kinds" else 2]]
        cases += [("drift", self.model, self.model, "-f", self.text, option, "-1")
                  for option in ("--prompts", "--prompt-tokens", "-n", "--read")]
        cases += [("perplexity", self.model, "-f", self.text, option, "-1") for option in ("--seq-len", "--max-tokens")]
        cases += [("eval", self.model, "--tasks", "piqa", "--limit", "-1"), ("eval", self.model, "--tasks", ""),
                  ("mix", self.model, "-o", "x", "--bits", "nan"), ("mix", self.model, "-o", "x", "--widths", "5"),
                  ("plan", self.model, "--bandwidth", "0"), ("inspect", ""), ("demo", self.model, "--seed", "-1")]
        for case in cases:
            self.refuse(2, "", *case)
            self.assertLessEqual(len(run(*case).stderr), 200, case)
        self.assertFalse((self.folder / "x").exists())

    def test_outputs_are_no_minus(self):
        for case in (("quantize", self.model, "-o"), ("demo", self.model, "-o"), ("sweep", self.text, "-o"),
                     ("merge", self.folder, "-o"), ("mix", self.model, "-o"),
                     ("drift", self.model, self.model, "-f", self.text, "--svg"),
                     ("eval", self.model, "--tasks", "piqa", "--items"),
                     ("generate", self.model, "-p", "a", "--save-state")):
            self.refuse(2, "standard output", *case, "-", cwd=self.folder)

    def test_help_is_a_word_too(self):
        self.assertEqual(self.succeed("help").stdout, self.succeed("--help").stdout)
        self.assertEqual(self.succeed("help", "quantize").stdout, self.succeed("quantize", "--help").stdout)
        self.refuse(2, "did you mean \"quantize\"", "help", "quantise")

    def test_quiet_is_of_every_command(self):
        self.assertEqual(self.succeed("logits", self.model, "--ids", "1", "-o", self.folder / "quiet.npy", "-q").stderr, b"")
        self.assertIn(b"wrote", self.succeed("logits", self.model, "--ids", "1", "-o", self.folder / "quiet.npy").stderr)
        self.refuse(1, "no such model", "inspect", self.folder / "missing", "-q")

    def test_names_of_before(self):
        tasks = self.folder / "arc_easy.jsonl"
        tasks.write_text('{"query": "a", "choices": ["b", "c"], "gold": 0}')
        self.succeed("eval", self.model, "--tasks", "arc_easy", "--data", self.folder, "--samples", self.folder / "old")
        self.succeed("eval", self.model, "--tasks", " arc_easy ", "--data", self.folder, "--items", self.folder / "now")
        self.assertEqual((self.folder / "old").read_text(), (self.folder / "now").read_text())
        options = ("--lengths", "150", "--distances", "5", "--needles", 2, "--fillers", 1, self.model)
        self.assertEqual(self.json_of("recall", "--tasks", "induction", *options),
                         self.json_of("recall", "--kinds", "induction", *options))
        self.assertNotIn("--tasks", self.succeed("recall", "--help").stdout.decode())

    def test_a_reference_is_an_option_or_comes_first(self):
        text = ("-f", self.text, "--seq-len", 64)
        self.assertEqual(self.json_of("compare", self.model, "--reference", self.model, *text),
                         self.json_of("compare", self.model, self.model, *text))
        self.refuse(2, "two models", "compare", self.model, *text)
        self.refuse(2, "two models", "drift", self.model, self.model, "--reference", self.model, "-f", self.text)

    def test_tensors_of_other_names_are_told_in_a_few_words(self):
        data = (self.model / "model.safetensors").read_bytes()
        length, = struct.unpack("<Q", data[:8])
        header = json.loads(data[8:8 + length])
        for name, expected in ((lambda n: "net." + n, 'begin with "net."'), (lambda n: n[9:], 'lack "backbone."'),
                               (lambda n: n[::-1], "another architecture")):
            odd = self.folder / "odd"
            shutil.copytree(self.model, odd, dirs_exist_ok=True)
            text = json.dumps({name(n): t for n, t in header.items()}).encode()
            (odd / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length:])
            self.refuse(1, expected, "inspect", odd)
            told = run("inspect", odd).stderr.decode()
            self.assertLessEqual(len(told), 600)
            self.assertRegex(told, r"is missing; .* is not used; .*and \d+ more")

    def test_failures_are_1_and_say_what(self):
        missing = self.folder / "missing"
        self.refuse(1, str(missing), "inspect", missing)
        self.refuse(1, "not a directory", "inspect", self.text)
        self.refuse(1, str(missing), "perplexity", self.model, "-f", missing)
        self.refuse(1, str(missing), "info", env={"KRAIT_ISA": str(missing)})
        self.refuse(1, "reference", "info", env={"KRAIT_ISA": "avx1024"})
        self.refuse(1, "krait-w8a8", "quantize", self.model, "-o", missing, "--recipe", "krait-w8a7")
        self.refuse(1, "mamba-130m", "bench", "--dummy", "mamba-131m")
        self.refuse(1, "999", "logits", self.model, "--ids", "1,999", "-o", missing)
        self.assertFalse(missing.exists())

    def test_default_model_comes_from_the_environment(self):
        told = self.succeed("inspect", "--json", env={"KRAIT_MODEL": str(self.model)}).stdout
        self.assertEqual(json.loads(told)["model"], str(self.model))


class Streams(Base):
    def test_full_disk_and_closed_stdout_are_1(self):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([program.KRAIT, "tokenize", str(self.model), "-p", "a"], stdout=full,
                                  stderr=subprocess.PIPE, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr.decode(), r"\Akrait: error: .*No space left[^\n]*\n\Z")
        done = subprocess.run(["sh", "-c", '"$0" tokenize "$1" -p a >&-', program.KRAIT, str(self.model)],
                              capture_output=True, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"krait: error: cannot write to standard output", done.stderr)

    def test_broken_pipe_is_quiet(self):
        read, write = os.pipe()
        os.close(read)
        done = subprocess.run([program.KRAIT, "inspect", str(self.model)], stdout=write,
                              stderr=subprocess.PIPE, check=False)
        os.close(write)
        self.assertEqual((done.returncode, done.stderr), (-signal.SIGPIPE, b""))

    def test_prompt_from_stdin_and_file(self):
        by_option = self.succeed("tokenize", self.model, "-p", TEXT).stdout
        self.assertEqual(self.succeed("tokenize", self.model, "-p", "-", stdin=TEXT.encode()).stdout,
                         by_option)
        self.assertEqual(self.succeed("tokenize", self.model, "-f", "-", stdin=TEXT.encode()).stdout,
                         by_option)
        prompt = self.folder / "prompt.txt"
        prompt.write_text(TEXT)
        self.assertEqual(self.succeed("tokenize", self.model, "-f", prompt).stdout, by_option)

    def test_interrupted_quantize_leaves_nothing(self):
        output = self.folder / "interrupted" / "out"
        process = subprocess.Popen([program.KRAIT, "quantize", str(self.model), "-o", str(output),
                                    "--recipe", "quamba-w8a8", "--samples", "100000", "--seq-len",
                                    "2048"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(1.0)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130)
        self.assertEqual([p for p in output.parent.glob("*") if p.suffix != ".lock"], [])


if __name__ == "__main__":
    program.KRAIT = os.path.abspath(sys.argv.pop(1))
    unittest.main(verbosity=1)
