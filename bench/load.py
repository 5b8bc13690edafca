#!/usr/bin/env python3
"""What loading a checkpoint costs: seconds and peak memory, beside the size of its file.

  bench/load.py --krait build/release/krait --shape mamba-130m mamba-2.8b --recipe krait-w8a8 bf16

Writes a Hugging Face checkpoint of a published Mamba shape with random bfloat16 weights, quantizes it
with `krait quantize` and runs `krait bench` on the result. The file has just been written, so it is read
from the page cache. Memory is the peak of the whole process until eight tokens are decoded; the ratio
holds it against file and state. Needs numpy.
"""

import argparse
import json
import pathlib
import shutil
import statistics
import subprocess
import sys

import numpy

from shapes import MAMBA


def tensors(shape: str):
    """(name, dimensions, how large its values are) of a MambaForCausalLM."""
    D, layers, V = MAMBA[shape]
    E, N, K, R = 2 * D, 16, 4, D // 16
    yield "backbone.embeddings.weight", (V, D), 0.02
    for i in range(layers):
        block = f"backbone.layers.{i}."
        yield block + "norm.weight", (D,), 1.0
        yield block + "mixer.in_proj.weight", (2 * E, D), D ** -0.5
        yield block + "mixer.conv1d.weight", (E, 1, K), 0.3
        yield block + "mixer.conv1d.bias", (E,), 0.1
        yield block + "mixer.x_proj.weight", (R + 2 * N, E), E ** -0.5
        yield block + "mixer.dt_proj.weight", (E, R), R ** -0.5
        yield block + "mixer.dt_proj.bias", (E,), 0.1
        yield block + "mixer.A_log", (E, N), 0.5
        yield block + "mixer.D", (E,), 1.0
        yield block + "mixer.out_proj.weight", (D, E), E ** -0.5
    yield "backbone.norm_f.weight", (D,), 1.0


def write_checkpoint(directory: pathlib.Path, shape: str) -> None:
    D, layers, V = MAMBA[shape]
    directory.mkdir(parents=True)
    config = {"architectures": ["MambaForCausalLM"], "model_type": "mamba", "hidden_size": D,
              "intermediate_size": 2 * D, "num_hidden_layers": layers, "state_size": 16,
              "conv_kernel": 4, "time_step_rank": D // 16, "vocab_size": V, "use_bias": False,
              "use_conv_bias": True, "layer_norm_epsilon": 1e-5, "tie_word_embeddings": True,
              "torch_dtype": "bfloat16"}
    (directory / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    header, offset = {}, 0
    for name, dims, _ in tensors(shape):
        size = 2 * int(numpy.prod(dims))
        header[name] = {"dtype": "BF16", "shape": dims, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    rng = numpy.random.default_rng(1)
    with open(directory / "model.safetensors", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, dims, scale in tensors(shape):
            values = rng.random(int(numpy.prod(dims)), dtype=numpy.float32)
            values = (values - 0.5) * numpy.float32(2 * scale)
            file.write((values.view(numpy.uint32) >> 16).astype(numpy.uint16).tobytes())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--krait", default="build/release/krait")
    parser.add_argument("--shape", nargs="+", default=["mamba-130m"], choices=list(MAMBA))
    parser.add_argument("--recipe", nargs="+", default=["krait-w8a8"])
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("out/load"),
                        help="where the checkpoints go; they are removed at the end")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()

    print("| shape | recipe | file, MB | load, s | peak memory, MB | of file and state |\n"
          "|---|---|---:|---:|---:|---:|")
    for shape in args.shape:
        source = args.work / shape
        write_checkpoint(source, shape)
        for recipe in args.recipe:
            target = args.work / f"{shape}-{recipe}"
            subprocess.run([args.krait, "quantize", source, "-o", target, "--recipe", recipe], check=True,
                           stdout=subprocess.DEVNULL)
            size = sum(file.stat().st_size for file in target.glob("*.safetensors"))
            seconds, peaks, state = [], [], 0
            for _ in range(args.rounds):
                told = json.loads(subprocess.run(
                    [args.krait, "bench", target, "-p", "0", "-n", "8", "-r", "1", "--json"],
                    check=True, stdout=subprocess.PIPE).stdout)
                seconds.append(told["load_seconds"])
                peaks.append(told["peak_rss_bytes"])
                state = told["state_bytes"]
            print(f"| {shape} | {recipe} | {size / 1e6:,.0f} "
                  f"| {statistics.median(seconds):.2f} ({min(seconds):.2f}-{max(seconds):.2f}) "
                  f"| {statistics.median(peaks) / 1e6:,.0f} "
                  f"| {statistics.median(peaks) / (size + state):.3f} |", flush=True)
            shutil.rmtree(target)
        shutil.rmtree(source)
    return 0


if __name__ == "__main__":
    sys.exit(main())
