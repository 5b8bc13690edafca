"""Mamba-2 language model: shapes, official initialisation, training loss, reference logits.

Dao and Gu, Transformers are SSMs (2024), sections 7 and 8. Parameters carry the names of
transformers' Mamba2ForCausalLM. One group: all heads share B and C.
"""

import dataclasses
import math

import torch
import torch.nn.functional as F
from torch import nn

import ops
import ssd
from mamba import Backbone, Norm


@dataclasses.dataclass
class Config:
    vocab_size: int = 8192
    hidden_size: int = 192
    num_hidden_layers: int = 8
    num_heads: int = 12
    head_dim: int = 32
    state_size: int = 64
    conv_kernel: int = 4
    time_step_min: float = 1e-3
    time_step_max: float = 1e-1
    time_step_floor: float = 1e-4
    layer_norm_epsilon: float = 1e-5


class Mixer(nn.Module):
    """One mixer; shapes as in the Hugging Face layout."""

    def __init__(self, c: Config):
        super().__init__()
        D, H, E, N = c.hidden_size, c.num_heads, c.num_heads * c.head_dim, c.state_size
        channels = E + 2 * N
        self.in_proj = nn.Linear(D, E + channels + H, bias=False)
        self.conv1d = nn.Conv1d(channels, channels, c.conv_kernel, groups=channels)
        # delta starts log-uniform in [min, max]: the bias is its inverse softplus.
        low, high = math.log(c.time_step_min), math.log(c.time_step_max)
        delta = torch.exp(torch.rand(H) * (high - low) + low).clamp(min=c.time_step_floor)
        self.dt_bias = nn.Parameter(delta + torch.log(-torch.expm1(-delta)))
        self.A_log = nn.Parameter(torch.empty(H).uniform_(1, 16).log())
        self.D = nn.Parameter(torch.ones(H))
        self.norm = Norm(E)
        self.out_proj = nn.Linear(E, D, bias=False)
        with torch.no_grad():
            self.out_proj.weight /= math.sqrt(c.num_hidden_layers)

    def core_parameters(self):
        """In the order of ssd.Mamba2Core."""
        return (self.conv1d.weight[:, 0], self.conv1d.bias, self.dt_bias, self.A_log, self.D,
                self.norm.weight)


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
            zxbcdt = h @ mixer.in_proj.weight.to(kind).t()
            y = ssd.Mamba2Core.apply(zxbcdt, *mixer.core_parameters(), eps)
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
            zxbcdt = layer.mixer.in_proj(h)
            y = ssd.mamba2_core_reference(zxbcdt, *layer.mixer.core_parameters(), eps)
            branch = layer.mixer.out_proj(y)
        _, h = ops.add_norm_reference(residual, branch, self.backbone.norm_f.weight, eps)
        return h

    @torch.no_grad()
    def logits(self, ids):
        """ids [B,T] -> float32 logits [B,T,V], by the slow reference operations only."""
        return self.hidden(ids) @ self.backbone.embeddings.weight.t()


def decays(name):
    """Whether weight decay applies: to the two projections."""
    return name.endswith(".weight") and "_proj." in name


def hugging_face(c: Config):
    """The keys of config.json."""
    return dict(model_type="mamba2", architectures=["Mamba2ForCausalLM"], n_groups=1,
                expand=c.num_heads * c.head_dim // c.hidden_size, initializer_range=0.02,
                chunk_size=256, **dataclasses.asdict(c))
