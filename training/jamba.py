"""Jamba-style language model: shapes, initialisation, training loss, reference logits.

Lieber et al., Jamba: A Hybrid Transformer-Mamba Language Model (2024): Mamba layers with an RMSNorm
on dt, B and C, attention without positions in one layer of a period, and after each of them an MLP
or a mixture of experts in turn. Parameters carry the names of transformers' JambaForCausalLM.
"""

import dataclasses

import torch
import torch.nn.functional as F
from torch import nn

import attention
import mamba
import ops
from mamba import Norm


@dataclasses.dataclass
class Config:
    vocab_size: int = 8192
    hidden_size: int = 192
    num_hidden_layers: int = 4
    intermediate_size: int = 192
    attn_layer_period: int = 4
    attn_layer_offset: int = 2
    num_attention_heads: int = 6
    num_key_value_heads: int = 2
    expert_layer_period: int = 2
    expert_layer_offset: int = 1
    num_experts: int = 4
    num_experts_per_tok: int = 2
    router_aux_loss_coef: float = 0.001
    mamba_d_state: int = 16
    mamba_d_conv: int = 4
    mamba_expand: int = 2
    mamba_dt_rank: int = 12
    rms_norm_eps: float = 1e-6

    def is_attention(self, layer):
        return layer % self.attn_layer_period == self.attn_layer_offset

    def has_experts(self, layer):
        return layer % self.expert_layer_period == self.expert_layer_offset


class Mixer(mamba.Mixer):
    """Mamba-1's mixer, initialised as there, with norms on dt, B and C."""

    def __init__(self, c: Config):
        super().__init__(mamba.Config(
            hidden_size=c.hidden_size, intermediate_size=c.mamba_expand * c.hidden_size,
            state_size=c.mamba_d_state, conv_kernel=c.mamba_d_conv,
            time_step_rank=c.mamba_dt_rank, num_hidden_layers=c.num_hidden_layers))
        self.eps = c.rms_norm_eps
        self.dt_layernorm = Norm(c.mamba_dt_rank)
        self.b_layernorm = Norm(c.mamba_d_state)
        self.c_layernorm = Norm(c.mamba_d_state)

    def core_parameters(self):
        return (*super().core_parameters(), self.dt_layernorm.weight, self.b_layernorm.weight,
                self.c_layernorm.weight, self.eps)

    def forward(self, h):
        xz = h @ self.in_proj.weight.to(h.dtype).t()
        y = ops.MambaCore.apply(xz, *self.core_parameters())
        return y @ self.out_proj.weight.to(h.dtype).t()

    def reference(self, h):
        return self.out_proj(ops.mamba_core_reference(self.in_proj(h), *self.core_parameters()))


class Linear(nn.Linear):
    """x W^T in x's type."""

    def forward(self, x):
        return x @ self.weight.to(x.dtype).t()


class SelfAttention(nn.Module):
    """Grouped-query attention: several heads share a key and a value. No positions."""

    def __init__(self, c: Config):
        super().__init__()
        self.heads, self.size = c.num_attention_heads, c.hidden_size // c.num_attention_heads
        shared = c.num_key_value_heads * self.size
        self.q_proj = Linear(c.hidden_size, c.hidden_size, bias=False)
        self.k_proj = Linear(c.hidden_size, shared, bias=False)
        self.v_proj = Linear(c.hidden_size, shared, bias=False)
        self.o_proj = Linear(c.hidden_size, c.hidden_size, bias=False)

    def split(self, x):
        """[B,T,heads' size] -> [B*H,T,size], shared heads repeated."""
        x = x.unflatten(-1, (-1, self.size)).transpose(1, 2)
        return x.repeat_interleave(self.heads // x.shape[1], dim=1).flatten(0, 1)

    def mix(self, h, attend):
        q, k, v = (self.split(p(h)) for p in (self.q_proj, self.k_proj, self.v_proj))
        return self.o_proj(attention.merge_heads(attend(q, k, v), self.heads))

    def forward(self, h):
        return self.mix(h, attention.Attention.apply)

    def reference(self, h):
        return self.mix(h, attention.attention_reference)


class Mlp(nn.Module):
    def __init__(self, c: Config):
        super().__init__()
        self.gate_proj = Linear(c.hidden_size, c.intermediate_size, bias=False)
        self.up_proj = Linear(c.hidden_size, c.intermediate_size, bias=False)
        self.down_proj = Linear(c.intermediate_size, c.hidden_size, bias=False)

    def forward(self, h):
        joint = torch.cat([self.gate_proj.weight, self.up_proj.weight]).to(h.dtype)
        gate, up = (h @ joint.t()).chunk(2, dim=-1)
        return self.down_proj(F.silu(gate) * up)

    def reference(self, h):
        return self.down_proj(F.silu(self.gate_proj(h)) * self.up_proj(h))


class Reorder(torch.autograd.Function):
    """x [n,D] -> x[order]; `back` is the inverse permutation, by which the gradient returns."""

    @staticmethod
    def forward(ctx, x, order, back):
        ctx.save_for_backward(back)
        return x.index_select(0, order)

    @staticmethod
    def backward(ctx, dx):
        return dx.index_select(0, *ctx.saved_tensors), None, None


class Experts(nn.Module):
    """A router's best experts per token, weighted by its softmax over all of them."""

    def __init__(self, c: Config):
        super().__init__()
        self.chosen, self.coefficient = c.num_experts_per_tok, c.router_aux_loss_coef
        self.router = nn.Linear(c.hidden_size, c.num_experts, bias=False)
        self.experts = nn.ModuleList(Mlp(c) for _ in range(c.num_experts))

    def route(self, h):
        """h [n,D] -> shares [n,experts], the best shares and their experts [n,chosen]."""
        shares = self.router(h.float()).softmax(-1)
        return shares, *shares.topk(self.chosen, dim=-1)

    def forward(self, h):
        """h [B,T,D] -> output, and what balances the experts' load, to be summed over layers.

        Every token is copied for each of its experts and the copies are sorted by expert, so that
        an expert is one product; both ways are permutations, which are cheap to reverse.
        """
        rows = h.flatten(0, 1)
        shares, best, expert = self.route(rows)
        counts = expert.flatten().bincount(minlength=len(self.experts))
        order = expert.flatten().argsort(stable=True)
        back = torch.empty_like(order)
        back[order] = torch.arange(len(order))
        copies = rows[:, None].expand(-1, self.chosen, -1).flatten(0, 1)
        parts = Reorder.apply(copies, order, back).split(counts.tolist())
        results = torch.cat([e(x) for e, x in zip(self.experts, parts, strict=True)])
        results = Reorder.apply(results, back, order).unflatten(0, (-1, self.chosen))
        out = (results * best[..., None].to(h.dtype)).sum(1).view_as(h)
        return out, counts / len(rows), shares.mean(0)

    def reference(self, h):
        _, best, expert = self.route(h)
        weights = torch.zeros(*h.shape[:-1], len(self.experts)).scatter(-1, expert, best)
        outputs = torch.stack([e.reference(h) for e in self.experts], dim=-1)
        return (outputs * weights[..., None, :]).sum(-1)


class Layer(nn.Module):
    def __init__(self, c: Config, index):
        super().__init__()
        self.input_layernorm = Norm(c.hidden_size)
        self.pre_ff_layernorm = Norm(c.hidden_size)
        if c.is_attention(index):
            self.self_attn = SelfAttention(c)
        else:
            self.mamba = Mixer(c)
        self.feed_forward = Experts(c) if c.has_experts(index) else Mlp(c)

    def mixer(self):
        return self.self_attn if hasattr(self, "self_attn") else self.mamba


class Backbone(nn.Module):
    def __init__(self, c: Config):
        super().__init__()
        self.embed_tokens = nn.Embedding(c.vocab_size, c.hidden_size)
        self.layers = nn.ModuleList(Layer(c, i) for i in range(c.num_hidden_layers))
        self.final_layernorm = Norm(c.hidden_size)


class Model(nn.Module):
    """The head is tied to the embeddings."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.model = Backbone(config)
        for name, p in self.named_parameters():
            if name.endswith(".weight") and "norm" not in name and ".mamba." not in name:
                nn.init.normal_(p, std=0.02)

    def head(self):
        """The head's weight [V,D]."""
        return self.model.embed_tokens.weight

    def forward(self, ids, kind=torch.bfloat16):
        """ids [B,T] -> [B*T,D], what the head reads. Products in `kind`, residual in float32."""
        return self.run(ids, kind)[0]

    def run(self, ids, kind):
        """What forward gives, and of every layer with experts what balances their load."""
        eps, table = self.config.rms_norm_eps, self.model.embed_tokens.weight
        residual, branch, loads = F.embedding(ids, table), None, []
        for layer in self.model.layers:
            residual, h = ops.AddNorm.apply(residual, branch, layer.input_layernorm.weight, eps,
                                            kind)
            branch = layer.mixer()(h)
            residual, h = ops.AddNorm.apply(residual, branch, layer.pre_ff_layernorm.weight, eps,
                                            kind)
            branch = layer.feed_forward(h)
            if isinstance(layer.feed_forward, Experts):
                branch, *load = branch
                loads.append(load)
        _, h = ops.AddNorm.apply(residual, branch, self.model.final_layernorm.weight, eps, kind)
        return h.reshape(-1, h.shape[-1]), loads

    def loss(self, ids, target, kind=torch.bfloat16):
        """Mean cross-entropy; ids, target [B,T].

        Its gradient is that of the cross-entropy and the experts' load balancing (Fedus et al.
        2021, Switch Transformer, equations 4 to 6, over all layers together).
        """
        h, loads = self.run(ids, kind)
        nll = ops.HeadLoss.apply(h, self.head(), target.reshape(-1), 1024)
        counts, shares = (torch.stack(x).mean(0) for x in zip(*loads))
        balance = self.config.router_aux_loss_coef * self.config.num_experts * (counts @ shares)
        return nll + balance - balance.detach()

    def hidden(self, ids):
        """ids [B,T] -> float32 [B,T,D], what the head reads, by the slow reference operations."""
        eps = self.config.rms_norm_eps
        x = self.model.embed_tokens(ids)
        for layer in self.model.layers:
            _, h = ops.add_norm_reference(x, None, layer.input_layernorm.weight, eps)
            x = x + layer.mixer().reference(h)
            _, h = ops.add_norm_reference(x, None, layer.pre_ff_layernorm.weight, eps)
            x = x + layer.feed_forward.reference(h)
        _, h = ops.add_norm_reference(x, None, self.model.final_layernorm.weight, eps)
        return h

    @torch.no_grad()
    def logits(self, ids):
        """ids [B,T] -> float32 logits [B,T,V], by the slow reference operations only."""
        return self.hidden(ids) @ self.model.embed_tokens.weight.t()


def decays(name):
    """Whether weight decay applies: to all matrices of the layers but the router."""
    return name.endswith(".weight") and "_proj." in name


def hugging_face(c: Config):
    """The keys of config.json."""
    return dict(model_type="jamba", architectures=["JambaForCausalLM"], hidden_act="silu",
                initializer_range=0.02, max_position_embeddings=2048, mamba_conv_bias=True,
                mamba_proj_bias=False, **dataclasses.asdict(c))
