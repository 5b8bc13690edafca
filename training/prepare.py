r"""Prepare text for training: sample a mixture, train a tokenizer, write token files.

    python prepare.py --out runs/data --exclude calibration_books.txt \
        --source 0.70 wikipedia.jsonl.zst --source 0.20 books.jsonl.zst

A source is a weight and a file: .jsonl (objects with "text" and perhaps "title") or plain text
(documents separated by a blank line), either of them packed with zstd. A weight is the share of
the text's bytes. Written into --out: tokenizer.json, train.bin, valid.bin (uint16 tokens,
documents joined by <|endoftext|>) and data.json, which says what went in.
"""

import argparse
import hashlib
import io
import json
import pathlib
import random
import re

import numpy as np
import tokenizers
import zstandard

END_OF_TEXT, PADDING = "<|endoftext|>", "<|padding|>"


def read_documents(path):
    """Yields (title, text) of every document of a file."""
    path = pathlib.Path(path)
    with open(path, "rb") as raw:
        packed = path.suffix == ".zst"
        stream = zstandard.ZstdDecompressor().stream_reader(raw) if packed else raw
        text = io.TextIOWrapper(stream, encoding="utf-8")
        if ".jsonl" in path.suffixes:
            for line in text:
                record = json.loads(line)
                yield record.get("title", ""), record["text"]
        else:
            for document in text.read().split("\n\n"):
                yield "", document


def clean(text):
    """Text without the front matter (title, author, year) and the heading marks of a book file."""
    if text.startswith("# Title:"):
        text = text.split("-------\n", 1)[-1]
        text = re.sub(r"^#+ +", "", text, flags=re.MULTILINE)
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def sample(path, train_bytes, valid_bytes, max_chars, excluded, rng):
    """(train, valid): lists of documents of about so many bytes, no document in both.

    A long document gives only its first max_chars characters, so that many books share the room
    of a few.
    """
    documents = [clean(text)[:max_chars] for title, text in read_documents(path)
                 if title not in excluded]
    rng.shuffle(documents)
    parts = []
    for budget in (valid_bytes, train_bytes):
        part = []
        while documents and budget > 0:
            part.append(documents.pop())
            budget -= len(part[-1].encode())
        parts.append(part)
    valid, train = parts
    return train, valid


def train_tokenizer(documents, vocab_size):
    """Byte-level BPE with NFC and GPT-2's split rule, laid out as GPT-NeoX's tokenizer.json."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.normalizer = tokenizers.normalizers.NFC()
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = tokenizers.processors.ByteLevel(
        add_prefix_space=False, trim_offsets=True)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT, PADDING],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False)
    tokenizer.train_from_iterator(documents, trainer)
    assert tokenizer.token_to_id(END_OF_TEXT) == 0 and tokenizer.token_to_id(PADDING) == 1
    return tokenizer


def encode(tokenizer, documents):
    """uint16 [tokens]: the documents, each followed by <|endoftext|>."""
    pieces = []
    for start in range(0, len(documents), 256):
        batch = [d.replace(END_OF_TEXT, "") for d in documents[start:start + 256]]
        for encoding in tokenizer.encode_batch_fast(batch):
            pieces.append(np.array(encoding.ids + [0], dtype=np.uint16))
    return np.concatenate(pieces)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", nargs=2, action="append", required=True,
                        metavar=("WEIGHT", "FILE"))
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--exclude", type=pathlib.Path,
                        help="titles never to use, one a line (the calibration text's books)")
    parser.add_argument("--train-bytes", type=int, default=300_000_000)
    parser.add_argument("--valid-bytes", type=int, default=3_000_000)
    parser.add_argument("--tokenizer-bytes", type=int, default=30_000_000)
    parser.add_argument("--max-document-chars", type=int, default=400_000)
    parser.add_argument("--vocab-size", type=int, default=8192)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    rng = random.Random(args.seed)
    excluded = set()
    if args.exclude:
        excluded = set(args.exclude.read_text(encoding="utf-8").splitlines())
    total_weight = sum(float(weight) for weight, _ in args.source)
    train, valid, report = [], [], []
    for weight, path in args.source:
        share = float(weight) / total_weight
        part = sample(path, share * args.train_bytes, share * args.valid_bytes,
                      args.max_document_chars, excluded, rng)
        train += part[0]
        valid += part[1]
        report.append({"file": pathlib.Path(path).name, "train_documents": len(part[0]),
                       "train_bytes": sum(len(d.encode()) for d in part[0]),
                       "valid_documents": len(part[1]),
                       "valid_bytes": sum(len(d.encode()) for d in part[1])})
        print(report[-1], flush=True)
    rng.shuffle(train)

    args.out.mkdir(parents=True, exist_ok=True)
    vocabulary_text, size = [], 0
    for document in train:
        if size > args.tokenizer_bytes:
            break
        vocabulary_text.append(document)
        size += len(document)
    tokenizer = train_tokenizer(vocabulary_text, args.vocab_size)
    tokenizer.save(str(args.out / "tokenizer.json"))

    tokens = {}
    for name, documents in (("train", train), ("valid", valid)):
        ids = encode(tokenizer, documents)
        ids.tofile(args.out / f"{name}.bin")
        tokens[f"{name}_tokens"] = len(ids)
        tokens[f"{name}_sha256"] = hashlib.sha256(ids.tobytes()).hexdigest()
        print(name, len(ids), "tokens", flush=True)
    description = {"seed": args.seed, "vocab_size": args.vocab_size, "sources": report, **tokens}
    (args.out / "data.json").write_text(json.dumps(description, indent=1) + "\n")


if __name__ == "__main__":
    main()
