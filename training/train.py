r"""Train a small language model on a CPU.

    python train.py --family mamba --data runs/data --out runs/demo --steps 4200 \
        --decay-fraction 0.2

The learning rate warms up, stays, and falls linearly to zero over the last part (warmup, stable,
decay): the length of the run may be changed on resuming, by another --steps, until the decay has
begun. Running the same command again resumes from the last checkpoint; a run that is asked to
terminate (SIGTERM, SIGINT) writes one after its step.

Every step of the first 200 is logged. --compare checks a run against a log that was kept:

    python train.py --data runs/data --out runs/again --stop-after 200 \
        --compare logs/krait-demo.jsonl
"""

import argparse
import dataclasses
import json
import os
import pathlib
import signal
import time

import memory

if __name__ == "__main__":
    memory.keep()

import numpy as np
import torch

import families


def learning_rate(step, args):
    """Of step 1..steps: linear warmup, constant, linear to zero."""
    decay_steps = round(args.decay_fraction * args.steps)
    warm = min(1.0, step / args.warmup)
    cool = min(1.0, (args.steps - step + 1) / decay_steps)
    return args.peak * min(warm, cool)


def window_order(tokens, context, seed):
    """A seeded permutation of the windows of `context` tokens: one epoch."""
    return np.random.default_rng(seed).permutation((tokens - 1) // context)


def batch_at(data, windows, context):
    """ids, target int64 [len(windows), context]: the windows and their next tokens."""
    rows = np.stack([data[w * context:w * context + context + 1] for w in windows]).astype(np.int64)
    rows = torch.from_numpy(rows)
    return rows[:, :-1].contiguous(), rows[:, 1:].contiguous()


@torch.no_grad()
def validate(model, data, context, batch, count):
    """Mean nll per token over `count` batches spread evenly over the held-out tokens."""
    windows = np.linspace(0, (len(data) - 1) // context - 1, count * batch).astype(int)
    losses = [model.loss(*batch_at(data, windows[i:i + batch], context)).item()
              for i in range(0, len(windows), batch)]
    return sum(losses) / len(losses)


def save(path, **content):
    """Atomically: a run that is killed while writing keeps the checkpoint before."""
    partial = path.with_suffix(".partial")
    torch.save(content, partial)
    os.replace(partial, path)


def make_optimizer(family, model, args):
    named = list(model.named_parameters())
    groups = [{"params": [p for n, p in named if family.decays(n)], "weight_decay": 0.1},
              {"params": [p for n, p in named if not family.decays(n)], "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=args.peak, betas=(0.9, 0.95), fused=True)


def read_log(path):
    """{step: loss}; where a resumed run repeats a step, the later record counts."""
    records = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return {r["step"]: r["loss"] for r in records}


def compare(path, reference):
    """Fails unless the losses of the logged steps agree but for rounding noise."""
    ours, theirs = read_log(path), read_log(reference)
    differences = [abs(ours[s] - theirs[s]) for s in ours if s in theirs]
    mean, largest = sum(differences) / len(differences), max(differences)
    print(f"{len(differences)} losses compared with {reference}: difference {mean:.1e} in the "
          f"mean, {largest:.1e} at most")
    if mean > 0.02:
        raise SystemExit("the run differs from the logged one")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", choices=families.FAMILIES, default="mamba")
    parser.add_argument("--size", choices=families.SIZES, default="4m")
    parser.add_argument("--data", type=pathlib.Path, required=True, help="from prepare.py")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--steps", type=int, default=4200)
    parser.add_argument("--stop-after", type=int, help="end early, at this step")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--peak", type=float, default=3e-3)
    parser.add_argument("--warmup", type=int, default=200)
    parser.add_argument("--decay-fraction", type=float, default=0.2)
    parser.add_argument("--checkpoint-every", type=int, default=100)
    parser.add_argument("--validate-every", type=int, default=250)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compare", type=pathlib.Path, help="the log of an earlier run")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    data = np.memmap(args.data / "train.bin", dtype=np.uint16, mode="r")
    held_out = np.memmap(args.data / "valid.bin", dtype=np.uint16, mode="r")
    order = window_order(len(data), args.context, args.seed)
    assert args.steps * args.batch <= len(order), "more steps than one epoch has"

    family = families.FAMILIES[args.family]
    shapes = families.SIZES[args.size]
    if args.family not in shapes:
        raise SystemExit(f"size {args.size} is there for {', '.join(shapes)} only, not {args.family}")
    model = family.Model(family.Config(**shapes[args.family]))
    optimizer = make_optimizer(family, model, args)
    parameters = list(model.parameters())
    args.out.mkdir(parents=True, exist_ok=True)
    checkpoint, done = args.out / "checkpoint.pt", 0
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        done = saved["step"]
    print(f"{sum(p.numel() for p in parameters):,} parameters, {len(data):,} tokens; "
          f"from step {done} to {args.steps}", flush=True)

    def save_checkpoint(step):
        save(checkpoint, family=args.family, step=step, model=model.state_dict(),
             optimizer=optimizer.state_dict(), config=dataclasses.asdict(model.config),
             tokens=step * args.batch * args.context)

    stopping = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.append(True))

    log_path = args.out / "log.jsonl"
    log = open(log_path, "a", encoding="utf-8")
    last = min(args.steps, args.stop_after or args.steps)
    recent, clock, began = [], time.time(), time.time()
    for step in range(done + 1, last + 1):
        rate = learning_rate(step, args)
        for group in optimizer.param_groups:
            group["lr"] = rate
        ids, target = batch_at(data, order[(step - 1) * args.batch:step * args.batch], args.context)
        loss = model.loss(ids, target)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0).item()
        optimizer.step()
        optimizer.zero_grad()
        recent.append(loss.item())

        if step <= 200 or step % 20 == 0 or step == last:
            now = time.time()
            record = {"step": step, "tokens": step * args.batch * args.context,
                      "loss": round(sum(recent) / len(recent), 5), "lr": round(rate, 7),
                      "grad_norm": round(norm, 4),
                      "tokens_per_s": round(len(recent) * args.batch * args.context
                                            / (now - clock))}
            recent, clock = [], now
            if step % args.validate_every == 0 or step == args.steps:
                nll = validate(model, held_out, args.context, args.batch, 8)
                record["held_out"] = round(nll, 5)
                clock = time.time()
            log.write(json.dumps(record) + "\n")
            log.flush()
            if step % 20 == 0 or step == last:
                eta = (now - began) / (step - done) * (args.steps - step)
                extra = f"  held out {record['held_out']:.4f}" if "held_out" in record else ""
                print(f"step {step}/{args.steps}  loss {record['loss']:.4f}  "
                      f"{record['tokens_per_s']:,} tokens/s  ETA {eta / 60:.0f} min{extra}",
                      flush=True)
        if step % args.checkpoint_every == 0 or step == last or stopping:
            save_checkpoint(step)
        if stopping:
            print(f"stopped after step {step}", flush=True)
            break
    log.close()
    if args.compare:
        compare(log_path, args.compare)


if __name__ == "__main__":
    main()
