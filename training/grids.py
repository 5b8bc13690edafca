"""Weights of few levels: scale times digit, one scale for each row.

The scale follows from the weights: it is never a parameter. Where scales are learned, the share of
zeros can run away (the "zero-ratio collapse" of Ternary Mamba, 2026, arXiv 2606.18114).
"""

import torch

import ops
import quantized

# name -> digits, where the search for a scale starts (so many times the mean of |w|), its rounds.
# Ternary weights train better with the digits of the start: fewer zeros than the least error has.
GRIDS = {
    "ternary": ((-1, 0, 1), 1.1, 0),
    "int2": ((-2, -1, 0, 1), 1.2, 4),
    "quarters": ((-3, -1, 1, 3), 0.62, 4),
}


def is_matrix(name, tensor):
    """Whether a parameter is the matrix of a product, or the table. dt_proj stays in 8 bits: it is
    one weight in a hundred, and in ternary digits cost as much as all steps by row together."""
    return (name.endswith(".weight") and tensor.dim() == 2
            and not any(role in name for role in ("router", "dt_proj")))


def rotation_block(name, tensor):
    """The block of the rotation of a parameter's input in recipes/krait-ternary.json, 1 if there is
    none: the largest that divides its columns, of all that is on a grid but x_proj, whose input
    krait does not rotate."""
    if not is_matrix(name, tensor) or "x_proj" in name:
        return 1
    columns = tensor.shape[1]
    return next(n for n in range(columns, 0, -1)
                if columns % n == 0 and quantized.has_hadamard(n))


def latents(parameters):
    """{name: weight of the plain model} -> what student_weights starts from: W H^T."""
    return {name: quantized.rotate(p.detach(), rotation_block(name, p)).clone().requires_grad_()
            for name, p in parameters.items()}


@torch.no_grad()
def quantize(w, grid):
    """w [rows, columns] -> digits [rows, columns], scales [rows, 1] as bf16 has them.

    Lloyd's iteration: nearest digits, then the scale of the least squared error for them. Without
    rounds the digits are the nearest at the start's scale.
    """
    digits, start, rounds = GRIDS[grid]
    w = w.contiguous()
    q, scale = torch.empty_like(w), w.new_empty(len(w), 1)
    ops.call("nearest_of_grid", torch.float32, len(w), w.shape[1], rounds, start, len(digits),
             torch.tensor(digits, dtype=torch.float32), w, q, scale, torch.get_num_threads())
    return q, scale


def digits_of(w, scale, digits):
    """The nearest digits to w / scale; halfway the upper one. `digits` in ascending order."""
    values = torch.tensor(digits, dtype=w.dtype)
    middles = (values[1:] + values[:-1]) / 2
    return values[(w[..., None] >= middles * scale[..., None]).sum(-1)]


@torch.no_grad()
def quantize_reference(w, grid):
    """quantize in plain PyTorch."""
    digits, start, rounds = GRIDS[grid]
    scale = start * w.abs().mean(-1, keepdim=True).clamp(min=1e-20)
    for _ in range(max(1, rounds)):
        q = digits_of(w, scale, digits)
        better = (w * q).sum(-1, keepdim=True) / q.square().sum(-1, keepdim=True)
        scale = torch.where(better > 0, better, scale)  # NaN if all digits are 0
    scale = scale.bfloat16().float()
    return digits_of(w, scale, digits) if rounds else q, scale


class Quantized(torch.autograd.Function):
    """w -> the nearest weights of a grid; the gradient passes straight through.

    Bengio et al., Estimating or Propagating Gradients Through Stochastic Neurons (2013).
    """

    @staticmethod
    def forward(ctx, w, grid):
        q, scale = quantize(w, grid)
        return q * scale

    @staticmethod
    def backward(ctx, dw):
        return dw, None


class Straight(torch.autograd.Function):
    """v, value -> value; the gradient passes straight through to v."""

    @staticmethod
    def forward(ctx, v, value):
        return value

    @staticmethod
    def backward(ctx, dw):
        return dw, None


class Rounded(torch.autograd.Function):
    """w -> its bf16 value, as float32; the gradient passes straight through."""

    @staticmethod
    def forward(ctx, w):
        return w.bfloat16().float()

    @staticmethod
    def backward(ctx, dw):
        return dw


@torch.no_grad()
def four_bits(w):
    """w -> the nearest of 16 values, a step apart, from its least to its largest: krait's 4 bits of
    a parameter."""
    low = w.min()
    step = ((w.max().double() - low.double()) / 15).float()
    return step * ((w - low) / step).round() + low


def student_weights(parameters, grid):
    """latents() -> {name: what the student computes with}: the matrices on the grid and rotated
    back, A_log of Mamba-1 in 4 bits, all else as bf16 holds it."""
    weights = {}
    for name, p in parameters.items():
        if is_matrix(name, p):
            on_grid = Quantized.apply(p, grid)
            weights[name] = quantized.rotate(on_grid, rotation_block(name, p), back=True)
        elif name.endswith("A_log") and p.dim() == 2:
            weights[name] = Straight.apply(p, four_bits(p))
        else:
            weights[name] = Rounded.apply(p)
    return weights


def bits_per_weight(parameters, grid):
    """As krait stores them: a ternary digit in 1.6 bits, others in 2, scales and floats in 16."""
    digit = 1.6 if grid == "ternary" else 2
    bits = [p.numel() * (digit + 16 / p.shape[1] if is_matrix(name, p) else 16)
            for name, p in parameters.items()]
    return sum(bits) / sum(p.numel() for p in parameters.values())
