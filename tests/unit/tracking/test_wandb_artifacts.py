"""What a run of W&B is asked for when there is a server, and what is said when it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from wandb.errors import CommError

from t2.errors import T2Error
from t2.tracking.contents import Contents
from t2.tracking.wandb_artifacts import artifact_of, log_lineage, log_report

POOL = Contents("pool", "pool-it", {"spec_digest": "d" * 64, "samples": 7}, {})


class OnlineRun:
    """Keeps what it is asked for, or refuses."""

    offline = False

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.asked: list[tuple[str, str, str, list[str]]] = []

    def use_artifact(self, artifact: Any, aliases: list[str]) -> None:
        self.asked.append(("in", artifact.type, artifact.name, aliases))

    def log_artifact(self, artifact: Any, aliases: list[str]) -> None:
        if self.error:
            raise self.error
        self.asked.append(("out", artifact.type, artifact.name, aliases))


@pytest.fixture(autouse=True)
def _staged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "staged"))


def test_inputs_are_used_and_outputs_logged() -> None:
    run = OnlineRun()
    head = Contents("head", "head-it", {}, {}, aliases=("latest", "calibrated"))
    log_lineage(run, [POOL], [head])  # type: ignore[arg-type]  # the parts that are used
    assert run.asked == [("in", "pool", "pool-it", ["latest"]), ("out", "head", "head-it", ["latest", "calibrated"])]


def test_an_artifact_has_files_texts_and_metadata(tmp_path: Path) -> None:
    (tmp_path / "pool.json").write_text("{}")
    contents = Contents("pool", "pool-it", {"layers": [1, 2]}, {"a/pool.json": tmp_path / "pool.json"}, {"s.txt": "é"})
    artifact = artifact_of(contents)
    assert sorted(artifact.manifest.entries) == ["a/pool.json", "s.txt"]
    assert Path(artifact.manifest.entries["s.txt"].local_path).read_text(encoding="utf-8") == "é"
    assert json.loads(json.dumps(artifact.metadata)) == {"layers": [1, 2]}
    assert artifact_of(contents).digest == artifact.digest, "the same files are the same version"


@pytest.mark.parametrize("error", [CommError("no\nroute"), ValueError("pool-it already exists with type 'dataset'")])
def test_a_refusal_is_one_line(error: Exception) -> None:
    with pytest.raises(
        T2Error, match=r"Expected W&B to take pool-it, head-it, got: (no route|pool-it already)"
    ) as caught:
        log_lineage(OnlineRun(error), [POOL], [Contents("head", "head-it", {}, {})])  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_a_report_on_a_folder_without_a_pool(tmp_path: Path) -> None:
    with pytest.raises(T2Error, match="Expected a pool, got no"):
        log_report("budgets", tmp_path, [], tmp_path)
    assert not (tmp_path / "wandb").exists(), "no run was begun"
