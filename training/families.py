"""The model families, each a module with the same names.

Config (a dataclass whose fields are keys of config.json), Model(config) with loss(ids, target,
kind) and logits(ids), decays(parameter name), hugging_face(config) -> the keys of config.json.
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
