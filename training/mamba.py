"""Mamba-1 language model: shapes, official initialisation, training loss, reference logits.

Gu and Dao, Mamba: Linear-Time Sequence Modeling with Selective State Spaces (2023), section 3.
Parameters carry the names of transformers' MambaForCausalLM, so that export is a plain copy.
"""

import dataclasses
import math

import torch
import torch.nn.functional as F
from torch import nn

import ops


@dataclasses.dataclass
class Config:
    vocab_size: int = 8192
    hidden_size: int = 192
    num_hidden_layers: int = 8
    intermediate_size: int = 384
    state_size: int = 16
    conv_kernel: int = 4
    time_step_rank: int = 12
    time_step_min: float = 1e-3
    time_step_max: float = 1e-1
    time_step_floor: float = 1e-4
    layer_norm_epsilon: float = 1e-5


class Norm(nn.Module):
    """The weight [D] of an RMSNorm."""

    def __init__(self, size):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))


class Mixer(nn.Module):
    """One selective state-space mixer; shapes as in the Hugging Face layout."""

    def __init__(self, c: Config):
        super().__init__()
        D, E, N, R = c.hidden_size, c.intermediate_size, c.state_size, c.time_step_rank
        self.in_proj = nn.Linear(D, 2 * E, bias=False)
        self.conv1d = nn.Conv1d(E, E, c.conv_kernel, groups=E)
        self.x_proj = nn.Linear(E, R + 2 * N, bias=False)
        self.dt_proj = nn.Linear(R, E)
        self.A_log = nn.Parameter(torch.arange(1, N + 1).float().log().repeat(E, 1))
        self.D = nn.Parameter(torch.ones(E))
        self.out_proj = nn.Linear(E, D, bias=False)
        with torch.no_grad():
            # delta starts log-uniform in [min, max]: the bias is its inverse softplus.
            nn.init.uniform_(self.dt_proj.weight, -R ** -0.5, R ** -0.5)
            low, high = math.log(c.time_step_min), math.log(c.time_step_max)
            delta = torch.exp(torch.rand(E) * (high - low) + low).clamp(min=c.time_step_floor)
            self.dt_proj.bias.copy_(delta + torch.log(-torch.expm1(-delta)))
            self.out_proj.weight /= math.sqrt(c.num_hidden_layers)

    def core_parameters(self):
        """In the order of ops.MambaCore."""
        return (self.conv1d.weight[:, 0], self.conv1d.bias, self.x_proj.weight,
                self.dt_proj.weight, self.dt_proj.bias, self.A_log, self.D)


class Layer(nn.Module):
    def __init__(self, c, mixer):
        super().__init__()
        self.norm = Norm(c.hidden_size)
        self.mixer = mixer(c)


class Backbone(nn.Module):
    """Embeddings, layers and final norm; `mixer` is the class of every layer's mixer."""

    def __init__(self, c, mixer):
        super().__init__()
        self.embeddings = nn.Embedding(c.vocab_size, c.hidden_size)
        nn.init.normal_(self.embeddings.weight, std=0.02)
        self.layers = nn.ModuleList(Layer(c, mixer) for _ in range(c.num_hidden_layers))
        self.norm_f = Norm(c.hidden_size)


class Model(nn.Module):
    """The head is tied to the embeddings."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.backbone = Backbone(config, Mixer)

    def head(self):
        """The head's weight [V,D]."""
        return self.backbone.embeddings.weight

    def forward(self, ids, kind=torch.bfloat16):
        """ids [B,T] -> [B*T,D], what the head reads. Products in `kind`, residual in float32."""
        eps = self.config.layer_norm_epsilon
        residual, branch = F.embedding(ids, self.backbone.embeddings.weight), None
        for layer in self.backbone.layers:
            residual, h = ops.AddNorm.apply(residual, branch, layer.norm.weight, eps, kind)
            mixer = layer.mixer
            xz = h @ mixer.in_proj.weight.to(kind).t()
            y = ops.MambaCore.apply(xz, *mixer.core_parameters())
            branch = y @ mixer.out_proj.weight.to(kind).t()
        _, h = ops.AddNorm.apply(residual, branch, self.backbone.norm_f.weight, eps, kind)
        return h.reshape(-1, h.shape[-1])

    def loss(self, ids, target, kind=torch.bfloat16):
        """Mean cross-entropy; ids, target [B,T]."""
        return ops.HeadLoss.apply(self(ids, kind), self.head(), target.reshape(-1), 1024)

    def hidden(self, ids):
        """ids [B,T] -> float32 [B,T,D], what the head reads, by the slow reference operations."""
        eps = self.config.layer_norm_epsilon
        residual, branch = self.backbone.embeddings(ids), None
        for layer in self.backbone.layers:
            residual, h = ops.add_norm_reference(residual, branch, layer.norm.weight, eps)
            xz = layer.mixer.in_proj(h)
            y = ops.mamba_core_reference(xz, *layer.mixer.core_parameters())
            branch = layer.mixer.out_proj(y)
        _, h = ops.add_norm_reference(residual, branch, self.backbone.norm_f.weight, eps)
        return h

    @torch.no_grad()
    def logits(self, ids):
        """ids [B,T] -> float32 logits [B,T,V], by the slow reference operations only."""
        return self.hidden(ids) @ self.backbone.embeddings.weight.t()


def decays(name):
    """Whether weight decay applies: only the four projections are matrices of a plain product."""
    return name.endswith(".weight") and "_proj." in name


def hugging_face(c: Config):
    """The keys of config.json."""
    # rescale_prenorm_residual stays false, though we rescaled at the start: where it is true,
    # from_pretrained of transformers 5.23 draws out_proj anew after loading it.
    return dict(model_type="mamba", architectures=["MambaForCausalLM"],
                expand=c.intermediate_size // c.hidden_size, initializer_range=0.02,
                **dataclasses.asdict(c))
