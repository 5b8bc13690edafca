#!/usr/bin/env python3
"""Speed before and after a change, from files that `krait bench --json` wrote.

  krait bench --dummy mamba-130m --json > before.json
  krait bench --dummy mamba-130m --json > after.json
  bench/compare.py before.json after.json

A ratio above 1 is faster. It is called clear where the samples of the two do not overlap; the last two
columns are the fractions of the machine's bound, which hold where its bandwidth moved in between.
Only Python's standard library is used.
"""

import argparse
import json
import pathlib
import sys


def read(path: pathlib.Path) -> dict:
    told = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(told, dict) or "results" not in told:
        sys.exit(f"compare.py: {path}: should be what `krait bench --json` prints")
    return told


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("before", type=pathlib.Path)
    parser.add_argument("after", type=pathlib.Path)
    args = parser.parse_args()
    before, after = read(args.before), read(args.after)
    for key in ("model", "cpu_info", "n_threads"):
        if before[key] != after[key]:
            print(f"note: {key} differs: {before[key]} and {after[key]}")

    rows = [("test", "before", "after", "ratio", "", "of the bound", "")]
    tests = {test["test"]: test for test in after["results"]}
    for old in before["results"]:
        new = tests.get(old["test"])
        if new is None:
            continue
        apart = (min(old["samples_ts"]) > max(new["samples_ts"])
                 or max(old["samples_ts"]) < min(new["samples_ts"]))
        rows.append((old["test"], f"{old['median_ts']:,.1f}", f"{new['median_ts']:,.1f}",
                     f"{new['median_ts'] / old['median_ts']:.3f}", "clear" if apart else "overlap",
                     f"{old['fraction_of_bound']:.0%}", f"{new['fraction_of_bound']:.0%}"))
    if len(rows) == 1:
        sys.exit("compare.py: the two files have no test in common")
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print(row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:])),
              sep="  ")
    return 0


if __name__ == "__main__":
    sys.exit(main())
