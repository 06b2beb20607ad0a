"""`t2`: everything that never trains. One YAML serves `t2` and `train.py`: this reads its `data.pool` subtree."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from t2.errors import T2Error
from t2.spec import LabelJob
from t2.splits import SplitFractions


def label(config: str, preview: int = 0) -> None:
    """Draw the samples that a pool lacks; resumable at any time.

    Args:
        config: YAML file; its `data.pool` and `data.splits` are read, the rest belongs to train.py.
        preview: look at this many questions in a scratch pool instead, and estimate the whole job.
    """
    from t2.labelling.job import run
    from t2.labelling.process import exit_on_sigterm

    job, fractions = read_job(config)
    exit_on_sigterm()
    if preview:
        from t2.labelling.preview import preview as look

        for line in look(job, preview).lines():
            print(line)
        return
    from t2.labelling.progress import progress_bar

    with progress_bar() as advance:
        done = run(job, fractions, advance)
    print(f"Pool {job.path}: {done.samples_done} samples ({done.tokens} tokens) drawn, {done.resumed} were there")


def export(checkpoint: str, folder: str | None = None) -> None:
    """Turn a checkpoint of train.py into an exported head: config.json, model.safetensors, model card.

    Args:
        checkpoint: path of the .ckpt file.
        folder: where the head goes; by default beside the checkpoint, under its name without the suffix.
    """
    from t2.export import export_checkpoint

    print(f"Exported the head to {export_checkpoint(checkpoint, folder or Path(checkpoint).with_suffix(''))}")


def read_job(config: str) -> tuple[LabelJob, SplitFractions]:
    """The `data.pool` and `data.splits` of a config that train.py reads too.

    Raises:
        T2Error: no such file, no YAML, no `data.pool`, or a key or value that does not fit.
    """
    import yaml
    from jsonargparse import ArgumentError, ArgumentParser

    import t2.sampling
    import t2.tasks  # noqa: F401  # their classes must be imported to be named without a module path

    try:
        content: Any = yaml.safe_load(Path(config).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise T2Error(f"Expected a YAML config, got {config}: {' '.join(str(error).split())}") from error
    data = content.get("data") if isinstance(content, dict) else None
    if not isinstance(data, dict) or "pool" not in data:
        raise T2Error(f"Expected the key `data.pool` in {config}, got none. See configs/ for examples.")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(LabelJob, "pool")
    parser.add_class_arguments(SplitFractions, "splits")
    try:
        parsed = parser.parse_object({"pool": data["pool"], "splits": data.get("splits") or {}})
        built = parser.instantiate_classes(parsed)
    except ArgumentError as error:
        raise T2Error(f"Expected a valid `data.pool` in {config}, got: {' '.join(str(error).split())}") from error
    return built.pool, built.splits


COMMANDS: dict[str, Any] = {"label": label, "export": export}
POSITIONAL = {"export"}
"""Commands whose required arguments are written without their names."""


def main(args: list[str] | None = None) -> None:
    """Entry point of the console script; a mistake of the user ends with one line and exit code 2."""
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(prog="t2", description="Labels, exports and reports of budget heads; never trains.")
    subcommands = parser.add_subcommands()
    for name, function in COMMANDS.items():
        subparser = ArgumentParser(description=(function.__doc__ or "").split("\n")[0])
        subparser.add_function_arguments(function, as_group=False, as_positional=name in POSITIONAL)
        subcommands.add_subcommand(name, subparser, help=subparser.description)
    parsed = parser.parse_args(args)
    try:
        COMMANDS[parsed.subcommand](**parsed[parsed.subcommand].as_dict())
    except T2Error as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(T2Error.EXIT_CODE) from error


if __name__ == "__main__":
    main()
