"""The fused operations of Mamba-2 (ssd.cpp) for PyTorch, and the slow reference of their tests."""

import torch
import torch.nn.functional as F

import ops


class Mamba2Core(torch.autograd.Function):
    """What lies between in_proj and out_proj: convolution, scan, gated norm.

    zxbcdt [B,T,2E+2N+H] (columns z, x, B, C, dt; one group), conv_weight [E+2N,K], conv_bias
    [E+2N], dt_bias, A_log, D [H], norm [E], eps -> [B,T,E].
    """

    @staticmethod
    def forward(ctx, zxbcdt, conv_weight, conv_bias, dt_bias, A_log, D, norm, eps):
        B, T, width = zxbcdt.shape
        E, H, (channels, K) = len(norm), len(D), conv_weight.shape
        P, N = E // H, (channels - E) // 2
        assert P % ops.LANES == 0 and N % ops.LANES == 0 and zxbcdt.is_contiguous()
        assert width == E + channels + H
        kind, threads = zxbcdt.dtype, torch.get_num_threads()
        taps = conv_weight.t().contiguous()
        xbc = zxbcdt.new_empty(B, T, channels)
        ops.call("conv_forward", kind, B, T, channels, width, K, zxbcdt[..., E:], taps, conv_bias,
                 xbc, threads)
        a2 = -ops.LOG2_E * A_log.exp()
        y, out = zxbcdt.new_empty(B, T, E), zxbcdt.new_empty(B, T, E)
        states = torch.empty(B, -(-T // ops.CHUNK), N * E)
        ops.call("ssd_forward", kind, B, T, H, P, N, channels, width, threads, xbc,
                 zxbcdt[..., -H:], dt_bias, a2, D, y, states)
        ops.call("gated_norm_forward", kind, B * T, E, width, eps, y, zxbcdt, norm, out, threads)
        ctx.save_for_backward(zxbcdt, taps, conv_bias, dt_bias, a2, D, norm, xbc, y, states)
        ctx.eps = eps
        return out

    @staticmethod
    def backward(ctx, dout):
        zxbcdt, taps, conv_bias, dt_bias, a2, D, norm, xbc, y, states = ctx.saved_tensors
        B, T, width = zxbcdt.shape
        E, H, (K, channels) = len(norm), len(D), taps.shape
        P, N = E // H, (channels - E) // 2
        kind, threads = zxbcdt.dtype, torch.get_num_threads()
        dall, dxbc, dy = torch.empty_like(zxbcdt), torch.empty_like(xbc), torch.empty_like(y)
        dnorm = torch.empty(-(-B * T // ops.ROWS), E)
        ops.call("gated_norm_backward", kind, B * T, E, width, ctx.eps, y, zxbcdt, norm,
                 dout.contiguous(), dy, dall, dnorm, threads)
        ddt_bias, dA_log, dskip = (torch.empty(B, H) for _ in range(3))
        ops.call("ssd_backward", kind, B, T, H, P, N, channels, width, threads, xbc,
                 zxbcdt[..., -H:], dt_bias, a2, D, states, dy, dxbc, dall[..., -H:], ddt_bias,
                 dA_log, dskip)
        dtaps, dconv_bias = torch.empty(B, K, channels), torch.empty(B, channels)
        ops.call("conv_backward", kind, B, T, channels, width, K, zxbcdt[..., E:], taps, conv_bias,
                 dxbc, dall[..., E:], dtaps, dconv_bias, threads)
        return (dall, dtaps.sum(0).t(), dconv_bias.sum(0), ddt_bias.sum(0), dA_log.sum(0),
                dskip.sum(0), dnorm.sum(0), None)


def mamba2_sites(zxbcdt, conv_weight, conv_bias, dt_bias, A_log, D, norm, eps):
    """Mamba2Core in plain PyTorch with a loop over time (Dao and Gu 2024, section 3).

    A dict of all values on the way, named and ordered as ops.mamba_sites does; x, B and C are the
    parts of the convolution's output; norm.input, no site of krait's, is y * silu(z).
    """
    E, H, (channels, K) = len(norm), len(D), conv_weight.shape
    P, N, T = E // H, (channels - E) // 2, zxbcdt.shape[1]
    z, raw, dt = zxbcdt.split([E, channels, H], dim=-1)
    xbc = F.conv1d(raw.transpose(1, 2), conv_weight[:, None], conv_bias, padding=K - 1,
                   groups=channels)
    u, B, C = F.silu(xbc[..., :T].transpose(1, 2)).split([E, N, N], dim=-1)
    x = u.unflatten(-1, (H, P))
    delta = F.softplus(dt + dt_bias)
    decay = torch.exp(delta * -A_log.exp())
    h = torch.zeros(len(x), H, P, N, dtype=zxbcdt.dtype)
    ys = []
    for t in range(T):
        step = delta[:, t, :, None, None] * x[:, t, :, :, None] * B[:, t, None, None]
        h = decay[:, t, :, None, None] * h + step
        ys.append((h * C[:, t, None, None]).sum(-1) + D[:, None] * x[:, t])
    y = torch.stack(ys, dim=1).flatten(2)
    gated = y * F.silu(z)
    normed = gated * torch.rsqrt(gated.square().mean(-1, keepdim=True) + eps) * norm
    conv_x, conv_B, conv_C = raw.split([E, N, N], dim=-1)
    return {"z": z, "conv1d.x": conv_x, "conv1d.B": conv_B, "conv1d.C": conv_C, "dt": dt, "x": u,
            "B": B, "C": C, "ssm_state": h.flatten(1, 2), "scan.output": y, "norm.input": gated,
            "out_proj.input": normed}


def mamba2_core_reference(*arguments):
    """Mamba2Core in plain PyTorch."""
    return mamba2_sites(*arguments)["out_proj.input"]
