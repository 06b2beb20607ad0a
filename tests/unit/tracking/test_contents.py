"""What goes into artifacts: of a pool no sample unless asked for, names that trackers take, nothing that is missing."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.exports import HEADS, calibration_record, randomised, record_of, save

from t2.budget_head import BudgetHead
from t2.errors import T2Error
from t2.hashing import digest
from t2.store.pool_spec import read_spec
from t2.store.reader import ShardReader
from t2.store.schema import PoolPaths
from t2.tracking.contents import Contents, artifact_name, head_contents, pool_contents, report_contents

POOL = Path(__file__).resolve().parents[3] / "assets" / "pools" / "tiny-arith"
OF = Contents("pool", "pool-it", {"spec_digest": "d" * 64}, {})


def test_a_pool_without_its_samples() -> None:
    pool = pool_contents(POOL)
    reader = ShardReader(PoolPaths(POOL))
    reader.refresh()
    assert pool.metadata["samples"] == sum(table.num_rows for table in reader.tables.values()) == 600 * 33
    assert (pool.metadata["questions"], pool.metadata["shards"]) == (600, len(reader.tables))
    assert pool.metadata["spec_digest"] == digest(read_spec(PoolPaths(POOL)).as_json())
    assert sorted(pool.files) == [f"manifests/{path.name}" for path in (POOL / "manifests").iterdir()] + ["pool.json"]
    assert (pool.name, pool.metadata["has_samples"]) == ("pool-tiny-arith", False)


def test_a_pool_with_its_samples() -> None:
    """What is uploaded is a pool: as many files as one needs, and no cache beside."""
    pool, lean = pool_contents(POOL, with_samples=True), pool_contents(POOL)
    more = pool.files.keys() - lean.files.keys()
    shards = {f"shards/{path.name}" for path in (POOL / "shards").iterdir()}
    assert more == {"questions.parquet"} | shards
    assert all(path.is_file() for path in pool.files.values())
    assert pool.metadata == {**lean.metadata, "has_samples": True}


def test_no_pool(tmp_path: Path) -> None:
    with pytest.raises(T2Error, match="Expected a pool, got no"):
        pool_contents(tmp_path)


def test_a_head_says_what_it_is_of(tmp_path: Path) -> None:
    head = randomised(HEADS["CurveHead"][0]())
    record = {**record_of(head, HEADS["CurveHead"][1]), "calibration": calibration_record()}
    folder = save(head, record, tmp_path / "my head")
    (folder / "notes.txt").write_text("mine")
    found = head_contents(folder, BudgetHead.from_pretrained(folder).record, OF, {"n_ref": 7})
    assert found.name == "head-my-head"
    assert sorted(found.files) == ["README.md", "config.json", "model.safetensors"]
    assert found.aliases == ("latest", "calibrated")
    assert found.metadata["policy"] == "Utility(price=3.0)"
    assert (found.metadata["layers"], found.metadata["grid"]) == ([4, 8, 12], [1, 3, 5, 7])
    assert (found.metadata["pool"], found.metadata["spec_digest"]) == ("pool-it", "d" * 64)
    assert (found.metadata["n_ref"], found.metadata["decision"]) == (7, None)
    assert found.metadata["calibration"] == {"status": "calibrated", "promise": "It keeps."}
    no_promise = save(head, record_of(head, HEADS["CurveHead"][1]), tmp_path / "other")
    assert head_contents(no_promise, BudgetHead.from_pretrained(no_promise).record, OF, {}).aliases == ("latest",)


def test_a_report_has_the_files_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("a")
    report = report_contents("it", [tmp_path / "a.md", tmp_path / "b.png"], OF, {}, {"summary.txt": "s"})
    assert report.files == {"a.md": tmp_path / "a.md"}
    assert report.texts == {"summary.txt": "s"}
    assert report.metadata == {"pool": "pool-it", "spec_digest": "d" * 64}


@pytest.mark.parametrize(
    ("of", "name"),
    [
        (Path("heads/qwen2.5_math-steps"), "head-qwen2.5_math-steps"),
        (Path("/a/b: c/ü x/"), "head--x"),
        ("a/b:c", "head-a-b-c"),
        ("x" * 500, f"head-{'x' * 95}"),
    ],
)
def test_names_are_such_as_trackers_take(of: Path | str, name: str) -> None:
    assert artifact_name("head", of) == name
