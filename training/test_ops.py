"""The fused operations against their references: outputs and gradients. Run: python test_ops.py"""

import torch
import torch.nn.functional as F

import attention
import ops
import ssd


def compare(name, ours, theirs, tolerance):
    """Fails unless the RMS of the difference is at most tolerance of the reference's RMS."""
    for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        error = ((a.double() - b).square().mean() / b.square().mean()).sqrt()
        print(f"{name}[{i}] {tuple(b.shape)}: {error:.2e}")
        assert error < tolerance, (name, i, error)


def gradients(function, inputs, weights):
    """Outputs, then the gradients of sum(weight * output) with respect to the inputs."""
    outputs = function(*inputs)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    total = sum((o.double() * w).sum() for o, w in zip(outputs, weights, strict=True))
    return [o.detach() for o in outputs] + list(torch.autograd.grad(total, inputs))


def leaves(tensors, dtype):
    return [t.to(dtype).requires_grad_() for t in tensors]


def test_mamba_core(kind, tolerance, normed):
    B, T, E, K, R, N = 2, 75, 48, 4, 3, 16  # two chunks and a half
    generator = torch.Generator().manual_seed(1)
    r = lambda *shape: torch.randn(*shape, generator=generator)
    inputs = [r(B, T, 2 * E), 0.5 * r(E, K), r(E), 0.3 * r(R + 2 * N, E), r(E, R), r(E) - 3,
              0.5 * r(E, N), r(E)]
    inputs += [r(R), r(N), r(N)] if normed else []
    eps = (1e-3,) if normed else ()
    inputs[0] = inputs[0].to(kind).float()
    weights = [r(B, T, E).to(kind).double()]
    ours = leaves(inputs, torch.float32)
    ours[0] = inputs[0].to(kind).requires_grad_()
    compare(f"core {kind}{' normed' if normed else ''}",
            gradients(lambda *a: ops.MambaCore.apply(*a, *eps), ours, weights),
            gradients(lambda *a: ops.mamba_core_reference(*a, *eps),
                      leaves(inputs, torch.float64), weights), tolerance)


def test_mamba2_core(kind, tolerance):
    B, T, H, P, N, K = 2, 75, 3, 32, 32, 4
    E, eps = H * P, 1e-5
    channels = E + 2 * N
    generator = torch.Generator().manual_seed(4)
    r = lambda *shape: torch.randn(*shape, generator=generator)
    inputs = [r(B, T, E + channels + H), 0.5 * r(channels, K), r(channels), r(H) - 2, 0.5 * r(H),
              r(H), r(E)]
    inputs[0] = inputs[0].to(kind).float()
    weights = [r(B, T, E).to(kind).double()]
    ours = leaves(inputs, torch.float32)
    ours[0] = inputs[0].to(kind).requires_grad_()
    compare(f"core 2 {kind}",
            gradients(lambda *a: ssd.Mamba2Core.apply(*a, eps), ours, weights),
            gradients(lambda *a: ssd.mamba2_core_reference(*a, eps),
                      leaves(inputs, torch.float64), weights), tolerance)


def test_attention(kind, tolerance):
    n, T, size, heads = 4, 300, 32, 2  # two blocks and a part, no whole vectors
    generator = torch.Generator().manual_seed(5)
    r = lambda *shape: torch.randn(*shape, generator=generator)
    weights = [r(n, T, size).to(kind).double()]
    inputs = [r(n, T, size).to(kind) for _ in range(3)]
    compare(f"attention {kind}",
            gradients(attention.Attention.apply, leaves(inputs, kind), weights),
            gradients(attention.attention_reference, leaves(inputs, torch.float64), weights),
            tolerance)
    turn = attention.rotation(8, 10000.0, T)
    qkv = [r(n // heads, T, 3 * heads * size).to(kind)]
    weights = [r(n, T, size).to(kind).double() for _ in range(3)]
    compare(f"heads {kind}",
            gradients(lambda x: attention.SplitHeads.apply(x, turn, heads), leaves(qkv, kind),
                      weights),
            gradients(lambda x: attention.split_heads_reference(x, turn, heads),
                      leaves(qkv, torch.float64), weights), tolerance)


def test_add_norm(kind, tolerance):
    generator = torch.Generator().manual_seed(2)
    r = lambda *shape: torch.randn(*shape, generator=generator)
    inputs = [r(3, 67, 64), r(3, 67, 64).to(kind).float(), r(64)]
    weights = [r(3, 67, 64).double(), r(3, 67, 64).to(kind).double()]
    ours = leaves(inputs, torch.float32)
    ours[1] = inputs[1].to(kind).requires_grad_()
    compare(f"norm {kind}",
            gradients(lambda a, b, w: ops.AddNorm.apply(a, b, w, 1e-5, kind), ours, weights),
            gradients(lambda a, b, w: ops.add_norm_reference(a, b, w, 1e-5),
                      leaves(inputs, torch.float64), weights), tolerance)


def test_head_loss(kind, tolerance):
    generator = torch.Generator().manual_seed(3)
    h = torch.randn(150, 32, generator=generator).to(kind)
    weight = torch.randn(80, 32, generator=generator).to(kind).float()
    target = torch.randint(80, (150,), generator=generator)
    compare(f"head {kind}",
            gradients(lambda a, w: ops.HeadLoss.apply(a, w, target, 64),
                      [h.requires_grad_(), weight.requires_grad_()], [1.0]),
            gradients(lambda a, w: F.cross_entropy(a @ w.t(), target),
                      leaves([h.detach(), weight.detach()], torch.float64), [1.0]), tolerance)


def test_head_divergence(kind, tolerance):
    generator = torch.Generator().manual_seed(6)
    r = lambda *shape: torch.randn(*shape, generator=generator)
    h, teacher_h = r(150, 32).to(kind), r(150, 48).to(kind)
    weight, teacher_weight = r(80, 32).to(kind).float(), r(80, 48).to(kind).float()
    target, share = torch.randint(80, (150,), generator=generator), 0.3

    def reference(a, w):
        logits = a @ w.t()
        theirs = (teacher_h.double() @ teacher_weight.double().t()).log_softmax(-1)
        kl = F.kl_div(logits.log_softmax(-1), theirs, log_target=True, reduction="batchmean")
        nll = F.cross_entropy(logits, target)
        return share * nll + (1 - share) * kl, kl, nll
    ours = lambda a, w: ops.HeadDivergence.apply(a, w, teacher_h, teacher_weight, target, share, 64)
    compare(f"divergence {kind}",
            gradients(ours, [h.requires_grad_(), weight.requires_grad_()], [1.0, 0.0, 0.0]),
            gradients(reference, leaves([h.detach(), weight.detach()], torch.float64),
                      [1.0, 0.0, 0.0]), tolerance)


if __name__ == "__main__":
    for kind, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 0.05)):
        test_mamba_core(kind, tolerance, normed=False)
        test_mamba_core(kind, tolerance, normed=True)
        test_mamba2_core(kind, tolerance)
        test_attention(kind, tolerance)
        test_add_norm(kind, tolerance)
        test_head_loss(kind, tolerance)
        test_head_divergence(kind, tolerance)
    print("all agree")
