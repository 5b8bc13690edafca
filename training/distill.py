r"""Distill a checkpoint into weights of few levels: ternary, or 2 bits.

    python distill.py --teacher ../models/krait-demo --data runs/data --out runs/demo-ternary

The student is the teacher's architecture; its matrices (table, head and all products) are those of
grids.py in every step, everything else is bf16. The
loss is KL(teacher || student) over all tokens (and, with --share, cross-entropy). The teacher's
weights are the start. With --trellis-table the table and the head, which is tied to it, are in
2-bit trellis codes, and OUT/final is the checkpoint that krait makes of it. Writes the student to OUT/export in the Hugging Face layout: rotated as
recipes/krait-ternary.json does, its matrices are scale times digit, so that rounding them to the
same grid loses nothing.

Running the same command again resumes from the last checkpoint; SIGTERM and SIGINT write one.
"""

import argparse
import copy
import json
import pathlib
import signal
import subprocess
import time

import memory

if __name__ == "__main__":
    memory.keep()

import numpy as np
import safetensors.torch
import torch
from torch.func import functional_call

import families
import grids
import ops
import quantized
import train


RECIPE = pathlib.Path(__file__).parent.parent / "recipes" / "krait-ternary.json"


def divergence(student, weights, teacher, ids, target, share=0.0, kind=torch.bfloat16):
    """(loss, KL, nll) of the student that `weights` make of the module `student`."""
    with torch.no_grad():
        theirs = teacher(ids, kind)
    ours = functional_call(student, weights, (ids, kind))
    return ops.HeadDivergence.apply(ours, weights[families.head_name(student)], theirs,
                                    teacher.head(), target.reshape(-1), share)


@torch.no_grad()
def validate(student, weights, teacher, data, context, count, kind=torch.bfloat16):
    """(KL, nll) over `count` windows spread evenly over the tokens of `data`."""
    windows = np.linspace(0, (len(data) - 1) // context - 1, count).astype(int)
    parts = [divergence(student, weights, teacher, *train.batch_at(data, windows[i:i + 8], context),
                        kind=kind)[1:] for i in range(0, count, 8)]
    return [sum(x).item() / len(parts) for x in zip(*parts)]


class Kept(torch.autograd.Function):
    """v -> value; the gradient passes straight through to v."""

    @staticmethod
    def forward(ctx, v, value):
        return value.clone()

    @staticmethod
    def backward(ctx, dw):
        return dw, None


class TrellisTable:
    """The table (the tied head) in trellis codes: krait encodes the latents anew every few steps,
    and in between the student computes with the last codes."""

    def __init__(self, krait, recipe, teacher_directory, name, scratch):
        """`recipe`: the rules for the table and the head, and their rotation, are taken from it."""
        self.krait, self.recipe, self.directory = krait, recipe, teacher_directory
        self.name, self.stem, self.scratch = name, name.removesuffix(".weight"), scratch
        self.plain = safetensors.torch.load_file(teacher_directory / "model.safetensors")
        ends = ("embeddings", "lm_head")
        stored = json.loads(pathlib.Path(recipe).read_text(encoding="utf-8"))
        scratch.mkdir(parents=True, exist_ok=True)
        (scratch / "recipe.json").write_text(json.dumps({
            "name": "table", "weights": {role: stored["weights"][role] for role in ends},
            "activations": {"lm_head.input": stored["activations"]["lm_head.input"]},
            "steps": [s for s in stored["steps"] if s.get("site") == "lm_head.input"]
                     + [{"name": "rtn"}]}), encoding="utf-8")

    def quantize(self, model, out, recipe):
        subprocess.run([self.krait, "quantize", model, "-o", out, "--recipe", recipe, "--force"],
                       check=True, capture_output=True)

    @torch.no_grad()
    def encode(self, latent):
        block = grids.rotation_block(self.name, latent)
        self.plain[self.name] = quantized.rotate(latent, block, back=True).contiguous()
        families.save_like(self.directory, self.plain, self.scratch / "float")
        self.quantize(self.scratch / "float", self.scratch / "coded", self.scratch / "recipe.json")
        self.keep(quantized.Checkpoint(self.scratch / "coded").coded()[self.stem])

    def keep(self, tensors):
        """`tensors`: the coded ones of the table, by name."""
        self.tensors = tensors
        codes, table, shape, scale = (tensors[f"{self.name}_{part}"]
                                      for part in ("codes", "table", "shape", "scale"))
        digits = quantized.decode(codes, table, *shape.tolist())
        self.value = (digits.unflatten(1, (scale.shape[1], -1))
                      * scale.float()[..., None]).flatten(1)

    def weight(self, latent):
        block = grids.rotation_block(self.name, latent)
        return quantized.rotate(Kept.apply(latent, self.value), block, back=True)

    def finish(self, export, out):
        """`export` as krait quantizes it, but with these codes for its table."""
        self.quantize(export, out / "rounded", self.recipe)
        done = quantized.Checkpoint(out / "rounded", {self.stem: self.tensors})
        done.write(out / "final", done.floats, done.scales, {"method": "distill.py --trellis-table"})


def make_optimizer(parameters, args):
    matrices = [p for n, p in parameters.items() if grids.is_matrix(n, p)]
    others = [p for n, p in parameters.items() if not grids.is_matrix(n, p)]
    return torch.optim.Adam([{"params": matrices, "peak": args.peak},
                             {"params": others, "peak": args.peak * args.others}],
                            lr=args.peak, betas=(0.9, args.beta2), fused=True)


def schedule(step, steps, warmup):
    """The share of the peak learning rate at step 1..steps: linear up, then linear to zero."""
    return min(step / warmup, (steps - step + 1) / (steps - warmup + 1))


def export(teacher_directory, weights, out):
    """The teacher's files with other tensors: bf16 where that is exact, otherwise float32."""
    tensors = {name: w.detach().contiguous() for name, w in weights.items()}
    tensors = {name: w.bfloat16() if torch.equal(w.bfloat16().float(), w) else w
               for name, w in tensors.items()}
    families.save_like(teacher_directory, tensors, out)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", type=pathlib.Path, required=True, help="of export.py")
    parser.add_argument("--data", type=pathlib.Path, required=True, help="from prepare.py")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--grid", choices=grids.GRIDS, default="ternary")
    parser.add_argument("--trellis-table", action="store_true",
                        help="table and head in trellis codes, all else on the grid")
    parser.add_argument("--encode-every", type=int, default=16, help="steps, with --trellis-table")
    parser.add_argument("--krait", default="krait", help="the program, with --trellis-table")
    parser.add_argument("--recipe", type=pathlib.Path, default=RECIPE,
                        help="JSON file, of the result, with --trellis-table")
    parser.add_argument("--tokens", type=int, default=3_440_640, help="a tenth of pretraining's")
    parser.add_argument("--stop-after", type=int, help="end early, at this step")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--peak", type=float, default=5e-4)
    parser.add_argument("--others", type=float, default=1.0,
                        help="learning rate of what is no matrix, relative to the matrices'")
    parser.add_argument("--beta2", type=float, default=0.95)
    parser.add_argument("--warmup", type=float, default=0.05, help="share of the steps")
    parser.add_argument("--share", type=float, default=0.0, help="of cross-entropy in the loss")
    parser.add_argument("--checkpoint-every", type=int, default=200)
    parser.add_argument("--validate-every", type=int, default=400)
    parser.add_argument("--validation-windows", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(arguments)

    torch.set_num_threads(args.threads)
    data = np.memmap(args.data / "train.bin", dtype=np.uint16, mode="r")
    held_out = np.memmap(args.data / "valid.bin", dtype=np.uint16, mode="r")
    order = train.window_order(len(data), args.context, args.seed)
    steps = args.tokens // (args.batch * args.context)
    warmup = max(1, round(args.warmup * steps))

    _, teacher = families.load_export(args.teacher)
    teacher.requires_grad_(False)
    student = copy.deepcopy(teacher)
    parameters = grids.latents(dict(teacher.named_parameters()))
    optimizer = make_optimizer(parameters, args)
    head = families.head_name(teacher)
    table = args.trellis_table and TrellisTable(args.krait, args.recipe, args.teacher, head,
                                                args.out / "table")

    def student_weights():
        free = {n: p for n, p in parameters.items() if not (table and n == head)}
        weights = grids.student_weights(free, args.grid)
        return {**weights, head: table.weight(parameters[head])} if table else weights

    args.out.mkdir(parents=True, exist_ok=True)
    checkpoint, done = args.out / "checkpoint.pt", 0
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        with torch.no_grad():
            for name, p in parameters.items():
                p.copy_(saved["parameters"][name])
        optimizer.load_state_dict(saved["optimizer"])
        done = saved["step"]
        if table:
            table.keep(saved["table"])
    elif table:
        table.encode(parameters[head])
    if not table:
        print(f"{args.grid}: {grids.bits_per_weight(parameters, args.grid):.3f} bits per weight")
    print(f"{steps * args.batch * args.context:,} tokens, from step {done} to {steps}", flush=True)

    log = open(args.out / "log.jsonl", "a", encoding="utf-8")

    def report(record):
        log.write(json.dumps(record) + "\n")
        log.flush()
        print("  ".join(f"{key} {value}" for key, value in record.items()), flush=True)

    def held_out_record(step):
        with torch.no_grad():
            kl, nll = validate(student, student_weights(), teacher, held_out, args.context,
                               args.validation_windows)
        return {"step": step, "held_out_kl": round(kl, 5), "held_out_nll": round(nll, 5)}

    stopping = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.append(True))
    if done == 0:
        report(held_out_record(0))
    last = min(steps, args.stop_after or steps)
    recent, clock = [], time.time()
    for step in range(done + 1, last + 1):
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * schedule(step, steps, warmup)
        ids, target = train.batch_at(data, order[(step - 1) * args.batch:step * args.batch],
                                     args.context)
        loss, kl, nll = divergence(student, student_weights(), teacher, ids, target, args.share)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(list(parameters.values()), 1.0).item()
        optimizer.step()
        optimizer.zero_grad()
        if table and step % args.encode_every == 0 and step < steps:
            table.encode(parameters[head])
        recent.append((kl.item(), nll.item()))
        if step % 40 == 0 or step == last:
            seconds = time.time() - clock
            kl, nll = (sum(x) / len(recent) for x in zip(*recent))
            rate = len(recent) * args.batch * args.context / seconds
            report({"step": step, "tokens": step * args.batch * args.context, "kl": round(kl, 5),
                    "nll": round(nll, 5), "lr": round(optimizer.param_groups[0]["lr"], 7),
                    "grad_norm": round(norm, 4), "tokens_per_s": round(rate),
                    "minutes_left": round((steps - step) * seconds / len(recent) / 60, 1)})
            if step % args.validate_every == 0 or step == last:
                report(held_out_record(step))
            recent, clock = [], time.time()
        if step % args.checkpoint_every == 0 or step == last or stopping:
            train.save(checkpoint, step=step, optimizer=optimizer.state_dict(),
                       parameters={n: p.detach() for n, p in parameters.items()},
                       table=table and table.tensors)
        if stopping:
            print(f"stopped after step {step}", flush=True)
            return
    log.close()
    if last == steps:
        export(args.teacher, student_weights(), args.out / "export")
        if table:
            table.finish(args.out / "export", args.out)


if __name__ == "__main__":
    main()
