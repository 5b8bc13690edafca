"""Export a checkpoint of train.py to the Hugging Face layout of its family, and check it.

    python export.py --run runs/demo --tokenizer runs/data/tokenizer.json --out ../models/krait-demo

Weights are stored in bfloat16. The export is loaded by transformers and its logits compared with
those of the training model's reference operations on the same rounded weights.
"""

import argparse
import json
import os
import pathlib

import safetensors.torch
import tokenizers
import torch
import transformers

import families

END_OF_TEXT, PADDING = "<|endoftext|>", "<|padding|>"
TEXT = "The krait is a venomous snake of the family Elapidae. It was described in 1801 by"


def write(family, model, tokenizer, out):
    """The files of the layout."""
    out.mkdir(parents=True, exist_ok=True)
    keys = family.hugging_face(model.config)
    config = transformers.AutoConfig.for_model(
        **keys, bos_token_id=0, eos_token_id=0, pad_token_id=1, tie_word_embeddings=True,
        dtype="bfloat16")
    config.save_pretrained(out)
    transformers.GenerationConfig(bos_token_id=0, eos_token_id=0,
                                  pad_token_id=1).save_pretrained(out)
    tensors = {name: value.to(torch.bfloat16).contiguous()
               for name, value in model.state_dict().items()}
    partial = out / "model.safetensors.partial"
    safetensors.torch.save_file(tensors, partial, metadata={"format": "pt"})
    os.replace(partial, out / "model.safetensors")
    layout = json.loads(tokenizer.read_text(encoding="utf-8"))
    (out / "tokenizer.json").write_text(
        json.dumps(layout, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")
    (out / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": END_OF_TEXT,
        "eos_token": END_OF_TEXT, "unk_token": END_OF_TEXT, "pad_token": PADDING,
        "add_prefix_space": False, "clean_up_tokenization_spaces": False,
        "model_max_length": 1_000_000_000}, indent=2) + "\n")


@torch.no_grad()
def check(model, out):
    """Fails unless transformers computes from the export what the training model computes."""
    theirs = transformers.AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32).eval()
    fast = transformers.AutoTokenizer.from_pretrained(out)
    ids = fast(TEXT).input_ids
    assert ids == tokenizers.Tokenizer.from_file(str(out / "tokenizer.json")).encode(TEXT).ids
    assert fast.decode(ids) == TEXT
    ids = torch.tensor([[0] + ids])
    exact = model.logits(ids)
    rounded = model.to(torch.bfloat16).float().logits(ids)
    exported = theirs(ids).logits
    error = ((exported - rounded).abs().max() / rounded.std()).item()
    loss = ((rounded - exact).abs().max() / exact.std()).item()
    print(f"logits of the export and of the training model: largest difference {error:.1e} of "
          f"their standard deviation (rounding to bfloat16: {loss:.1e})")
    assert error < 1e-4
    prompt = torch.tensor([[0] + fast("The history of").input_ids])
    sample = theirs.generate(prompt, max_new_tokens=60, do_sample=True, temperature=0.8, top_k=50)
    print(fast.decode(sample[0]))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=pathlib.Path, required=True)
    parser.add_argument("--tokenizer", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    args = parser.parse_args()

    transformers.set_seed(0)
    name, model, tokens = families.load_checkpoint(args.run / "checkpoint.pt")
    write(families.FAMILIES[name], model, args.tokenizer, args.out)
    size = sum(p.numel() for p in model.parameters())
    print(f"{args.out.name}: {size:,} parameters, trained on {tokens:,} tokens")
    check(model, args.out)


if __name__ == "__main__":
    main()
