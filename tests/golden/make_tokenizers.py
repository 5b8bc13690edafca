"""Make the tokenizer fixtures: small tokenizer.json files and what PyPI `tokenizers` says of them.

    python make_tokenizers.py

Writes into tokenizer/, beside this script: one tokenizer.json for each family, trained on a part of
share/calibration.txt, and cases.jsonl, a line for each string and file (our own demo's among
them): {"tokenizer": path from cases.jsonl, "text": string, "ids": with special tokens
added, "plain": without, "decoded": of ids, skipping special tokens, "decoded_all": keeping them}.
"plain" and "decoded_all" are left out where they equal "ids" and "decoded". All strings are ASCII
with JSON escapes. Everything is deterministic.
"""

import json
import pathlib

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers import processors, trainers

HERE = pathlib.Path(__file__).parent / "tokenizer"
DEMO = "../../../models/krait-demo/tokenizer.json"
TEXT = HERE / "../../../share/calibration.txt"
META = "\N{LOWER ONE EIGHTH BLOCK}"  # SentencePiece's visible space
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
          r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
BYTE_TOKENS = [f"<0x{byte:02X}>" for byte in range(256)]


def spaces(longest, normalized=True):
    """Added tokens for runs of spaces, longest first, as GPT-NeoX has them."""
    return [AddedToken(" " * n, normalized=normalized, special=False)
            for n in range(longest, 1, -1)]


def special(*contents):
    return [AddedToken(c, normalized=False, special=True) for c in contents]


def train(tokenizer, text, vocab_size, **options):
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, show_progress=False, **options)
    tokenizer.train_from_iterator(text.split("\n\n"), trainer)


def with_bos(bos, bos_id):
    return processors.TemplateProcessing(single=f"{bos}:0 $A:0", pair=f"{bos}:0 $A:0 {bos}:1 $B:1",
                                         special_tokens=[(bos, bos_id)])


def byte_level(text, vocab_size, normalizer, split, specials):
    """Byte-level BPE; `split` is a regex for a Split before ByteLevel, or None for GPT-2's own."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizer
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=split is None)
    if split:
        level = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(split), "isolated"), level])
    tokenizer.pre_tokenizer = level
    tokenizer.decoder = decoders.ByteLevel()
    train(tokenizer, text, vocab_size, special_tokens=specials,
          initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.add_special_tokens(special(*specials))
    return tokenizer


def gpt_neox(text):
    """GPT-NeoX, the tokenizer of Mamba: NFC, GPT-2's rule, runs of spaces as added tokens."""
    tokenizer = byte_level(text, 480, normalizers.NFC(), None, ["<|endoftext|>", "<|padding|>"])
    tokenizer.post_processor = processors.ByteLevel(add_prefix_space=False)
    tokenizer.add_tokens(spaces(8))
    return tokenizer


def llama3(text):
    """Llama 3: its split rule, ignore_merges, BOS from a template."""
    tokenizer = byte_level(text, 420, None, LLAMA3, ["<|begin_of_text|>", "<|end_of_text|>",
                                                     "<|eot_id|>"])
    layout = json.loads(tokenizer.to_str())
    layout["model"]["ignore_merges"] = True
    # Whole words that no merge reaches: they are found only because merges are ignored.
    vocab = layout["model"]["vocab"]
    for word in ("Ġkrait", "Ġbanded", "krait"):
        vocab[word] = len(vocab)
    tokenizer = Tokenizer.from_str(json.dumps(layout))
    tokenizer.add_tokens(spaces(4))
    bos = tokenizer.token_to_id("<|begin_of_text|>")
    tokenizer.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False), with_bos("<|begin_of_text|>", bos)])
    return tokenizer


def qwen2(text):
    """Qwen 2: NFC, digits one by one, no BOS, an added token that strips the space around it."""
    tokenizer = byte_level(text, 400, normalizers.NFC(), QWEN2, ["<|endoftext|>", "<|im_start|>",
                                                                 "<|im_end|>"])
    tokenizer.post_processor = processors.ByteLevel(add_prefix_space=False, trim_offsets=False)
    tokenizer.add_tokens([AddedToken("<mask>", lstrip=True, normalized=False),
                          AddedToken("<tail>", rstrip=True, normalized=False),
                          AddedToken("<word>", single_word=True, normalized=False)])
    return tokenizer


def sentencepiece(text, vocab_size, bos):
    """A BPE model with byte fallback and no pre-tokenizer yet, trained on whole words."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=META, prepend_scheme="always")
    train(tokenizer, text, vocab_size, special_tokens=["<unk>", bos, "</s>", *BYTE_TOKENS],
          limit_alphabet=90)
    layout = json.loads(tokenizer.to_str())
    layout["added_tokens"] = []
    tokenizer = Tokenizer.from_str(json.dumps(layout))
    tokenizer.add_special_tokens(special("<unk>", bos, "</s>"))
    tokenizer.post_processor = with_bos(bos, 1)
    tokenizer.decoder = decoders.Sequence([
        decoders.Replace(META, " "), decoders.ByteFallback(), decoders.Fuse(),
        decoders.Strip(" ", 1, 0)])
    return tokenizer


def llama2(text):
    """Llama 2: no pre-tokenizer, the space is made visible by the normalizer; merges as strings."""
    tokenizer = sentencepiece(text, 620, "<s>")
    tokenizer.pre_tokenizer = None
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(META),
                                                 normalizers.Replace(" ", META)])
    # Not normalized: the normalizer would prepend its mark to the added token's own text.
    tokenizer.add_tokens(spaces(4, normalized=False))
    return tokenizer


def metaspace(text):
    """Mistral's newer layout: Metaspace instead of a normalizer, only the first piece prefixed."""
    tokenizer = sentencepiece(text, 560, "<bos>")
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=META, prepend_scheme="first",
                                                       split=False)
    tokenizer.add_special_tokens(special("[INST]", "[/INST]"))
    tokenizer.add_tokens(spaces(3))
    return tokenizer


def merges_as_strings(layout):
    """The form that tokenizers wrote before 0.20: "a b" for the pair (a, b)."""
    layout["model"]["merges"] = [" ".join(pair) for pair in layout["model"]["merges"]]


def nasty(added):
    """Strings that trip tokenizers; `added` are the added tokens of the file, to be woven in."""
    tokens = ["<|endoftext|>", "<s>", "</s>", "<unk>", "<|begin_of_text|>", "[INST]", "<mask>",
              "<tail>", "<word>", "<|im_start|>"]
    own = [t for t in tokens if t in added]
    plain = [
        "", " ", "  ", "   ", "    ", "     ", " " * 9, " " * 25, " " * 100, "\n", "\n\n", "\n\n\n",
        "\n" * 17, "\t", "\t\t", "\t \t", " \n", "\n ", " \n \n ", "\r", "\r\n", "\r\n\r\n",
        "a\r\nb\r\n\r\nc", "a\rb", "\v\f", "\x85", "\u2028line\u2029paragraph",
        "a", " a", "a ", "  a", "a  ", "a  b", "a   b", "a     b", "a \n b", "a\n\nb", "  a  b  ",
        "Hello, world!", "Hello world", " Hello world ", "hello\tworld", "hello \t world",
        "It's we're I've I'm you'll he'd isn't", "IT'S WE'RE I'VE I'M YOU'LL HE'D ISN'T",
        "'s 't 're 've 'm 'll 'd", "'S 'T 'Re 'vE 'M 'lL 'D", "''s'''t", "it\u2019s we\u2019re",
        "don't'll've", "x's's's", "' s", "rock 'n' roll '90s", "o'clock 'tis",
        "\u017fs'\u017f it'\u017f",  # long s: case folding makes it an s
        "0", "1 22 333 4444 55555 666666 7777777", "3.14159", "1,234,567.89", "2026-11-20",
        "1e-5", "0x1F", "v1.2.3", "\u0663\u0664\u0665 \u096a\u096b\u096c \uff11\uff12\uff13",
        "\u00bd \u00b2 \u2460 \u216b \u0bf2", "\U0001d7d8\U0001d7d9\U0001d7da1", "12\u0663",
        "\u4e00\u4e8c\u4e09", "1st2nd3rd", "a1b2c3", "100%", "$5.00", "\u20ac5",
        "!!!", "?!?!", "...", "\u2026", "---", "--", "\u2013\u2014", "#$%&*", "((([[[{{{}}}]]])))",
        "a.b.c", "foo(bar, baz[0]);", "if (x == 1) { return y; }\n\n\treturn z;\n",
        "def f(x):\n    return x + 1\n\n\nclass A:\n        pass\n", "<html><b>x</b></html>",
        "http://example.org/a_b-c?d=e&f=%20#g", "user@example.org", "C:\\dir\\file", "\\n\\t",
        "\"quoted\"", "`code`", "snake_case camelCase PascalCase kebab-case SCREAMING_CASE",
        "caf\u00e9", "cafe\u0301", "e\u0301e\u0300e\u0323\u0302", "\u00c5 \u212b A\u030a",
        "n\u0303 \u00f1", "\u1e9b\u0323", "\u0344", "\u0958", "\u2126 \u03a9", "\ufb01 \ufb03",
        "q\u0307\u0323", "q\u0323\u0307", "a\u0315\u0300\u05ae\u0062", "\u0301", " \u0301", "\n\u0301",
        "\u1100\u1161", "\u1100\u1161\u11a8", "\ud55c\uad6d\uc5b4", "\u1112\u1161\u11ab\u1100\u116e\u11a8",
        "\uac00\u11a8", "\u1100", "\u1161\u11a8", "\ua960\u1161\ud7b0",
        "\u4f60\u597d\uff0c\u4e16\u754c\u3002", "\u65e5\u672c\u8a9e\u306e\u30c6\u30b9\u30c8",
        "\u304b\u3099\u304c \u30cf\u309a", "\uff76\uff9e", "\u3000", "a\u3000b", "\u3000\u3000 x",
        "\uff21\uff22\uff23", "\u7acb\ufa0a\ufa10", "\U00020000\U0002a6d6",
        "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645",
        "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd", "\u05e9\u05c1\u05b8\u05dc\u05d5\u05b9\u05dd",
        "\u200fabc\u200e", "\u202eabc\u202c", "\u0928\u092e\u0938\u094d\u0924\u0947",
        "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35", "\u0ba4\u0bae\u0bbf\u0bb4\u0bcd", "\u0fb2\u0f71\u0f80",
        "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440!", "\u0438\u0306 \u0439",
        "\u0393\u03b5\u03b9\u03ac \u03c3\u03bf\u03c5 \u039a\u03cc\u03c3\u03bc\u03b5", "\u0130stanbul \u0131",
        "stra\u00dfe STRASSE \u1e9e", "\u01c6 \u01c5", "\u10d0\u10d1 \u1c90\u1c91",
        "\U0001f600", "\U0001f600\U0001f600", "a\U0001f600b", "\U0001f44d\U0001f3fd",
        "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466", "\u2764\ufe0f", "\u2764",
        "\U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7", "1\ufe0f\u20e3", "\U0001f3f4\U000e0067\U000e007f",
        "\u00ab\u00bb\u201e\u201c\u2018\u2019", "\u2190\u2191\u2192 \u2200x\u2208\u211d", "\u2581", "\u2581a\u2581\u2581b",
        "\u0120a \u010a \u00c3", "\u00a0", "a\u00a0b", "a\u00a0\u00a0b", "\u2009\u200a", "\u200b", "a\u200bb", "\u2060",
        "\ufeffbom", "\ufffd", "\ufffe\uffff", "\U0010ffff", "\ue000", "\x00", "a\x00b", "\x01\x02\x1b[0m", "\x7f",
        "\x1c\x1d\x1e\x1f", "\u00ad soft\u00adhyphen", "\u180e", "\u0378 unassigned",
        "Z\u0351\u036b\u0343a\u0321\u034al\u0338g\u0335o\u0322", "x" * 70, "ab" * 40, "\u00e9" * 20, "\n \n  \n   \n",
        " krait banded krait kraits", "krait", "The banded krait (Bungarus fasciatus) is 1.8 m long.",
        "<0x41>", "<0x0A><0xFF>", "<0xZZ>",
        "It is a truth universally acknowledged, that a single man in possession of a good fortune, "
        "must be in want of a wife.",
        "I would prefer not to.\n\n\"You will not?\"\n\"I prefer not.\"",
        "Beware the ides of March.\nWhat man is that?\n",
        "\t1.\tThe annual produce;  2.  the labour (4,500 hands)...",
        "<|endof", "<|endoftext", "|endoftext|>", "<<|endoftext|>>", "< |endoftext|>", "<S>", "<s", "s>",
    ]
    woven = []
    for t in own[:3]:
        woven += [t, t + t, " " + t, t + " ", f" {t} ", f"a{t}b", f"a {t} b", f"a  {t}  b",
                  f"{t}\n{t}", t[:-1], t[1:], t[0] + t, f"{t}   {t}", f"\u0065{t}\u0301",
                  f"{t}\u0301x", f"Hello{t} world\n{t}  Next"]
    for t in own[3:]:
        woven += [f"a {t} b", f"a{t}b", f"{t}{own[0]} {t}"]
    return plain + woven


def main():
    text = TEXT.read_text(encoding="utf-8")[:300_000]
    made = {"gpt-neox": gpt_neox, "llama-3": llama3, "qwen-2": qwen2, "llama-2": llama2,
            "metaspace": metaspace}
    names = []
    for name, make in made.items():
        layout = json.loads(make(text).to_str())
        if name == "llama-2":
            merges_as_strings(layout)
        names.append(f"{name}.json")
        (HERE / names[-1]).write_text(
            json.dumps(layout, ensure_ascii=True, separators=(",", ":")) + "\n")
    lines = []
    for name in [*names, DEMO]:
        tokenizer = Tokenizer.from_file(str(HERE / name))  # what a user would load
        added = {t.content for t in tokenizer.get_added_tokens_decoder().values()}
        for string in nasty(added):
            ids = tokenizer.encode(string).ids
            plain = tokenizer.encode(string, add_special_tokens=False).ids
            decoded = tokenizer.decode(ids)
            kept = tokenizer.decode(ids, skip_special_tokens=False)
            case = {"tokenizer": name, "text": string, "ids": ids}
            if plain != ids:
                case["plain"] = plain
            case["decoded"] = decoded
            if kept != decoded:
                case["decoded_all"] = kept
            lines.append(json.dumps(case, ensure_ascii=True, separators=(",", ":")))
    (HERE / "cases.jsonl").write_text("\n".join(lines) + "\n")
    for path in sorted(HERE.iterdir()):
        print(f"{path.name}: {path.stat().st_size:,} bytes")
    print(len(lines), "cases")


if __name__ == "__main__":
    main()
