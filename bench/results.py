#!/usr/bin/env python3
"""Every recipe on one checkpoint, one text, one machine, in one run.

  bench/results.py --krait build/release/krait --text wiki.test.raw
  bench/results.py --krait build/release/krait --recipes f32 krait-w8a8    # speeds alone

Each recipe is quantized from the same checkpoint with the built-in calibration text, compared with the
original over the whole text if one is given, and timed in alternating rounds; speeds are medians
over all rounds with the lowest and highest in brackets. Only Python's standard library is used.
"""

import argparse
import json
import pathlib
import platform
import statistics
import subprocess
import sys

RECIPES = ["f32", "bf16", "static-w8a8", "dynamic-w8a8", "percentile-w8a8", "hadamard-w8a8",
           "quamba-w8a8", "krait-w8a8"]


def run_json(command: list[str]) -> dict:
    return json.loads(subprocess.run(command + ["--json"], check=True, stdout=subprocess.PIPE).stdout)


def tensor_bytes(directory: pathlib.Path) -> int:
    return sum(file.stat().st_size for file in directory.glob("*.safetensors"))


def speeds(krait: str, directories: dict, threads: int, rounds: int) -> dict:
    """tokens/s samples by recipe and test, the recipes taking turns."""
    samples = {recipe: {} for recipe in directories}
    for _ in range(rounds):
        for recipe, directory in directories.items():
            result = run_json([krait, "bench", str(directory), "-p", "512", "-n", "128", "-r", "3",
                               "-t", str(threads)])
            for test in result["results"]:
                samples[recipe].setdefault(test["test"], []).extend(test["samples_ts"])
    return samples


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):,.0f} ({min(values):,.0f}-{max(values):,.0f})"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--krait", default="build/release/krait")
    parser.add_argument("--model", default="models/krait-demo")
    parser.add_argument("--text", help="WikiText-2 raw test, or any text; without, speeds alone")
    parser.add_argument("--recipes", nargs="+", default=RECIPES)
    parser.add_argument("--work", default="out/results", help="where the quantized checkpoints go")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", help="all figures as JSON; the table is printed")
    args = parser.parse_args()

    work = pathlib.Path(args.work)
    work.mkdir(parents=True, exist_ok=True)
    directories, rows = {}, {}
    for recipe in args.recipes:
        directories[recipe] = work / recipe
        subprocess.run([args.krait, "quantize", args.model, "-o", str(directories[recipe]), "--recipe",
                        recipe, "--force", "-t", str(args.threads)], check=True,
                       stdout=subprocess.DEVNULL)
    for recipe in args.recipes:
        rows[recipe] = {"bytes": tensor_bytes(directories[recipe])}
        if not args.text:
            continue
        print(f"comparing {recipe} with f32", file=sys.stderr)
        rows[recipe] |= run_json([args.krait, "compare", args.model, str(directories[recipe]),
                                 "-f", args.text, "-t", str(args.threads)])
    timed = speeds(args.krait, directories, args.threads, args.rounds)
    info = run_json([args.krait, "info"])

    losses = ["perplexity", "nll difference", "mean KL", "99.9 % KL", "top-1 agreement"]
    columns = (["recipe"] + (losses if args.text else [])
               + ["MB", "prefill 512, tokens/s", "decode, tokens/s"])
    print("| " + " | ".join(columns) + " |\n|---|" + "---:|" * (len(columns) - 1))
    for recipe, row in rows.items():
        row["speeds"] = timed[recipe]
        cells = [recipe]
        if args.text:
            cells += [f"{row['model']['perplexity']:.3f}",
                      f"{row['nll_difference']:+.5f} \u00b1 {row['nll_difference_error']:.5f}",
                      f"{row['kl_mean']:.6f}", f"{row['kl_p999']:.4f}",
                      f"{100 * row['top1_agreement']:.2f} %"]
        cells += [f"{row['bytes'] / 1e6:.2f}", spread(timed[recipe]["pp512"]),
                  spread(timed[recipe]["tg128"])]
        print("| " + " | ".join(cells) + " |")
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], stdout=subprocess.PIPE, text=True).stdout
    record = {"command": " ".join(["bench/results.py"] + sys.argv[1:]), "commit": commit.strip(),
              "python": platform.python_version(), "machine": info, "recipes": rows}
    if args.out:
        pathlib.Path(args.out).write_text(json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
