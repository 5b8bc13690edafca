#!/usr/bin/env python3
"""Writes the hand-made fuzz corpora of the readers of outside files, from the standard library
alone. The pickles are the fixtures of tests/golden/pickle, which need torch to be made."""
import json
import shutil
import struct
from pathlib import Path

HERE = Path(__file__).parent / "corpus"


def put(corpus, name, content):
    path = HERE / corpus / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def safetensors(header, data=b"", pad=0):
    text = header if isinstance(header, str) else json.dumps(header)
    text += " " * pad
    return struct.pack("<Q", len(text)) + text.encode() + data


def entry(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


put("safetensors", "two", safetensors({"__metadata__": {"format": "pt"}, "a": entry("F32", [2, 3], 0, 24),
                                       "b": entry("BF16", [], 24, 26)}, bytes(26)))
put("safetensors", "misaligned", safetensors({"a": entry("U8", [3], 0, 3),
                                              "b": entry("F64", [1, 1, 1, 1], 3, 11)}, bytes(11)))
put("safetensors", "empty_tensor", safetensors({"a": entry("I64", [0, 5], 0, 0)}))
put("safetensors", "no_tensor", safetensors("{}", pad=6))
put("safetensors", "overlap", safetensors({"a": entry("U8", [4], 0, 4), "b": entry("U8", [4], 3, 7)}, bytes(7)))
put("safetensors", "hole", safetensors({"a": entry("U8", [4], 0, 4), "b": entry("U8", [4], 5, 9)}, bytes(9)))
put("safetensors", "duplicate", safetensors('{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},'
                                            '"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"1"))
put("safetensors", "dtype", safetensors({"a": entry("F8_E4M3", [4], 0, 4)}, bytes(4)))
put("safetensors", "rank", safetensors({"a": entry("U8", [1] * 5, 0, 1)}, bytes(1)))
put("safetensors", "overflow", safetensors({"a": entry("F64", [1 << 61, 8], 0, 0)}))
put("safetensors", "infinity", safetensors('{"a":{"dtype":"U8","shape":[Infinity],"data_offsets":[NaN,1]}}', b"1"))
put("safetensors", "long_header", struct.pack("<Q", 1 << 60) + b"{}")
put("safetensors", "short", b"\x02\0\0")

put("json", "config", '{"model_type": "mamba", "time_step_limit": [0.0, Infinity], "a": -Infinity, "b": NaN}')
put("json", "wrapped", '{"a": {"__float__": "Infinity"}, "b": [{"__float__": "-Infinity"}, {"__float__": "NaN"}]}')
put("json", "strings", '["Infinity", "\\"NaN", "\\\\", "\\ud83d\\ude00", "\xe9", ""]')
put("json", "numbers", "[0, -1, 18446744073709551615, 18446744073709551616, 1e308, 1e309, -0.0, 5e-324]")
put("json", "bom", b"\xef\xbb\xbf{}")
put("json", "duplicate", '{"a": 1, "a": {"a": 2, "a": 3}}')
put("json", "deep", "[" * 300)
put("json", "deep_object", '{"a":' * 199 + "NaN" + "}" * 199)
put("json", "bad_utf8", b'["\xff\xc3\xa9\xc3"]')
put("json", "words", "[Infinityx, -NaN, xNaN, +Infinity, INFINITY, nan]")
put("json", "unfinished", '{"a": "b')
put("json", "empty", "")

for path in sorted((HERE.parents[1] / "golden" / "pickle").glob("*.bin")):
    if path.stat().st_size < 3000:
        shutil.copyfile(path, HERE / "torch_pickle" / path.stem)
