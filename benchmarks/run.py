"""Benchmarks as ratios within one run: `python benchmarks/run.py [WHICH ...]`, all by default.

Prints a Markdown table. Figures with the CPU they were measured on are in benchmarks/README.md. Each comparison runs
`--repeats` times in processes of its own, its two sides in turn (A B A B ...), and reports medians.
"""

from __future__ import annotations

import argparse
import os

import backbone
import batch_budget
import bootstrap
import carried
import curse
import curves
import features
import label
import planner
import voting
from measure import cpu_name

PARTS = {
    part.__name__: part.rows
    for part in (curves, features, backbone, label, batch_budget, bootstrap, curse, planner, carried, voting)
}


def main() -> None:
    """Run what is asked for and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", nargs="*", default=list(PARTS), help=", ".join(PARTS))
    parser.add_argument("--repeats", type=int, default=3, help="runs of each comparison, 3 by default")
    args = parser.parse_args()
    if args.repeats < 1:
        parser.error(f"expected --repeats of at least 1, got {args.repeats}")
    if unknown := set(args.which) - set(PARTS):
        parser.error(f"expected {', '.join(PARTS)}, got {', '.join(sorted(unknown))}")
    print(f"{cpu_name()}, {os.cpu_count()} cores\n")
    print("| what | figure | ratio | target |\n|---|---|---|---|")
    for name in args.which:
        print("\n".join(PARTS[name](args.repeats)), flush=True)


if __name__ == "__main__":
    main()
