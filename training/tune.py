r"""Tune what is float in a quantized checkpoint: krait's KL-driven tuning.

    krait generate ../models/krait-demo -p '<|endoftext|>' -n 131584 --ignore-eos \
        --temperature 1 --top-k 0 --top-p 1 --min-p 0 > generated.txt
    python tune.py --teacher ../models/krait-demo --quantized OUT --out TUNED --text generated.txt

Norms, biases, the convolution, A_log, D, dt_proj and the scales of the matrices move, by Adam, so
that KL(teacher || quantized) over a few hundred sequences falls; the digits of the weights stay.
There are no labels: the text is what the teacher itself writes, or any other.
The result has the same tensors in the same types; a value that is stored as bf16 is rounded so in
every step. Inputs are not rounded to int8 here.
"""

import argparse
import copy
import json
import pathlib
import time

import memory

if __name__ == "__main__":
    memory.keep()

import tokenizers
import torch
from torch.func import functional_call

import distill
import families
import grids
import ops
import quantized


def read_text(path, tokenizer, count, length, seed):
    """ids [count, length + 1]: pieces of the file in a random order."""
    encoder = tokenizers.Tokenizer.from_file(str(tokenizer))
    ids = torch.tensor(encoder.encode(path.read_text(encoding="utf-8"),
                                      add_special_tokens=False).ids)
    pieces = ids[:len(ids) // (length + 1) * (length + 1)].view(-1, length + 1)
    generator = torch.Generator().manual_seed(seed)
    return pieces[torch.randperm(len(pieces), generator=generator)[:count]]


class Tuning:
    """The parameters that move, `free`, and what they make of the quantized checkpoint."""

    def __init__(self, checkpoint, only=""):
        self.checkpoint = checkpoint
        chosen = lambda name: any(part in name for part in only.split(","))
        self.free = {name: value.clone().requires_grad_()
                     for name, value in checkpoint.floats.items() if chosen(name)}
        # The logarithm of a factor: scales of all sizes move alike, and stay positive.
        self.factors = {stem: torch.zeros_like(scale, requires_grad=True)
                        for stem, scale in checkpoint.scales.items() if chosen(stem + ".scale")}

    def parameters(self):
        return [*self.free.values(), *self.factors.values()]

    def values(self):
        """floats, scales: as they would be stored."""
        kind = self.checkpoint.kind
        as_stored = lambda name, x: grids.Rounded.apply(x) if kind[name] == torch.bfloat16 else x
        floats = {name: as_stored(name, self.free.get(name, value))
                  for name, value in self.checkpoint.floats.items()}
        scales = dict(self.checkpoint.scales)
        for stem, factor in self.factors.items():
            scales[stem] = as_stored(self.checkpoint.scale_name(stem), scales[stem] * factor.exp())
        return floats, scales


def divergence(model, teacher, weights, head, ids, kind):
    """Mean KL and nll of the model with these weights over ids [B,T+1]."""
    inputs, target = ids[:, :-1].contiguous(), ids[:, 1:].reshape(-1)
    with torch.no_grad():
        theirs = teacher(inputs, kind)
    ours = functional_call(model, {n: w for n, w in weights.items() if n != head}, (inputs, kind))
    head_weight = weights[head] if head else weights[families.head_name(model)]
    kl, _, nll = ops.HeadDivergence.apply(ours, head_weight, theirs, teacher.head(), target, 0.0)
    return kl, nll


def descend(tuning, batches, loss, peak, every=16):
    """Adam on loss(weights, batch), once for each of `batches` (ids [B,T+1]); prints and returns
    [{step, kl, tokens_per_s}] for every so many steps."""
    # A step is a share of what the tensor's values are: of their root mean square.
    sizes = {name: p.detach().square().mean().sqrt().item() for name, p in tuning.free.items()}
    optimizer = torch.optim.Adam(
        [{"params": [p], "size": max(sizes[name], 1e-2)} for name, p in tuning.free.items()]
        + [{"params": list(tuning.factors.values()), "size": 1.0}], betas=(0.9, 0.99), eps=1e-12)
    steps, log, recent, clock = len(batches), [], [], time.time()
    for step, batch in enumerate(batches, 1):
        for group in optimizer.param_groups:
            group["lr"] = peak * group["size"] * distill.schedule(step, steps, max(1, steps // 20))
        kl = loss(tuning.checkpoint.weights(*tuning.values()), batch)
        kl.backward()
        optimizer.step()
        optimizer.zero_grad()
        recent.append(kl.item())
        if step % every == 0 or step == steps:
            tokens = len(recent) * batch.shape[0] * (batch.shape[1] - 1)
            log.append({"step": step, "kl": round(sum(recent) / len(recent), 6),
                        "tokens_per_s": round(tokens / (time.time() - clock))})
            print("  ".join(f"{key} {value}" for key, value in log[-1].items()), flush=True)
            recent, clock = [], time.time()
    return log


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", type=pathlib.Path, required=True, help="of export.py")
    parser.add_argument("--quantized", type=pathlib.Path, required=True, help="of krait quantize")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--text", type=pathlib.Path, required=True)
    parser.add_argument("--validation", type=pathlib.Path, help="text to watch the KL on")
    parser.add_argument("--validation-windows", type=int, default=16)
    parser.add_argument("--sequences", type=int, default=256)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--peak", type=float, default=1e-3)
    parser.add_argument("--only", default="", help="names that move contain one of these, or all")
    parser.add_argument("--kind", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)

    torch.set_num_threads(args.threads)
    began = time.time()
    kind = getattr(torch, args.kind)
    _, teacher = families.load_export(args.teacher)
    teacher.requires_grad_(False)
    model = copy.deepcopy(teacher)
    checkpoint = quantized.Checkpoint(args.quantized)
    head = checkpoint.head and checkpoint.head + ".weight"
    tokenizer = args.teacher / "tokenizer.json"
    ids = read_text(args.text, tokenizer, args.sequences, args.length, args.seed)
    print(f"{len(ids)} sequences of {ids.shape[1] - 1} tokens after {time.time() - began:.0f} s")

    tuning = Tuning(checkpoint, args.only)
    wanted = {name for name, _ in model.named_parameters()}
    assert set(checkpoint.weights(checkpoint.floats, checkpoint.scales)) - {head} == wanted
    watched = args.validation and read_text(args.validation, tokenizer, args.validation_windows,
                                            2048, args.seed)

    @torch.no_grad()
    def watch():
        if watched is None:
            return {}
        weights = checkpoint.weights(*tuning.values())
        parts = [divergence(model, teacher, weights, head, x, kind) for x in watched.split(4)]
        kl, nll = (sum(x).item() / len(parts) for x in zip(*parts))
        print(f"validation: KL {kl:.6f}, nll {nll:.5f}", flush=True)
        return {"kl": kl, "nll": nll}

    before = watch()
    per_epoch = len(ids) // args.batch
    generator = torch.Generator().manual_seed(args.seed)
    order = torch.cat([torch.randperm(len(ids), generator=generator)[:per_epoch * args.batch]
                       for _ in range(args.epochs)] or [torch.empty(0, dtype=torch.long)])
    descend(tuning, [ids[chosen] for chosen in order.split(args.batch) if len(chosen)],
            lambda weights, x: divergence(model, teacher, weights, head, x, kind)[0], args.peak)
    after = watch()
    with torch.no_grad():
        note = {"sequences": len(ids), "length": args.length, "epochs": args.epochs,
                "peak": args.peak, "data": args.text.name, "seed": args.seed}
        checkpoint.write(args.out, *tuning.values(), note)
    print(json.dumps({"before": before, "after": after, "seconds": round(time.time() - began)}))
    return before, after


if __name__ == "__main__":
    main()
