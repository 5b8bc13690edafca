"""Fused operations of a Mamba block on the CPU, and the slow references they are tested against.

The C++ side is kernels.cpp, ssd.cpp, attention.cpp and grids.cpp, compiled for this machine on
first use into build/ beside them.
"""

import ctypes
import functools
import hashlib
import math
import pathlib
import subprocess

import torch
import torch.nn.functional as F

HERE = pathlib.Path(__file__).parent
LOG2_E = math.log2(math.e)
CHUNK, LANES, STATE, ROWS = 32, 16, 16, 128  # as in kernels.cpp


@functools.cache
def library():
    """The compiled kernels. The file's name holds the sources' hash: an edit builds anew."""
    sources = [HERE / name for name in ("kernels.cpp", "ssd.cpp", "attention.cpp", "grids.cpp")]
    content = b"".join(path.read_bytes() for path in [HERE / "vec.h", *sources])
    digest = hashlib.sha256(content).hexdigest()[:12]
    target = HERE / "build" / f"kernels-{digest}.so"
    if not target.exists():
        target.parent.mkdir(exist_ok=True)
        partial = target.with_suffix(".partial")
        subprocess.run(["g++", "-std=c++20", "-O3", "-march=native", "-ffast-math", "-shared",
                        "-fPIC", "-pthread", *map(str, sources), "-o", str(partial), "-lm"],
                       check=True)
        partial.rename(target)
    return ctypes.CDLL(str(target))


def call(name, dtype, *arguments):
    """Calls kernel `name` for activations of `dtype`; tensors go as pointers, None as null."""
    suffix = {torch.float32: "f32", torch.bfloat16: "bf16"}[dtype]
    converted = []
    for a in arguments:
        if isinstance(a, torch.Tensor):
            assert a.dtype in (dtype, torch.float32, torch.int64)
            converted.append(ctypes.c_void_p(a.data_ptr()))
        elif isinstance(a, float):
            converted.append(ctypes.c_float(a))
        elif a is None:
            converted.append(ctypes.c_void_p(None))
        else:
            converted.append(ctypes.c_int(a))
    getattr(library(), f"{name}_{suffix}")(*converted)


class MambaCore(torch.autograd.Function):
    """What lies between in_proj and out_proj: convolution, x_proj, dt_proj, scan and gate.

    xz [B,T,2E], conv_weight [E,K], conv_bias [E], x_proj [R+2N,E], dt_proj [E,R], dt_bias [E],
    A_log [E,N], D [E] -> [B,T,E]. Jamba adds norms: the weights [R], [N], [N] of an RMSNorm on dt,
    B and C, and its eps. One function, so that nothing is kept for the backward pass that is cheap
    to compute again.
    """

    @staticmethod
    def forward(ctx, xz, conv_weight, conv_bias, x_proj, dt_proj, dt_bias, A_log, D, *norms):
        B, T, E = xz.shape[0], xz.shape[1], xz.shape[2] // 2
        K, R, N = conv_weight.shape[1], dt_proj.shape[1], A_log.shape[1]
        assert E % LANES == 0 and N == STATE and xz.is_contiguous()
        kind, threads = xz.dtype, torch.get_num_threads()
        taps = conv_weight.t().contiguous()
        u = xz.new_empty(B, T, E)
        call("conv_forward", kind, B, T, E, 2 * E, K, xz, taps, conv_bias, u, threads)
        wx, wdt = x_proj.to(kind), dt_proj.to(kind)
        raw = u @ wx.t()
        projected = norm_parts(raw, *norms).to(kind) if norms else raw
        dt = projected[..., :R] @ wdt.t()
        a2 = (-LOG2_E * A_log.exp()).t().contiguous()
        y = torch.empty_like(u)
        states = torch.empty(B, -(-T // CHUNK), E, N)
        call("scan_forward", kind, B, T, E, R + 2 * N, 2 * E, threads, u, dt, projected[..., R:],
             xz[..., E:], a2, D, dt_bias, y, states)
        ctx.save_for_backward(xz, taps, conv_bias, wx, wdt, dt_bias, a2, D, u, raw, projected, dt,
                              states, *norms[:-1])
        ctx.eps = norms[-1:]
        return y

    @staticmethod
    def backward(ctx, dy):
        (xz, taps, conv_bias, wx, wdt, dt_bias, a2, D, u, raw, projected, dt, states,
         *norms) = ctx.saved_tensors
        B, T, E = u.shape
        K, R, N = taps.shape[0], wdt.shape[1], a2.shape[0]
        kind, threads = u.dtype, torch.get_num_threads()
        dy = dy.contiguous()
        dxz, du, ddt = torch.empty_like(xz), torch.empty_like(u), torch.empty_like(dt)
        dprojected = torch.empty_like(projected)
        da, dskip, ddt_bias = torch.empty(B, N, E), torch.empty(B, E), torch.empty(B, E)
        call("scan_backward", kind, B, T, E, R + 2 * N, 2 * E, threads, u, dt, projected[..., R:],
             xz[..., E:], a2, D, dt_bias, states, dy, du, ddt, dprojected[..., R:], dxz[..., E:],
             da, dskip, ddt_bias)
        ddt = ddt.view(-1, E)
        dprojected[..., :R] = (ddt @ wdt).view(B, T, R)
        dwdt = ddt.t() @ projected.view(-1, R + 2 * N)[:, :R]
        dnorms = ()
        if norms:
            with torch.enable_grad():
                inputs = [x.detach().requires_grad_() for x in (raw, *norms)]
                normed = norm_parts(*inputs, *ctx.eps)
            dprojected, *dnorms = torch.autograd.grad(normed, inputs, dprojected.float())
        flat = dprojected.view(-1, R + 2 * N)
        dwx = flat.t() @ u.view(-1, E)
        du = torch.addmm(du.view(-1, E), flat, wx)
        dtaps, dconv_bias = torch.empty(B, K, E), torch.empty(B, E)
        call("conv_backward", kind, B, T, E, 2 * E, K, xz, taps, conv_bias, du, dxz, dtaps,
             dconv_bias, threads)
        dA_log = (da.sum(0) * a2 / LOG2_E).t()
        return (dxz, dtaps.sum(0).t(), dconv_bias.sum(0), dwx.float(), dwdt.float(),
                ddt_bias.sum(0), dA_log, dskip.sum(0), *dnorms, *[None for _ in ctx.eps])


class AddNorm(torch.autograd.Function):
    """residual [.., D] float32, x [.., D] or None, weight [D] -> residual + x, its norm (kind)."""

    @staticmethod
    def forward(ctx, residual, x, weight, eps, kind):
        D, rows = residual.shape[-1], residual.numel() // residual.shape[-1]
        assert D % LANES == 0 and residual.is_contiguous()
        out, y = torch.empty_like(residual), torch.empty_like(residual, dtype=kind)
        call("norm_forward", kind, rows, D, eps, residual, x, weight, out, y,
             torch.get_num_threads())
        ctx.save_for_backward(out, weight)
        ctx.eps, ctx.kind, ctx.has_x = eps, kind, x is not None
        return out, y

    @staticmethod
    def backward(ctx, dout, dy):
        out, weight = ctx.saved_tensors
        D, rows = out.shape[-1], out.numel() // out.shape[-1]
        dresidual = torch.empty_like(out)
        dx = torch.empty_like(out, dtype=ctx.kind) if ctx.has_x else None
        dweight = torch.empty(-(-rows // ROWS), D)
        call("norm_backward", ctx.kind, rows, D, ctx.eps, out, weight, dy.contiguous(),
             dout.contiguous(), dresidual, dx, dweight, torch.get_num_threads())
        return dresidual, dx, dweight.sum(0), None, None


class HeadLoss(torch.autograd.Function):
    """Mean cross-entropy of h [n,D] against target [n] through head weight [V,D].

    The logits of a few rows at a time become their gradient at once; they are never all in memory.
    """

    @staticmethod
    def forward(ctx, h, weight, target, rows):
        kind, V = h.dtype, weight.shape[0]
        assert V % LANES == 0
        w = weight.to(kind)
        dh, dw = torch.empty_like(h), torch.zeros_like(weight)
        loss = torch.empty(len(h))
        for i in range(0, len(h), rows):
            part = h[i:i + rows]
            g = part @ w.t()
            call("cross_entropy", kind, len(part), V, g, target[i:i + rows], 1.0 / len(h),
                 loss[i:i + rows], torch.get_num_threads())
            torch.mm(g, w, out=dh[i:i + rows])
            dw += g.t() @ part
        ctx.save_for_backward(dh, dw)
        return loss.mean()

    @staticmethod
    def backward(ctx, dloss):
        dh, dw = ctx.saved_tensors
        return dh * dloss.to(dh.dtype), dw * dloss, None, None


class HeadDivergence(torch.autograd.Function):
    """share * nll + (1 - share) * KL(teacher || model), KL and nll: means over n rows.

    h [n,D] and weight [V,D] of the model, teacher_h [n,D'] and teacher_weight [V,D'] of the
    teacher, target [n]. Only the first of the three has a gradient.
    """

    @staticmethod
    def forward(ctx, h, weight, teacher_h, teacher_weight, target, share, rows=1024):
        kind, V = h.dtype, weight.shape[0]
        assert V % LANES == 0 and teacher_h.dtype == kind
        w, teacher_w = weight.to(kind), teacher_weight.to(kind)
        dh, dw = torch.empty_like(h), torch.zeros_like(weight)
        kl, nll = torch.empty(len(h)), torch.empty(len(h))
        for i in range(0, len(h), rows):
            part = h[i:i + rows]
            g = part @ w.t()
            call("divergence", kind, len(part), V, g, teacher_h[i:i + rows] @ teacher_w.t(),
                 target[i:i + rows], share, 1.0 / len(h), kl[i:i + rows], nll[i:i + rows],
                 torch.get_num_threads())
            torch.mm(g, w, out=dh[i:i + rows])
            dw += g.t() @ part
        ctx.save_for_backward(dh, dw)
        kl, nll = kl.mean(), nll.mean()
        ctx.mark_non_differentiable(kl, nll)
        return share * nll + (1 - share) * kl, kl, nll

    @staticmethod
    def backward(ctx, dloss, *_):
        dh, dw = ctx.saved_tensors
        return dh * dloss.to(dh.dtype), dw * dloss, None, None, None, None, None


def norm_parts(x, dt_weight, b_weight, c_weight, eps):
    """RMSNorm of the three parts of x_proj's output x [.., R+2N], each on its own; float."""
    weights = (dt_weight, b_weight, c_weight)
    x = x.to(dt_weight.dtype)
    parts = x.split([len(w) for w in weights], dim=-1)
    return torch.cat([p * torch.rsqrt(p.square().mean(-1, keepdim=True) + eps) * w
                      for p, w in zip(parts, weights, strict=True)], dim=-1)


def mamba_sites(xz, conv_weight, conv_bias, x_proj, dt_proj, dt_bias, A_log, D, *norms):
    """MambaCore in plain PyTorch with a loop over time (Mamba, algorithm 2): all values on the way.

    A dict in the order of the computation; the names are those of krait's activation sites, and
    scan.output, which is no site of its own: y before the gate.
    """
    E, K, R, N = D.shape[0], conv_weight.shape[1], dt_proj.shape[1], A_log.shape[1]
    T = xz.shape[1]
    x, z = xz.split(E, dim=-1)
    u = F.conv1d(x.transpose(1, 2), conv_weight[:, None], conv_bias, padding=K - 1, groups=E)
    u = F.silu(u[..., :T].transpose(1, 2))
    projected = u @ x_proj.t()
    if norms:
        projected = norm_parts(projected, *norms)
    dt, B, C = projected.split([R, N, N], dim=-1)
    raw = dt @ dt_proj.t()
    delta = F.softplus(raw + dt_bias)
    A = -A_log.exp()
    h = torch.zeros(xz.shape[0], E, N, dtype=xz.dtype)
    ys = []
    for t in range(T):
        decay = torch.exp(delta[:, t, :, None] * A)
        h = decay * h + (delta[:, t] * u[:, t])[..., None] * B[:, t, None]
        ys.append((h * C[:, t, None]).sum(-1) + D * u[:, t])
    y = torch.stack(ys, dim=1)
    return {"conv1d.input": x, "z": z, "x_proj.input": u, "dt_proj.input": dt, "B": B, "C": C,
            "dt_proj.output": raw, "ssm_state": h, "scan.output": y,
            "out_proj.input": y * F.silu(z)}


def mamba_core_reference(*arguments):
    """MambaCore in plain PyTorch."""
    return mamba_sites(*arguments)["out_proj.input"]


def add_norm_reference(residual, x, weight, eps):
    """AddNorm in plain PyTorch."""
    out = residual if x is None else residual + x
    return out, out * torch.rsqrt(out.square().mean(-1, keepdim=True) + eps) * weight
