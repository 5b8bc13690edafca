#!/usr/bin/env python3
"""krait and llama.cpp on one shape, taking turns on one machine.

  pip install llama-cpp-python gguf numpy
  bench/against_llama_cpp.py --krait build/release/krait --shape mamba-130m mamba2-130m --type Q8_0 Q4_0

Writes a GGUF with random weights of a published shape for each type, measures prefill and decode of
one sequence with llama-cpp-python, and `krait bench --dummy` of the same shape between its rounds.
Which tensors are quantized follows llama-quantize: matrices whose rows are whole blocks, the tied
table as Q6_K beside Q4_0; the rest is F16 or F32. Weights are random blocks: speed does not depend on
their values. Medians over all rounds, lowest and highest in brackets. A host that is shared changes
its memory bandwidth within seconds: it is measured before and after each decode, of both programs, and
--bandwidth 65 keeps only those with at least that many GB/s in the mean of the two.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import time

import numpy
from gguf import GGMLQuantizationType as Type
from gguf import GGUFWriter

from shapes import MAMBA, MAMBA2

RECIPES = {"Q8_0": "krait-w8a8", "Q4_0": "krait-w4a8"}


def random_blocks(rng: numpy.random.Generator, rows: int, cols: int, kind: Type) -> numpy.ndarray:
    """uint8 [rows, bytes of a row]: blocks as ggml has them, weights of about 1 / sqrt(cols)."""
    size, bytes_of_scale_at = {Type.Q8_0: ((32, 34), 0), Type.Q4_0: ((32, 18), 0),
                               Type.Q6_K: ((256, 210), 208)}[kind]
    weights, length = size
    blocks = rng.integers(0, 256, (rows * cols // weights, length), dtype=numpy.uint8)
    largest = {Type.Q8_0: 127, Type.Q4_0: 8, Type.Q6_K: 32 * 127}[kind]
    scale = numpy.array([1.7 / numpy.sqrt(cols) / largest], dtype=numpy.float16)
    blocks[:, bytes_of_scale_at:bytes_of_scale_at + 2] = scale.view(numpy.uint8)
    return blocks.reshape(rows, -1)


def write_gguf(path: pathlib.Path, shape: str, name: str) -> None:
    second = shape in MAMBA2
    D, layers, V = (MAMBA2 if second else MAMBA)[shape]
    E, K, R, H = 2 * D, 4, D // 16, 2 * D // 64
    N, G = (128, 1) if second else (16, 0)
    writer = GGUFWriter(path, "mamba2" if second else "mamba", use_temp_file=True)
    writer.add_context_length(1 << 20)
    writer.add_embedding_length(D)
    writer.add_feed_forward_length(0)
    writer.add_block_count(layers)
    writer.add_head_count(0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_ssm_conv_kernel(K)
    writer.add_ssm_inner_size(E)
    writer.add_ssm_state_size(N)
    writer.add_ssm_time_step_rank(H if second else R)
    if second:
        writer.add_ssm_group_count(G)
    writer.add_vocab_size(V)
    writer.add_tokenizer_model("no_vocab")
    rng = numpy.random.default_rng(1)

    def matrix(tensor: str, rows: int, cols: int, kind: Type) -> None:
        if cols % (256 if kind is Type.Q6_K else 32):
            values = (rng.standard_normal((rows, cols)) / numpy.sqrt(cols)).astype(numpy.float16)
            writer.add_tensor(tensor, values)
        else:
            writer.add_tensor(tensor, random_blocks(rng, rows, cols, kind), raw_dtype=kind)

    def vector(tensor: str, values: numpy.ndarray) -> None:
        writer.add_tensor(tensor, values.astype(numpy.float32))

    kind = Type[name]
    matrix("token_embd.weight", V, D, Type.Q6_K if name == "Q4_0" else kind)
    vector("output_norm.weight", numpy.ones(D))
    for i in range(layers):
        block = f"blk.{i}."
        conv = E + 2 * G * N
        vector(block + "attn_norm.weight", numpy.ones(D))
        matrix(block + "ssm_in.weight", E + conv + H if second else 2 * E, D, kind)
        vector(block + "ssm_conv1d.weight", 0.3 * rng.standard_normal((conv, K)))
        vector(block + "ssm_conv1d.bias", numpy.zeros(conv))
        if second:
            vector(block + "ssm_dt.bias", numpy.full(H, -4.0))
            vector(block + "ssm_a", -rng.uniform(1, 16, (H, 1)))
            vector(block + "ssm_d", numpy.ones((H, 1)))
            vector(block + "ssm_norm.weight", numpy.ones((G, E // G)))
        else:
            matrix(block + "ssm_x.weight", R + 2 * N, E, kind)
            matrix(block + "ssm_dt.weight", E, R, kind)
            vector(block + "ssm_dt.bias", numpy.full(E, -4.0))
            vector(block + "ssm_a", numpy.tile(-numpy.arange(1.0, N + 1), (E, 1)))
            vector(block + "ssm_d", numpy.ones(E))
        matrix(block + "ssm_out.weight", D, E, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class Llama:
    """llama.cpp through its C interface: no tokenizer is needed."""

    def __init__(self, path: pathlib.Path, threads: int, context: int):
        import llama_cpp  # here, so that --help works without it
        self.lib = llama_cpp
        silent = llama_cpp.llama_log_callback(lambda level, text, data: None)
        self.keep = silent  # the library holds a bare pointer
        llama_cpp.llama_log_set(silent, None)
        llama_cpp.llama_backend_init()
        self.model = llama_cpp.llama_model_load_from_file(
            str(path).encode(), llama_cpp.llama_model_default_params())
        if not self.model:
            sys.exit(f"llama.cpp does not load {path}")
        params = llama_cpp.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = context, 512, 512
        params.n_threads = params.n_threads_batch = threads
        self.context = llama_cpp.llama_init_from_model(self.model, params)

    def reset(self) -> None:
        self.lib.llama_memory_clear(self.lib.llama_get_memory(self.context), True)

    def feed(self, ids: list[int]) -> None:
        array = (self.lib.llama_token * len(ids))(*ids)
        if self.lib.llama_decode(self.context, self.lib.llama_batch_get_one(array, len(ids))):
            sys.exit("llama_decode failed")
        self.lib.llama_synchronize(self.context)

    def rate(self, tokens: int, step: int) -> float:
        """tokens/s of `tokens` from an empty state, `step` at a time."""
        self.reset()
        start = time.perf_counter()
        for first in range(0, tokens, step):
            self.feed([100 + i % 20000 for i in range(first, min(first + step, tokens))])
        return tokens / (time.perf_counter() - start)


def bench(args: argparse.Namespace, *options: str) -> dict:
    """What `krait bench` tells."""
    return json.loads(subprocess.run([args.krait, "bench", *options, "-t", str(args.threads), "--json"],
                                     check=True, stdout=subprocess.PIPE).stdout)


def read_bandwidth(args: argparse.Namespace) -> float:
    """GB/s, now."""
    return bench(args, "-p", "0", "-n", "1", "-r", "1")["read_bandwidth"] / 1e9


def spread(values: list[float]) -> str:
    digits = 0 if statistics.median(values) >= 100 else 1
    return (f"{statistics.median(values):,.{digits}f} "
            f"({min(values):,.{digits}f}-{max(values):,.{digits}f})")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--krait", default="build/release/krait")
    parser.add_argument("--shape", nargs="+", default=["mamba-130m"], choices=[*MAMBA, *MAMBA2])
    parser.add_argument("--type", nargs="+", default=["Q8_0"], choices=list(RECIPES))
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("out/llama_cpp"),
                        help="where the GGUF files go")
    parser.add_argument("--keep", action="store_true",
                        help="leave the GGUF files, and use those that are there")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3, help="decodes of each program in a round")
    parser.add_argument("--bandwidth", type=float, default=0, metavar="GB/s",
                        help="decodes with less memory bandwidth do not count")
    parser.add_argument("--attempts", type=int, default=20, help="rounds at most, until enough count")
    parser.add_argument("--out", type=pathlib.Path, help="all figures as JSON; the table is printed")
    args = parser.parse_args()

    args.work.mkdir(parents=True, exist_ok=True)
    figures = []
    print("| shape | | prefill, tokens/s | decode, tokens/s | GB/s |\n|---|---|---:|---:|---:|")
    for shape in args.shape:
        for kind in args.type:
            path = args.work / f"{shape}-{kind}.gguf"
            if not (args.keep and path.exists()):
                write_gguf(path, shape, kind)
            llama = Llama(path, args.threads, args.prompt + args.tokens)
            llama.rate(args.prompt, 512)  # warm
            names = {"llama.cpp": kind, "krait": RECIPES[kind]}
            samples = {name: {"prefill": [], "decode": [], "bandwidth": []} for name in names}

            def add(name: str, rate: float, bandwidth: float) -> None:
                if bandwidth >= args.bandwidth:
                    samples[name]["decode"].append(rate)
                    samples[name]["bandwidth"].append(bandwidth)

            for attempt in range(max(args.attempts, args.rounds)):
                fewest = min(len(samples[name]["decode"]) for name in names)
                if attempt >= args.rounds and fewest >= 2 * args.rounds:
                    break
                samples["llama.cpp"]["prefill"].append(llama.rate(args.prompt, 512))
                before = read_bandwidth(args)
                for _ in range(args.repeats):
                    rate = llama.rate(args.tokens, 1)
                    after = read_bandwidth(args)
                    add("llama.cpp", rate, (before + after) / 2)
                    before = after
                told = bench(args, "--dummy", shape, "--recipe", RECIPES[kind],
                             "-p", str(args.prompt), "-n", str(args.tokens),
                             "-r", str(args.repeats))
                for test in told["results"]:
                    if not test["n_gen"]:
                        samples["krait"]["prefill"].extend(test["samples_ts"])
                        continue
                    for rate, fraction in zip(test["samples_ts"], test["fractions_of_bound"]):
                        add("krait", rate, rate * test["bytes_per_token"] / fraction / 1e9)
            if not all(samples[name]["decode"] for name in names):
                sys.exit(f"{shape} {kind}: {args.attempts} rounds, none with {args.bandwidth} GB/s")
            for name, label in names.items():
                print(f"| {shape} | {name} {label} | {spread(samples[name]['prefill'])} "
                      f"| {spread(samples[name]['decode'])} "
                      f"| {spread(samples[name]['bandwidth'])} |", flush=True)
            ratios = [statistics.median(samples["krait"][test])
                      / statistics.median(samples["llama.cpp"][test])
                      for test in ("prefill", "decode")]
            print(f"| | ratio | {ratios[0]:.1f} | {ratios[1]:.1f} | |", flush=True)
            figures.append({"shape": shape, "type": kind, "recipe": RECIPES[kind],
                            "threads": args.threads, "prompt": args.prompt, "tokens": args.tokens,
                            "samples": samples})
            if not args.keep:
                path.unlink()
    if args.out:
        args.out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
