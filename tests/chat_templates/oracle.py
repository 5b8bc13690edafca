#!/usr/bin/env python3
"""Compares krait's chat templates with jinja2, set up as transformers does.

    tests/chat_templates/oracle.py --program build/release/jinja_render [--count 10000] [--seed 1] [--write]

1. Every template of this folder with every conversation of conversations.json: what jinja2 gives must be
   what expected.json holds (--write stores it; null where it fails), and what krait gives.
2. Small templates by hand, and expressions and statements made at random from a grammar: the same text,
   or both fail.

Exits with 1 if anything differs.
"""
import argparse
import copy
import datetime
import json
import pathlib
import re
import subprocess
import sys

import jinja2
import jinja2.ext
import jinja2.sandbox

import grammar

TEMPLATES = pathlib.Path(__file__).resolve().parent
ADDRESS = re.compile(r"<[^<>]* at 0x[0-9a-f]+>")
NOW = datetime.datetime(2026, 3, 4, 5, 6, 7)


class Generation(jinja2.ext.Extension):
    """{% generation %}: its body, in a scope of its own."""
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("render_body"), [], [], body).set_lineno(line)

    def render_body(self, caller):
        return caller()


def environment():
    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators,
                          sort_keys=sort_keys)

    made = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    made.filters["tojson"] = tojson
    made.globals["raise_exception"] = raise_exception
    made.globals["strftime_now"] = NOW.strftime
    return made


def oracle(env, record):
    """The text, or None where jinja2 fails or prints where an object lies in memory."""
    try:
        inputs = copy.deepcopy(record["inputs"])  # jinja2's filter indent changes a list
        text = env.from_string(record["template"]).render(
            **{"tools": None, "documents": None, "add_generation_prompt": False, **inputs})
        return None if ADDRESS.search(text) else text
    except Exception:  # whatever it is, the template does not render
        return None


def answers(program, records):
    lines = "".join(json.dumps(record) + "\n" for record in records)
    done = subprocess.run([program], input=lines, capture_output=True, text=True, check=True)
    results = [json.loads(line) for line in done.stdout.split("\n") if line]
    assert len(results) == len(records), f"{len(results)} answers for {len(records)} templates"
    return results


def chats():
    """(template's name, conversation's name, record)"""
    conversations = json.loads((TEMPLATES / "conversations.json").read_text("utf-8"))
    for path in sorted(TEMPLATES.glob("*.jinja")):
        for name, inputs in conversations.items():
            yield path.stem, name, {"template": path.read_text("utf-8"), "inputs": inputs}


def compare(program, env, records):
    """Prints what differs; how many texts were the same, how many failed in both, how many differ."""
    same = failed = differ = 0
    for record, result in zip(records, answers(program, records)):
        expected = oracle(env, record)
        if result.get("text") != expected:
            differ += 1
            if differ <= 20:
                print(f"template: {record['template']!r}\n  jinja2: {expected!r}\n  krait:  {result}")
        elif expected is None:
            failed += 1
        else:
            same += 1
    return same, failed, differ


def main():
    options = argparse.ArgumentParser(description=__doc__,
                                      formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--program", required=True)
    options.add_argument("--count", type=int, default=10000)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--write", action="store_true")
    options = options.parse_args()
    env = environment()

    expected = {}
    for template, conversation, record in chats():
        expected.setdefault(template, {})[conversation] = oracle(env, record)
    stored = TEMPLATES / "expected.json"
    text = json.dumps(expected, indent=1, ensure_ascii=True) + "\n"
    if options.write:
        stored.write_text(text, "utf-8")
    current = stored.is_file() and stored.read_text("utf-8") == text
    if not current:
        print(f"{stored.name} is not what jinja2 {jinja2.__version__} gives: write it anew with --write")

    table = [("set", "same text", "both fail", "differ")]
    sets = (("chats", [record for _, _, record in chats()]),
            ("cases", grammar.cases()),
            ("random", list(grammar.random_records(options.seed, options.count))))
    wrong = 0
    for name, records in sets:
        counts = compare(options.program, env, records)
        wrong += counts[2]
        table.append((name, *map(str, counts)))
    for row in table:
        print("  ".join(cell.ljust(10) if i == 0 else cell.rjust(9) for i, cell in enumerate(row)))
    sys.exit(0 if current and wrong == 0 else 1)


if __name__ == "__main__":
    main()
