"""Causal attention from products in PyTorch and the softmax of attention.cpp, and its reference."""

import math

import torch

import ops

BLOCK = 128  # rows of scores computed at a time: later columns than a block's last are never


class Attention(torch.autograd.Function):
    """q, k, v [n,T,size] of one type -> softmax(q k^T / sqrt(size)) v, causal."""

    @staticmethod
    def forward(ctx, q, k, v):
        n, T, size = q.shape
        out, blocks = torch.empty_like(q), []
        for first in range(0, T, BLOCK):
            end = min(first + BLOCK, T)
            p = torch.bmm(q[:, first:end], k[:, :end].transpose(1, 2))
            ops.call("causal_softmax", q.dtype, n, end - first, end, first, size ** -0.5, p,
                     torch.get_num_threads())
            out[:, first:end] = torch.bmm(p, v[:, :end])
            blocks.append(p)
        ctx.save_for_backward(q, k, v, *blocks)
        return out

    @staticmethod
    def backward(ctx, dout):
        q, k, v, *blocks = ctx.saved_tensors
        n, T, size = q.shape
        dq = torch.empty_like(q)
        # Sums over blocks of rows: in float32, rounded once.
        dk, dv = (torch.zeros(n, T, size) for _ in range(2))
        for first, p in zip(range(0, T, BLOCK), blocks, strict=True):
            end = first + p.shape[1]
            part = dout[:, first:end]
            dv[:, :end] += torch.bmm(p.transpose(1, 2), part)
            ds = torch.bmm(part, v[:, :end].transpose(1, 2))
            ops.call("causal_softmax_backward", q.dtype, n, end - first, end, first, size ** -0.5,
                     p, ds, torch.get_num_threads())
            dq[:, first:end] = torch.bmm(ds, k[:, :end])
            dk[:, :end] += torch.bmm(ds.transpose(1, 2), q[:, first:end])
        return dq, dk.to(k.dtype), dv.to(v.dtype)


class SplitHeads(torch.autograd.Function):
    """qkv [B,T,H*3*size] (per head q, k, v), turn [2,T,c/2] -> q, k, v [B*H,T,size].

    The first c channels of q and k are rotated in pairs (i, i + c/2) by the angles whose cosines
    and sines are `turn` (Su et al. 2021, RoFormer).
    """

    @staticmethod
    def forward(ctx, qkv, turn, heads):
        B, T, width = qkv.shape
        size = width // (3 * heads)
        q, k, v = (qkv.new_empty(B * heads, T, size) for _ in range(3))
        ops.call("split_heads", qkv.dtype, B, T, heads, size, 2 * turn.shape[-1], turn,
                 qkv.contiguous(), q, k, v, torch.get_num_threads())
        ctx.save_for_backward(turn)
        ctx.shape, ctx.heads = qkv.shape, heads
        return q, k, v

    @staticmethod
    def backward(ctx, dq, dk, dv):
        (turn,) = ctx.saved_tensors
        (B, T, _), size = ctx.shape, dq.shape[-1]
        dqkv = dq.new_empty(ctx.shape)
        ops.call("join_heads", dq.dtype, B, T, ctx.heads, size, 2 * turn.shape[-1], turn, dqkv,
                 dq.contiguous(), dk.contiguous(), dv.contiguous(), torch.get_num_threads())
        return dqkv, None, None


def merge_heads(x, heads):
    """[B*H,T,size] -> [B,T,H*size]."""
    return x.unflatten(0, (-1, heads)).transpose(1, 2).flatten(2)


def attention_reference(q, k, v):
    """Attention in plain PyTorch."""
    T = q.shape[1]
    future = torch.ones(T, T, dtype=torch.bool).triu(1)
    scores = q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])
    return scores.masked_fill(future, -math.inf).softmax(-1) @ v


def split_heads_reference(qkv, turn, heads):
    """SplitHeads in plain PyTorch."""
    q, k, v = qkv.unflatten(-1, (heads, 3, -1)).permute(3, 0, 2, 1, 4)
    cos, sin = turn.repeat(1, 1, 2).to(qkv.dtype)
    channels = cos.shape[-1]

    def rotate(x):
        turned, rest = x[..., :channels], x[..., channels:]
        low, high = turned.chunk(2, dim=-1)
        return torch.cat([turned * cos + torch.cat([-high, low], dim=-1) * sin, rest], dim=-1)
    return tuple(x.flatten(0, 1) for x in (rotate(q), rotate(k), v))


def rotation(channels, base, length):
    """cos, sin of the rotary angles, one per pair: float32 [2, T, channels/2]."""
    frequency = base ** -(torch.arange(0, channels, 2) / channels)
    angle = torch.arange(length)[:, None] * frequency
    return torch.stack([angle.cos(), angle.sin()])
