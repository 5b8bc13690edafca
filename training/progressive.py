r"""Quantize a checkpoint in stages; between them what is still float learns to make up for it.

    python progressive.py --teacher ../models/krait-demo --data runs/data --out runs/demo-w2a8 \
        --krait ../build/release/krait --recipe ../recipes/krait-w2a8.json --text generated.txt

A stage rounds its products as the recipe would (`krait quantize`, all else float) in the model as
it is by then. Their codes stay from then on, bit by bit. Then everything that is float, the scales
of all codes included, goes on by Adam on KL(teacher || student) over the pretraining's mixture.
The last stage rounds what the recipe has in int8 and tunes what is float in the finished
checkpoint, OUT/final, which has the recipe's tensors and numerics. While distilling inputs are not
rounded.

Running the same command again goes on behind the last stage that was finished.
"""

import argparse
import copy
import json
import pathlib
import re
import subprocess
import time

import memory

if __name__ == "__main__":
    memory.keep()

import numpy as np
import torch

import families
import quantized
import train
import tune


def layers_of(text):
    """"0-2" -> {0, 1, 2}; "table" -> {None}: what lies in no layer."""
    if text == "table":
        return {None}
    first, _, last = text.partition("-")
    return set(range(int(first), int(last or first) + 1))


def stage_recipe(recipe, names, stage):
    """The recipe for the coded products among `names` that lie in these layers, all else float.
    Without a stage: the whole recipe, codes by the nearest, as they will be replaced."""
    if stage is None:
        steps = [s for s in recipe["steps"] if s["name"] not in ("calibrate", "gptq")]
        return {**recipe, "steps": [*steps, {"name": "rtn"}]}
    rules = {}
    if None in stage:
        rules = {role: recipe["weights"][role] for role in ("embeddings", "lm_head")}
    for name in names:
        stem, _, last = name.rpartition(".")
        layer = re.search(r"\.(\d+)\.", stem)
        rule = recipe["weights"].get(stem.rpartition(".")[2], {})
        if layer and int(layer[1]) in stage and last == "weight" and "group_size" in rule:
            rules[stem] = rule
    return {**recipe, "name": recipe["name"] + "-stage", "weights": rules}


def recipe_by_role(krait, recipe, model):
    """The recipe as a checkpoint of that model keeps it: by role, with steps."""
    told = subprocess.run([krait, "inspect", model, "--recipe", recipe, "--json"], check=True,
                          capture_output=True, text=True)
    return json.loads(told.stdout)["recipe"]


def write_float(teacher, weights, out):
    """The teacher's files with these weights: matrices in float32, all else in bf16."""
    tensors = {name: w.detach().contiguous() if w.dim() == 2 and name.endswith(".weight")
               else w.detach().bfloat16() for name, w in weights.items()}
    families.save_like(teacher, tensors, out)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", type=pathlib.Path, required=True, help="of export.py")
    parser.add_argument("--data", type=pathlib.Path, required=True, help="from prepare.py")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--krait", default="krait", help="the program")
    parser.add_argument("--recipe", required=True, help="name or JSON file")
    parser.add_argument("--text", required=True, help="--calibration of krait quantize")
    parser.add_argument("--samples", type=int, default=128, help="--samples of krait quantize")
    parser.add_argument("--stages", nargs="+", default=["table", "0-1", "2-3", "4-5", "6-7"])
    parser.add_argument("--steps", type=int, nargs="+", default=[300, 200, 200, 200, 200, 300],
                        help="of every stage and of the last")
    parser.add_argument("--peaks", type=float, nargs="+",
                        default=[5e-3, 4e-3, 4e-3, 4e-3, 4e-3, 3e-3],
                        help="learning rates of these, relative to the size of each tensor")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--validation", type=pathlib.Path, help="text to watch the KL on")
    parser.add_argument("--validation-windows", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(arguments)
    assert len(args.steps) == len(args.peaks) == len(args.stages) + 1

    torch.set_num_threads(args.threads)
    recipe = recipe_by_role(args.krait, args.recipe, args.teacher)
    data = np.memmap(args.data / "train.bin", dtype=np.uint16, mode="r")
    order = train.window_order(len(data), args.context, args.seed)
    _, teacher = families.load_export(args.teacher)
    teacher.requires_grad_(False)
    model = copy.deepcopy(teacher)
    watched = args.validation and tune.read_text(
        args.validation, args.teacher / "tokenizer.json", args.validation_windows, 2048, 0)
    args.out.mkdir(parents=True, exist_ok=True)

    def report(record):
        with open(args.out / "log.jsonl", "a", encoding="utf-8") as log:
            log.write(json.dumps(record) + "\n")
        print(json.dumps(record), flush=True)

    def divergence(weights, head, ids):
        return tune.divergence(model, teacher, weights, head, ids, torch.bfloat16)[0]

    def watch(stage, moment, tuning, head):
        if watched is None:
            return
        with torch.no_grad():
            weights = tuning.checkpoint.weights(*tuning.values())
            kl = sum(divergence(weights, head, x).item() for x in watched.split(2))
        report({"stage": stage, "moment": moment,
                "validation_kl": round(kl / -(-len(watched) // 2), 5)})

    def quantize(number, stage, weights, kept):
        """The student with this stage's products rounded; None: the finished checkpoint."""
        folder = args.out / f"stage-{number}"
        write_float(args.teacher, weights, folder / "float")
        rules = stage_recipe(recipe, weights, stage and layers_of(stage))
        (folder / "recipe.json").write_text(json.dumps(rules, indent=2), encoding="utf-8")
        subprocess.run([args.krait, "quantize", folder / "float", "-o", folder / "rounded",
                        "--recipe", folder / "recipe.json", "--calibration", args.text, "--samples",
                        str(args.samples), "-t", str(args.threads), "--force"],
                       check=True, capture_output=True)
        return quantized.Checkpoint(folder / "rounded", kept)

    weights, kept, seen = dict(teacher.named_parameters()), {}, 0
    for number, (stage, steps, peak) in enumerate(
            zip([*args.stages, None], args.steps, args.peaks)):
        out = args.out / (f"stage-{number}" if stage else "final")
        out = out / "tuned" if stage else out
        windows = order[seen:seen + steps * args.batch]
        seen += len(windows)
        if not out.exists():
            began = time.time()
            checkpoint = quantize(number, stage, weights, kept)
            head = checkpoint.head and checkpoint.head + ".weight"
            tuning = tune.Tuning(checkpoint)
            watch(stage, "rounded", tuning, head)
            batches = [torch.cat([ids, target[:, -1:]], 1) for ids, target in
                       (train.batch_at(data, w, args.context)
                        for w in windows.reshape(steps, args.batch))]
            for record in tune.descend(tuning, batches,
                                       lambda w, ids: divergence(w, head, ids), peak, 40):
                report({"stage": stage, **record})
            watch(stage, "distilled", tuning, head)
            note = {"method": "progressive.py", "stages": args.stages, "steps": args.steps,
                    "peaks": args.peaks, "tokens": seen * args.context, "seed": args.seed}
            with torch.no_grad():
                checkpoint.write(out, *tuning.values(), note)
            report({"stage": stage, "tokens": seen * args.context,
                    "seconds": round(time.time() - began)})
        checkpoint = quantized.Checkpoint(out)
        kept = checkpoint.coded()
        weights = checkpoint.weights(checkpoint.floats, checkpoint.scales)


if __name__ == "__main__":
    main()
