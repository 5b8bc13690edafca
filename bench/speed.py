#!/usr/bin/env python3
"""Speed of published shapes against what the machine allows: a sweep, a table and charts.

  bench/speed.py --krait build/release/krait --json docs/results/speed.json --svg docs/results/speed.svg
  bench/speed.py --redraw docs/results/speed.json --svg docs/results/speed.svg
  bench/speed.py --shapes mamba-130m --recipes krait-w8a8 bf16 --prompts 512 --batches 1,8,32 --threads 1 2

Runs `krait bench --dummy` for each shape, recipe and number of threads, in rounds that take turns, so
that a machine whose memory is shared with others treats all alike. A figure is the median of all runs,
lowest and highest in brackets; the percentage is the median fraction of the bound that `krait bench`
measured around each run. The JSON has every sample with machine, commit and recipe. Only Python's
standard library is used.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys

COLOURS = ("#0057b7", "#b7410e", "#2e7d32", "#7b1fa2", "#5d4037", "#00838f")
WIDTH, PANEL, LEFT, TOP, BOTTOM = 940, 300, 62, 40, 70


def commit() -> str:
    try:
        return subprocess.run(["git", "describe", "--always", "--dirty"], check=True, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def measure(args: argparse.Namespace, shape: str, recipe: str, threads: int) -> dict:
    command = [args.krait, "bench", "--dummy", shape, "--recipe", recipe, "-p", args.prompts, "-n",
               str(args.tokens), "-b", args.batches, "-r", str(args.repeats), "-t", str(threads),
               "--json"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def cell(test: dict) -> str:
    rates = test["samples_ts"]
    return (f"{number(statistics.median(rates))} ({number(min(rates))}-{number(max(rates))}), "
            f"{100 * statistics.median(test['fractions_of_bound']):.0f} %")


def table(runs: list[dict]) -> str:
    names = list(dict.fromkeys(test["test"] for run in runs for test in run["results"]))
    lines = ["| shape | recipe | threads | " + " | ".join(names) + " |",
             "|---|---|---:|" + "---:|" * len(names)]
    for run in runs:
        tests = {test["test"]: test for test in run["results"]}
        lines.append(f"| {run['shape']} | {run['recipe']} | {run['threads']} | "
                     + " | ".join(cell(tests[name]) if name in tests else "" for name in names)
                     + " |")
    return "\n".join(lines)


def bars(runs: list[dict], name: str, caption: str, top: float) -> list[str]:
    """A panel: for each run a bar of its fraction of the bound, with the rate written on it."""
    shown = [(run, test) for run in runs for test in run["results"] if test["test"] == name]
    parts = [f'<text x="{LEFT}" y="{top + 16:.0f}" font-size="14">{caption}</text>']
    bottom, height = top + PANEL - BOTTOM, PANEL - TOP - BOTTOM
    largest = max(1.0, *(statistics.median(test["fractions_of_bound"]) for _, test in shown))

    def y(fraction: float) -> float:
        return bottom - height * fraction / (1.05 * largest)

    for tick in range(0, int(4 * 1.05 * largest) + 1):
        at = y(tick / 4)
        parts.append(f'<line x1="{LEFT}" y1="{at:.1f}" x2="{WIDTH - 12}" y2="{at:.1f}" '
                     f'stroke="{"#444" if tick == 4 else "#ddd"}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{25 * tick}%</text>')
    step = (WIDTH - LEFT - 24) / max(len(shown), 1)
    recipes = list(dict.fromkeys(run["recipe"] for run in runs))
    for i, (run, test) in enumerate(shown):
        fractions = test["fractions_of_bound"]
        x, at = LEFT + 6 + i * step, y(statistics.median(fractions))
        colour = COLOURS[recipes.index(run["recipe"]) % len(COLOURS)]
        middle = x + 0.4 * step
        parts.append(f'<rect x="{x:.1f}" y="{at:.1f}" width="{0.8 * step:.1f}" '
                     f'height="{bottom - at:.1f}" fill="{colour}"/>')
        low, high = y(min(min(fractions), 1.05 * largest)), y(min(max(fractions), 1.05 * largest))
        parts.append(f'<line x1="{middle:.1f}" y1="{low:.1f}" x2="{middle:.1f}" y2="{high:.1f}" '
                     'stroke="#222" stroke-opacity="0.6"/>')
        parts.append(f'<text x="{middle:.1f}" y="{bottom - 6:.1f}" text-anchor="middle" '
                     f'fill="white">{number(statistics.median(test["samples_ts"]))}</text>')
        threads = f"{run['threads']} thread{'s' if run['threads'] != 1 else ''}"
        for line, text in enumerate([run["shape"], run["recipe"], threads]):
            parts.append(f'<text x="{middle:.1f}" y="{bottom + 14 + 13 * line:.1f}" '
                         f'text-anchor="middle" font-size="10">{text}</text>')
    return parts


def caption_of(test: str) -> str:
    """Of the tests of `krait bench`: pp512, tg16, tg16 x8."""
    kind, _, sequences = test.partition(" x")
    if kind.startswith("pp"):
        return f"prefill of {kind[2:]} tokens"
    return f"decode of {sequences or 1} sequence{'s' if sequences else ''}"


def chart(runs: list[dict]) -> str:
    tests = [(name, caption_of(name)) for name in
             dict.fromkeys(test["test"] for run in runs for test in run["results"])]
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" '
             f'height="{PANEL * len(tests)}" font-family="sans-serif" font-size="11">',
             f'<rect width="{WIDTH}" height="{PANEL * len(tests)}" fill="white"/>']
    for i, (name, caption) in enumerate(tests):
        parts += bars(runs, name, f"{caption}: fraction of the machine's bound; tokens/s on the bars",
                      i * PANEL)
    return "\n".join([*parts, "</svg>"]) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--krait", default="build/release/krait")
    parser.add_argument("--shapes", nargs="+",
                        default=["mamba-130m", "mamba-370m", "mamba-790m", "mamba-2.8b"])
    parser.add_argument("--recipes", nargs="+", default=["krait-w8a8", "krait-w4a8"])
    parser.add_argument("--prompts", default="512,2048", help="tokens of prefill")
    parser.add_argument("--tokens", type=int, default=32, help="tokens of decode")
    parser.add_argument("--batches", default="1", help="sequences decoded together")
    parser.add_argument("--threads", type=int, nargs="+", default=[2])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3, help="runs in each round")
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--svg", type=pathlib.Path)
    parser.add_argument("--redraw", type=pathlib.Path, help="no run: the chart of this JSON, to --svg")
    args = parser.parse_args()
    if args.redraw:
        runs = json.loads(args.redraw.read_text(encoding="utf-8"))["runs"]
        args.svg.write_text(chart(runs), encoding="utf-8")
        return 0

    runs: list[dict] = []
    for number_of_round in range(args.rounds):
        cases = [(s, r, t) for s in args.shapes for r in args.recipes for t in args.threads]
        for i, (shape, recipe, threads) in enumerate(cases):
            told = measure(args, shape, recipe, threads)
            if number_of_round == 0:
                runs.append({"shape": shape, "recipe": recipe, "threads": threads,
                             "peak_rss_bytes": told["peak_rss_bytes"],
                             "weight_bytes_per_token": told["weight_bytes_per_token"],
                             "state_bytes": told["state_bytes"], "machine": [],
                             "results": told["results"]})
            else:
                for old, new in zip(runs[i]["results"], told["results"]):
                    old["samples_ts"] += new["samples_ts"]
                    old["fractions_of_bound"] += new["fractions_of_bound"]
            runs[i]["machine"].append({key: told[key]
                                       for key in ("read_bandwidth", "int8_ops", "fp32_flops")})
            cpu, isa = told["cpu_info"], told["build"]["isa"]
    print(table(runs))
    for key, unit in (("read_bandwidth", "GB/s"), ("int8_ops", "Gop/s")):
        values = [m[key] / 1e9 for run in runs for m in run["machine"]]
        print(f"\n{key}: {statistics.median(values):,.0f} ({min(values):,.0f}-{max(values):,.0f}) "
              f"{unit}", end="")
    print()
    if args.json:
        args.json.write_text(json.dumps({"commit": commit(), "cpu": cpu, "isa": isa, "runs": runs},
                                        indent=1) + "\n", encoding="utf-8")
    if args.svg:
        args.svg.write_text(chart(runs), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
