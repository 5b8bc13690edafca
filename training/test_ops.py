"""The fused operations against their references: outputs and gradients. Run: python test_ops.py"""

import torch
import torch.nn.functional as F

import ops


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


def test_mamba_core(kind, tolerance):
    B, T, E, K, R, N = 2, 75, 48, 4, 3, 16  # two chunks and a half
    generator = torch.Generator().manual_seed(1)
    r = lambda *shape: torch.randn(*shape, generator=generator)
    inputs = [r(B, T, 2 * E), 0.5 * r(E, K), r(E), 0.3 * r(R + 2 * N, E), r(E, R), r(E) - 3,
              0.5 * r(E, N), r(E)]
    inputs[0] = inputs[0].to(kind).float()
    weights = [r(B, T, E).to(kind).double()]
    ours = leaves(inputs, torch.float32)
    ours[0] = inputs[0].to(kind).requires_grad_()
    compare(f"core {kind}", gradients(ops.MambaCore.apply, ours, weights),
            gradients(ops.mamba_core_reference, leaves(inputs, torch.float64), weights), tolerance)


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


if __name__ == "__main__":
    for kind, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 0.05)):
        test_mamba_core(kind, tolerance)
        test_add_norm(kind, tolerance)
        test_head_loss(kind, tolerance)
    print("all agree")
