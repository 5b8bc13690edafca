#!/usr/bin/env python3
"""docs/reference/sites.md is what the program says of one checkpoint of each family.

usage: sites.py ROOT KRAIT [--write]

The roles, their kinds and what can be rotated come from `krait inspect --recipe`, which walks through
the blocks; what each role means stands below. With --write the page is written, else compared.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

PAGE = "docs/reference/sites.md"
# heading, checkpoint, letters
FAMILIES = (
    ("Mamba", "models/krait-demo", "E channels (2 D), N states, R rank of dt, K taps"),
    ("Mamba-2", "models/krait-mamba2", "H heads of P channels make E, G groups share B and C of N states, K taps"),
    ("GPT-NeoX (Pythia)", "models/krait-pythia", "F width of the feed-forward block"),
    ("Jamba", "models/krait-jamba", "as Mamba; F width of a feed-forward block, X experts"),
    ("Bamba", "tests/golden/bamba-bf16-half", "as Mamba-2; F width of a feed-forward block"),
)
# Everything that can be rotated is; a recipe has to quantize something.
RECIPE = {"name": "sites", "base": "krait-w8a8", "rotate": {"value": "largest", "router.input": "largest"}}
# role -> what it is, shape; "role (Mamba-2)" where it is something else there
MEANING = {
    "embeddings": ("the table", "[V, D]"),
    "lm_head": ("the last product, or the table again", "[V, D]"),
    "lm_head.input": ("after the final norm", "[T, D]"),
    "norm_f": ("the final norm", "[D]"),
    "norm": ("the norm before a block", "[D]"),
    "in_proj.input": ("the normed residual of a mixer", "[T, D]"),
    "in_proj": ("makes x and z", "[2 E, D]"),
    "in_proj (Mamba-2)": ("makes z, x, B, C and dt", "[2 E + 2 G N + H, D]"),
    "conv1d.input": ("x, before the convolution", "[T, E]"),
    "conv1d.x": ("x, before the convolution", "[T, E]"),
    "conv1d.B": ("B, before the convolution", "[T, G N]"),
    "conv1d.C": ("C, before the convolution", "[T, G N]"),
    "z": ("the gate, before its SiLU", "[T, E]"),
    "dt": ("the time step, before bias and softplus", "[T, H]"),
    "x": ("silu(conv(x)): what the recurrence reads", "[T, E]"),
    "B": ("what the scan writes with", "[T, N]"),
    "C": ("what the scan reads with", "[T, N]"),
    "B (Mamba-2)": ("silu(conv(B)): what the recurrence writes with", "[T, G N]"),
    "C (Mamba-2)": ("silu(conv(C)): what it reads with", "[T, G N]"),
    "x_proj.input": ("u = silu(conv(x)): read by x_proj and by the scan", "[T, E]"),
    "x_proj": ("makes dt, B and C", "[R + 2 N, E]"),
    "dt_proj.input": ("dt of low rank", "[T, R]"),
    "dt_proj": ("makes dt", "[E, R]"),
    "dt_proj.output": ("the time step, before bias and softplus", "[T, E]"),
    "ssm_state": ("h, rounded as its format says after every token", "[N, E]"),
    "ssm_state (Mamba-2)": ("S, rounded after every token, or every 16 where its scales are dynamic",
                            "[H, N, P]"),
    "out_proj.input": ("the gated output of the scan", "[T, E]"),
    "out_proj.input (Mamba-2)": ("the gated norm", "[T, E]"),
    "out_proj": ("back to the residual", "[D, E]"),
    "conv1d.weight": ("the convolution", "[E, 1, K]"),
    "conv1d.bias": ("its bias", "[E]"),
    "conv1d.weight (Mamba-2)": ("the convolution of x, B and C", "[E + 2 G N, 1, K]"),
    "conv1d.bias (Mamba-2)": ("its bias", "[E + 2 G N]"),
    "dt_proj.bias": ("added to the time step", "[E]"),
    "dt_bias": ("added to the time step", "[H]"),
    "A_log": ("A = -exp(A_log)", "[E, N]"),
    "A_log (Mamba-2)": ("A = -exp(A_log)", "[H]"),
    "D": ("the skip", "[E]"),
    "D (Mamba-2)": ("the skip", "[H] or [E]"),
    "gated_norm": ("the gated norm", "[E]"),
    "query_key_value.input": ("the normed residual of an attention block", "[T, D]"),
    "query_key_value": ("makes q, k and v, head by head", "[3 D, D]"),
    "q_proj.input": ("the normed residual of an attention block: read by q_proj, k_proj and v_proj", "[T, D]"),
    "q_proj": ("makes the queries", "[heads width, D]"),
    "k_proj": ("makes the keys", "[kv heads width, D]"),
    "v_proj": ("makes the values", "[kv heads width, D]"),
    "k_cache": ("keys that the sequence keeps, a row per token and head", "[T, kv heads width]"),
    "v_cache": ("values that it keeps", "[T, kv heads width]"),
    "dense.input": ("what attention mixed", "[T, D]"),
    "dense": ("back to the residual", "[D, D]"),
    "o_proj.input": ("what attention mixed", "[T, heads width]"),
    "o_proj": ("back to the residual", "[D, heads width]"),
    "dense_h_to_4h.input": ("the normed residual of a feed-forward block", "[T, D]"),
    "dense_h_to_4h": ("up", "[F, D]"),
    "dense_4h_to_h.input": ("gelu", "[T, F]"),
    "dense_4h_to_h": ("back to the residual", "[D, F]"),
    "router.input": ("the normed residual of a mixture of experts", "[T, D]"),
    "router": ("picks the experts", "[X, D]"),
    "gate_proj.input": ("the normed residual of a feed-forward block, or of a mixture: read by gate_proj and up_proj",
                        "[T, D]"),
    "gate_proj": ("the branch with the SiLU; each expert has its own", "[F, D]"),
    "up_proj": ("the other branch", "[F, D]"),
    "down_proj.input": ("silu(gate) up, of all tokens or those of one expert", "[T, F]"),
    "down_proj": ("back to the residual", "[D, F]"),
}
INTRODUCTION = """# Sites

What a recipe can name: weights, and the places in the forward pass whose values can be kept in fewer bits. A role is the same in every
layer; a name is that of one layer (`backbone.layers.3.mixer.in_proj`). What kinds are and how they are chosen:
[recipe schema](recipe-schema.md#selectors). One checkpoint of each family; T tokens, D width of the residual stream, V rows of the table.
Experts of a mixture share their layer's sites.
"""


def rules_of(krait, model):
    with tempfile.TemporaryDirectory() as folder:
        recipe = pathlib.Path(folder, "sites.json")
        recipe.write_text(json.dumps(RECIPE))
        done = subprocess.run([krait, "inspect", model, "--recipe", recipe, "--json"], text=True,
                              capture_output=True, check=False)
        if done.returncode != 0:
            sys.exit(f"sites.py: {done.stderr}")
        return json.loads(done.stdout)["sites"]


def meaning(role, has_heads):
    special = f"{role} (Mamba-2)"
    return MEANING[special if has_heads and special in MEANING else role]


def page(rules_by_family):
    parts = [INTRODUCTION]
    for (heading, model, letters), rules in zip(FAMILIES, rules_by_family):
        roles = [rule["role"] for rule in rules]
        has_heads = "dt_bias" in roles
        parts.append(f"\n## {heading}\n\n`{model}`. {letters[0].upper()}{letters[1:]}.\n")
        for section, head in (("weights", "weight"), ("activations", "activation")):
            rows, seen = [], set()
            for rule in rules:
                if rule["section"] != section or rule["kind"] == "norm" or rule["role"] in seen:
                    continue
                seen.add(rule["role"])
                what, shape = meaning(rule["role"], has_heads)
                turned = "yes" if rule["hadamard_block"] else ""
                rows.append(f"| `{rule['role']}` | {rule['kind']} | {what} | {shape} |"
                            + (f" {turned} |" if section == "activations" else ""))
            more = (" can be rotated |", "---|") if section == "activations" else ("", "")
            parts.append(f"\n| {head} | kind | what it is | shape |{more[0]}\n|---|---|---|---|{more[1]}\n"
                         + "\n".join(rows) + "\n")
    return "".join(parts)


def main():
    root, krait = pathlib.Path(sys.argv[1]), sys.argv[2]
    written = page([rules_of(krait, root / model) for _, model, _ in FAMILIES])
    path = root / PAGE
    if "--write" in sys.argv:
        path.write_text(written, encoding="utf-8")
    elif path.read_text(encoding="utf-8") != written:
        print(f"{PAGE} is not what the program says: run sites.py ROOT KRAIT --write")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
