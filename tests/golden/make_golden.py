"""Make the golden checkpoints: small random Mamba models and the logits transformers gives them.

    python make_golden.py

Writes a directory for each entry of MODELS beside this script: the checkpoint, ids.json (a list of
token ids) and logits.npy (float32 [tokens, vocabulary], of the whole sequence from an empty state,
computed in float32 from the stored, rounded weights). Weights are drawn by numpy from fixed seeds,
wide enough that states, gates and steps all matter.
"""

import collections
import json
import math
import pathlib
import shutil
import zlib

import numpy as np
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
        elif name.endswith("dt_proj.bias"):
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


def make(config, dtype, seed):
    """The model with weights rounded to dtype, but in float32 for computing."""
    model = transformers.MambaForCausalLM(transformers.MambaConfig(**config))
    fill(model, np.random.default_rng(seed))
    return model.to(dtype).float().eval()


def write_logits(model, directory, vocab_size, seed):
    """ids.json and logits.npy; the first and the last token of the vocabulary occur, one twice."""
    ids = np.random.default_rng(seed).integers(0, vocab_size, TOKENS)
    ids[3], ids[10], ids[11] = 0, vocab_size - 1, vocab_size - 1
    with torch.no_grad():
        logits = model(torch.from_numpy(ids)[None], use_cache=False).logits[0]
    (directory / "ids.json").write_text(json.dumps(ids.tolist()) + "\n")
    np.save(directory / "logits.npy", logits.numpy().astype(np.float32))
    print(f"{directory.name}: logits {tuple(logits.shape)}, standard deviation {logits.std():.3f}")


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


def fresh(name):
    directory = HERE / name
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    return directory, zlib.crc32(name.encode())


def main():
    for name, (config, dtype, shard) in MODELS.items():
        directory, seed = fresh(name)
        model = make(config, dtype, seed)
        write_logits(model, directory, config["vocab_size"], seed + 1)
        model.to(dtype).save_pretrained(directory, max_shard_size=shard)
    directory, seed = fresh(ORIGINAL)
    model = make(dict(hidden_size=28, num_hidden_layers=2, vocab_size=88), torch.float32, seed)
    write_logits(model, directory, 83, seed + 1)
    save_original(model, directory, 83)


if __name__ == "__main__":
    main()
