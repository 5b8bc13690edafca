#!/usr/bin/env python3
"""krait generate as its users meet it: what it writes, states, seeds, signals.

usage: generate_test.py KRAIT [unittest arguments]

Runs on a tiny random model that it writes itself.
"""
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
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

    def lines_of(self, *arguments, **kwargs):
        done = self.succeed("generate", *arguments, "--json", **kwargs)
        self.assertEqual(done.stderr, b"")
        return [json.loads(line) for line in done.stdout.decode("utf-8").splitlines()]

    def test_json_lines(self):
        options = (self.model, "-n", 20, "--temperature", 2, "--top-k", 0, "--seed", 7, "--ignore-eos")
        *tokens, result = self.lines_of("-p", TEXT, *options, "--logprobs", 3)
        self.assertEqual(len(tokens), 20)
        text = self.succeed("generate", "-p", TEXT, *options, "-q").stdout.decode()
        self.assertEqual("".join(token["text"] for token in tokens), text.removesuffix("\n"))
        self.assertEqual(result["text"], text.removesuffix("\n"))
        for token in tokens:
            self.assertLessEqual(token["logprob"], 0)
            self.assertEqual([o["logprob"] for o in token["top"]],
                             sorted((o["logprob"] for o in token["top"]), reverse=True))
            self.assertGreaterEqual(token["top"][0]["logprob"], token["logprob"])
            same = [o for o in token["top"] if o["id"] == token["id"]]
            self.assertTrue(all(o["logprob"] == token["logprob"] and o["token"] == token["token"] for o in same))
        self.assertEqual((result["finish_reason"], result["seed"], result["tokens"]), ("length", 7, 20))
        self.assertGreater(result["prompt_tokens"], 10)
        self.assertGreater(result["decode_seconds"], 0)
        plain, _, last = self.lines_of("-p", TEXT, *options[:1], "-n", 2, "--temperature", 0)
        self.assertNotIn("top", plain)
        self.assertIsNone(last["seed"])
        self.refuse(2, "--json", "generate", "-p", TEXT, *options, "--logprobs", 3)

    def test_many_prompts_get_what_each_would_have_alone(self):
        prompts = ["hello", "The sky is", "he he he he, and then", "x" * 700, "hello"]
        file = self.folder / "prompts.txt"
        file.write_text("\n".join(prompts) + "\n\n")
        records = self.folder / "prompts.jsonl"
        records.write_text("".join(json.dumps({"prompt": p, "id": i}) + "\n" for i, p in enumerate(prompts)))
        options = (self.model, "-n", 12, "--temperature", 2, "--top-k", 0, "--ignore-eos")
        alone = [self.lines_of("-p", p, *options, "--seed", 3 + i)[-1] for i, p in enumerate(prompts)]
        for arguments, stdin in ((("--prompts", file), b""), (("--prompts", records, "-b", 2), b""),
                                 (("--prompts", "-", "-t", 1), file.read_bytes())):
            lines = self.lines_of(*arguments, *options, "--seed", 3, stdin=stdin)
            results = [line for line in lines if "finish_reason" in line]
            self.assertEqual([r["prompt"] for r in results], list(range(5)))
            for i, (one, all_together) in enumerate(zip(alone, results)):
                for key in ("text", "seed", "prompt_tokens", "tokens", "finish_reason"):
                    self.assertEqual(all_together[key], one[key], (i, key))
                self.assertEqual("".join(line["text"] for line in lines[:-5] if line["prompt"] == i and "id" in line),
                                 one["text"]) if "-b" not in arguments else None
        done = self.succeed("generate", "--prompts", file, *options, "--seed", 3)
        expected = "".join(f"[{i + 1}] {p[:69] + '...' if len(p) > 72 else p}\n{one['text']}\n\n"
                           for i, (p, one) in enumerate(zip(prompts, alone)))
        self.assertEqual(re.sub(r"\n\n+", "\n\n", done.stdout.decode()), re.sub(r"\n\n+", "\n\n", expected))
        self.assertIn(b"seeds 3 and on", done.stderr)

    def test_prompts_continue_one_state(self):
        state, file = self.folder / "state", self.folder / "ends.txt"
        greedy = (self.model, "--temperature", 0, "--ignore-eos", "-n", 6)
        self.lines_of("-p", "hello", *greedy[:3], "-n", 0, "--save-state", state)
        file.write_text(" there\n world\n")
        results = [line for line in self.lines_of("--prompts", file, "--state", state, *greedy)
                   if "finish_reason" in line]
        self.assertEqual([r["text"] for r in results],
                         [self.lines_of("-p", "hello" + end, *greedy)[-1]["text"] for end in (" there", " world")])

    def test_wrong_prompts(self):
        file = self.folder / "wrong.jsonl"
        file.write_text('{"prompt": "a"}\n{"text": "b"}\n')
        self.refuse(1, f"{file}:2", "generate", self.model, "--prompts", file)
        file.write_text("\n")
        self.refuse(1, "no prompts", "generate", self.model, "--prompts", file)
        self.refuse(2, "--prompt", "generate", self.model, "--prompts", file, "-p", "a")

    def test_one_line_break_at_the_end_is_not_of_the_prompt(self):
        file = self.folder / "prompt.txt"
        greedy = (self.model, "--temperature", 0, "-n", 6)
        for text, ending in (("hello", "\n"), ("hello", "\r\n"), ("hello\n", "\n"), ("hello", "")):
            told = self.lines_of("-p", text, *greedy)[-1]["text"]
            file.write_bytes((text + ending).encode())
            self.assertEqual(self.lines_of("-f", file, *greedy)[-1]["text"], told)
            self.assertEqual(self.lines_of("-p", "-", *greedy, stdin=(text + ending).encode())[-1]["text"], told)
        self.assertEqual(self.lines_of("-p", "hello\n", *greedy)[-1]["prompt_tokens"], 5)

    def test_says_in_words_why_it_ended(self):
        def last(*arguments):
            return self.succeed("generate", self.model, "-p", TEXT, *arguments).stderr.decode().splitlines()[-1]
        self.assertEqual(last("-n", 3, "--temperature", 0), "ended at 3 tokens (-n)")
        self.assertRegex(last("-n", 1, "--seed", 9), r"^ended at 1 token \(-n\) \(seed 9\)$")
        wild = ("-n", 100000, "--temperature", 3, "--top-k", 0, "--top-p", 1, "--min-p", 0, "--seed", 1)
        self.assertEqual(last(*wild), "ended by the model (seed 1)")
        self.assertEqual(last(*wild, "--ignore-eos", "--stop", "he"), "ended before a text of --stop (seed 1)")

    def test_without_an_end(self):
        process = subprocess.Popen([program.KRAIT, "generate", str(self.model), "-p", TEXT, "-n", "-1",
                                    "--ignore-eos", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        lines = [process.stdout.readline() for _ in range(300)]  # more than the default of -n
        process.send_signal(signal.SIGINT)
        rest, report = process.communicate(timeout=60)
        self.assertEqual((process.returncode, report), (130, b""))
        self.assertIn("logprob", json.loads(lines[-1]))
        self.assertEqual(json.loads(rest.splitlines()[-1])["finish_reason"], "cancelled")

    def test_interrupt_while_a_prompt_is_read(self):
        file = self.folder / "long.txt"
        file.write_text(TEXT * 40000)
        process = subprocess.Popen([program.KRAIT, "generate", str(self.model), "-f", str(file), "-t", "1"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(3)  # it reads for a minute
        self.assertIsNone(process.poll())
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
        self.assertEqual(process.returncode, 130)

    def test_another_tokenizer(self):
        other = self.folder / "other"
        other.mkdir(exist_ok=True)
        tokenizer = json.loads((self.model / "tokenizer.json").read_text())
        tokenizer["model"]["merges"], tokenizer["model"]["vocab"] = [], {
            token: i for token, i in tokenizer["model"]["vocab"].items() if token != "he"}
        (other / "tokenizer.json").write_text(json.dumps(tokenizer))
        count = [self.lines_of(self.model, "-p", "hehe", "-n", 0, *more)[-1]["prompt_tokens"]
                 for more in ((), ("--tokenizer", other), ("--tokenizer", other / "tokenizer.json"))]
        self.assertEqual(count, [2, 4, 4])
        self.refuse(1, str(self.folder / "none"), "generate", self.model, "-p", "a", "--tokenizer", self.folder / "none")


if __name__ == "__main__":
    program.KRAIT = os.path.abspath(sys.argv.pop(1))
    unittest.main(verbosity=1)
