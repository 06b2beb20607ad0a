"""What reading an LLM and training through it cost on a GPU: `python benchmarks/gpu.py`.

Prints a Markdown table for one GPU: feature extraction against the bare forward pass, and a training step on cached
features, with the frozen LLM, with an adapter, and with blocks that are run again in the backward pass. The LLM has the
shape of Qwen2.5-1.5B and random weights in bf16, so nothing is downloaded. Figures with the GPU that they were measured
on are in benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import sys

import backbone
import features

CASE = "1.5b"


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="runs of each comparison, 3 by default")
    args = parser.parse_args()
    if args.repeats < 1:
        parser.error(f"expected --repeats of at least 1, got {args.repeats}")
    import torch

    if not torch.cuda.is_available():
        sys.exit(
            "Expected an NVIDIA GPU that torch sees, got none. On a CPU: python benchmarks/run.py features backbone"
        )
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}\n")
    print("| what | figure | ratio | target |\n|---|---|---|---|")
    for part in (features, backbone):
        print("\n".join(part.rows(args.repeats, CASE)), flush=True)


if __name__ == "__main__":
    main()
