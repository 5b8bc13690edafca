"""Make the golden checkpoints of models with attention: small random ones and transformers' logits.

    python make_attention_golden.py [NAME...]

As make_golden.py does for the others. Only weights are rounded to the storage type: transformers
computes with them, and with exact rotary frequencies, in float32.
"""

import math
import sys

import numpy as np
import torch
import transformers

from make_golden import fresh, write_logits

# Jamba: heads that share keys, experts and dense blocks, with every period and offset that matters.
# name: config class, its arguments, storage type, size of a shard. Together: parallel and serial
# residuals, some or all channels rotated, biases that are there or not, sizes that are no multiple of
# a vector, all three storage types, one and many files.
NEOX, JAMBA = transformers.GPTNeoXConfig, transformers.JambaConfig
BAMBA = transformers.BambaConfig  # half of each head rotated, groups, biases
MODELS = {
    "neox-f32": (NEOX, dict(
        hidden_size=36, num_attention_heads=3, intermediate_size=52, num_hidden_layers=2,
        vocab_size=67, rotary_pct=0.5, rotary_emb_base=1000), torch.float32, "1GB"),
    "neox-bf16-tied": (NEOX, dict(
        hidden_size=40, num_attention_heads=2, intermediate_size=88, num_hidden_layers=3,
        vocab_size=101, rotary_pct=0.3, use_parallel_residual=False, tie_word_embeddings=True,
        hidden_act="gelu_new"), torch.bfloat16, "1GB"),
    "neox-f16-plain": (NEOX, dict(
        hidden_size=50, num_attention_heads=5, intermediate_size=61, num_hidden_layers=1,
        vocab_size=131, rotary_pct=1.0, attention_bias=False), torch.float16, "30KB"),
    "jamba-f32": (JAMBA, dict(
        hidden_size=36, intermediate_size=28, num_hidden_layers=4, num_attention_heads=6,
        num_key_value_heads=2, attn_layer_period=3, attn_layer_offset=1, expert_layer_period=2,
        expert_layer_offset=1, num_experts=5, num_experts_per_tok=2, mamba_d_state=7, mamba_d_conv=3,
        mamba_expand=2, mamba_dt_rank=5, vocab_size=67), torch.float32, "1GB"),
    "jamba-bf16-tied": (JAMBA, dict(
        hidden_size=24, intermediate_size=40, num_hidden_layers=3, num_attention_heads=2,
        num_key_value_heads=1, attn_layer_period=2, attn_layer_offset=0, expert_layer_period=1,
        expert_layer_offset=0, num_experts=3, num_experts_per_tok=1, mamba_d_state=16, mamba_d_conv=4,
        mamba_expand=1, mamba_dt_rank=2, mamba_proj_bias=True, mamba_conv_bias=False, vocab_size=101,
        tie_word_embeddings=True), torch.bfloat16, "30KB"),
    "jamba-f16-dense": (JAMBA, dict(
        hidden_size=20, intermediate_size=33, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, attn_layer_period=2, attn_layer_offset=1, num_experts=1,
        num_experts_per_tok=2, mamba_d_state=5, mamba_expand=2, mamba_dt_rank=3, vocab_size=131),
        torch.float16, "1GB"),
    "bamba-bf16-half": (BAMBA, dict(
        hidden_size=40, intermediate_size=52, num_hidden_layers=3, num_attention_heads=5,
        num_key_value_heads=1, attn_layer_indices=[1], mamba_n_heads=10, mamba_d_head=8,
        mamba_n_groups=2, mamba_d_state=12, mamba_d_conv=3, mamba_expand=2, mamba_proj_bias=True,
        vocab_size=97, rms_norm_eps=1e-4, attention_bias=True,
        rope_parameters={"rope_type": "default", "rope_theta": 500.0}), torch.bfloat16, "1GB"),
}


def fill(model, rng):
    """Draws every parameter."""
    def normal(shape, std, mean=0.0):
        return rng.normal(mean, std, shape)

    for name, parameter in model.named_parameters():
        shape = tuple(parameter.shape)
        if "embed" in name:
            value = normal(shape, 1.0)
        elif name.endswith("A_log"):
            value = np.log(rng.uniform(0.05, 16.0, shape))
        elif name.endswith(".D"):
            value = normal(shape, 0.7, mean=0.5)
        elif name.endswith(("dt_proj.bias", "dt_bias")):
            step = np.exp(rng.uniform(math.log(1e-3), math.log(0.5), shape))
            value = step + np.log(-np.expm1(-step))  # the inverse of softplus
        elif "conv1d.weight" in name:
            value = rng.uniform(-1.0, 1.0, shape)
        elif "norm" in name and name.endswith("weight"):
            value = np.exp(normal(shape, 0.5)) * rng.choice([-1.0, 1.0], shape, p=[0.1, 0.9])
        elif name.endswith("bias"):
            value = normal(shape, 0.4)
        else:
            value = normal(shape, 1.5 / math.sqrt(shape[-1]))
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(value))


def make(config, dtype, seed):
    """The model with weights rounded to dtype, but in float32 for computing."""
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    fill(model, np.random.default_rng(seed))
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype).float()
    return model.eval()


def main(wanted):
    for name in wanted or MODELS:
        kind, config, dtype, shard = MODELS[name]
        directory, seed = fresh(name)
        model = make(kind(**config), dtype, seed)
        write_logits(model, directory, config["vocab_size"], seed + 1)
        model.to(dtype).save_pretrained(directory, max_shard_size=shard)


if __name__ == "__main__":
    main(sys.argv[1:])
