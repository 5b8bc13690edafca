r"""What rounding to 8 bits costs at least, taken apart: KL of a Mamba with inputs or weights rounded.

    python floor.py --model ../models/krait-demo --data runs/data

Products multiply rounded floats: x H^T and W H^T rounded to max |.| / 127 of a row, or of groups of a
row, H as krait-w8a8 has it; everything else is float32. Prints the mean KL to the float model for
each way to round, on windows of held-out tokens.
"""

import argparse
import pathlib

import numpy as np
import torch
import torch.nn.functional as F

import families
from quantized import rotate

FLOAT = None  # not rounded; otherwise the size of groups, 0: whole rows

# name -> groups of (inputs, weights) of the products of layers, then of (input, weight) of the head.
WAYS = {
    "all, by row": (0, 0, 0, 0),
    "inputs of layers": (0, FLOAT, FLOAT, FLOAT),
    "weights of layers": (FLOAT, 0, FLOAT, FLOAT),
    "the head's input": (FLOAT, FLOAT, 0, FLOAT),
    "the head's weights and the table": (FLOAT, FLOAT, FLOAT, 0),
    "weights": (FLOAT, 0, FLOAT, 0),
    "all, groups of 64": (64, 64, 64, 64),
    "all, groups of 32": (32, 32, 32, 32),
    "all, groups of 16": (16, 16, 16, 16),
}


def rounded(x, group):
    """x [..., n] to 255 levels for each group of the last dimension."""
    if group is FLOAT:
        return x
    groups = x.unflatten(-1, (-1, group or x.shape[-1]))
    step = groups.abs().amax(-1, keepdim=True).clamp(min=1e-30) / 127
    return (torch.round(groups / step) * step).flatten(-2)


def product(x, weight, block, inputs, weights):
    return rounded(rotate(x, block), inputs) @ rounded(rotate(weight, block), weights).t()


def mix(m, xz, inputs, weights):
    """A mixer between in_proj and out_proj, xz [B,T,2E] -> [B,T,E]."""
    u, z = xz.chunk(2, -1)
    taps = m.conv1d.weight.shape[-1]
    u = F.conv1d(F.pad(u.transpose(1, 2), (taps - 1, 0)), m.conv1d.weight, m.conv1d.bias,
                 groups=u.shape[-1])
    u = F.silu(u).transpose(1, 2)
    rank, states = m.dt_proj.weight.shape[1], m.A_log.shape[1]
    dt, b, c = product(u, m.x_proj.weight, 1, inputs, weights).split([rank, states, states], -1)
    delta = F.softplus(dt @ m.dt_proj.weight.t() + m.dt_proj.bias)
    a, du, y = -m.A_log.exp(), delta * u, []
    h = u.new_zeros(*u.shape[::2], states)
    for t in range(u.shape[1]):
        h = h * torch.exp(delta[:, t, :, None] * a) + du[:, t, :, None] * b[:, t, None]
        y.append((h * c[:, t, None]).sum(-1))
    return (torch.stack(y, 1) + m.D * u) * F.silu(z)


def logits(model, ids, inputs, weights, head_input, head_weight):
    def norm(x, weight):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True)
                               + model.config.layer_norm_epsilon) * weight

    backbone, table = model.backbone, model.head()
    width = table.shape[1] & -table.shape[1]  # krait-w8a8's blocks for the head: a power of two
    rows = rotate(rounded(rotate(table, width), head_weight), width, back=True)
    residual = F.embedding(ids, rows)
    for layer in backbone.layers:
        m, x = layer.mixer, norm(residual, layer.norm.weight)
        xz = product(x, m.in_proj.weight, x.shape[-1], inputs, weights)
        y = mix(m, xz, inputs, weights)
        residual = residual + product(y, m.out_proj.weight, y.shape[-1], inputs, weights)
    return product(norm(residual, backbone.norm_f.weight), table, width, head_input, head_weight)


def divergence(reference, other):
    p, q = (F.log_softmax(x.double(), -1) for x in (reference, other))
    return (p.exp() * (p - q)).sum(-1).mean().item()


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, required=True, help="a Mamba of export.py")
    parser.add_argument("--data", type=pathlib.Path, required=True, help="from prepare.py")
    parser.add_argument("--windows", type=int, default=8)
    parser.add_argument("--context", type=int, default=1024)
    args = parser.parse_args()
    held_out = np.memmap(args.data / "valid.bin", dtype=np.uint16, mode="r")
    ids = torch.from_numpy(held_out[:args.windows * args.context].astype(np.int64))
    ids = ids.view(args.windows, args.context)
    model = families.load_export(args.model)[1].float()
    reference = logits(model, ids, FLOAT, FLOAT, FLOAT, FLOAT)
    floor = None
    for name, way in WAYS.items():
        kl = divergence(reference, logits(model, ids, *way))
        floor = floor or kl
        print(f"{name:34s} {kl:.6f}  {kl / floor:.2f}", flush=True)


if __name__ == "__main__":
    main()
