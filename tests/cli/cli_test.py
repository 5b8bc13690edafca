#!/usr/bin/env python3
"""The program as its users meet it: what each command does, JSON, errors in one line.

usage: cli_test.py KRAIT [unittest arguments]

Runs on a tiny random model that it writes itself.
"""
import json
import os
import pathlib
import resource
import shutil
import signal
import struct
import sys
import unittest
from xml.etree import ElementTree

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import program  # noqa: E402
from program import TEXT, Base, run  # noqa: E402


class Commands(Base):
    def test_tokenize(self):
        self.assertEqual(self.succeed("tokenize", self.model, "-p", "hello").stdout,
                         b"256 108 108 111\n")
        told = self.json_of("tokenize", self.model, "-p", "hello", "--pieces")
        self.assertEqual((told["ids"], told["pieces"]), ([256, 108, 108, 111], ["he", "l", "l", "o"]))
        odd = self.json_of("tokenize", self.model, "-p", "-", "--pieces", stdin=b"\xff\x00\xe2\x82he")
        self.assertEqual(odd["ids"], [255, 0, 226, 130, 256])
        pieces = self.succeed("tokenize", self.model, "-p", "-", "--pieces",
                              stdin=b"\xff\n").stdout.decode("utf-8")
        self.assertIn('"\\xff"', pieces)
        self.assertIn('"\\n"', pieces)

    def test_logits(self):
        path = self.folder / "logits.npy"
        self.succeed("logits", "-o", path, "--ids", "1,2,3", self.model)
        data = path.read_bytes()
        self.assertEqual(data[:8], b"\x93NUMPY\x01\x00")
        length, = struct.unpack("<H", data[8:10])
        self.assertEqual((10 + length) % 64, 0)
        header = eval(data[10:10 + length])  # a literal that we wrote
        self.assertEqual(header, {"descr": "<f4", "fortran_order": False, "shape": (3, 258)})
        self.assertEqual(len(data), 10 + length + 3 * 258 * 4)
        values = struct.unpack(f"<{3 * 258}f", data[10 + length:])
        self.assertTrue(all(abs(v) < 1e3 for v in values))
        self.assertEqual([p.name for p in self.folder.glob("logits.npy*")], ["logits.npy"])

    def test_logits_to_standard_output(self):
        path = self.folder / "file.npy"
        self.succeed("logits", "-o", path, "--ids", "1,2,3", self.model)
        piped = self.succeed("logits", "-o", "-", "--ids", "1, 2, 3", self.model, cwd=self.folder)
        self.assertEqual((piped.stdout, piped.stderr), (path.read_bytes(), b""))
        self.assertFalse((self.folder / "-").exists())

    def test_logits_on_a_full_disk_leave_nothing(self):
        path = self.folder / "big.npy"

        def small_files():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        done = run("logits", self.model, "-p", TEXT, "-o", path, preexec_fn=small_files)
        self.assertEqual(done.returncode, 1)
        self.assertIn(str(path), done.stderr.decode())
        self.assertEqual(list(self.folder.glob("big.npy*")), [])

    def test_perplexity(self):
        told = self.json_of("perplexity", self.model, "-f", self.text, "--seq-len", 64)
        windows = -(-told["tokens"] // 63)
        self.assertEqual(told["windows"], windows)
        self.assertGreater(told["nll"], 0)
        part = self.json_of("perplexity", self.model, "-f", self.text, "--max-tokens", 100)
        self.assertEqual(part["tokens"], 99)
        table = self.succeed("perplexity", self.model, "-f", self.text).stdout.decode()
        self.assertIn("perplexity", table)

    def test_quantize_every_recipe_compare_and_inspect(self):
        recipes = self.json_of("info")["recipes"]
        self.assertLessEqual({"quamba-w8a8", "krait-w8a8", "static-w8a8", "dynamic-w8a8"},
                             set(recipes))
        self.refuse(1, "of Mamba-2", "quantize", self.model, "-o", self.folder / "unfit",
                    "--recipe", "krait-w8a8-s8")
        for recipe in set(recipes) - {"krait-w8a8-s8"}:
            output = self.quantized(recipe)
            loss = self.json_of("compare", self.model, output, "-f", self.text, "--seq-len", 128)
            self.assertGreaterEqual(loss["kl_mean"], 0)
            few_bits = recipe.endswith("w2a8") or recipe == "krait-ternary"
            self.assertLess(loss["kl_mean"], 4 if few_bits else 1)
            seen = self.json_of("inspect", output, "--tensors")
            self.assertGreater(len(seen["tensors"]), 10)
            if recipe.endswith("w8a8"):
                self.assertLess(seen["bits_per_weight"], 16)
                self.assertIn("int8", " ".join(seen["activations"].values()))
            self.succeed("inspect", output)
            self.succeed("generate", output, "-p", "hello", "-n", 5)

    def test_inspect_shows_static_scales_of_every_layer(self):
        output = self.quantized("quamba-w8a8")
        text = self.succeed("inspect", output).stdout.decode()
        self.assertIn("Static scales", text)
        self.assertIn("Provenance", text)
        scales = self.json_of("inspect", output)["scales"]
        for layer in (0, 1):
            roles = {s["role"] for s in scales if s["layer"] == layer}
            self.assertLessEqual({"in_proj.input", "conv1d.input", "x_proj.input", "out_proj.input"},
                                 roles)

    def test_quantize_does_not_overwrite(self):
        output = self.quantized("krait-w8a8")
        before = (output / "config.json").read_bytes()
        self.refuse(1, str(output), "quantize", self.model, "-o", output)
        self.assertEqual((output / "config.json").read_bytes(), before)
        told = self.json_of("quantize", self.model, "-o", output, "--force")
        self.assertEqual(told["recipe"], "krait-w8a8")
        self.assertLess(told["output_bytes"], told["source_bytes"])

    def test_force_replaces_only_what_krait_wrote(self):
        folder = self.folder / "force"
        project, tuned, own = folder / "project", folder / "tuned", folder / "own"
        (project / ".git").mkdir(parents=True)
        (project / "config.json").write_text('{"name": "my project"}')
        (project / "thesis.txt").write_text("work")
        force = ("quantize", self.model, "--force", "-o")
        self.refuse(1, "it is not replaced", *force, project)
        self.assertEqual(len(list(project.iterdir())), 3)
        shutil.copytree(self.model, tuned)
        self.refuse(1, "was not written by krait", *force, tuned)
        self.assertTrue((tuned / "model.safetensors").exists())
        self.succeed(*force, own)
        self.succeed(*force, own)
        (own / "notes.txt").write_text("mine")
        self.refuse(1, "notes.txt", *force, own)
        self.assertEqual((own / "notes.txt").read_text(), "mine")

    def test_force_never_replaces_the_source(self):
        outer = self.folder / "outer"
        shutil.copytree(self.model, outer / "checkpoints" / "best")
        best, link = outer / "checkpoints" / "best", self.folder / "linked-model"
        link.symlink_to(best)
        for source in (best, link):
            self.refuse(1, "holds the model", "quantize", source, "-o", outer, "--force")
        self.refuse(1, "the model itself", "quantize", link, "-o", best, "--force")
        self.assertTrue((link / "model.safetensors").exists())

    def test_no_command_replaces_what_it_did_not_write(self):
        output = self.folder / "places"
        shutil.copytree(self.model, output / "krait-w8a8")
        self.refuse(1, "was not written by krait", "demo", self.model, "-n", 1, "-o", output)
        file = self.folder / "places.json"
        file.write_text(json.dumps({"models": [str(self.model)], "recipes": ["krait-w8a8"],
                                    "text": {"file": str(self.text), "max_tokens": 60}}))
        shutil.copytree(self.model, output / "model~krait-w8a8")
        self.refuse(1, "was not written by krait", "sweep", file, "-o", output)
        for kept in ("krait-w8a8", "model~krait-w8a8"):
            self.assertTrue((output / kept / "model.safetensors").exists())
        shutil.rmtree(output / "model~krait-w8a8")
        result = output / "model~krait-w8a8.json"
        result.write_text('{"mine": 1}')
        self.refuse(1, "no result of krait sweep", "sweep", file, "-o", output)
        self.succeed("sweep", file, "-o", self.folder / "placed")
        self.refuse(1, "no result of krait sweep", "merge", self.folder / "placed", "-o", output)
        self.assertEqual(result.read_text(), '{"mine": 1}')


class Measures(Base):
    def write_arc_easy(self):
        items = [{"query": "The sky", "choices": ["is blue", "of"], "gold": 0},
                 {"query": "A word", "choices": ["is", "said the man"], "gold": 1}]
        (self.folder / "arc_easy.jsonl").write_text("\n".join(json.dumps(item) for item in items))

    def test_bench(self):
        told = self.json_of("bench", "-n", "4", "-r", "3", "-t", "2", "-p", "16,8", self.model)
        self.assertEqual([r["test"] for r in told["results"]], ["pp16", "pp8", "tg4"])
        for result in told["results"]:
            self.assertEqual(len(result["samples_ts"]), 3)
            self.assertLessEqual(result["min_ts"], result["median_ts"])
            self.assertLessEqual(result["median_ts"], result["max_ts"])
            self.assertGreater(result["fraction_of_bound"], 0)
        self.assertEqual(told["n_threads"], 2)
        self.assertGreater(told["weight_bytes_per_token"], 0)
        self.assertGreater(told["load_seconds"], 0)

    def test_bench_of_a_prompt_beside_decoding(self):
        told, = self.json_of("bench", "-p", "600", "--beside", "3", self.model)["beside"]
        self.assertEqual((told["n_prompt"], told["n_beside"]), (600, 3))
        for key in ("alone", "beside", "gap_without"):
            self.assertGreater(told[key], 0)
        self.assertGreaterEqual(told["longest_gap"], told["median_gap"])

    def test_bench_of_batches(self):
        told = self.json_of("bench", "-n", "3", "-r", "1", "-p", "0", "-b", "1,5", self.model)
        self.assertEqual([r["test"] for r in told["results"]], ["tg3", "tg3 x5"])
        alone, together = told["results"]
        self.assertEqual(together["n_batch"], 5)
        self.assertLess(together["bytes_per_token"], alone["bytes_per_token"])

    def test_plan(self):
        told = self.json_of("plan", "mamba-130m", "--bandwidth", 10, "--memory", "200M")
        rows = {row["recipe"]: row for row in told["recipes"]}
        self.assertNotIn("rtn-w4a8", rows)
        for row in rows.values():
            self.assertEqual(row["fits"], row["running_bytes"] <= 200e6)
            self.assertGreater(row["running_bytes"], row["weight_bytes"] + row["state_bytes"])
            self.assertAlmostEqual(row["ms_per_token"], row["bytes_per_token"] / (0.9 * 10e9) * 1e3)
        best = max((r for r in rows.values() if r["fits"]), key=lambda r: r["weight_bytes"])
        self.assertEqual(told["best"], best["recipe"])
        self.assertIn("krait-w8a8-s8", [r["recipe"] for r in told["not_for_this_model"]])
        # What a checkpoint takes, told before it is made.
        own = {row["recipe"]: row for row in self.json_of("plan", self.model, "--all")["recipes"]}
        for recipe in ("krait-w8a8", "quamba-w8a8"):
            seen = self.json_of("inspect", self.quantized(recipe))
            self.assertEqual(own[recipe]["weight_bytes"], seen["bytes"])
        self.refuse(1, "quantized already", "plan", self.quantized("krait-w8a8"))
        self.refuse(2, "--memory", "plan", "mamba-130m", "--memory", "much")

    def test_mix(self):
        recipe = self.folder / "mixed.json"
        told = self.json_of("mix", self.model, "-o", recipe, "--bits", 6, "--widths", "2,4", "--samples", 2,
                            "--seq-len", 32)
        self.assertEqual(told["recipe"], "krait-w3a8-mixed")
        self.assertLessEqual(told["bits_per_weight"], 6)
        self.assertLessEqual({p["bits"] for p in told["products"]}, {2, 4})
        made = self.json_of("quantize", self.model, "-o", self.folder / "mixed-model", "--recipe", recipe,
                            "--samples", 2, "--seq-len", 32)
        self.assertEqual(made["output_bytes"], told["bytes"])
        missing = self.folder / "missing.json"
        self.refuse(1, "too few", "mix", self.model, "-o", missing, "--bits", 1)
        self.assertFalse(missing.exists())

    def test_eval(self):
        output = self.quantized("krait-w8a8")
        self.write_arc_easy()
        samples = self.folder / "samples.jsonl"
        told = self.json_of("eval", output, "--reference", self.model, "--tasks", "arc_easy", "--data",
                            self.folder, "--items", samples)
        self.assertEqual(told["n-samples"], {"arc_easy": 2})
        result = told["results"]["arc_easy"]
        self.assertIn(result["acc,none"], (0, 0.5, 1))
        self.assertAlmostEqual(result["difference"]["acc"]["mean"],
                               result["acc,none"] - result["reference"]["acc"])
        lines = [json.loads(line) for line in samples.read_text().splitlines()]
        self.assertEqual([len(line["log_likelihoods"]) for line in lines], [2, 2])
        self.assertTrue(all(value < 0 for line in lines for value in line["log_likelihoods"]))
        text = self.succeed("eval", output, "--tasks", "arc_easy", "--data", self.folder).stdout.decode()
        self.assertIn("acc_norm", text)
        self.refuse(1, "piqa.jsonl", "eval", output, "--tasks", "piqa", "--data", self.folder)
        self.refuse(1, "did you mean", "eval", output, "--tasks", "arc_easi", "--data", self.folder)

    def test_compare_on_tasks_and_sites(self):
        output = self.quantized("krait-w8a8")
        self.write_arc_easy()
        told = self.json_of("compare", self.model, output, "-f", self.text, "--seq-len", 64,
                            "--tasks", "arc_easy", "--data", self.folder, "--sites")
        self.assertLessEqual(told["kl_low"], told["kl_mean"])
        self.assertGreaterEqual(told["nll_difference_high"], told["nll_difference"])
        self.assertEqual(set(told["tasks"]["arc_easy"]["difference"]), {"acc", "acc_norm"})
        self.assertGreater(len(told["sites"]), 10)
        for entry in told["sites"] + told["products"]:
            self.assertTrue(0 <= entry["error"] < 0.1, entry)
        alone = self.json_of("compare", self.model, output, "--tasks", "arc_easy", "--data", self.folder)
        self.assertNotIn("kl_mean", alone)
        text = self.succeed("compare", self.model, output, "-f", self.text, "--sites").stdout.decode()
        self.assertIn("output of in_proj", text)
        self.refuse(2, "-f FILE", "compare", self.model, output)
        self.refuse(2, "--sites", "compare", self.model, output, "--sites", "--tasks", "arc_easy")

    def test_recall(self):
        output = self.quantized("krait-w8a8")
        options = ["--lengths", "150,200", "--distances", "5,0", "--needles", 3, "--fillers", 2]
        told = self.json_of("recall", output, "--reference", self.model, *options)
        cells = told["recall"]
        self.assertEqual({c["task"] for c in cells}, {"passkey", "associative_recall", "induction"})
        self.assertEqual(len(cells), 12)
        for cell in cells:
            self.assertEqual(cell["items"], 6)
            self.assertAlmostEqual(cell["difference"]["gain"]["mean"],
                                   cell["gain"]["mean"] - cell["reference"]["gain"]["mean"])
        self.assertEqual(self.json_of("recall", output, "--reference", self.model, *options), told)
        text = self.succeed("recall", self.model, "--tasks", "induction", *options).stdout.decode()
        self.assertIn("chance 33.3%", text)
        self.refuse(1, "did you mean", "recall", self.model, "--tasks", "passkeys")
        self.refuse(1, "no room", "recall", self.model, "--lengths", "4")

    def test_drift(self):
        output = self.quantized("krait-w8a8")
        svg = self.folder / "drift.svg"
        told = self.json_of("drift", self.model, output, "-f", self.text, "--prompts", 3, "-n", 12,
                            "--prompt-tokens", 8, "--read", 100, "--svg", svg)
        self.assertEqual(len(told["agreed"]), 3)
        self.assertEqual([p["begin"] for p in told["positions"]], [1, 16, 32, 64])
        ElementTree.fromstring(svg.read_text())
        text = self.succeed("drift", self.model, self.model, "-f", self.text, "--prompts", 2, "-n", 4)
        self.assertIn("100% have the same 4 tokens", text.stdout.decode())
        self.refuse(1, "missing", "drift", self.model, output, "-f", self.folder / "missing")

    def test_sweep_report_and_merge(self):
        (self.folder / "text.txt").write_text("The sky is blue and the sea is wide. " * 20)
        text = {"file": str(self.folder / "text.txt"), "seq_len": 64, "max_tokens": 100}
        sweep = {"models": [str(self.model)], "recipes": ["f32", "dynamic-w8a8", "krait-w8a8"],
                 "text": [text, {**text, "name": "short", "seq_len": 16}],
                 "recall": {"lengths": [120], "distances": [5], "needles": 2, "fillers": 1},
                 "drift": {"file": text["file"], "prompts": 2, "prompt_tokens": 4, "generated": 4,
                           "read": 40},
                 "sites": {"file": text["file"], "max_tokens": 60},
                 "speed": {"prefill": 8, "decode": 4, "repeats": 1}}
        file = self.folder / "sweep.json"
        file.write_text(json.dumps(sweep))
        first, second = self.folder / "shard1", self.folder / "shard2"
        counts = self.json_of("sweep", file, "-o", first, "--shard", "1/2")
        self.assertEqual(counts, {"cells": 3, "made": 2, "kept": 0, "failed": 0, "other_shards": 1})
        self.json_of("sweep", file, "-o", second, "--shard", "2/2")
        again = self.json_of("sweep", file, "-o", first, "--shard", "1/2")
        self.assertEqual((again["made"], again["kept"]), (0, 2))
        self.assertEqual(sorted(p.suffix for p in first.iterdir()), [".json", ".json"])
        told = self.json_of("report", first, second)
        self.assertEqual(len(told), 3)
        losses = {r["spec"]["recipe"]["name"]: r["texts"]["text.txt"]["kl_mean"] for r in told.values()}
        self.assertEqual(losses["f32"], 0)
        self.assertGreater(losses["dynamic-w8a8"], losses["krait-w8a8"])
        one = told["model~krait-w8a8"]
        self.assertLessEqual({"texts", "recall", "drift", "sites", "speed", "bytes", "machine"}, set(one))
        self.assertEqual(set(one["texts"]), {"text.txt", "short"})
        self.assertIn("--only model~krait-w8a8", one["command"])
        whole = self.folder / "whole"
        merged = self.json_of("merge", first, second, "-o", whole)
        self.assertEqual((merged["results"], merged["failures"]), (3, 0))
        self.assertEqual(self.json_of("report", whole), told)
        output = self.folder / "report.md"
        self.succeed("report", whole, "-o", output)
        markdown = output.read_text()
        for part in ("| krait-w8a8 |", "Recall", "Greedy continuations", "`out_proj.input`", "--only"):
            self.assertIn(part, markdown)
        for picture in ("kl-bits-model", "nll-bytes-model", "kl-speed-model", "drift-model", "sites-model-krait-w8a8"):
            self.assertIn(f"(report-{picture}.svg)", markdown)
            ElementTree.fromstring((self.folder / f"report-{picture}.svg").read_text())
        only = self.json_of("sweep", file, "-o", self.folder / "only", "--only", "model~f32")
        self.assertEqual((only["cells"], only["made"]), (1, 1))
        # Changed settings are computed again, and do not mix with the others.
        sweep["text"][0]["max_tokens"] = 90
        file.write_text(json.dumps(sweep))
        self.assertEqual(self.json_of("sweep", file, "-o", first, "--shard", "1/3")["made"], 1)
        self.refuse(1, "max_tokens", "merge", first, second, "-o", self.folder / "mixed")
        self.assertFalse((self.folder / "mixed").exists())
        sweep["recipe"] = sweep.pop("recipes")
        file.write_text(json.dumps(sweep))
        self.refuse(1, "did you mean", "sweep", file, "-o", first)
        self.refuse(2, "--shard", "sweep", file, "-o", first, "--shard", "0/2")
        self.refuse(1, "no results", "report", self.folder)

    def test_a_sweep_goes_on_after_a_failure(self):
        unfit = self.folder / "unfit.json"
        unfit.write_text(json.dumps({"name": "unfit", "weights": {"dense": {"bits": 8, "strategy": "channel"}},
                                     "activations": {"dense.input": {"bits": 8, "strategy": "token",
                                                                     "dynamic": True}},
                                     "steps": [{"name": "rtn"}]}))
        sweep = {"models": [str(self.folder / "missing"), str(self.model)],
                 "recipes": [str(unfit), "krait-w8a8"],
                 "text": {"file": str(self.text), "max_tokens": 60}}
        file, output = self.folder / "failing.json", self.folder / "failing"
        file.write_text(json.dumps(sweep))
        done = run("sweep", file, "-o", output, "--json")
        self.assertEqual(done.returncode, 1, done)
        counts = json.loads(done.stdout)
        self.assertEqual((counts["made"], counts["failed"]), (1, 3))
        self.assertIn("model~unfit: ", done.stderr.decode())
        told = json.loads((output / "model~unfit.json").read_text())
        self.assertEqual(told["error"]["code"], "invalid_argument")
        self.assertIn("missing", json.loads((output / "missing~krait-w8a8.json").read_text())["error"]["message"])
        text = self.succeed("report", output).stdout.decode()
        self.assertIn("- unfit: ", text)
        again = json.loads(run("sweep", file, "-o", output, "--json").stdout)
        self.assertEqual((again["made"], again["kept"], again["failed"]), (0, 1, 3))
        merged = run("merge", output, "-o", self.folder / "merged", "--json")
        self.assertEqual((merged.returncode, json.loads(merged.stdout)["failures"]), (1, 3))

    def test_info(self):
        told = self.json_of("info", "-t", "2", env={"KRAIT_ISA": "reference"})
        self.assertEqual((told["isa"], told["n_threads"]), ("reference", 2))
        self.assertGreater(told["read_bandwidth"], 0)
        self.assertIn("quamba-w8a8", self.succeed("info").stdout.decode())

    def test_demo(self):
        output = self.folder / "demo"
        told = self.json_of("demo", self.model, "-n", 10, "--samples", 4, "-o", output)
        self.assertEqual([m["model"] for m in told["models"]], ["float", "quamba-w8a8", "krait-w8a8"])
        self.assertTrue((output / "krait-w8a8" / "model.safetensors").exists())

    def test_demo_leaves_out_recipes_that_are_for_others(self):
        pythia = pathlib.Path(__file__).parents[2] / "models" / "krait-pythia"
        done = self.succeed("demo", pythia, "-n", 2, "--samples", 2, "--json")
        self.assertEqual([m["model"] for m in json.loads(done.stdout)["models"]], ["float", "krait-w8a8"])
        self.assertIn(b"quamba-w8a8 is not for GPTNeoXForCausalLM", done.stderr)


if __name__ == "__main__":
    program.KRAIT = os.path.abspath(sys.argv.pop(1))
    unittest.main(verbosity=1)
