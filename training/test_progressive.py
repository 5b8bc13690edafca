"""Stages end to end, with krait itself, on a model of two layers.

Run: python test_progressive.py ../build/release/krait
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import tokenizers
import torch

import distill
import export
import families
import progressive
import quantized
import test_distill

ROOT = pathlib.Path(__file__).parent.parent


def test_stages(krait, folder):
    """Codes stay as their stage made them; krait finds the divergence that was distilled to."""
    torch.manual_seed(0)
    model = test_distill.tiny("mamba", vocab_size=8192)
    with torch.no_grad():
        model.head().mul_(20)  # a model whose next token is no mere matter of chance
    tokenizer, teacher = ROOT / "models" / "krait-demo" / "tokenizer.json", folder / "teacher"
    export.write(families.FAMILIES["mamba"], model, tokenizer, teacher)
    text = (ROOT / "share" / "calibration.txt").read_text(encoding="utf-8")[:100000]
    (folder / "text").write_text(text, encoding="utf-8")
    ids = tokenizers.Tokenizer.from_file(str(tokenizer)).encode(text).ids
    np.array(ids, dtype=np.uint16).tofile(folder / "train.bin")
    arguments = ["--teacher", str(teacher), "--data", str(folder), "--out", str(folder / "run"),
                 "--krait", krait, "--recipe", str(ROOT / "recipes" / "krait-w2a8.json"), "--text",
                 str(folder / "text"), "--samples", "8", "--stages", "table", "0", "1", "--steps",
                 "20", "20", "20", "20", "--peaks", "5e-3", "5e-3", "5e-3", "3e-3", "--context",
                 "64", "--validation", str(folder / "text"), "--validation-windows", "4"]
    progressive.main(arguments)
    final = quantized.Checkpoint(folder / "run" / "final").coded()
    assert len(final) == 1 + 3 * 2, final.keys()
    made = {}
    for number in range(3):
        stage = quantized.Checkpoint(folder / "run" / f"stage-{number}" / "rounded").coded()
        assert stage and not set(stage) & set(made)
        made |= stage
    for stem, tensors in made.items():
        for part in ("codes", "table", "shape"):
            name = f"{stem}.weight_{part}"
            assert torch.equal(final[stem][name], tensors[name]), name
    log = [json.loads(line) for line in open(folder / "run" / "log.jsonl", encoding="utf-8")]
    kl = [record["validation_kl"] for record in log if "validation_kl" in record]
    assert len(kl) == 8 and kl[-1] < kl[-2], kl
    compared = subprocess.run([krait, "compare", teacher, folder / "run" / "final", "-f",
                               folder / "text", "--json"], check=True, capture_output=True)
    found = json.loads(compared.stdout)["kl_mean"]
    assert abs(found - kl[-1]) < 0.1 * kl[-1], (found, kl[-1])
    progressive.main(arguments)  # nothing is left to do
    assert len(log) == len(open(folder / "run" / "log.jsonl", encoding="utf-8").readlines())
    print(f"stages: codes kept, KL {kl[-1]:.4f}, in krait {found:.4f}")


def test_table(krait, folder):
    """Behind a stage with a coded table: its codes stay, layers become ternary, krait reads both."""
    np.fromfile(folder / "train.bin", dtype=np.uint16)[:4000].tofile(folder / "valid.bin")
    stage, out = folder / "run" / "stage-0" / "tuned", folder / "ternary"
    distill.main(["--teacher", str(folder / "teacher"), "--data", str(folder), "--out", str(out),
                  "--table", str(stage), "--krait", krait, "--recipe",
                  str(ROOT / "recipes" / "krait-ternary.json"), "--tokens", "5120", "--batch", "2", "--context",
                  "64", "--validation-windows", "8"])
    started, final = (quantized.Checkpoint(path).coded() for path in (stage, out / "final"))
    (stem, tensors), = started.items()
    for part in ("codes", "table", "shape"):
        assert torch.equal(final[stem][f"{stem}.weight_{part}"], tensors[f"{stem}.weight_{part}"])
    scale = f"{stem}.weight_scale"
    assert not torch.equal(final[stem][scale], tensors[scale])
    assert len(final) == 1 + 3 * 2
    digits = quantized.Checkpoint(out / "final").digits
    assert all(set(d.unique().tolist()) <= {-1, 0, 1} for s, d in digits.items()
               if s in final and s != stem)
    log = [json.loads(line) for line in open(out / "log.jsonl", encoding="utf-8")]
    assert log[-1]["held_out_kl"] < log[0]["held_out_kl"], log
    compared = subprocess.run([krait, "compare", out / "export", out / "final", "-f",
                               folder / "text", "--json"], check=True, capture_output=True)
    found = json.loads(compared.stdout)["kl_mean"]  # inputs are rounded, nothing else
    assert found < 0.1 * log[-1]["held_out_kl"], (found, log[-1])
    print(f"table: codes kept, held out {log[-1]['held_out_kl']}, export to final {found:.5f}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        test_stages(sys.argv[1], pathlib.Path(scratch))
        test_table(sys.argv[1], pathlib.Path(scratch))
