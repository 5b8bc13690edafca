"""Make the golden checkpoints: small random models and the logits others give them.

    python make_golden.py [NAME...]

Writes a directory for each entry of MODELS beside this script: the checkpoint, ids.json (a list of
token ids) and logits.npy (float32 [tokens, vocabulary], of the whole sequence from an empty state,
computed in float32 from the stored, rounded weights). Weights are drawn by numpy from fixed seeds,
wide enough that states, gates and steps all matter.

The logits of Mamba-1, and of Mamba-2 with one group, are those of transformers. With several groups
its gated norm takes the mean square over all of them instead of each by itself, so those logits come
from the float64 recurrence below, which is checked against transformers with one group.
"""

import collections
import json
import math
import pathlib
import shutil
import sys
import zlib

import numpy as np
import safetensors.torch
import torch
import transformers

HERE = pathlib.Path(__file__).parent
TOKENS = 40

# name: MambaConfig, storage type, size of a shard. Together: tied and untied heads, biases that are
# there or not, sizes that are no multiple of a vector, all three storage types, one and many files.
MODELS = {
    "mamba-f32-tied": (dict(
        hidden_size=20, state_size=16, expand=2, conv_kernel=4, time_step_rank=2,
        num_hidden_layers=2, vocab_size=67, tie_word_embeddings=True), torch.float32, "1GB"),
    "mamba-f16-untied": (dict(
        hidden_size=36, state_size=8, expand=3, conv_kernel=3, time_step_rank=5,
        num_hidden_layers=3, vocab_size=101, tie_word_embeddings=False), torch.float16, "1GB"),
    "mamba-bf16-bias": (dict(
        hidden_size=48, state_size=5, expand=2, conv_kernel=2, time_step_rank=3, use_bias=True,
        num_hidden_layers=1, vocab_size=131, tie_word_embeddings=True), torch.bfloat16, "1GB"),
    "mamba-f32-sharded": (dict(
        hidden_size=64, state_size=16, expand=1, conv_kernel=4, time_step_rank=4,
        use_conv_bias=False, num_hidden_layers=2, vocab_size=89, tie_word_embeddings=False),
        torch.float32, "40KB"),
}
ORIGINAL = "mamba-original"  # the state-spaces layout, vocabulary of 83 padded to 88 rows

# The same for Mamba-2: Mamba2Config, storage type, size of a shard.
MAMBA2 = {
    "mamba2-f32-tied": (dict(
        hidden_size=20, state_size=20, expand=2, head_dim=8, num_heads=5, n_groups=1, conv_kernel=4,
        chunk_size=16, num_hidden_layers=2, vocab_size=67, tie_word_embeddings=True),
        torch.float32, "1GB"),
    "mamba2-bf16-groups": (dict(
        hidden_size=36, state_size=7, expand=2, head_dim=6, num_heads=12, n_groups=3, conv_kernel=3,
        time_step_limit=(0.01, 0.3), use_bias=True, num_hidden_layers=2, vocab_size=101,
        tie_word_embeddings=False), torch.bfloat16, "40KB"),
}
ORIGINAL2 = "mamba2-original"      # the state-spaces layout, D per channel, 83 padded to 96 rows
CODESTRAL = "mamba2-consolidated"  # consolidated.safetensors, params.json, "model." before names


def fill(model, rng):
    """Draws every parameter of a MambaForCausalLM."""
    def normal(shape, std, mean=0.0):
        return rng.normal(mean, std, shape)

    for name, parameter in model.named_parameters():
        shape = tuple(parameter.shape)
        if "embeddings" in name:
            value = normal(shape, 1.0)
        elif "norm" in name:
            value = np.exp(normal(shape, 0.5)) * rng.choice([-1.0, 1.0], shape, p=[0.1, 0.9])
        elif name.endswith("A_log"):
            value = np.log(rng.uniform(0.05, 16.0, shape))
        elif name.endswith(".D"):
            value = normal(shape, 0.7, mean=0.5)
        elif name.endswith(("dt_proj.bias", "dt_bias")):
            step = np.exp(rng.uniform(math.log(1e-3), math.log(0.5), shape))
            value = step + np.log(-np.expm1(-step))  # the inverse of softplus
        elif name.endswith("bias"):
            value = normal(shape, 0.3)
        elif "conv1d" in name:
            value = rng.uniform(-1.0, 1.0, shape)
        else:
            value = normal(shape, 1.5 / math.sqrt(shape[1]))
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(value))


def make(config, dtype, seed, kind="Mamba"):
    """The model with weights rounded to dtype, but in float32 for computing."""
    config = getattr(transformers, kind + "Config")(**config)
    model = getattr(transformers, kind + "ForCausalLM")(config)
    fill(model, np.random.default_rng(seed))
    return model.to(dtype).float().eval()


def silu(x):
    return x / (1 + np.exp(-x))


def rms_norm(x, weight, groups, eps):
    parts = x.reshape(groups, -1)
    return (parts / np.sqrt((parts ** 2).mean(1, keepdims=True) + eps)).ravel() * weight


def mamba2_logits(model, ids, D_of_channels=None):
    """The recurrence of arXiv 2405.21060 in float64, token by token, head by head."""
    c = model.config
    w = {name: t.detach().double().numpy() for name, t in model.state_dict().items()}
    heads, head_dim, groups, states = c.num_heads, c.head_dim, c.n_groups, c.state_size
    inner, shared = heads * head_dim, groups * states
    windows = np.zeros((c.num_hidden_layers, c.conv_kernel, inner + 2 * shared))
    S = np.zeros((c.num_hidden_layers, heads, head_dim, states))
    rows = []
    for token in ids:
        residual = w["backbone.embeddings.weight"][token]
        for i in range(c.num_hidden_layers):
            name = f"backbone.layers.{i}."
            hidden = rms_norm(residual, w[name + "norm.weight"], 1, c.layer_norm_epsilon)
            name += "mixer."
            projected = w[name + "in_proj.weight"] @ hidden + w.get(name + "in_proj.bias", 0)
            z, xBC, dt = np.split(projected, [inner, 2 * inner + 2 * shared])
            windows[i] = np.roll(windows[i], -1, axis=0)
            windows[i, -1] = xBC
            xBC = silu((windows[i] * w[name + "conv1d.weight"][:, 0].T).sum(0)
                       + w.get(name + "conv1d.bias", 0))
            x, B, C = np.split(xBC, [inner, inner + shared])
            delta = np.clip(np.logaddexp(0, dt + w[name + "dt_bias"]), *c.time_step_limit)
            decay = np.exp(-delta * np.exp(w[name + "A_log"]))
            D = (np.repeat(w[name + "D"], head_dim) if D_of_channels is None else D_of_channels[i])
            y = D * x
            for h in range(heads):
                g = h // (heads // groups) * states
                channels = slice(h * head_dim, (h + 1) * head_dim)
                S[i, h] = decay[h] * S[i, h] + delta[h] * np.outer(x[channels], B[g:g + states])
                y[channels] += S[i, h] @ C[g:g + states]
            y = rms_norm(y * silu(z), w[name + "norm.weight"], groups, c.layer_norm_epsilon)
            residual = (residual + w[name + "out_proj.weight"] @ y
                        + w.get(name + "out_proj.bias", 0))
        last = rms_norm(residual, w["backbone.norm_f.weight"], 1, c.layer_norm_epsilon)
        rows.append(w["lm_head.weight"] @ last)
    return np.array(rows)


def draw_ids(vocab_size, seed):
    """The first and the last token of the vocabulary occur, one twice."""
    ids = np.random.default_rng(seed).integers(0, vocab_size, TOKENS)
    ids[3], ids[10], ids[11] = 0, vocab_size - 1, vocab_size - 1
    return ids


def transformers_logits(model, ids):
    with torch.no_grad():
        return model(torch.from_numpy(ids)[None], use_cache=False).logits[0].numpy()


def write(directory, ids, logits):
    (directory / "ids.json").write_text(json.dumps(ids.tolist()) + "\n")
    np.save(directory / "logits.npy", logits.astype(np.float32))
    print(f"{directory.name}: logits {logits.shape}, standard deviation {logits.std():.3f}")


def write_logits(model, directory, vocab_size, seed):
    """ids.json and logits.npy by transformers."""
    ids = draw_ids(vocab_size, seed)
    write(directory, ids, transformers_logits(model, ids))


def write_mamba2_logits(model, directory, vocab_size, seed, D_of_channels=None):
    """ids.json and logits.npy, by transformers where it is right."""
    ids = draw_ids(vocab_size, seed)
    logits = mamba2_logits(model, ids, D_of_channels)
    if model.config.n_groups == 1 and D_of_channels is None:
        exact, logits = logits, transformers_logits(model, ids)
        error = np.abs(logits - exact).max() / exact.std()
        assert error < 5e-5, error
    write(directory, ids, logits)


def save_original(model, directory, vocab_size):
    """As mamba-ssm writes it: pytorch_model.bin by torch.save, a config without model_type."""
    tensors = collections.OrderedDict()
    for name, tensor in model.state_dict().items():
        tensors[name.replace("backbone.embeddings.", "backbone.embedding.")] = tensor
    # The tied head is listed too, and shares its storage with the embedding.
    tensors["lm_head.weight"] = tensors["backbone.embedding.weight"]
    torch.save(tensors, directory / "pytorch_model.bin")
    config = {"d_model": model.config.hidden_size, "n_layer": model.config.num_hidden_layers,
              "vocab_size": vocab_size, "ssm_cfg": {}, "rms_norm": True, "residual_in_fp32": True,
              "fused_add_norm": True, "pad_vocab_size_multiple": 8, "tie_embeddings": True}
    (directory / "config.json").write_text(json.dumps(config, indent=4) + "\n")


def save_original2(model, directory, vocab_size, D_of_channels):
    """As mamba-ssm writes Mamba-2, with its option D_has_hdim."""
    tensors = collections.OrderedDict()
    for name, tensor in model.state_dict().items():
        if name.endswith("mixer.D"):
            tensor = torch.from_numpy(D_of_channels[int(name.split(".")[2])].astype(np.float32))
        tensors[name.replace("backbone.embeddings.", "backbone.embedding.")] = tensor
    tensors["lm_head.weight"] = tensors["backbone.embedding.weight"]
    torch.save(tensors, directory / "pytorch_model.bin")
    c = model.config
    config = {"d_model": c.hidden_size, "d_intermediate": 0, "n_layer": c.num_hidden_layers,
              "vocab_size": vocab_size,
              "ssm_cfg": {"layer": "Mamba2", "d_state": c.state_size, "headdim": c.head_dim,
                          "D_has_hdim": True},
              "attn_layer_idx": [], "attn_cfg": {}, "rms_norm": True, "residual_in_fp32": True,
              "fused_add_norm": True, "pad_vocab_size_multiple": 16, "tie_embeddings": True}
    (directory / "config.json").write_text(json.dumps(config, indent=4) + "\n")


def save_consolidated(model, directory):
    """As the second copy of Codestral Mamba: one file, other names, params.json."""
    tensors = {"model." + name.replace("backbone.embeddings.", "backbone.embedding."):
               tensor.to(torch.float16).contiguous() for name, tensor in model.state_dict().items()}
    safetensors.torch.save_file(tensors, directory / "consolidated.safetensors")
    c = model.config
    params = {"dim": c.hidden_size, "n_layers": c.num_hidden_layers, "vocab_size": c.vocab_size,
              "n_groups": c.n_groups, "rms_norm": True, "residual_in_fp32": True,
              "fused_add_norm": True, "pad_vocab_size_multiple": 1, "tie_embeddings": False,
              "model_type": "mamba"}
    (directory / "params.json").write_text(json.dumps(params, indent=4) + "\n")


def fresh(name):
    directory = HERE / name
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    return directory, zlib.crc32(name.encode())


def make_mamba(name):
    config, dtype, shard = MODELS[name]
    directory, seed = fresh(name)
    model = make(config, dtype, seed)
    write_logits(model, directory, config["vocab_size"], seed + 1)
    model.to(dtype).save_pretrained(directory, max_shard_size=shard)


def make_original(name):
    directory, seed = fresh(name)
    model = make(dict(hidden_size=28, num_hidden_layers=2, vocab_size=88), torch.float32, seed)
    write_logits(model, directory, 83, seed + 1)
    save_original(model, directory, 83)


def make_mamba2(name):
    config, dtype, shard = MAMBA2[name]
    directory, seed = fresh(name)
    model = make(config, dtype, seed, "Mamba2")
    write_mamba2_logits(model, directory, config["vocab_size"], seed + 1)
    model.to(dtype).save_pretrained(directory, max_shard_size=shard)


def make_original2(name):
    directory, seed = fresh(name)
    model = make(dict(hidden_size=24, state_size=16, head_dim=16, num_heads=3, n_groups=1,
                      num_hidden_layers=2, vocab_size=96, tie_word_embeddings=True),
                 torch.float32, seed, "Mamba2")
    D = np.random.default_rng(seed + 2).normal(0.5, 0.7, (2, 48)).astype(np.float32)
    write_mamba2_logits(model, directory, 83, seed + 1, D.astype(np.float64))
    save_original2(model, directory, 83, D)


def make_consolidated(name):
    directory, seed = fresh(name)
    model = make(dict(hidden_size=16, state_size=128, head_dim=4, num_heads=8, n_groups=2,
                      num_hidden_layers=1, vocab_size=53, tie_word_embeddings=False),
                 torch.float16, seed, "Mamba2")
    write_mamba2_logits(model, directory, 53, seed + 1)
    save_consolidated(model, directory)


def main(wanted):
    makers = {name: make_mamba for name in MODELS} | {ORIGINAL: make_original}
    makers |= {name: make_mamba2 for name in MAMBA2}
    makers |= {ORIGINAL2: make_original2, CODESTRAL: make_consolidated}
    for name in wanted or makers:
        makers[name](name)


if __name__ == "__main__":
    main(sys.argv[1:])
