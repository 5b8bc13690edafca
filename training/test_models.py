"""Every family's training loss and gradients, by the fused operations in float32, against those of
its plain reference logits, for a tiny configuration. Run: python test_models.py
"""

import torch
import torch.nn.functional as F

import families

TINY = {
    "mamba": dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, time_step_rank=3),
    "mamba2": dict(hidden_size=32, num_heads=4, head_dim=16, state_size=32, num_hidden_layers=2),
    "pythia": dict(hidden_size=64, num_attention_heads=2, intermediate_size=96,
                   num_hidden_layers=2),
    "jamba": dict(hidden_size=32, num_attention_heads=4, num_key_value_heads=2,
                  intermediate_size=48, num_hidden_layers=4, attn_layer_period=4,
                  attn_layer_offset=2, mamba_dt_rank=3, router_aux_loss_coef=0.0),
}


def test(name):
    torch.manual_seed(0)
    family = families.FAMILIES[name]
    model = family.Model(family.Config(vocab_size=64, **TINY[name]))
    # Larger weights than at the start of training: everything should matter.
    with torch.no_grad():
        for parameter_name, p in model.named_parameters():
            if parameter_name.endswith("weight") and p.dim() == 2:
                p *= 3
    ids, target = torch.randint(64, (2, 2, 150))
    parameters = list(model.parameters())
    ours = model.loss(ids, target, torch.float32)
    logits = family.Model.logits.__wrapped__(model, ids)  # with gradients
    theirs = F.cross_entropy(logits.flatten(0, 1), target.flatten())
    worst = ((ours - theirs) / theirs).abs().item()
    for (parameter_name, _), a, b in zip(model.named_parameters(),
                                         torch.autograd.grad(ours, parameters),
                                         torch.autograd.grad(theirs, parameters), strict=True):
        error = ((a - b).norm() / b.norm()).item()
        assert error < 1e-4, (name, parameter_name, error)
        worst = max(worst, error)
    print(f"{name}: loss {ours.item():.4f}, largest relative difference {worst:.1e}")
    assert worst < 1e-4


if __name__ == "__main__":
    for name in families.FAMILIES:
        test(name)
