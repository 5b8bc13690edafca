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


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        test_stages(sys.argv[1], pathlib.Path(scratch))
