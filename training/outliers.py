"""How far outliers reach at every activation site of our checkpoints, measured on held-out text.

    python outliers.py ../models/krait-demo ../models/krait-mamba2 --data runs/data --out ../docs/results

For every site and layer: the largest magnitude over the RMS; the kurtosis (3 for a Gaussian); the
share of the energy (sum of squares) in the strongest channel, times the number of channels, so that
1 is even; and the 99.999th percentile of the magnitudes over the largest one, which says what
clipping there could gain. Values are float32, from the plain reference operations on the exported
weights; nothing is quantized. Writes outliers.json, and a plot and a table (Markdown) per family
below --out.
"""

import argparse
import json
import pathlib

import memory

if __name__ == "__main__":
    memory.keep()

import numpy as np
import torch

import families
import jamba
import mamba
import mamba2
import ops
import pythia
import ssd
from plot import line, text
from train import batch_at

# Sites that krait's recipes can rotate before they quantize them.
ROTATABLE = ("out_proj.input", "dense.input", "dense_4h_to_h.input", "o_proj.input",
             "down_proj.input", "experts.down_proj.input")
LINEAR_SITES = {"query_key_value": "query_key_value.input", "dense": "dense.input",
                "dense_h_to_4h": "dense_h_to_4h.input", "dense_4h_to_h": "dense_4h_to_h.input",
                "q_proj": "q_proj.input", "o_proj": "o_proj.input",
                "gate_proj": "feed_forward.input", "down_proj": "down_proj.input"}


def jacobsthal(prime):
    """[prime, prime]: the quadratic character of i - j."""
    residues = {x * x % prime for x in range(1, prime)}
    return torch.tensor([[0.0 if i == j else 1.0 if (i - j) % prime in residues else -1.0
                          for j in range(prime)] for i in range(prime)])


def paley(order):
    """A Hadamard matrix of order 12 or 20 (Paley's first construction, 1933) or 28 (his second)."""
    second = order == 28
    core = jacobsthal(order // 2 - 1 if second else order - 1)
    border = torch.zeros(len(core) + 1, len(core) + 1)
    border[0, 1:], border[1:, 0], border[1:, 1:] = 1, 1 if second else -1, core
    if not second:
        return border + torch.eye(order)
    return (torch.kron(border, torch.tensor([[1.0, 1.0], [1.0, -1.0]]))
            + torch.kron(torch.eye(len(border)), torch.tensor([[1.0, -1.0], [-1.0, -1.0]])))


def rotate(x):
    """x [.., n] by an orthogonal Hadamard matrix, in the largest blocks m 2^k that divide n."""
    n = x.shape[-1]
    order, m = max((m << k, m) for m in (1, 12, 20, 28) for k in range(16) if n % (m << k) == 0)
    matrix = paley(m) if m > 1 else torch.ones(1, 1)
    while len(matrix) < order:
        matrix = torch.kron(torch.tensor([[1.0, 1.0], [1.0, -1.0]]), matrix)
    assert torch.equal(matrix @ matrix.t(), order * torch.eye(order))
    return (x.unflatten(-1, (-1, order)) @ (matrix / order ** 0.5)).flatten(-2)


def measure(x):
    """The figures of one site, x [.., channels]."""
    x = x.double().flatten(0, -2)
    square = x.square()
    energy = square.sum(0)
    largest = x.abs().max()
    deviation = x - x.mean()
    variance = deviation.square().mean()
    ordered = x.abs().flatten().float().numpy()
    return {"max_over_rms": (largest / square.mean().sqrt()).item(),
            "kurtosis": (deviation.pow(4).mean() / variance.square()).item(),
            "top_channel": (energy.max() / energy.mean()).item(),
            "percentile_over_max": float(np.quantile(ordered, 0.99999) / largest.item())}


class Sites:
    """Collects the figures of every site: {name: [figures of each layer that has it]}."""

    def __init__(self, model):
        self.figures, self.masks = {}, {}
        for layer, block in enumerate(layers_of(model)):
            for name, module in block.named_modules():
                if isinstance(module, mamba2.Mixer):
                    self.watch_mixer(module, ssd.mamba2_sites, model.config.layer_norm_epsilon)
                elif isinstance(module, mamba.Mixer):  # Jamba's, too
                    self.watch_mixer(module, ops.mamba_sites)
                elif isinstance(module, torch.nn.Linear):
                    self.watch_linear(layer, name, module)

    def add(self, site, x):
        self.figures.setdefault(site, []).append(measure(x))
        if site in ROTATABLE:
            self.figures.setdefault(f"{site}, rotated", []).append(measure(rotate(x)))

    def watch_mixer(self, mixer, sites, *more):
        """All sites of a mixer follow from the output of its first projection."""
        def hook(module, inputs, output):
            self.add("in_proj.input", inputs[0])
            for site, x in sites(output, *mixer.core_parameters(), *more).items():
                self.add(site, x.transpose(1, 2) if site == "ssm_state" else x)
        mixer.in_proj.register_forward_hook(hook)

    def watch_linear(self, layer, name, module):
        """The inputs of the products of attention and MLP; of an expert only the tokens it gets."""
        part, _, role = name.rpartition(".")
        if role == "router":
            def route(module, inputs, output):
                self.add("router.input", inputs[0])
                chosen = output.topk(2, dim=-1).indices
                self.masks[layer] = [(chosen == e).any(-1) for e in range(output.shape[-1])]
            module.register_forward_hook(route)
        elif ".experts." in part and role == "down_proj":
            expert = int(part.rpartition(".")[2])
            module.register_forward_hook(
                lambda m, inputs, out: self.add("experts.down_proj.input",
                                                inputs[0][self.masks[layer][expert]]))
        elif ".experts." not in part and role in LINEAR_SITES:
            site = LINEAR_SITES[role]
            module.register_forward_hook(lambda m, inputs, out: self.add(site, inputs[0]))


def layers_of(model):
    """The blocks of any family."""
    if isinstance(model, pythia.Model):
        return model.gpt_neox.layers
    return model.model.layers if isinstance(model, jamba.Model) else model.backbone.layers


PANELS = (("max_over_rms", "max / RMS", 3), ("kurtosis", "kurtosis", 5),
          ("top_channel", "top channel's energy / mean", 3))  # ranges in decades from 1
LEFT, PANEL, GAP, ROW, TOP = 220, 200, 32, 22, 46
POWERS = ("1", "10", "100", "1k", "10k", "100k")


def draw(figures, title):
    """An SVG: a row per site, a panel per figure (logarithmic), a dot per layer."""
    width, height = LEFT + 3 * (PANEL + GAP), TOP + ROW * len(figures) + 26
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
             'font-family="sans-serif" font-size="12">',
             f'<rect width="{width}" height="{height}" fill="white"/>',
             text(8, 18, f"{title}: a dot per layer, deeper is darker", "start")]
    for row, site in enumerate(figures):
        y = TOP + ROW * (row + 0.5)
        parts.append(text(LEFT - 8, y + 4, site, "end"))
    for panel, (key, label, decades) in enumerate(PANELS):
        x0 = LEFT + panel * (PANEL + GAP)
        parts.append(text(x0 + PANEL / 2, TOP - 8, label))
        for decade in range(decades + 1):
            x = x0 + PANEL * decade / decades
            parts.append(line([(x, TOP), (x, height - 26)], "#ddd", 1))
            parts.append(text(x, height - 10, POWERS[decade]))
        for row, layers in enumerate(figures.values()):
            y = TOP + ROW * (row + 0.5)
            for i, layer in enumerate(layers):
                share = min(max(np.log10(layer[key]) / decades, 0), 1)
                grey = round(200 - 170 * i / max(len(layers) - 1, 1))
                parts.append(f'<circle cx="{x0 + PANEL * share:.1f}" cy="{y:.1f}" r="3.5" '
                             f'fill="rgb({grey // 2},{grey * 3 // 4},{grey})"/>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def table(figures):
    """Markdown: the median over the layers and, in brackets, the largest (percentile: smallest)."""
    def cell(layers, key, pattern, worst=max):
        values = [layer[key] for layer in layers]
        return f"{format(np.median(values), pattern)} ({format(worst(values), pattern)})"
    rows = ["| site | max / RMS | kurtosis | top channel's energy / mean | 99.999 % / max |",
            "|---|---:|---:|---:|---:|"]
    for site, layers in figures.items():
        rows.append(f"| `{site}` | {cell(layers, 'max_over_rms', ',.0f')} | "
                    f"{cell(layers, 'kurtosis', ',.1f')} | {cell(layers, 'top_channel', ',.1f')} | "
                    f"{cell(layers, 'percentile_over_max', '.2f', min)} |")
    return "\n".join(rows) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=pathlib.Path, nargs="+")
    parser.add_argument("--data", type=pathlib.Path, required=True, help="from prepare.py")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--windows", type=int, default=32)
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    torch.set_grad_enabled(False)
    held_out = np.memmap(args.data / "valid.bin", dtype=np.uint16, mode="r")
    windows = np.linspace(0, (len(held_out) - 1) // args.context - 1, args.windows).astype(int)
    ids, _ = batch_at(held_out, windows, args.context)
    args.out.mkdir(parents=True, exist_ok=True)
    stored = args.out / "outliers.json"
    everything = json.loads(stored.read_text()) if stored.exists() else {}
    for directory in args.models:
        family, model = families.load_export(directory)
        sites = Sites(model)
        sites.add("lm_head.input", model.hidden(ids))
        everything[directory.name] = sites.figures
        (args.out / f"outliers-{family}.svg").write_text(draw(sites.figures, directory.name))
        print(f"{directory.name}, {ids.numel():,} tokens, median over layers (worst layer):\n\n"
              f"{table(sites.figures)}", flush=True)
    rounded = json.loads(json.dumps(everything), parse_float=lambda v: float(f"{float(v):.4g}"))
    stored.write_text(json.dumps(rounded, indent=0) + "\n")


if __name__ == "__main__":
    main()
