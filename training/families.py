"""The model families, each a module with the same names.

Config (a dataclass whose fields are keys of config.json), Model(config) with loss(ids, target,
kind), its parts model(ids, kind) and head(), and logits(ids), decays(parameter name),
hugging_face(config) -> the keys of config.json.
Parameters carry the names of the Hugging Face layout, so that export and import are plain copies.
"""

import dataclasses
import json

import safetensors.torch
import torch

import jamba
import mamba
import mamba2
import pythia

FAMILIES = {"mamba": mamba, "mamba2": mamba2, "pythia": pythia, "jamba": jamba}

# Fields of each family's Config that differ from its defaults, the sizes of models/.
SIZES = {
    "1m": {
        "mamba": dict(hidden_size=96, intermediate_size=192, num_hidden_layers=6,
                      time_step_rank=6),
    },
    "2m": {
        "mamba": dict(hidden_size=128, intermediate_size=256, num_hidden_layers=8,
                      time_step_rank=8),
    },
    "4m": {name: {} for name in FAMILIES},
    "15m": {
        "mamba": dict(hidden_size=384, intermediate_size=768, num_hidden_layers=12,
                      time_step_rank=24),
        "mamba2": dict(hidden_size=384, num_heads=24, num_hidden_layers=12),
        "pythia": dict(hidden_size=384, num_attention_heads=12, intermediate_size=1408,
                       num_hidden_layers=7),
        "jamba": dict(hidden_size=384, num_attention_heads=12, num_key_value_heads=3,
                      intermediate_size=192, num_hidden_layers=8, attn_layer_period=8,
                      attn_layer_offset=4, mamba_dt_rank=24),
    },
    "30m": {
        "mamba": dict(hidden_size=512, intermediate_size=1024, num_hidden_layers=15,
                      time_step_rank=32),
        "mamba2": dict(hidden_size=512, num_heads=32, num_hidden_layers=15),
        "pythia": dict(hidden_size=512, num_attention_heads=16, intermediate_size=2048,
                       num_hidden_layers=8),
        "jamba": dict(hidden_size=512, num_attention_heads=16, num_key_value_heads=4,
                      intermediate_size=448, num_hidden_layers=8, attn_layer_period=8,
                      attn_layer_offset=4, mamba_dt_rank=32),
    },
}


def head_name(model):
    """The name of the parameter that is table and head."""
    return next(name for name, p in model.named_parameters() if p is model.head())


def load_checkpoint(path):
    """(family's name, model, tokens it was trained on) of a checkpoint of train.py."""
    saved = torch.load(path, weights_only=True)
    name = saved.get("family", "mamba")  # the demo's checkpoint is older than the other families
    family = FAMILIES[name]
    model = family.Model(family.Config(**saved["config"]))
    model.load_state_dict(saved["model"])
    return name, model, saved["tokens"]


def load_export(directory):
    """(family's name, model) of a directory that export.py wrote, weights widened to float32."""
    stored = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    for name, family in FAMILIES.items():
        if family.hugging_face(family.Config())["model_type"] == stored["model_type"]:
            break
    else:
        raise SystemExit(f"{directory}: no family of ours is called {stored['model_type']}")
    fields = [f.name for f in dataclasses.fields(family.Config) if f.name in stored]
    model = family.Model(family.Config(**{field: stored[field] for field in fields}))
    tensors = safetensors.torch.load_file(directory / "model.safetensors")
    model.load_state_dict({key: tensor.float() for key, tensor in tensors.items()})
    return name, model


def save_like(directory, tensors, out):
    """The files of an export with other tensors."""
    out.mkdir(parents=True, exist_ok=True)
    for path in directory.iterdir():
        if path.suffix == ".json":
            (out / path.name).write_bytes(path.read_bytes())
    safetensors.torch.save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
