"""Artifacts in a run of Weights & Biases: inputs and outputs, so that W&B draws what came of what."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from t2.errors import T2Error
from t2.tracking.contents import Contents, pool_contents, report_contents

if TYPE_CHECKING:
    from wandb import Artifact, Run


def log_lineage(run: Run, inputs: Sequence[Contents], outputs: Sequence[Contents]) -> None:
    """Say what a run has used and made. Offline all of it is kept beside the run, for `wandb sync`.

    Raises:
        T2Error: W&B did not take it.
    """
    import wandb

    try:
        for each in inputs:
            _use(run, each)
        for each in outputs:
            run.log_artifact(artifact_of(each), aliases=list(each.aliases))
    except (wandb.errors.Error, ValueError, OSError) as error:  # ValueError: a name that another type has taken
        words = " ".join(str(error).split())
        raise T2Error(
            f"Expected W&B to take {', '.join(each.name for each in (*inputs, *outputs))}, got: {words}. Check "
            "your network and `wandb login`."
        ) from error


def log_report(project: str, pool: Path, files: Sequence[Path], folder: Path) -> str:
    """A run of its own for a report that is made without training; gives the run's address, or its folder offline.

    Raises:
        T2Error: no pool there, or W&B did not take it.
    """
    import wandb

    used = pool_contents(pool)
    try:
        run = wandb.init(project=project, job_type="report", dir=folder)
    except wandb.errors.Error as error:
        raise T2Error(
            f"Expected a run of W&B in the project {project}, got: {' '.join(str(error).split())}. Log in by "
            "`wandb login`, or set WANDB_MODE=offline."
        ) from error
    with run:
        log_lineage(run, [used], [report_contents(pool.name, files, used, {})])
    return str(run.url or Path(run.dir).parent)


def artifact_of(contents: Contents) -> Artifact:
    """Contents as W&B has them; W&B makes a new version where a file has changed, and none otherwise."""
    import wandb

    artifact = wandb.Artifact(contents.name, contents.kind, metadata=contents.metadata)
    for name, path in contents.files.items():
        artifact.add_file(str(path), name)
    for name, text in contents.texts.items():
        with artifact.new_file(name, encoding="utf-8") as file:
            file.write(text)
    return artifact


def _use(run: Run, contents: Contents) -> None:
    artifact, aliases = artifact_of(contents), list(contents.aliases)
    if run.offline:
        # `use_artifact` refuses to work offline, since it waits for the server. This is what it does before it waits:
        # a record that makes `wandb sync` upload the artifact and enter it as an input.
        run._log_artifact(artifact, aliases=aliases, is_user_created=True, use_after_commit=True)
    else:
        run.use_artifact(artifact, aliases=aliases)
