#!/usr/bin/env python3
"""krait chat as its users meet it, driven through a pipe.

usage: chat_test.py KRAIT [unittest arguments]

Runs on the demo model with a template of its own, and on a tiny random model without one.
"""
import json
import os
import pathlib
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import program  # noqa: E402
from program import Base, run  # noqa: E402

DEMO = pathlib.Path(__file__).parents[2] / "models" / "krait-demo"
END = "<|endoftext|>"
TEMPLATE = ("{% for message in messages %}"
            "{% if message['role'] == 'assistant' %}A:{{ message['content']FILTER }}{{ eos_token }}"
            "{% else %}{{ message['role'] }}: {{ message['content'] }}\n{% endif %}{% endfor %}"
            "{% if add_generation_prompt %}A:{% endif %}")


class Chat(Base):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.template = cls.folder / "template.jinja"
        cls.template.write_text(TEMPLATE.replace("FILTER", ""))
        cls.options = ("--temperature", "0", "-n", "12", "-t", "1")

    def chat(self, *lines, code=0, options=(), sampling=None):
        """Answers to plain lines, and what is said on stderr."""
        done = run("chat", DEMO, "--chat-template", self.template, *(sampling or self.options), "--verbose", *options,
                   stdin="".join(line + "\n" for line in lines).encode())
        self.assertEqual(done.returncode, code, done)
        return done.stdout.decode(), done.stderr.decode()

    def generate(self, prompt):
        return self.succeed("generate", DEMO, "-p", prompt, *self.options, "--json").stdout

    def answer(self, prompt):
        return json.loads(self.generate(prompt).splitlines()[-1])["text"]

    def test_goes_on_from_what_was_read(self):
        first = self.answer("user: The river\nA:")
        second = self.answer(f"user: The river\nA:{first}{END}user: And the sea?\nA:")
        out, told = self.chat("The river", "And the sea?")
        self.assertEqual(out, "".join(text + "\n" * (not text.endswith("\n")) for text in (first, second)))
        (read_1, known_1), (read_2, known_2) = re.findall(r"(\d+) tokens read after (\d+) that", told)
        self.assertEqual(known_1, "0")
        self.assertEqual(int(known_2), int(read_1) + 12)  # the end of -n is no end of text: 12 tokens
        tokens = json.loads(self.succeed("tokenize", DEMO, "-p", f"{END}user: And the sea?\nA:", "--no-special",
                                         "--json").stdout)["n_tokens"]
        self.assertEqual(int(read_2), tokens)
        self.assertNotIn("does not begin", told)

    def test_a_template_that_rewrites_answers_is_read_again(self):
        template = self.folder / "upper.jinja"
        template.write_text(TEMPLATE.replace("FILTER", " | upper"))
        question = "Who is the king of the river, and where?"
        first = self.answer(f"user: {question}\nA:")
        self.assertNotEqual(first, first.upper())
        second = self.answer(f"user: {question}\nA:{first.upper()}{END}user: And?\nA:")
        done = run("chat", DEMO, "--chat-template", template, *self.options, "--verbose",
                   stdin=f"{question}\nAnd?\n".encode())
        self.assertEqual(done.stdout.decode(), f"{first}\n{second}\n")
        self.assertIn("does not begin with what was read last", done.stderr.decode())

    def test_undo_is_as_if_it_had_not_been(self):
        straight, _ = self.chat("The river", "And the sea?")
        detour, told = self.chat("The river", "Wrong", "/undo", "And the sea?")
        self.assertIn("taken back: Wrong", told)
        first, second = straight.splitlines()[0], straight.splitlines()[-1]
        self.assertTrue(detour.startswith(first) and detour.endswith(second + "\n"), detour)
        self.assertNotIn("does not begin", told)
        _, told = self.chat("/undo")
        self.assertIn("nothing to take back", told)

    def test_random_numbers_go_on_after_undo(self):
        sampling = ("--temperature", "2", "--top-k", "0", "--seed", "5", "-n", "12")
        out, _ = self.chat("The river", "/undo", "The river", sampling=sampling)
        half = len(out.splitlines()) // 2
        self.assertNotEqual(out.splitlines()[:half], out.splitlines()[half:])
        self.assertEqual(out, self.chat("The river", "/undo", "The river", sampling=sampling)[0])

    def test_save_and_load(self):
        file = self.folder / "talk"
        straight, _ = self.chat("The river", "And the sea?")
        first, _ = self.chat("The river", f"/save {file}")
        rest, told = self.chat(f"/load {file}", "And the sea?")
        self.assertEqual(first + rest, straight)
        self.assertRegex(told, r"tokens read after [1-9]\d* that")
        line, _, state = file.read_bytes().partition(b"\n")
        self.assertEqual([m["role"] for m in json.loads(line)["messages"]], ["user", "assistant"])
        self.assertTrue(state.startswith(b"KRSTATE"))
        # The messages alone, as somebody may write them.
        plain = self.folder / "talk.json"
        plain.write_text(json.dumps(json.loads(line)["messages"], indent=1))
        rest, told = self.chat(f"/load {plain}", "And the sea?")
        self.assertEqual(first + rest, straight)
        self.assertIn("after 0 that", told)
        # A state of another model is read again; what is no conversation is refused and kept.
        done = run("chat", self.model, *self.options, "--verbose", stdin=f"/load {file}\nHe\n".encode())
        self.assertEqual(done.returncode, 0, done)
        self.assertIn("read again", done.stderr.decode())
        notes = self.folder / "notes"
        notes.write_text("mine")
        other = self.folder / "other version"
        other.write_bytes(file.read_bytes().replace(b'"krait_chat":1', b'"krait_chat":2'))
        _, told = self.chat(f"/load {other}", code=1)
        self.assertIn("version 2", told)
        _, told = self.chat(f"/save {notes}", f"/load {notes}", "/load", "/save", f"/load {notes}.none", code=1)
        self.assertEqual(told.count("krait: error:"), 5, told)
        self.assertEqual(notes.read_text(), "mine")

    def test_system_text(self):
        expected = self.answer("system: Be a river.\nuser: Who?\nA:")
        for lines, options in ((["Who?"], ("--system", "Be a river.")), (["/system Be a river.", "Who?"], ())):
            out, _ = self.chat(*lines, options=options)
            self.assertEqual(out.rstrip("\n"), expected.rstrip("\n"))
        out, _ = self.chat("/system", "Who?", options=("--system", "Be a river."))
        self.assertEqual(out.rstrip("\n"), self.answer("user: Who?\nA:").rstrip("\n"))

    def test_several_lines_and_commands(self):
        out, _ = self.chat("The\\", "river", "/quit ", "never")
        self.assertEqual(out.rstrip("\n"), self.answer("user: The\nriver\nA:").rstrip("\n"))
        _, told = self.chat("/help")
        for command in ("/save", "/load", "/undo", "/system", "/quit"):
            self.assertIn(command, told)
        out, told = self.chat("/nonsense", "", code=1)
        self.assertIn("no command /nonsense", told)
        self.assertEqual(out, "")

    def test_the_token_behind_an_answer_ends_it(self):
        # The config knows no end of text; the template puts one behind answers.
        model = self.folder / "endless"
        shutil.copytree(DEMO, model)
        for name in ("config.json", "generation_config.json"):
            config = json.loads((model / name).read_text())
            config["eos_token_id"] = None
            (model / name).write_text(json.dumps(config))
        (model / "tokenizer_config.json").write_text("{}")
        (model / "chat_template.jinja").write_text(TEMPLATE.replace("{{ eos_token }}", END).replace("FILTER", ""))
        for seed in range(3):
            done = run("chat", model, "-n", 4000, "--temperature", 1.5, "--top-k", 0, "--top-p", 1, "--min-p", 0,
                       "--seed", seed, "--verbose", stdin=b"The river\n")
            self.assertEqual(done.returncode, 0, done)
            if b"ended by the model" in done.stderr:
                return
        self.fail("no answer ended")

    def test_a_model_without_template_continues_text(self):
        done = run("chat", DEMO, *self.options, stdin=b"The river\nThe sea\n")
        self.assertEqual(done.returncode, 0, done)
        self.assertEqual(done.stderr.decode().count("has no chat template"), 1)
        first = self.answer("The river")
        second = self.answer(f"The river{first}\nThe sea")
        self.assertEqual(done.stdout.decode(), f"{first}\n{second}\n")

    def test_templates_are_refused_before_anything_is_said(self):
        wrong = self.folder / "wrong.jinja"
        wrong.write_text("a\n{% include 'x' %}\n")
        self.refuse(1, f"{wrong}:2", "chat", DEMO, "--chat-template", wrong, stdin=b"Hello\n")
        wrong.write_text("{{ raise_exception('no talking') }}")
        done = run("chat", DEMO, "--chat-template", wrong, stdin=b"Hello\n")
        self.assertEqual((done.returncode, done.stdout), (1, b""))
        self.assertIn("no talking", done.stderr.decode())

    def test_tokenizer_and_template_of_another_directory(self):
        other = self.folder / "other"
        other.mkdir()
        shutil.copy(DEMO / "tokenizer.json", other)
        shutil.copy(DEMO / "tokenizer_config.json", other)
        shutil.copy(self.template, other / "chat_template.jinja")
        out, _ = self.chat("The river")
        done = run("chat", DEMO, "--tokenizer", other, *self.options, "-q", stdin=b"The river\n")
        self.assertEqual((done.stdout.decode(), done.stderr), (out, b""))

    def test_interrupt_stops_the_answer_and_not_the_program(self):
        process = subprocess.Popen([program.KRAIT, "chat", str(DEMO), "--chat-template", str(self.template),
                                    "-n", "-1", "--ignore-eos", "--verbose", "-t", "1"], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(2):
            process.stdin.write(b"The river\n")
            process.stdin.flush()
            process.stdout.read(20)  # it has begun
            process.send_signal(signal.SIGINT)
            while b"cancelled" not in process.stderr.readline():
                self.assertIsNone(process.poll())
        process.stdin.write(b"/undo\n")
        out, told = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 0)
        self.assertTrue(out.endswith(b"\n"))
        self.assertIn(b"taken back: The river", told)

    def test_at_a_terminal(self):
        child, terminal = pty.fork()
        if child == 0:
            os.execv(program.KRAIT, [program.KRAIT, "chat", str(DEMO), "--chat-template", str(self.template),
                                     "-n", "-1", "--ignore-eos", "-t", "1"])
        seen = b""

        def until(text):
            nonlocal seen
            deadline = time.monotonic() + 60
            while text not in seen:
                self.assertLess(time.monotonic(), deadline, seen)
                seen += os.read(terminal, 1000)
            seen = seen.partition(text)[2]
        until(b"> ")
        os.write(terminal, b"half a line\x03")  # Ctrl-C: the line is forgotten
        until(b"\n> ")
        os.write(terminal, b"The river\n")
        until(b"The river")  # the terminal's echo
        time.sleep(0.5)
        os.write(terminal, b"\x03")
        until(b"\n> ")
        os.write(terminal, b"/undo\n")
        until(b"taken back: The river")
        until(b"> ")
        os.write(terminal, b"\x04")
        _, status = os.waitpid(child, 0)
        self.assertEqual(os.waitstatus_to_exitcode(status), 0)
        os.close(terminal)


if __name__ == "__main__":
    program.KRAIT = os.path.abspath(sys.argv.pop(1))
    unittest.main(verbosity=1)
