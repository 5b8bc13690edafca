#!/usr/bin/env python3
"""Compares krait's tokenizer with the `tokenizers` package from PyPI, side by side.

    tests/compare_tokenizers.py --program build/release/tokenize_lines \\
        --tokenizer gpt-neox-20b.json --tokenizer gpt2_vocab.json+gpt2_merges.txt \\
        wiki.test.raw [more text files]

Every line of every text file (newline included), every nasty string below and a few thousand
random strings are encoded and decoded by both. Bytes that are not UTF-8 have no counterpart in
`tokenizers`; for them the ids are compared with what byte tokens must give. Prints the number of
lines compared and of mismatches, and with --speed the encoding speed of both on one thread, timed
in alternation. Exits with 1 if anything differs.
"""
import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import unicodedata

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"

import tokenizers  # noqa: E402  (after the environment is set)

NASTY = [
    "", " ", "  ", "\n", "\r\n", "\r", "\t", "\0", "\0\0 a\0b", "a\r\nb\r\n\r\nc", " \n \n ",
    "Hello, y'all! How are you \U0001f601 ?", "it's we're I'VE you'll he'd 'S 'Re", "'\u017f 'T",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 \U0001f1e9\U0001f1ea\U0001f1eb",
    "\U0001f44d\U0001f3fd\U0001f3ff \u2764\ufe0f \u263a 1\ufe0f\u20e3",
    "e\u0301 \u00e9 o\u0323\u0302 \u1ed9 a\u0300\u0301\u0302\u0323\u0327\u0328",
    "q\u0307\u0323 vs q\u0323\u0307", "\u0344 \u2126 \u212b \u1e9b\u0323", "\u0301leading mark",
    "\u1112\u1161\u11ab\u1100\u1173\u11af \ud55c\uae00 \uac00\u11a8 \u1100\u1161 \u1161\u1100",
    "\ufb01 \u2460 \u00bd \u00b2\u00b3 \ufdfa \uff21\uff22\u3000\uff11", "\u0958 \u09dc \u0fb9",
    "0123456789 1234 12 \u0664\u0665\u0666 \u0967\u0968\u0969 \u0e51\u0e52 \u4e94\u516d \u2167 \u3289",
    "3.14159e-10 0x1F 1,000,000.00", " " * 23, " " * 24, " " * 25, " " * 26, " " * 49 + "x",
    "x" + " " * 31 + "y" + " " * 3 + "z  ", "\t\t\t  \t x", "\u00a0\u2003 \u3000\u2028\u2029\u0085x",
    "\u180e a\u180eb", "\u200b\u200c\u200d\ufeff", "<|endoftext|>", "a<|endoftext|>b <|padding|> c",
    "<|endoftext|><|endoftext|>", "<|endoftext", "<s>", " <s> a</s>", "<unk>", "a <unk> b", "<0x41>",
    "\u2581", "\u2581\u2581a \u2581", "a\u2581b", "a b  c   d", ">>TITLE<<", ">>ABSTRACT<<x",
    "!!!???...---", "$+<=>^`|~", "C++ {}[]()<>;:'\"\\/", "snake_case camelCase", "http://a.b/c?d=e#f",
    "\u0627\u0644\u0639\u0631\u0628\u064a\u0629 \u05e2\u05d1\u05e8\u05d9\u05ea \u0939\u093f\u0928\u094d\u0926\u0940",
    "\u4e2d\u6587\u5b57\u7b26\u65e5\u672c\u8a9e\u30ab\u30bf\u30ab\u30ca", "\U00020000\U0002a6d6 \U0001d400\U0001d7d9",
    "\ue000\uf8ff\U0010ffff\ufffd\ufffe", "\u0378\u0379 \U000e0001\U000e0020", "\x7f\x80\x9f",
    "".join(chr(c) for c in range(0x20)), "".join(chr(c) for c in range(0x7f, 0x250)),
    "a" * 1000, "ab" * 5000, "\u0301" * 300, "\U0001f600" * 200, "\n" * 100, "=" * 80, "-" * 79,
]
INVALID = [
    b"\xff", b"\x80", b"a\xffb", b"\xc3", b"\xc3(", b"\xe2\x82", b"\xe2\x82 \xac", b"\xed\xa0\x80",
    b"x\xed\xbf\xbf y", b"\xf4\x90\x80\x80", b"\xc0\x80", b"\xf0\x9f\x98", b" \xfe\xfe word",
    "\u00e9".encode() + b"\xe9" + "\u00e9".encode(), b"\xf0\x9f\x98\x80\x80\xf0\x9f",
]
ALPHABET = (
    list("abcdeABC'sStTlLrRevdm0123456789  \n\r\t.,!?-_<>|\"\\")
    + list("\u00e9\u00df\u0130\u017f\u0301\u0323\u0327\u00a0\u2028\u3000\u200d\u2581\u4e2d\u6587\u0660\u0966\u00b2\u00bd\u1100\u1161\u11a8\uac00")
    + ["\U0001f600", "\U0001f3fd", "\U0001d7d9", "  ", "    ", " the", " of", "ing", "<s>", "</s>",
       "<unk>", "<|endoftext|>", ">>TITLE<<", "\r\n", "\0"])


def random_texts(count, seed):
    rng = random.Random(seed)
    for _ in range(count):
        n = rng.choice((3, 8, 20, 60))
        yield "".join(rng.choice(ALPHABET) for _ in range(rng.randint(1, n)))


def code_point_texts():
    """Every assigned code point between letters, digits, symbols and spaces, and doubled."""
    return [f"a{c}a1{c}1!{c}! {c} {c}{c} e\u0301{c}\n" for c in map(chr, range(0x110000))
            if unicodedata.category(c) not in ("Cs", "Cn", "Co")]


def merge_pair(merge, vocab):
    """A merge as a pair; `tokenizers` cannot read "a b" where a or b holds a space."""
    if isinstance(merge, list):
        return merge
    places = [i for i, c in enumerate(merge) if c == " "]
    places = [i for i in places if merge[:i] in vocab and merge[i + 1:] in vocab]
    assert len(places) == 1, merge
    return [merge[:places[0]], merge[places[0] + 1:]]


def load(name, folder):
    """What encodes, what decodes, and the path of the tokenizer.json; "VOCAB+MERGES" makes GPT-2's."""
    if "+" not in name:
        with open(name, encoding="utf-8") as f:
            data = json.load(f)
        data["model"]["merges"] = [merge_pair(m, data["model"]["vocab"])
                                   for m in data["model"]["merges"]]
        tokenizer = tokenizers.Tokenizer.from_str(json.dumps(data))
        # From 0.22 on `tokenizers` spells added tokens with normalized = true in their normalized
        # form when it decodes, and skips them no longer: decode as if they were not normalized.
        for token in data["added_tokens"]:
            token["normalized"] = False
        return tokenizer, tokenizers.Tokenizer.from_str(json.dumps(data)), name
    vocab, merges = name.split("+")
    model = tokenizers.models.BPE.from_file(vocab, merges)
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    tokenizer.post_processor = tokenizers.processors.ByteLevel(trim_offsets=False)
    tokenizer.add_special_tokens(["<|endoftext|>"])
    path = os.path.join(folder, "gpt2.json")
    tokenizer.save(path)
    return tokenizer, tokenizer, path


def run(program, path, mode, file, *options):
    result = subprocess.run([program, path, mode, file, *options], capture_output=True, check=True)
    return result.stdout.decode().split("\n")[:-1]


def ids_and_text(line):
    ids, _, text = line.partition("\t")
    return [int(i) for i in ids.split()], json.loads(text) if text else None


def compare_texts(args, tokenizer, decoder, path, texts, folder, label):
    file = os.path.join(folder, "texts.jsonl")
    with open(file, "w") as f:
        f.writelines(json.dumps(text) + "\n" for text in texts)
    lines = run(args.program, path, "--json", file, "--decode")
    assert len(lines) == len(texts), (len(lines), len(texts))
    mismatches = 0
    for text, line in zip(texts, lines):
        ids, decoded = ids_and_text(line)
        expected = tokenizer.encode(text).ids
        expected_text = decoder.decode(expected, skip_special_tokens=False)
        if ids != expected or decoded != expected_text:
            mismatches += 1
            if mismatches <= args.show:
                print(f"  {text[:200]!r}\n    tokenizers {expected[:60]} {expected_text[:100]!r}\n"
                      f"    krait      {ids[:60]} {decoded[:100]!r}")
    print(f"  {label}: {len(texts)} texts, {mismatches} mismatches")
    return mismatches


def compare_invalid(args, tokenizer, path, folder):
    """Each invalid byte must come out as itself when the ids' bytes are put together."""
    mismatches = 0
    file = os.path.join(folder, "invalid")
    for data in INVALID:
        with open(file, "wb") as f:
            f.write(data)
        ids, text = ids_and_text(run(args.program, path, "--whole", file, "--decode", "--no-special")[0])
        expected = data.decode("utf-8", "replace")
        as_text = tokenizer.encode(expected, add_special_tokens=False).ids
        if text != expected and ids != as_text:
            mismatches += 1
            print(f"  {data!r}: ids {ids}, text {text!r}, expected {expected!r}")
    print(f"  invalid UTF-8: {len(INVALID)} texts, {mismatches} mismatches")
    return mismatches


def speed(args, tokenizer, path, file):
    """Bytes per second of both, whole file and by line, medians of alternating runs."""
    with open(file, encoding="utf-8", newline="") as f:
        whole = f.read()
    size = len(whole.encode())
    for mode, texts in (("--whole", [whole]), ("--raw", whole.splitlines(keepends=True))):
        ours, theirs = [], []
        for _ in range(args.speed):
            ours.append(float(run(args.program, path, mode, file, "--time", "2")[1].split()[0]))
            start = time.perf_counter()
            for text in texts:
                tokenizer.encode(text)
            theirs.append(time.perf_counter() - start)
        a, b = statistics.median(ours), statistics.median(theirs)
        print(f"  {os.path.basename(file)} {'whole' if mode == '--whole' else 'by line'}: krait "
              f"{size / a / 1e6:.1f} MB/s, tokenizers {size / b / 1e6:.1f} MB/s, ratio {b / a:.1f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--program", required=True, help="the built tests/tools/tokenize_lines")
    parser.add_argument("--tokenizer", action="append", required=True,
                        help="tokenizer.json, or VOCAB.json+MERGES.txt for GPT-2")
    parser.add_argument("--random", type=int, default=3000, help="random strings per tokenizer")
    parser.add_argument("--code-points", action="store_true", help="every code point in context")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", type=int, default=3, help="mismatches to print per text file")
    parser.add_argument("--speed", type=int, default=0, metavar="RUNS")
    parser.add_argument("texts", nargs="*")
    args = parser.parse_args()
    print(f"tokenizers {tokenizers.__version__}")
    mismatches = 0
    with tempfile.TemporaryDirectory() as folder:
        for name in args.tokenizer:
            print(os.path.basename(name))
            tokenizer, decoder, path = load(name, folder)
            for file in args.texts:
                with open(file, encoding="utf-8", newline="") as f:
                    lines = [line + "\n" for line in f.read().split("\n")]
                mismatches += compare_texts(args, tokenizer, decoder, path, lines, folder,
                                            os.path.basename(file))
            mismatches += compare_texts(args, tokenizer, decoder, path, NASTY, folder, "nasty strings")
            million = ["a" * 10**6, "\u4e2d" * 333333, "".join(random_texts(60000, 7)).replace(" ", "")]
            mismatches += compare_texts(args, tokenizer, decoder, path, million, folder, "1 MB without a space")
            if args.code_points:
                mismatches += compare_texts(args, tokenizer, decoder, path, code_point_texts(),
                                            folder, "every code point")
            texts = list(random_texts(args.random, args.seed))
            mismatches += compare_texts(args, tokenizer, decoder, path, texts, folder, "random strings")
            mismatches += compare_invalid(args, tokenizer, path, folder)
            for file in args.texts if args.speed else []:
                speed(args, tokenizer, path, file)
    return 1 if mismatches else 0


if __name__ == "__main__":
    sys.exit(main())
