r"""Distill a checkpoint into weights of few levels: ternary, or 2 bits.

    python distill.py --teacher ../models/krait-demo --data runs/data --out runs/demo-ternary

The student is the teacher's architecture; its matrices (table, head and all products but dt_proj)
are those of grids.py in every step, A_log has 4 bits, everything else is bf16. The
loss is KL(teacher || student) over all tokens (and, with --share, cross-entropy). The teacher's
weights are the start. Writes the student to OUT/export in the Hugging Face layout: rotated as
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
import torch
from torch.func import functional_call

import families
import grids
import ops
import quantized
import train


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


class CodedTable:
    """The table (the tied head) of a checkpoint of progressive.py: its codes stay as they are, what
    is trained is the logarithm of a factor of each scale."""

    def __init__(self, directory):
        self.checkpoint = quantized.Checkpoint(directory)
        self.stem, = self.checkpoint.digits
        self.name = self.stem + ".weight"
        self.factor = torch.zeros_like(self.checkpoint.scales[self.stem], requires_grad=True)

    def start(self):
        """The weights of the plain model, the table left out."""
        weights = self.checkpoint.weights(self.checkpoint.floats, self.checkpoint.scales)
        return {name: w for name, w in weights.items() if name != self.name}

    def scale(self):
        return grids.Rounded.apply(self.checkpoint.scales[self.stem] * self.factor.exp())

    def weight(self):
        return self.checkpoint.weights({}, {self.stem: self.scale()})[self.name]

    def finish(self, krait, recipe, export, out):
        """`export` as krait quantizes it, but with these codes for its table."""
        subprocess.run([krait, "quantize", export, "-o", out / "rounded", "--recipe", recipe,
                        "--force"], check=True, capture_output=True)
        kept = self.checkpoint.coded()
        name = self.name + "_scale"
        kept[self.stem][name] = self.scale().detach().bfloat16().reshape(
            kept[self.stem][name].shape)
        done = quantized.Checkpoint(out / "rounded", kept)
        done.write(out / "final", done.floats, done.scales, {"method": "distill.py --table"})


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
    parser.add_argument("--table", type=pathlib.Path,
                        help="stage of progressive.py whose table keeps its codes: the start")
    parser.add_argument("--krait", default="krait", help="the program, with --table")
    parser.add_argument("--recipe", default="krait-ternary", help="of the result, with --table")
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
    table = args.table and CodedTable(args.table)
    parameters = grids.latents(table.start() if table else dict(teacher.named_parameters()))
    if table:
        parameters[table.name + "_factor"] = table.factor
    optimizer = make_optimizer(parameters, args)

    def student_weights():
        free = {n: p for n, p in parameters.items() if not n.endswith("_factor")}
        weights = grids.student_weights(free, args.grid)
        return {**weights, table.name: table.weight()} if table else weights

    args.out.mkdir(parents=True, exist_ok=True)
    checkpoint, done = args.out / "checkpoint.pt", 0
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        with torch.no_grad():
            for name, p in parameters.items():
                p.copy_(saved["parameters"][name])
        optimizer.load_state_dict(saved["optimizer"])
        done = saved["step"]
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
                       parameters={n: p.detach() for n, p in parameters.items()})
        if stopping:
            print(f"stopped after step {step}", flush=True)
            return
    log.close()
    if last == steps:
        export(args.teacher, student_weights(), args.out / "export")
        if table:
            table.finish(args.krait, args.recipe, args.out / "export", args.out)


if __name__ == "__main__":
    main()
