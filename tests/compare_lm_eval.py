#!/usr/bin/env python3
"""Compares `krait eval` with lm-evaluation-harness over transformers on the same checkpoint and items.

Needs lm_eval, torch and transformers from PyPI (CPU is enough). The harness's own model class scores
the requests that its task definitions would make of the local files. Example:

  compare_lm_eval.py --krait build/release/krait --model models/krait-demo --data tasks --limit 100

Exit status 1 if a log-likelihood differs by more than --tolerance (relative, at least absolute), or a
greedy flag or a metric differs.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

TASKS = ["lambada_openai", "hellaswag", "piqa", "arc_easy", "arc_challenge", "winogrande"]


def requests_of(task: str, item: dict) -> list[tuple[str, str]]:
    """(context, continuation) of every choice, as the harness's task files define them."""
    if task == "lambada_openai":
        words = item["text"].split(" ")
        return [(" ".join(words[:-1]), " " + words[-1])]
    if task == "winogrande":
        return [(context, " " + item["continuation"]) for context in item["context_options"]]
    query = f"Question: {item['query']}\nAnswer:" if task == "piqa" else item["query"]
    return [(query, " " + choice) for choice in item["choices"]]


def harness_metrics(task: str, items: list[dict], found: list[list[tuple[float, bool]]]) -> dict:
    if task == "lambada_openai":
        return {"acc": float(numpy.mean([choices[0][1] for choices in found])),
                "perplexity": float(numpy.exp(-numpy.mean([choices[0][0] for choices in found])))}
    right, right_per_character = [], []
    for item, choices in zip(items, found):
        likelihoods = numpy.array([choice[0] for choice in choices])
        right.append(numpy.argmax(likelihoods) == item["gold"])
        if "choices" in item:
            lengths = numpy.array([float(len(choice)) for choice in item["choices"]])
            right_per_character.append(numpy.argmax(likelihoods / lengths) == item["gold"])
    metrics = {"acc": float(numpy.mean(right))}
    if right_per_character:
        metrics["acc_norm"] = float(numpy.mean(right_per_character))
    return metrics


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--krait", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True, help="directory of TASK.jsonl")
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--limit", type=int, default=100)
    parser.add_argument("--tolerance", type=float, default=1e-4)
    arguments = parser.parse_args()
    tasks = arguments.tasks.split(",")

    with tempfile.TemporaryDirectory() as directory:
        samples = pathlib.Path(directory) / "samples.jsonl"
        run = subprocess.run([arguments.krait, "eval", arguments.model, "--tasks", arguments.tasks, "--data",
                              arguments.data, "--limit", str(arguments.limit), "--json", "--items",
                              str(samples)], check=True, stdout=subprocess.PIPE)
        told = json.loads(run.stdout)["results"]
        lines = [json.loads(line) for line in samples.read_text().splitlines()]

    model = HFLM(pretrained=arguments.model, device="cpu", dtype="float32", batch_size=4)
    failures = 0
    for task in tasks:
        path = pathlib.Path(arguments.data) / f"{task}.jsonl"
        items = [json.loads(line) for line in path.read_text().splitlines()[:arguments.limit]]
        pairs = [requests_of(task, item) for item in items]
        instances = [Instance(request_type="loglikelihood", doc={}, arguments=pair, idx=0)
                     for choices in pairs for pair in choices]
        scored = iter(model.loglikelihood(instances, disable_tqdm=True))
        found = [[next(scored) for _ in choices] for choices in pairs]
        ours = [line for line in lines if line["task"] == task]
        worst, greedy = 0.0, 0
        for theirs, line in zip(found, ours, strict=True):
            for (value, flag), mine, mine_flag in zip(theirs, line["log_likelihoods"], line["is_greedy"],
                                                      strict=True):
                worst = max(worst, abs(value - mine) / max(1.0, abs(value)))
                greedy += bool(flag) != mine_flag
        metrics = harness_metrics(task, items, found)
        same = all(abs(told[task][f"{name},none"] - value) <= arguments.tolerance * max(1.0, value)
                   for name, value in metrics.items())
        bad = worst > arguments.tolerance or greedy > 0 or not same
        failures += bad
        shown = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
        print(f"{task}: {len(items)} items, {len(instances)} log-likelihoods, largest difference {worst:.1e}, "
              f"{greedy} greedy flags differ; {shown}{'' if same else ' (krait differs)'}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
