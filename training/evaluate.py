"""Held-out loss of a checkpoint on a text file, by transformers: what `krait perplexity` computes.

    python evaluate.py ../models/krait-demo --file wiki.test.raw

The file's tokens are cut into windows of --seq-len; each is scored from an empty state, its first
token is not scored, and the last, shorter window counts too. nll is the total over the number of
scored tokens; bits per byte is the total over the bytes of the whole file. --fused computes the
same in float32 by this directory's own kernels, some fifty times faster.
"""

import argparse
import json
import math
import pathlib

import memory

if __name__ == "__main__":
    memory.keep()

import tokenizers
import torch
import torch.nn.functional as F
import transformers

import families


def by_transformers(directory):
    """A function: ids [windows, length] -> total nll of tokens 1.. of each window."""
    model = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    model.eval()

    def total_nll(ids):
        logits = model(ids, use_cache=False).logits
        return F.cross_entropy(logits[:, :-1].flatten(0, 1).double(), ids[:, 1:].flatten(),
                               reduction="sum").item()
    return total_nll


def by_training_kernels(directory):
    """The same by the fused operations, for an export of ours."""
    _, model = families.load_export(directory)

    def total_nll(ids):
        ids, target = ids[:, :-1].contiguous(), ids[:, 1:].contiguous()
        return model.loss(ids, target, torch.float32).item() * target.numel()
    return total_nll


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--file", type=pathlib.Path, required=True)
    parser.add_argument("--seq-len", type=int, default=2048)
    parser.add_argument("--batch", type=int, default=1, help="windows computed at a time")
    parser.add_argument("--max-tokens", type=int, help="score only so many tokens of the file")
    parser.add_argument("--fused", action="store_true", help="by the training kernels")
    args = parser.parse_args()

    data = args.file.read_bytes()
    tokenizer = tokenizers.Tokenizer.from_file(str(args.model / "tokenizer.json"))
    ids = tokenizer.encode(data.decode("utf-8"), add_special_tokens=False).ids
    if args.max_tokens:
        ids = ids[:args.max_tokens]
    total_nll = (by_training_kernels if args.fused else by_transformers)(args.model)
    torch.set_grad_enabled(False)
    ids = torch.tensor(ids)
    whole = len(ids) // args.seq_len
    windows = ids[:whole * args.seq_len].view(whole, args.seq_len)
    batches = [*windows.split(args.batch), ids[whole * args.seq_len:][None]]
    total, scored = 0.0, 0
    for done, batch in enumerate(batches):
        if batch.shape[1] > 1:
            total += total_nll(batch)
            scored += batch.shape[0] * (batch.shape[1] - 1)
            print(f"\r{done + 1}/{len(batches)}  nll {total / scored:.5f}", end="", flush=True)
    print()
    result = {"tokens": len(ids), "scored": scored, "nll": total / scored,
              "perplexity": math.exp(total / scored)}
    if not args.max_tokens:
        result["bits_per_byte"] = total / math.log(2) / len(data)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
