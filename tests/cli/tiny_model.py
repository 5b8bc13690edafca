#!/usr/bin/env python3
"""Writes a tiny random Mamba checkpoint with a byte-level tokenizer, for tests that run programs.

usage: tiny_model.py DIRECTORY

Two layers of 64 channels, 258 tokens: the 256 bytes, "he" and <|endoftext|>. Needs nothing but
Python.
"""
import json
import math
import os
import random
import struct
import sys

D, E, N, K, R, LAYERS, VOCAB = 64, 128, 16, 4, 4, 2, 258


def byte_alphabet():
    """The printable character that byte-level tokenizers write for each byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    other = [b for b in range(256) if b not in plain]
    return {b: chr(b) for b in plain} | {b: chr(256 + i) for i, b in enumerate(other)}


def tokenizer():
    letters = byte_alphabet()
    vocabulary = {letters[b]: b for b in range(256)} | {"he": 256}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
                  "use_regex": True}
    return {"version": "1.0", "truncation": None, "padding": None, "normalizer": None,
            "added_tokens": [{"id": 257, "content": "<|endoftext|>", "single_word": False,
                              "lstrip": False, "rstrip": False, "normalized": False,
                              "special": True}],
            "pre_tokenizer": byte_level, "post_processor": None, "decoder": byte_level,
            "model": {"type": "BPE", "dropout": None, "unk_token": None,
                      "continuing_subword_prefix": None, "end_of_word_suffix": None,
                      "fuse_unk": False, "byte_fallback": False, "vocab": vocabulary,
                      "merges": ["h e"]}}


def tensors(rng):
    def normal(count, scale):
        return [rng.gauss(0, scale) for _ in range(count)]

    yield "backbone.embeddings.weight", [VOCAB, D], normal(VOCAB * D, 0.3)
    for layer in range(LAYERS):
        mixer = f"backbone.layers.{layer}.mixer."
        yield mixer + "A_log", [E, N], [math.log(n + 1) for _ in range(E) for n in range(N)]
        yield mixer + "D", [E], [1.0] * E
        yield mixer + "conv1d.bias", [E], normal(E, 0.1)
        yield mixer + "conv1d.weight", [E, 1, K], normal(E * K, 0.4)
        yield mixer + "dt_proj.bias", [E], [rng.uniform(-4, -1) for _ in range(E)]
        yield mixer + "dt_proj.weight", [E, R], normal(E * R, R ** -0.5)
        yield mixer + "in_proj.weight", [2 * E, D], normal(2 * E * D, D ** -0.5)
        yield mixer + "out_proj.weight", [D, E], normal(D * E, E ** -0.5)
        yield mixer + "x_proj.weight", [R + 2 * N, E], normal((R + 2 * N) * E, E ** -0.5)
        yield f"backbone.layers.{layer}.norm.weight", [D], [1.0] * D
    yield "backbone.norm_f.weight", [D], [1.0] * D


def write_safetensors(path, items):
    header, data = {}, b""
    for name, shape, values in items:
        begin = len(data)
        data += struct.pack(f"<{len(values)}f", *values)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, len(data)]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def write(directory):
    os.makedirs(directory, exist_ok=True)
    config = {"architectures": ["MambaForCausalLM"], "model_type": "mamba", "hidden_size": D,
              "intermediate_size": E, "state_size": N, "conv_kernel": K, "time_step_rank": R,
              "num_hidden_layers": LAYERS, "vocab_size": VOCAB, "expand": 2, "use_bias": False,
              "use_conv_bias": True, "hidden_act": "silu", "layer_norm_epsilon": 1e-5,
              "residual_in_fp32": True, "tie_word_embeddings": True, "torch_dtype": "float32",
              "bos_token_id": 257, "eos_token_id": 257}
    for name, value in (("config.json", config), ("tokenizer.json", tokenizer())):
        with open(os.path.join(directory, name), "w", encoding="utf-8") as file:
            json.dump(value, file)
    write_safetensors(os.path.join(directory, "model.safetensors"), tensors(random.Random(1)))


if __name__ == "__main__":
    write(sys.argv[1])
