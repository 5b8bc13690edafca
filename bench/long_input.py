#!/usr/bin/env python3
"""Time and memory per token against the length of the text so far, as a table and a chart.

  bench/long_input.py --krait build/release/krait --svg docs/results/long-input.svg --json docs/results/long-input.json

For each MODEL:RECIPE (a published shape with random weights) `krait bench -d` decodes from states that
have consumed 1,024 to 65,536 tokens; rounds over the models take turns. Memory is what a running model
needs: weights read per token and the state of one sequence. Only Python's standard library is used.
"""

import argparse
import json
import math
import pathlib
import statistics
import subprocess
import sys

COLOURS = ("#0057b7", "#2e7d32", "#b7410e", "#7b1fa2")
WIDTH, HEIGHT, LEFT, TOP, BOTTOM, GAP = 900, 340, 60, 34, 44, 70


def measure(krait: str, shape: str, recipe: str, depths: list[int], tokens: int, threads: int) -> list:
    told = json.loads(subprocess.run(
        [krait, "bench", "--dummy", shape, "--recipe", recipe, "-p", "0", "-n", str(tokens), "-d",
         ",".join(map(str, depths)), "-r", "2", "-t", str(threads), "--json"],
        check=True, stdout=subprocess.PIPE).stdout)
    return [(test, told["weight_bytes_per_token"]) for test in told["results"]]


def chart(rows: list[dict], depths: list[int]) -> str:
    """Two panels, both axes logarithmic: milliseconds per token, megabytes."""
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
             'font-family="sans-serif" font-size="12">',
             f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>']
    panel = (WIDTH - 2 * LEFT - GAP) / 2
    log = math.log10
    for number, (key, caption) in enumerate([("ms", "milliseconds per token"),
                                             ("mb", "MB of weights and state")]):
        left = LEFT + number * (panel + GAP)
        values = [value for row in rows for value in row[key]]
        low, high = 10 ** math.floor(log(min(values))), 10 ** math.ceil(log(max(values)))

        def x(depth, left=left):
            return left + panel * (log(depth) - log(depths[0])) / (log(depths[-1]) - log(depths[0]))

        def y(value, low=low, high=high):
            return TOP + (HEIGHT - TOP - BOTTOM) * (log(high) - log(value)) / (log(high) - log(low))

        parts.append(f'<text x="{left:.0f}" y="{TOP - 14}">{caption}</text>')
        for power in range(round(log(low)), round(log(high)) + 1):
            at = y(10.0 ** power)
            parts.append(f'<line x1="{left:.0f}" y1="{at:.1f}" x2="{left + panel:.0f}" '
                         f'y2="{at:.1f}" stroke="#ddd"/>')
            parts.append(f'<text x="{left - 8:.0f}" y="{at + 4:.1f}" text-anchor="end">'
                         f'{10.0 ** power:g}</text>')
        for depth in depths:
            parts.append(f'<text x="{x(depth):.0f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">'
                         f'{depth // 1024}k</text>')
        parts.append(f'<text x="{left + panel / 2:.0f}" y="{HEIGHT - 8}" text-anchor="middle">'
                     'tokens before</text>')
        for index, (row, colour) in enumerate(zip(rows, COLOURS)):
            points = " ".join(f"{x(d):.1f},{y(v):.1f}" for d, v in zip(depths, row[key]))
            parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" '
                         'stroke-width="2"/>')
            if number == 0:
                parts.append(f'<text x="{left + 8:.0f}" y="{TOP + 14 + 17 * index}" '
                             f'fill="{colour}">{row["name"]}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--krait", default="build/release/krait")
    parser.add_argument("models", nargs="*", metavar="MODEL:RECIPE",
                        default=["mamba-130m:krait-w8a8", "mamba2-130m:krait-w8a8",
                                 "pythia-160m:krait-w8a8"])
    parser.add_argument("--depths", default="1024,2048,4096,8192,16384,32768,65536")
    parser.add_argument("--tokens", type=int, default=16, help="decoded in each run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--svg", type=pathlib.Path)
    parser.add_argument("--json", type=pathlib.Path, help="all figures")
    args = parser.parse_args()

    depths = [int(depth) for depth in args.depths.split(",")]
    rows = [{"name": name, "samples": [[] for _ in depths], "mb": []} for name in args.models]
    for _ in range(args.rounds):
        for row in rows:
            shape, recipe = row["name"].split(":")
            results = measure(args.krait, shape, recipe, depths, args.tokens, args.threads)
            for samples, (test, _) in zip(row["samples"], results):
                samples.extend(1e3 / rate for rate in test["samples_ts"])
            row["mb"] = [(test["state_bytes"] + weights) / 1e6 for test, weights in results]
    print("| model and recipe | " + " | ".join(f"{depth:,}" for depth in depths) + " |")
    print("|---|" + "---:|" * len(depths))
    for row in rows:
        row["ms"] = [statistics.median(samples) for samples in row["samples"]]
        cells = [f"{ms:.2f} ms ({min(s):.2f}-{max(s):.2f}), {mb:,.0f} MB"
                 for ms, s, mb in zip(row["ms"], row["samples"], row["mb"])]
        print(f"| {row['name']} | " + " | ".join(cells) + " |")
    if args.svg:
        args.svg.write_text(chart(rows, depths), encoding="utf-8")
    if args.json:
        args.json.write_text(json.dumps({"depths": depths, "threads": args.threads, "rows": rows},
                                        indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
