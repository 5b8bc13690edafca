"""Draw the loss curve of a training log as SVG, or the held-out curves of several.

    python plot.py logs/krait-demo.jsonl --out ../models/krait-demo/loss.svg
    python plot.py logs/*.jsonl --out ../docs/results/ladder.svg
"""

import argparse
import json
import math
import pathlib

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 720, 360, 56, 30, 16, 44
COLOURS = ("#0057b7", "#b7410e", "#2e7d32", "#7b1fa2")


def line(points, colour, width):
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"/>'


def text(x, y, content, anchor="middle"):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{content}</text>'


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("logs", type=pathlib.Path, nargs="+")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    args = parser.parse_args()

    curves = []  # (name, colour, width, points)
    for path, colour in zip(args.logs, COLOURS):
        records = [json.loads(row) for row in path.read_text().splitlines()]
        held_out = [(r["tokens"] / 1e6, r["held_out"]) for r in records if "held_out" in r]
        curves.append((path.stem, colour, 2, held_out))
    caption = "nats per token on held-out text"
    if len(args.logs) == 1:
        # Early steps are logged one by one, later ones as means of 20: draw only the even ones.
        train = [(r["tokens"] / 1e6, r["loss"]) for r in records if r["step"] % 20 == 0]
        curves.insert(0, ("training", "#999", 1, train))
        caption = "nats per token: training (grey, mean of 20 steps), held out (blue)"
    points = [point for curve in curves for point in curve[3]]
    most = max(t for t, _ in points)
    low = math.floor(min(v for _, v in points) * 2) / 2
    high = 7.0 if len(args.logs) == 1 else 5.0
    x = lambda t: LEFT + (WIDTH - LEFT - RIGHT) * t / most
    y = lambda v: TOP + (HEIGHT - TOP - BOTTOM) * (high - min(v, high)) / (high - low)

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
             'font-family="sans-serif" font-size="12">',
             f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>']
    for i in range(round((high - low) * 2) + 1):
        v = low + i / 2
        parts.append(line([(LEFT, y(v)), (WIDTH - RIGHT, y(v))], "#ddd", 1))
        parts.append(text(LEFT - 8, y(v) + 4, f"{v:.1f}", "end"))
    for t in range(0, int(most) + 1, 10):
        parts.append(text(x(t), HEIGHT - BOTTOM + 18, t))
    parts.append(text((LEFT + WIDTH) / 2, HEIGHT - 8, "million tokens"))
    parts.append(text(LEFT, TOP - 12, caption, "start"))
    for i, (name, colour, width, curve) in enumerate(curves):
        parts.append(line([(x(t), y(v)) for t, v in curve], colour, width))
        if len(args.logs) > 1:
            label = text(WIDTH - RIGHT, TOP + 14 + 18 * i, name, "end")
            parts.append(label.replace("<text ", f'<text fill="{colour}" '))
    parts.append("</svg>")
    args.out.write_text("\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
