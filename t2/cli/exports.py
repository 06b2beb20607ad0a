"""Commands for the exported head itself: `t2 export`, `t2 push`."""

from __future__ import annotations

import os
from pathlib import Path


def export(
    checkpoint: str,
    folder: str | None = None,
    check: str | None = None,
    model: str | None = None,
    dtype: str | None = None,
    most_checked: int | None = None,
) -> None:
    """Turn a checkpoint of train.py into an exported head: config.json, model.safetensors, model card.

    Args:
        checkpoint: path of the .ckpt file; with `--check` also the folder or hub id of a head that is exported already.
        folder: where the head goes; by default beside the checkpoint, under its name without the suffix.
        check: see that vLLM reads and decides as transformers did in training, on the questions of this pool (folder
            or config) or file ({"question"} a line). Ends with an error where too many get another number of samples.
        model: folder or hub id of the LLM that `--check` runs; by default the one that the head names.
        dtype: of weights and activations in the engine of `--check`; by default as the samples were drawn.
        most_checked: questions that `--check` reads at most, spread over all; by default 200.
    """
    from t2.checkpoint import export_checkpoint

    head = checkpoint
    if check is None or os.path.isfile(checkpoint):
        head = str(export_checkpoint(checkpoint, folder or Path(checkpoint).with_suffix("")))
        print(f"Exported the head to {head}")
    if check is not None:
        from rich.console import Console

        from t2.engine.parity import parity_table
        from t2.engine.parity_command import check_parity
        from t2.export import local_folder
        from t2.pages.terminal import rich_table

        parity = check_parity(local_folder(head), check, model, dtype, most_checked)
        Console().print(rich_table(parity_table(parity, f"{head} in vLLM against transformers")))
        parity.check()


def push(
    head: str,
    repo: str,
    branch: str | None = None,
    private: bool = False,
    license: str | None = None,
    base_model: str | None = None,
    dry_run: bool = False,
) -> None:
    """Publish an exported head on the hub, after a look at all that would go: its card, and no path of this machine.

    Args:
        head: folder of the exported head.
        repo: hub id, owner/name; made where it is missing.
        branch: to push to, made where it is missing; by default the main branch.
        private: make the repository private; one that is there must be.
        license: of the head, as apache-2.0, for the card; needed unless the card names one.
        base_model: hub id of the LLM that the head reads, where the export names a folder.
        dry_run: say what would go, and send nothing.
    """
    from t2.push import Push

    ready = Push.of(head, repo, branch, private, license, base_model)
    for line in ready.lines():
        print(line)
    if dry_run:
        print("A dry run: nothing was sent.")
        return
    from huggingface_hub import HfApi

    ready.send(HfApi(library_name="t2"))
    print(f"Sent. To use it: t2.BudgetHead.from_pretrained({', '.join(map(repr, filter(None, (repo, branch))))})")
