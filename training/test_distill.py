"""Distillation and tuning: grids, exact exports, resuming, krait's tensors.

Run: python test_distill.py
"""

import json
import pathlib
import tempfile

import numpy as np
import safetensors.torch
import torch

import distill
import export
import families
import grids
import quantized
import test_models
import tune

ROOT = pathlib.Path(__file__).parent.parent


def tiny(name, seed=0, vocab_size=64):
    torch.manual_seed(seed)
    family = families.FAMILIES[name]
    return family.Model(family.Config(vocab_size=vocab_size, **test_models.TINY[name]))


def test_quantize():
    """The fused search against PyTorch: bf16 scales, digits of the grid, and a
    local optimum: for other digits too where these were searched."""
    w = torch.randn(24, 192, generator=torch.Generator().manual_seed(1))
    w[3] = 0
    for grid, (digits, _, rounds) in grids.GRIDS.items():
        for columns in (12, 64, 192):
            row = w[:, :columns]
            q, scale = grids.quantize(row, grid)
            wanted, wanted_scale = grids.quantize_reference(row, grid)
            # Another order of summing may move a scale by a bf16 step, and with it a few digits.
            assert ((q - wanted) != 0).float().mean() < 1e-3, (grid, columns)
            assert ((scale - wanted_scale).abs() <= wanted_scale / 128).all()
            assert torch.equal(scale, scale.bfloat16().float())
            assert set(q.unique().tolist()) <= set(digits)
            best = (row - q * scale).square().sum()
            for moved in (0.9 * scale, 1.1 * scale):
                other = grids.digits_of(row, moved, digits) if rounds else q
                assert best <= (row - other * moved).square().sum()
    q, scale = grids.quantize(w, "ternary")
    again, scale_again = grids.quantize(q * scale, "ternary")
    assert torch.equal(q * scale, again * scale_again)
    print("quantize: as PyTorch, bf16 scales, a local optimum; ternary weights stay what they are")


def test_gradient():
    """Straight through: the gradient of the latents is that of the weights in use, rotated."""
    model = tiny("mamba")
    parameters = grids.latents(dict(model.named_parameters()))
    weights = grids.student_weights(parameters, "ternary")
    on_grid = [n for n, p in parameters.items() if grids.is_matrix(n, p)]
    assert len(on_grid) == 1 + 3 * model.config.num_hidden_layers, on_grid
    in_use = {n: w.detach().requires_grad_() for n, w in weights.items()}
    ids, target = torch.randint(64, (2, 2, 40))
    teacher = tiny("mamba", seed=1).requires_grad_(False)
    for w in (weights, in_use):
        distill.divergence(model, w, teacher, ids, target, 0.25, torch.float32)[0].backward()
    for name, p in parameters.items():
        wanted = quantized.rotate(in_use[name].grad, grids.rotation_block(name, p))
        assert torch.allclose(p.grad, wanted, rtol=1e-4, atol=1e-7), name
        assert p.grad.abs().sum() > 0, name
    print(f"gradient: straight through to {len(parameters)} tensors, {len(on_grid)} on the grid")


def test_recipe():
    """krait-ternary rotates what rotation_block does and has codes for what is on a grid."""
    recipe = json.loads((ROOT / "recipes" / "krait-ternary.json").read_text(encoding="utf-8"))
    assert recipe["rotate"] == {"product.input": "largest", "head.input": "largest"}, recipe
    for family in families.FAMILIES:
        for name, p in tiny(family).named_parameters():
            role = name.removesuffix(".weight").rpartition(".")[2]
            if not grids.is_matrix(name, p):
                continue
            kind = ("table" if role in quantized.TABLES else
                    "head" if role in quantized.HEADS else "product")
            codes = "ternary" if kind == "product" else "trellis2"
            assert role not in recipe["weights"], role
            assert recipe["weights"][kind] == codes + "/channel", name
            block = grids.rotation_block(name, p)
            assert (block > 1) == (role != "x_proj"), (family, name)
            assert p.shape[1] % block == 0 and quantized.has_hadamard(block), name
    print(f"recipe: krait-ternary rotates as {len(families.FAMILIES)} families are distilled")


def run(folder, out, *arguments):
    distill.main(["--teacher", str(folder / "teacher"), "--data", str(folder), "--out",
                  str(folder / out), "--tokens", "1280", "--batch", "2", "--context", "64",
                  "--validation-windows", "8", "--checkpoint-every", "4", *arguments])


def test_run(folder):
    """A run that was stopped and resumed is the same run; its export is on the grid, and loads."""
    random = np.random.default_rng(0)
    for name, size in (("train", 20000), ("valid", 4000)):
        (random.integers(8, size=size) ** 2).astype(np.uint16).tofile(folder / f"{name}.bin")
    model = tiny("mamba")
    (folder / "tokenizer.json").write_text("{}", encoding="utf-8")
    export.write(families.FAMILIES["mamba"], model, folder / "tokenizer.json", folder / "teacher")
    for grid in grids.GRIDS:
        run(folder, grid, "--grid", grid)
        tensors = safetensors.torch.load_file(folder / grid / "export" / "model.safetensors")
        for name, w in tensors.items():
            if not grids.is_matrix(name, w):
                if name.endswith("A_log"):
                    assert torch.allclose(grids.four_bits(w), w, rtol=1e-6, atol=1e-6)
                    assert len((w * 1e5).round().unique()) <= 16
                else:
                    assert w.dtype == torch.bfloat16, name
                continue
            w = quantized.rotate(w.float(), grids.rotation_block(name, w))
            q, scale = grids.quantize(w, grid)
            error = (q * scale - w).abs().max().item()
            if grid == "ternary":  # its own nearest: nothing but the rounding of the rotation
                assert error < 1e-6 * w.abs().max().item(), (name, error)
            values = (w / w.abs().amax(-1, keepdim=True) * 1000).round()
            assert max(len(row.unique()) for row in values) <= len(grids.GRIDS[grid][0]), (grid,
                                                                                           name)
        families.load_export(folder / grid / "export")
    run(folder, "resumed", "--stop-after", "4")
    run(folder, "resumed")
    whole, resumed = (safetensors.torch.load_file(folder / name / "export" / "model.safetensors")
                      for name in ("ternary", "resumed"))
    for name, w in whole.items():
        assert torch.equal(w, resumed[name]), name
    log = [json.loads(line) for line in open(folder / "ternary" / "log.jsonl", encoding="utf-8")]
    assert log[-1]["held_out_kl"] < log[0]["held_out_kl"], log
    print("run: resumed alike, exported on the grid")


def test_hadamard():
    for block in (1, 2, 12, 20, 28, 24, 64, 192, 384):
        h = quantized.hadamard(block).double()
        assert torch.allclose(h @ h.t(), torch.eye(block, dtype=torch.float64), atol=1e-5), block
    print("hadamard: orthogonal")


def test_decode():
    """Codes of every width against the definition in src/core/weight.h, bit by bit."""
    generator = torch.Generator().manual_seed(2)
    for bits, wide in ((2, 16), (3, 8), (4, 8)):
        rows, columns = 5, 48
        codes = torch.randint(256, (3, columns * bits // 4), generator=generator,
                              dtype=torch.uint8)
        table = torch.randint(-127, 128, (64,), generator=generator, dtype=torch.int8)
        digits = quantized.decode(codes, table, rows, columns)
        size = 2 * wide * bits // 8
        for row in range(rows):
            for column in range(columns):
                at = column // wide * size
                word = int.from_bytes(bytes(codes[row // 2, at:at + size].tolist()), "little")
                first = bits * (2 * (column % wide) + row % 2)
                doubled = word | word << 8 * size
                assert digits[row, column] == table[doubled >> first & 63]
    words = torch.tensor([[0x76543210 - (1 << 32) * (0x76543210 >> 31)]], dtype=torch.int32)
    assert quantized.unpack_int4(words, 8).tolist() == [[-8, -7, -6, -5, -4, -3, -2, -1]]
    print("decode: as defined")


def pack_int4(digits):
    """Digits [rows, columns] -> I32 [rows, columns / 8]."""
    words = ((digits.long() + 8).unflatten(1, (-1, 8)) << torch.arange(0, 32, 4)).sum(-1)
    return torch.where(words < 1 << 31, words, words - (1 << 32)).to(torch.int32)


def write_quantized(model, out):
    """The model as krait would write it: table int8 by row, in_proj and out_proj in 4 bits by
    groups of 32, all three with rotated inputs; A_log int8."""
    blocks = {"embeddings": 32, "in_proj": 32, "out_proj": 64}
    tensors, plain = {}, {}
    for name, w in model.state_dict().items():
        stem, _, last = name.rpartition(".")
        role = stem.rpartition(".")[2]
        if last == "A_log":
            scale = w.abs().max()[None] / 127
            tensors[name], tensors[name + "_scale"] = (w / scale).round().to(torch.int8), scale
            plain[name] = tensors[name].float() * scale
            continue
        if role not in blocks:
            tensors[name] = w.bfloat16()
            plain[name] = w.bfloat16().float()
            continue
        h = quantized.hadamard(blocks[role])
        group, limit = (w.shape[1], 127) if role == "embeddings" else (32, 7)
        groups = (w.unflatten(1, (-1, len(h))) @ h.t()).flatten(1).unflatten(1, (-1, group))
        scale = groups.abs().amax(-1, keepdim=True) / limit
        if limit == 7:
            scale = scale.bfloat16().float()
        digits = (groups / scale).round().flatten(1)
        stored = (digits.unflatten(1, (-1, group)) * scale).flatten(1)
        plain[name] = (stored.unflatten(1, (-1, len(h))) @ h).flatten(1)
        if limit == 7:
            tensors[stem + ".weight_packed"] = pack_int4(digits)
            tensors[stem + ".weight_shape"] = torch.tensor(w.shape)
            tensors[stem + ".weight_scale"] = scale[..., 0].bfloat16()
        else:
            tensors[name], tensors[stem + ".weight_scale"] = digits.to(torch.int8), scale[..., 0]
    out.mkdir()
    safetensors.torch.save_file(tensors, out / "model.safetensors")
    sites = {("lm_head" if role == "embeddings" else role) + ".input": {"hadamard_block": block}
             for role, block in blocks.items()}
    (out / "config.json").write_text(json.dumps({"quantization_config": {"krait": {
        "activations": sites, "provenance": {}}}}), encoding="utf-8")
    return plain


def test_tune(folder):
    """The stored tensors are read as what they stand for; tuning keeps digits and layout, and
    what it writes has the divergence that it measured."""
    model = tiny("mamba", vocab_size=8192)
    with torch.no_grad():
        model.head().mul_(20)  # a model whose next token is no mere matter of chance
    export.write(families.FAMILIES["mamba"], model, ROOT / "models" / "krait-demo" /
                 "tokenizer.json", folder / "float")
    plain = write_quantized(families.load_export(folder / "float")[1], folder / "quantized")
    checkpoint = quantized.Checkpoint(folder / "quantized")
    weights = checkpoint.weights(checkpoint.floats, checkpoint.scales)
    assert set(weights) == set(plain)
    for name, w in plain.items():
        assert torch.allclose(weights[name], w, atol=1e-6 * w.abs().max().item()), name
    text = (ROOT / "share" / "calibration.txt").read_text(encoding="utf-8")
    (folder / "text").write_text(text[:60000], encoding="utf-8")
    shared = ["--teacher", str(folder / "float"), "--text", str(folder / "text"), "--validation",
              str(folder / "text"), "--validation-windows", "2", "--sequences", "64", "--length",
              "64", "--threads", "1"]
    before, after = tune.main([*shared, "--quantized", str(folder / "quantized"), "--out",
                               str(folder / "tuned")])
    assert after["kl"] < 0.9 * before["kl"], (before, after)
    again, _ = tune.main([*shared, "--quantized", str(folder / "tuned"), "--out",
                          str(folder / "again"), "--epochs", "0"])
    assert abs(again["kl"] - after["kl"]) < 1e-5 * after["kl"], (again, after)
    old, new = (safetensors.torch.load_file(folder / name / "model.safetensors")
                for name in ("quantized", "tuned"))
    assert set(old) == set(new)
    for name, tensor in old.items():
        assert tensor.dtype == new[name].dtype and tensor.shape == new[name].shape, name
        moves = tensor.is_floating_point()
        assert moves != torch.equal(tensor, new[name]), name
    print("tune: smaller divergence, same digits, written as measured")


if __name__ == "__main__":
    test_quantize()
    test_gradient()
    test_recipe()
    with tempfile.TemporaryDirectory() as folder:
        test_run(pathlib.Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        test_tune(pathlib.Path(folder))
    test_hadamard()
    test_decode()
