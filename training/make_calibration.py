r"""Write the calibration text that ships with krait: passages of public-domain books.

    python make_calibration.py --books books.jsonl.zst --titles calibration_books.txt \
        --out ../share/calibration.txt

Every book gives passages spread evenly over it, in whole paragraphs. Paragraphs of a passage are
separated by one line break, passages by a blank line. prepare.py excludes the same titles from
training, so that calibration sees text that no checkpoint was trained on.
"""

import argparse
import pathlib
import re

from prepare import clean, read_documents


def passages(text, count, length):
    """`count` runs of whole paragraphs, each of about `length` characters, spread evenly."""
    paragraphs = [p.strip() for p in re.split(r"\n\s*\n", text) if p.strip()]
    starts, position = [], 0
    for p in paragraphs:
        starts.append(position)
        position += len(p) + 2
    count = min(count, position // length)
    result = []
    for i in range(count):
        begin = position * i // count
        taken, size = [], 0
        for start, paragraph in zip(starts, paragraphs):
            if start >= begin and size < length:
                taken.append(paragraph)
                size += len(paragraph)
        result.append("\n".join(taken))
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--books", type=pathlib.Path, required=True)
    parser.add_argument("--titles", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--passages", type=int, default=11, help="of each book, at most")
    parser.add_argument("--length", type=int, default=6200, help="characters of a passage")
    args = parser.parse_args()

    titles = args.titles.read_text(encoding="utf-8").splitlines()
    books = {title: text for title, text in read_documents(args.books) if title in titles}
    missing = set(titles) - set(books)
    if missing:
        raise SystemExit(f"not among the books: {sorted(missing)}")
    # Round after round through the books: the first samples already span all authors.
    columns = [passages(clean(books[title]), args.passages, args.length) for title in titles]
    rounds = [column[i] for i in range(args.passages) for column in columns if i < len(column)]
    text = "\n\n".join(rounds) + "\n"
    args.out.parent.mkdir(exist_ok=True)
    args.out.write_text(text, encoding="utf-8")
    print(f"{args.out.name}: {len(text.encode()):,} bytes, {len(rounds)} passages")


if __name__ == "__main__":
    main()
