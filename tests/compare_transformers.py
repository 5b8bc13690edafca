#!/usr/bin/env python3
"""Compares `krait perplexity` with Hugging Face transformers on the same checkpoint and text.

Needs torch, transformers and tokenizers from PyPI (CPU is enough). Examples:

  compare_transformers.py --krait build/release/krait --model models/krait-demo --text wiki.test.raw
  compare_transformers.py --make-random 768x24 --tokenizer gpt-neox-20b.json --model /tmp/mamba-130m-random
  compare_transformers.py --krait build/release/krait --model /tmp/mamba-130m-random --text wiki.test.raw --max-tokens 10000

Exit status 1 if nll per token differs by more than --tolerance (relative).
"""

import argparse
import json
import math
import pathlib
import shutil
import subprocess
import sys

import torch
from tokenizers import Tokenizer
from transformers import MambaConfig, MambaForCausalLM


def make_random(shape: str, tokenizer: str, directory: str, vocab_rows: int = 50280) -> None:
    """Writes a random Mamba-1 checkpoint of D x L, seeded, in float32, with the given tokenizer.json.

    Embeddings are scaled up: with the usual 0.02 a random model is so close to uniform that almost any
    mistake would leave the perplexity where it is.
    """
    d_model, layers = (int(n) for n in shape.split("x"))
    torch.manual_seed(0)
    config = MambaConfig(vocab_size=vocab_rows, hidden_size=d_model, num_hidden_layers=layers,
                         state_size=16, expand=2, conv_kernel=4, use_bias=False,
                         bos_token_id=0, eos_token_id=0, pad_token_id=0, tie_word_embeddings=True)
    model = MambaForCausalLM(config)
    with torch.no_grad():
        model.backbone.embeddings.weight.normal_(0, 0.1)
        for block in model.backbone.layers:
            block.mixer.out_proj.weight.mul_(4)
            block.norm.weight.uniform_(0.5, 1.5)
    model.save_pretrained(directory)
    shutil.copy(tokenizer, pathlib.Path(directory) / "tokenizer.json")


def transformers_nll(model_dir: str, ids: list[int], vocab_size: int, seq_len: int) -> float:
    """Mean nll over windows of seq_len tokens, each from the zero state, first token unscored.

    Softmax over the first vocab_size ids only: padded rows of the table never count.
    """
    model = MambaForCausalLM.from_pretrained(model_dir, dtype=torch.float32).eval()
    total, count = 0.0, 0
    with torch.inference_mode():
        for begin in range(0, len(ids), seq_len):
            window = torch.tensor(ids[begin:begin + seq_len])
            if len(window) < 2:
                continue
            logits = model(window[None], use_cache=False).logits[0, :-1, :vocab_size].double()
            total += torch.nn.functional.cross_entropy(logits, window[1:], reduction="sum").item()
            count += len(window) - 1
            print(f"\rtransformers: {begin + len(window)}/{len(ids)} tokens, "
                  f"nll {total / count:.6f}", end="", file=sys.stderr)
    print(file=sys.stderr)
    return total / count


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--krait", help="the program")
    parser.add_argument("--model", required=True, help="checkpoint directory")
    parser.add_argument("--text", help="text file")
    parser.add_argument("--seq-len", type=int, default=2048)
    parser.add_argument("--max-tokens", type=int, help="score only the first N tokens of the text")
    parser.add_argument("--tolerance", type=float, default=1e-4)
    parser.add_argument("--make-random", metavar="DxL", help="write a random checkpoint to --model instead")
    parser.add_argument("--tokenizer", help="tokenizer.json for --make-random")
    args = parser.parse_args()

    if args.make_random:
        make_random(args.make_random, args.tokenizer, args.model)
        return 0

    command = [args.krait, "perplexity", args.model, "-f", args.text, "--seq-len", str(args.seq_len), "--json"]
    if args.max_tokens:
        command += ["--max-tokens", str(args.max_tokens)]
    ours = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)

    tokenizer = Tokenizer.from_file(str(pathlib.Path(args.model) / "tokenizer.json"))
    text = pathlib.Path(args.text).read_bytes().decode()  # read_text would turn CRLF into LF
    ids = tokenizer.encode(text).ids[:args.max_tokens]
    rows = json.loads((pathlib.Path(args.model) / "config.json").read_text())["vocab_size"]
    theirs = transformers_nll(args.model, ids, min(rows, tokenizer.get_vocab_size()), args.seq_len)

    relative = abs(ours["nll"] - theirs) / theirs
    print(f"tokens        krait {ours['tokens']}  transformers {len(ids)}")
    print(f"nll per token krait {ours['nll']:.7f}  transformers {theirs:.7f}  relative difference {relative:.2e}")
    print(f"perplexity    krait {math.exp(ours['nll']):.5f}  transformers {math.exp(theirs):.5f}")
    return 0 if relative <= args.tolerance else 1


if __name__ == "__main__":
    sys.exit(main())
