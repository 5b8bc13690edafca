#!/usr/bin/env python3
"""Mean KL over bits per weight, a panel for each checkpoint and a line for each method.

  bench/kl_bits.py docs/results/recipes.md docs/results/quality.md --svg docs/results/kl-bits.svg

Takes the figures from the tables of Markdown pages that have the columns checkpoint, recipe, bits
per weight and mean KL, so that the picture shows what the pages say. With --check nothing is written:
the exit code says whether the picture is that of the pages. Only Python's standard library is used.
"""

import argparse
import math
import pathlib
import sys

LINES = (  # name, colour, recipes joined by a line
    ("nearest", "#b7410e", ("rtn-w2a8", "rtn-w3a8", "rtn-w4a8")),
    ("GPTQ", "#b8860b", ("gptq-w2a8", "gptq-w3a8", "gptq-w4a8")),
    ("krait", "#0057b7", ("krait-w2a8", "krait-w3a8", "krait-w4a8", "krait-w4a8-h8", "krait-w8a8")),
    ("krait, inputs of 16 bits", "#2e7d32", ("krait-w8a16", "krait-w8a16-h16")))
POINTS = ("static-w8a8", "dynamic-w8a8", "smoothquant-w8a8", "quarot-w8a8", "quamba-w8a8",
          "quamba2-w8a8", "llmint8-w8a8")
POINT_COLOUR = "#7b1fa2"
PANEL_WIDTH, PANEL_HEIGHT, LEFT, RIGHT, TOP, BOTTOM, HEAD = 490, 330, 58, 128, 28, 40, 34
LEAST_BITS, MOST_BITS, LEAST_DECADE, MOST_DECADE = 2, 16, -4, 1
LABEL_HEIGHT = 13


def figures(text: str) -> dict[str, dict[str, tuple[float, float]]]:
    """(bits per weight, mean KL) by checkpoint and recipe; the first of equals counts."""
    found: dict[str, dict[str, tuple[float, float]]] = {}
    columns, checkpoint = None, ""
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if not cells:
            columns = None
        elif {"checkpoint", "recipe", "bits per weight", "mean KL"} <= set(cells):
            columns = [cells.index(name) for name in ("checkpoint", "recipe", "bits per weight", "mean KL")]
        elif columns and len(cells) > max(columns) and not cells[0].startswith("---"):
            name, recipe, bits, kl = (cells[i] for i in columns)
            checkpoint = name or checkpoint
            try:
                found.setdefault(checkpoint, {}).setdefault(recipe, (float(bits), float(kl)))
            except ValueError:
                pass  # a row of something else, such as a range
    return found


def x_at(bits: float) -> float:
    width = PANEL_WIDTH - LEFT - RIGHT
    return LEFT + width * (bits - LEAST_BITS) / (MOST_BITS - LEAST_BITS)


def y_at(kl: float) -> float:
    height = PANEL_HEIGHT - TOP - BOTTOM
    return TOP + height * (MOST_DECADE - math.log10(kl)) / (MOST_DECADE - LEAST_DECADE)


def spread(places: list[float]) -> list[float]:
    """Ascending places moved as little as need be to lie LABEL_HEIGHT apart, within the panel."""
    moved: list[float] = []
    for place in places:
        moved.append(max(place, moved[-1] + LABEL_HEIGHT) if moved else place)
    limit = PANEL_HEIGHT - BOTTOM
    for i in range(len(moved) - 1, -1, -1):
        moved[i] = min(moved[i], limit)
        limit = moved[i] - LABEL_HEIGHT
    return moved


def text_at(x: float, y: float, content: str, anchor: str = "start", more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{content}</text>'


def panel(checkpoint: str, recipes: dict[str, tuple[float, float]]) -> list[str]:
    right, bottom = PANEL_WIDTH - RIGHT, PANEL_HEIGHT - BOTTOM
    parts = [text_at(LEFT, TOP - 10, checkpoint, more=' font-size="14"')]
    for decade in range(LEAST_DECADE, MOST_DECADE + 1):
        y = y_at(10.0 ** decade)
        parts.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(text_at(LEFT - 8, y + 4, f"{10.0 ** decade:g}", "end"))
    for bits in range(LEAST_BITS, MOST_BITS + 1, 2):
        x = x_at(bits)
        parts.append(f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{bottom}" stroke="#ddd"/>')
        parts.append(text_at(x, bottom + 17, str(bits), "middle"))
    parts.append(text_at((LEFT + right) / 2, bottom + 33, "bits per weight, all tensors counted", "middle"))
    for _, colour, names in LINES:
        places = [(x_at(bits), y_at(kl)) for bits, kl in
                  sorted(recipes[name] for name in names if name in recipes)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
    shown = sorted((y_at(recipes[name][1]), x_at(recipes[name][0]), name)
                   for name in POINTS if name in recipes)
    for (y, x, name), place in zip(shown, spread([y for y, _, _ in shown])):
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{POINT_COLOUR}"/>')
        parts.append(f'<polyline points="{x + 4:.1f},{y:.1f} {right + 2},{y:.1f} {right + 9},{place:.1f}" '
                     f'fill="none" stroke="{POINT_COLOUR}" stroke-width="0.5"/>')
        parts.append(text_at(right + 12, place + 4, name, more=f' fill="{POINT_COLOUR}"'))
    return parts


def chart(by_checkpoint: dict[str, dict[str, tuple[float, float]]]) -> str:
    width, rows = 2 * PANEL_WIDTH, (len(by_checkpoint) + 1) // 2
    height = HEAD + rows * PANEL_HEIGHT
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
             'font-family="sans-serif" font-size="11">',
             f'<rect width="{width}" height="{height}" fill="white"/>',
             text_at(16, 22, "mean KL to the original, nats per token", more=' font-size="14"')]
    x = 330
    for name, colour, _ in (*LINES, ("published, 8 bits", POINT_COLOUR, ())):
        parts.append(f'<circle cx="{x}" cy="18" r="4" fill="{colour}"/>')
        parts.append(text_at(x + 9, 22, name))
        x += 40 + 7 * len(name)
    for i, (checkpoint, recipes) in enumerate(by_checkpoint.items()):
        parts.append(f'<g transform="translate({i % 2 * PANEL_WIDTH} {HEAD + i // 2 * PANEL_HEIGHT})">')
        parts += [*panel(checkpoint, recipes), "</g>"]
    return "\n".join([*parts, "</svg>"]) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("pages", type=pathlib.Path, nargs="+")
    parser.add_argument("--svg", type=pathlib.Path, required=True)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    found = figures("\n\n".join(page.read_text(encoding="utf-8") for page in args.pages))
    wanted = {name: recipes for name, recipes in found.items() if "krait-w8a8" in recipes and
              "krait-w2a8" in recipes}
    svg = chart(wanted)
    if not args.check:
        args.svg.write_text(svg, encoding="utf-8")
    elif svg != args.svg.read_text(encoding="utf-8"):
        print(f"{args.svg} is not the picture of its pages: run {parser.prog} without --check")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
