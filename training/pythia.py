"""Pythia-style language model (GPT-NeoX): shapes, official initialisation, loss, reference logits.

Biderman et al., Pythia: A Suite for Analyzing Large Language Models (2023), section 2: attention
and MLP in parallel on one residual, rotary positions on a quarter of every head, biases and
LayerNorm. The one departure is the tied head, so that a small model is not mostly head. Parameters
carry the names of transformers' GPTNeoXForCausalLM.
"""

import dataclasses
import math

import torch
import torch.nn.functional as F
from torch import nn

import attention
import ops


@dataclasses.dataclass
class Config:
    vocab_size: int = 8192
    hidden_size: int = 192
    num_hidden_layers: int = 5
    num_attention_heads: int = 6
    intermediate_size: int = 672
    rotary_pct: float = 0.25
    rotary_emb_base: float = 10000.0
    layer_norm_eps: float = 1e-5
    max_position_embeddings: int = 2048


class Attention(nn.Module):
    def __init__(self, c: Config):
        super().__init__()
        self.query_key_value = nn.Linear(c.hidden_size, 3 * c.hidden_size)
        self.dense = nn.Linear(c.hidden_size, c.hidden_size)


class Mlp(nn.Module):
    def __init__(self, c: Config):
        super().__init__()
        self.dense_h_to_4h = nn.Linear(c.hidden_size, c.intermediate_size)
        self.dense_4h_to_h = nn.Linear(c.intermediate_size, c.hidden_size)


class Layer(nn.Module):
    def __init__(self, c: Config):
        super().__init__()
        self.input_layernorm = nn.LayerNorm(c.hidden_size, c.layer_norm_eps)
        self.post_attention_layernorm = nn.LayerNorm(c.hidden_size, c.layer_norm_eps)
        self.attention = Attention(c)
        self.mlp = Mlp(c)


class Backbone(nn.Module):
    def __init__(self, c: Config):
        super().__init__()
        self.embed_in = nn.Embedding(c.vocab_size, c.hidden_size)
        self.layers = nn.ModuleList(Layer(c) for _ in range(c.num_hidden_layers))
        self.final_layer_norm = nn.LayerNorm(c.hidden_size, c.layer_norm_eps)


class Model(nn.Module):
    """The head is tied to the embeddings."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.gpt_neox = Backbone(config)
        # GPT-NeoX's "small_init" (Nguyen and Salazar 2019) and, for what writes to the residual,
        # "wang_init": the choices of Pythia's published configurations.
        small = math.sqrt(2 / (5 * config.hidden_size))
        wang = 2 / config.num_hidden_layers / math.sqrt(config.hidden_size)
        for name, p in self.named_parameters():
            if "norm" in name:
                continue
            if name.endswith(".bias"):
                nn.init.zeros_(p)
            else:
                outward = name.endswith(("attention.dense.weight", "dense_4h_to_h.weight"))
                nn.init.normal_(p, std=wang if outward else small)

    def turn(self, length):
        """The rotary angles of so many positions."""
        c = self.config
        channels = int(c.hidden_size // c.num_attention_heads * c.rotary_pct)
        return attention.rotation(channels, c.rotary_emb_base, length)

    def head(self):
        """The head's weight [V,D]."""
        return self.gpt_neox.embed_in.weight

    def forward(self, ids, kind=torch.bfloat16):
        """ids [B,T] -> [B*T,D], what the head reads. Products in `kind`, residual in float32."""
        c, backbone, turn = self.config, self.gpt_neox, self.turn(ids.shape[1])
        heads = c.num_attention_heads
        x = F.embedding(ids, backbone.embed_in.weight)
        for layer in backbone.layers:
            qkv = linear(layer.attention.query_key_value, layer.input_layernorm(x).to(kind))
            mixed = attention.Attention.apply(*attention.SplitHeads.apply(qkv, turn, heads))
            attended = linear(layer.attention.dense, attention.merge_heads(mixed, heads))
            h = linear(layer.mlp.dense_h_to_4h, layer.post_attention_layernorm(x).to(kind))
            x = x + (attended + linear(layer.mlp.dense_4h_to_h, F.gelu(h)))
        return backbone.final_layer_norm(x).to(kind).reshape(-1, c.hidden_size)

    def loss(self, ids, target, kind=torch.bfloat16):
        """Mean cross-entropy; ids, target [B,T]."""
        return ops.HeadLoss.apply(self(ids, kind), self.head(), target.reshape(-1), 1024)

    def hidden(self, ids):
        """ids [B,T] -> float32 [B,T,D], what the head reads, by the slow reference operations."""
        c, backbone, turn = self.config, self.gpt_neox, self.turn(ids.shape[1])
        heads = c.num_attention_heads
        x = backbone.embed_in(ids)
        for layer in backbone.layers:
            qkv = layer.attention.query_key_value(layer.input_layernorm(x))
            mixed = attention.attention_reference(
                *attention.split_heads_reference(qkv, turn, heads))
            attended = layer.attention.dense(attention.merge_heads(mixed, heads))
            h = F.gelu(layer.mlp.dense_h_to_4h(layer.post_attention_layernorm(x)))
            x = x + attended + layer.mlp.dense_4h_to_h(h)
        return backbone.final_layer_norm(x)

    @torch.no_grad()
    def logits(self, ids):
        """ids [B,T] -> float32 logits [B,T,V], by the slow reference operations only."""
        return self.hidden(ids) @ self.gpt_neox.embed_in.weight.t()


def linear(module, x):
    """The affine map in x's type."""
    return F.linear(x, module.weight.to(x.dtype), module.bias.to(x.dtype))


def decays(name):
    """Whether weight decay applies: to the matrices of the layers."""
    return name.endswith(".weight") and "layers" in name and "norm" not in name


def hugging_face(c: Config):
    """The keys of config.json."""
    return dict(model_type="gpt_neox", architectures=["GPTNeoXForCausalLM"],
                use_parallel_residual=True, hidden_act="gelu", attention_bias=True,
                **dataclasses.asdict(c))
