"""Held-out loss of checkpoints on a text, split by what the window has shown before each token.

    python by_repetition.py ../models/krait-pythia ../models/krait-mamba2 --file wiki.test.raw

A token is a "pair" if it followed the same token earlier in its window (it can be copied from there:
Arora et al. 2023, arXiv 2312.04927, section 3, call it an associative recall hit), "seen" if it is
no pair but occurred earlier, and "new" otherwise. The share of each kind in a difference of two
models' losses says where the difference comes from. By this directory's own kernels, in float32.
"""

import argparse
import pathlib

import memory

if __name__ == "__main__":
    memory.keep()

import numpy
import tokenizers
import torch
import torch.nn.functional as F

import families

KINDS = ["pair", "seen", "new"]


def kinds_of(window):
    """Index into KINDS of each token of a window but the first."""
    kinds, pairs, seen = [], set(), {window[0]}
    for pair in zip(window[:-1], window[1:]):
        kinds.append(0 if pair in pairs else 1 if pair[1] in seen else 2)
        pairs.add(pair)
        seen.add(pair[1])
    return kinds


def read_ids(path, tokenizer):
    """Of a text, or of a .bin that prepare.py wrote."""
    if path.suffix == ".bin":
        return torch.from_numpy(numpy.fromfile(path, dtype="<u2").astype(numpy.int64))
    text = path.read_text(encoding="utf-8")
    return torch.tensor(tokenizer.encode(text, add_special_tokens=False).ids)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=pathlib.Path, nargs="+",
                        help="all with one tokenizer; differences are against the first")
    parser.add_argument("--file", type=pathlib.Path, required=True, help="text or tokens (.bin)")
    parser.add_argument("--seq-len", type=int, default=512)
    parser.add_argument("--max-tokens", type=int, default=65536)
    args = parser.parse_args()

    tokenizer = tokenizers.Tokenizer.from_file(str(args.models[0] / "tokenizer.json"))
    ids = read_ids(args.file, tokenizer)[:args.max_tokens]
    windows = ids[:len(ids) // args.seq_len * args.seq_len].view(-1, args.seq_len)
    kinds = torch.tensor([kinds_of(window) for window in windows.tolist()])
    shares = [(kinds == k).double().mean().item() for k in range(len(KINDS))]
    print(f"{windows.numel()} tokens in windows of {args.seq_len}: "
          + ", ".join(f"{share:.1%} {kind}" for share, kind in zip(shares, KINDS)))

    torch.set_grad_enabled(False)
    first = None
    for directory in args.models:
        _, model = families.load_export(directory)
        losses = torch.cat([F.cross_entropy(model.logits(window[None]).float()[0, :-1], window[1:],
                                            reduction="none")[None] for window in windows]).double()
        by_kind = [losses[kinds == k].mean().item() for k in range(len(KINDS))]
        line = f"{directory.name:16} nll {losses.mean():.4f}  "
        line += "  ".join(f"{kind} {loss:.3f}" for kind, loss in zip(KINDS, by_kind))
        if first is None:
            first = losses
        else:
            of_kind = [(losses - first)[kinds == k].sum().item() / losses.numel()
                       for k in range(len(KINDS))]
            line += f"  difference {sum(of_kind):+.4f} = " + " ".join(
                f"{d:+.4f} {kind}" for kind, d in zip(KINDS, of_kind))
        print(line, flush=True)


if __name__ == "__main__":
    main()
