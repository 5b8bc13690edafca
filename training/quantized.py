"""krait's quantized checkpoints (docs/reference/formats.md) as tensors: read, computed with, written back.

A product is stored as W H^T where its input is rotated by H. Here H is multiplied back onto the
weights, `(W H^T) H`, so that the plain model can compute with them; gradients of scales pass
through that product. The rounding of inputs to int8 is left out.
"""

import functools
import json

import numpy as np
import safetensors.torch
import torch

# Products that read another's input are rotated as that one is.
SHARED_INPUT = {"k_proj": "q_proj", "v_proj": "q_proj", "up_proj": "gate_proj"}
TABLES, HEADS = ("embeddings", "embed_in", "embed_tokens"), ("lm_head", "embed_out")


def legendre(a, q):
    """0 for multiples of the prime q, 1 for squares modulo q, -1 otherwise."""
    a %= q
    return 0 if a == 0 else 1 if a in {x * x % q for x in range(1, q)} else -1


def bordered_core(q, border):
    """Paley's core [q+1,q+1]: a zero, a row of ones, a column of `border`, legendre(i - j)."""
    core = np.zeros((q + 1, q + 1))
    core[0, 1:], core[1:, 0] = 1, border
    core[1:, 1:] = [[legendre(i - j, q) for j in range(q)] for i in range(q)]
    return core


def has_hadamard(order):
    power = order & -order
    return order == power or (order // power in (3, 5, 7) and power % 4 == 0)


@functools.cache
def hadamard(block):
    """H [block,block], orthogonal: H_m (x) Sylvester's matrix (Paley 1933), as krait has it."""
    power = block & -block
    odd = block // power
    if odd == 1:
        core = np.ones((1, 1))
    elif odd in (3, 5) and power % 4 == 0:  # 12, 20: the first construction
        core = np.eye(4 * odd) + bordered_core(4 * odd - 1, -1)
    elif odd == 7 and power % 4 == 0:  # 28: the second
        core = (np.kron(bordered_core(13, 1), [[1, 1], [1, -1]])
                + np.kron(np.eye(14), [[1, -1], [-1, -1]]))
    else:
        raise ValueError(f"no Hadamard matrix of order {block}")
    h = core
    while len(h) < block:
        h = np.kron(h, [[1, 1], [1, -1]])
    return torch.from_numpy(h / np.sqrt(block)).float()


def rotate(w, block, back=False):
    """W H^T of w [..., columns], H in blocks; or back, W H."""
    if block == 1:
        return w
    h = hadamard(block)
    return (w.unflatten(-1, (-1, block)) @ (h if back else h.t())).flatten(-2)


def unpack_int4(words, columns):
    """I32 [rows, columns / 8] -> digits [rows, columns], the first in the lowest four bits."""
    shifts = torch.arange(0, 32, 4, dtype=torch.int32)
    return (((words[..., None] >> shifts) & 15) - 8).flatten(1)[:, :columns].float()


def decode(codes, table, rows, columns):
    """Digits [rows, columns] of codes U8 [ceil(rows / 2), columns b / 4] with table I8 [64].

    A word holds 2 rows by C columns, C = 16 (b = 2) or 8: weight i = 2 (column % C) + row % 2 is
    table[w], w the 6 bits from bit b i on, around the end of the word.
    """
    bits = codes.shape[1] * 4 // columns
    wide = 16 if bits == 2 else 8
    length = 2 * wide * bits
    words = codes.numpy().reshape(len(codes), columns // wide, length // 8)
    stream = np.unpackbits(words, axis=-1, bitorder="little")
    at = (bits * np.arange(2 * wide)[:, None] + np.arange(6)) % length
    window = (stream[..., at] << np.arange(6, dtype=np.uint8)).sum(-1)
    digits = table.numpy()[window].reshape(len(codes), columns // wide, wide, 2)
    digits = digits.transpose(0, 3, 1, 2).reshape(2 * len(codes), columns)[:rows]
    return torch.from_numpy(digits.astype(np.float32))


def unpack_trits(trits, rows, columns):
    """Digits [rows, columns] of U8 [ceil(rows columns / 5)]: each the sum of (digit + 1) 3^k."""
    digits = trits[:, None].int() // torch.tensor([1, 3, 9, 27, 81]) % 3 - 1
    return digits.flatten()[:rows * columns].reshape(rows, columns).float()


class Checkpoint:
    """`floats`: tensors that are float in the checkpoint; `scales`: of matrices, by product's name,
    and of parameters in int8, by theirs; weights(floats, scales) -> the parameters of the plain
    model, differentiable in both. Products of `kept` have those tensors instead: coded() of another
    checkpoint of the same rotations."""

    def __init__(self, directory, kept=None):
        self.directory = directory
        self.config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
        self.activations = self.config["quantization_config"]["krait"]["activations"]
        self.tensors = safetensors.torch.load_file(directory / "model.safetensors")
        for stem, tensors in (kept or {}).items():
            for name in [n for n in self.tensors if n.rpartition(".")[0] == stem and "weight" in n]:
                del self.tensors[name]
            self.tensors.update(tensors)
        self.digits, self.integers, self.scales, self.floats, self.kind = {}, {}, {}, {}, {}
        for name, tensor in self.tensors.items():
            stem, _, last = name.rpartition(".")
            scale = self.tensors.get(stem + ".weight_scale")
            if last == "weight" and tensor.dtype == torch.int8 and scale is not None:
                self.digits[stem] = tensor.float()
            elif last == "weight_packed":
                rows, columns = self.tensors[stem + ".weight_shape"].tolist()
                self.digits[stem] = unpack_int4(tensor, columns)
            elif last == "weight_codes":
                rows, columns = self.tensors[stem + ".weight_shape"].tolist()
                self.digits[stem] = decode(tensor, self.tensors[stem + ".weight_table"], rows,
                                           columns)
            elif last == "weight_trits":
                rows, columns = self.tensors[stem + ".weight_shape"].tolist()
                self.digits[stem] = unpack_trits(tensor, rows, columns)
            elif name.endswith("_packed"):  # 4 bits of a parameter
                stem = name.removesuffix("_packed")
                zero = self.tensors[stem + "_zero_point"].float()
                self.integers[stem] = unpack_int4(tensor, 8 * tensor.shape[1]) - zero
            elif tensor.dtype == torch.int8 and name + "_scale" in self.tensors:
                self.integers[name] = tensor.float()
            elif tensor.is_floating_point() and not name.endswith("_scale"):
                self.floats[name], self.kind[name] = tensor.float(), tensor.dtype
        stems = [*self.digits, *(name.rpartition(".")[0] for name in self.floats)]
        self.head = next((stem for stem in stems if stem in HEADS), None)  # None: it is the table
        for stem in self.digits:
            scale = self.tensors[stem + ".weight_scale"]
            self.kind[self.scale_name(stem)] = scale.dtype
            self.scales[stem] = scale.float().reshape(1 if scale.numel() == 1 else len(scale), -1)
        for name, integers in self.integers.items():
            scale = self.tensors[name + "_scale"]
            self.kind[self.scale_name(name)] = scale.dtype
            self.scales[name] = scale.float().reshape(-1, *[1] * (integers.dim() - 1))

    def coded(self):
        """{product: {name: tensor}} of the products stored as codes or ternary digits."""
        stems = [n.rpartition(".")[0] for n in self.tensors if n.endswith(("_codes", "_trits"))]
        return {stem: {n: t for n, t in self.tensors.items() if n.startswith(stem + ".weight_")}
                for stem in stems}

    def scale_name(self, stem):
        """The tensor of scales[stem]."""
        return stem + ("_scale" if stem in self.integers else ".weight_scale")

    def block(self, stem):
        """The block of the rotation of a product's input, 1 if there is none. A table is rotated
        where it is the head too."""
        role = stem.rpartition(".")[2]
        if role in TABLES and self.head:
            return 1
        role = "lm_head" if role in TABLES + HEADS else role
        site = self.activations.get(SHARED_INPUT.get(role, role) + ".input", {})
        return site.get("hadamard_block", 1)

    def plain(self, stem, stored):
        """Stored weights [rows, columns] -> those of the plain model."""
        return rotate(stored, self.block(stem), back=True)

    def weights(self, floats, scales):
        result = {}
        for name, value in floats.items():
            stem, _, last = name.rpartition(".")
            matrix = last == "weight" and value.dim() == 2
            result[name] = self.plain(stem, value) if matrix else value
        for stem, digits in self.digits.items():
            scale = scales[stem]
            stored = (digits.unflatten(1, (scale.shape[1], -1)) * scale[..., None]).flatten(1)
            result[stem + ".weight"] = self.plain(stem, stored)
        for name, integers in self.integers.items():
            result[name] = integers * scales[name]
        return result

    def write(self, out, floats, scales, note):
        """The same files with other values; `note` goes into the provenance."""
        out.mkdir(parents=True, exist_ok=True)
        for path in self.directory.iterdir():
            if path.is_file() and path.suffix != ".safetensors":
                (out / path.name).write_bytes(path.read_bytes())
        self.config["quantization_config"]["krait"]["provenance"]["tuning"] = note
        (out / "config.json").write_text(json.dumps(self.config, indent=2) + "\n", encoding="utf-8")
        tensors = dict(self.tensors)
        for name, value in floats.items():
            tensors[name] = value.to(self.kind[name]).contiguous()
        for stem, value in scales.items():
            name = self.scale_name(stem)
            tensors[name] = value.to(self.kind[name]).reshape(tensors[name].shape).contiguous()
        safetensors.torch.save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
