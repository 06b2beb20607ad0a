"""The sample store: what is written is read, nothing is read twice, and damage is found."""

import shutil

import pyarrow.parquet as pq
import pytest

import t2.store.reader
import t2.store.writer
from t2.errors import T2Error
from t2.grading.numeric import NumericGrader
from t2.pools.grader import PoolGrader
from t2.spec import GREEDY_DRAW, Question, Sample, SampleRequest, SampleResult
from t2.store.compact import compact
from t2.store.files import append_line
from t2.store.reader import ShardReader, manifest_entries, read_questions
from t2.store.schema import PoolPaths
from t2.store.writer import ShardWriter, write_questions

QUESTIONS = [Question("a", "1+1", "2", "1 1", "small", 2), Question("b", "2+3", "5", "2 3")]


def result(question_id, draws, text="#2"):
    samples = tuple(Sample((7, draw + 3, 2), f"{text} {draw}", "stop") for draw in draws)
    return SampleResult(SampleRequest(question_id, (1, 5), tuple(draws)), samples)


def fill(paths, writer, *groups, seed=1, attempt=1):
    """One shard for each group of (question, draws)."""
    shard_writer = ShardWriter(paths, seed, attempt, name=writer)
    for question_id, draws in groups:
        shard_writer.append(result(question_id, draws))
        shard_writer.flush()


def stored_rows(paths):
    reader = ShardReader(paths)
    reader.refresh()
    return [row for table in reader.tables.values() for row in table.to_pylist()]


def keys(paths):
    return sorted((row["question_id"], row["draw"]) for row in stored_rows(paths))


def files(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


class CountingGrader(NumericGrader):
    """Counts the texts it has read."""

    def __init__(self, name="counting"):
        super().__init__(marker="#")
        self.name, self.graded = name, 0

    @property
    def version(self):
        return self.name

    def answer_class(self, text):
        self.graded += 1
        return super().answer_class(text.split(" ")[0])


def graded(paths, grader):
    pool_grader = PoolGrader(ShardReader(paths), grader)
    pool_grader.refresh()
    return pool_grader.pool(QUESTIONS, [2, 2])


# Round trip


def test_rows_come_back_as_written(paths):
    writer = ShardWriter(paths, engine_seed=2**31 - 2, attempt=3, name="w")
    writer.append(result("a", (GREEDY_DRAW,)))
    writer.append(result("a", (0, 1)))
    assert stored_rows(paths) == []
    writer.flush()
    rows = stored_rows(paths)
    assert [row["draw"] for row in rows] == [GREEDY_DRAW, 0, 1]
    assert rows[2] == {
        "question_id": "a", "draw": 1, "num_tokens": 3, "token_ids": [7, 4, 2], "text": "#2 1",
        "finish_reason": "stop", "engine_seed": 2**31 - 2, "writer": "w", "attempt": 3,
    }  # fmt: skip


def test_flush_without_rows_writes_nothing(paths):
    writer = ShardWriter(paths, 1, 1)
    writer.flush()
    assert not paths.shards.exists()
    assert not paths.manifests.exists()


def test_flush_if_due_waits(paths):
    writer = ShardWriter(paths, 1, 1, flush_seconds=3600)
    writer.append(result("a", (0,)))
    assert not writer.flush_if_due()
    assert keys(paths) == []
    writer.flush_seconds = 0.0
    assert writer.flush_if_due()
    assert keys(paths) == [("a", 0)]


def test_questions_come_back_as_written(paths):
    write_questions(paths, QUESTIONS, [(1, 2), (3,)])
    assert read_questions(paths) == (QUESTIONS, [(1, 2), (3,)])


def test_damaged_questions_are_named(paths):
    write_questions(paths, QUESTIONS, [(1, 2), (3,)])
    paths.questions.write_bytes(paths.questions.read_bytes()[:-20])
    with pytest.raises(T2Error, match=r"questions\.parquet"):
        read_questions(paths)


def test_no_scratch_files_stay(paths):
    fill(paths, "w", ("a", (0,)), ("a", (1,)))
    assert [path.name for path in paths.root.rglob("*.tmp")] == []


# What a reader makes of damage


def test_a_line_that_was_cut_short_is_taken_back(paths, monkeypatch):
    """A full disk left half a line, the next try wrote behind it, and the pool was unreadable."""
    fill(paths, "w", ("a", (0,)))
    before = (paths.manifests / "w.jsonl").read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space left"):
            append_line(paths.manifests / "w.jsonl", '{"shard": "b"}')
    assert (paths.manifests / "w.jsonl").read_bytes() == before


@pytest.mark.parametrize("line", ["[1]", '"shard"', '{"shard": "w-00001.parquet"}'])
def test_a_manifest_line_of_something_else_is_named(paths, line):
    fill(paths, "w", ("a", (0,)))
    with (paths.manifests / "w.jsonl").open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(T2Error, match=r"objects with shard and sha256 in .*w\.jsonl"):
        stored_rows(paths)


def test_questions_without_a_column_are_named(paths):
    write_questions(paths, QUESTIONS, [(1, 2), (3,)])
    pq.write_table(pq.read_table(paths.questions).drop_columns(["dedup_key"]), paths.questions)
    with pytest.raises(T2Error, match=r"questions\.parquet.*dedup_key|dedup_key.*questions\.parquet"):
        read_questions(paths)


def test_a_torn_manifest_line_is_ignored(paths):
    fill(paths, "w", ("a", (0, 1)))
    with (paths.manifests / "w.jsonl").open("a") as file:
        file.write('{"shard": "w-00002.parquet", "rows": 2, "sha')
    assert keys(paths) == [("a", 0), ("a", 1)]


def test_a_shard_without_a_manifest_line_does_not_count(paths, monkeypatch):
    fill(paths, "w", ("a", (0,)))

    def die(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(t2.store.writer, "append_line", die)
    with pytest.raises(KeyboardInterrupt):
        fill(paths, "x", ("a", (1,)))
    assert len(files(paths.shards)) == 2
    assert keys(paths) == [("a", 0)]


def test_a_changed_byte_is_found(paths):
    fill(paths, "w", ("a", (0, 1)))
    shard = paths.shards / "w-00001.parquet"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    with pytest.raises(T2Error, match=r"SHA-256 .*w-00001\.parquet"):
        stored_rows(paths)


def test_a_missing_shard_is_named(paths):
    fill(paths, "w", ("a", (0,)), ("a", (1,)))
    (paths.shards / "w-00002.parquet").unlink()
    with pytest.raises(T2Error, match=r"w-00002\.parquet"):
        stored_rows(paths)


# Several writers


def test_writers_are_united(paths):
    fill(paths, "w", ("a", (0, 1)), seed=11, attempt=1)
    fill(paths, "x", ("b", (0,)), ("a", (2,)), seed=12, attempt=2)
    assert keys(paths) == [("a", 0), ("a", 1), ("a", 2), ("b", 0)]
    reader = ShardReader(paths)
    assert reader.refresh() == ["w-00001.parquet", "x-00001.parquet", "x-00002.parquet"]
    assert reader.refresh() == []
    assert (reader.engine_seeds(), reader.attempts()) == ({11, 12}, {1, 2})


def test_refresh_takes_in_what_is_new(paths):
    fill(paths, "w", ("a", (0,)))
    reader = ShardReader(paths)
    reader.refresh()
    fill(paths, "x", ("a", (1,)))
    assert reader.refresh() == ["x-00001.parquet"]


def test_duplicates_count_once(paths):
    fill(paths, "w", ("a", (GREEDY_DRAW, 0, 1)), ("b", (0,)))
    fill(paths, "x", ("a", (1, 2)))
    pool = graded(paths, CountingGrader())
    assert pool.present_QM.sum(1).tolist() == [3, 1]
    assert pool.tokens_QM.sum(1).tolist() == [9, 3]


# Compaction


def test_compact_keeps_every_row(paths):
    fill(paths, "w", ("a", (GREEDY_DRAW, 0)), ("b", (0, 1)), seed=11, attempt=1)
    fill(paths, "x", ("a", (1,)), ("a", (2,)), seed=12, attempt=2)
    before = stored_rows(paths)
    compact(paths, above=1)
    assert len(manifest_entries(paths)) == len(files(paths.shards)) == len(files(paths.manifests)) == 1
    assert stored_rows(paths) == before


def test_compact_is_idempotent(paths):
    fill(paths, "w", ("a", (0,)), ("a", (1,)))
    compact(paths, above=1)
    once = files(paths.shards) | files(paths.manifests)
    compact(paths, above=1)
    assert files(paths.shards) | files(paths.manifests) == once


def test_compact_leaves_few_shards_alone(paths):
    fill(paths, "w", ("a", (0,)), ("a", (1,)))
    before = files(paths.shards)
    compact(paths, above=2)
    assert files(paths.shards) == before


@pytest.mark.parametrize("manifests_left", [["w.jsonl", "x.jsonl"], ["x.jsonl"], []])
def test_compact_may_die_before_it_has_deleted(paths, tmp_path, manifests_left):
    fill(paths, "w", ("a", (0,)), ("b", (0,)))
    fill(paths, "x", ("a", (1,)))
    shutil.copytree(paths.root, tmp_path / "old")
    old = PoolPaths(tmp_path / "old")
    compact(paths, above=1)
    for name in manifests_left:
        shutil.copy(old.manifests / name, paths.manifests)
    for shard in old.shards.iterdir():
        shutil.copy(shard, paths.shards)
    pool = graded(paths, CountingGrader())
    assert pool.present_QM.sum(1).tolist() == [2, 1]
    compact(paths, above=1)
    assert keys(paths) == [("a", 0), ("a", 1), ("b", 0)]
    fill(paths, "y", ("b", (1,)))
    compact(paths, above=1)
    assert keys(paths) == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]


def test_compact_may_die_before_it_has_named(paths, monkeypatch):
    fill(paths, "w", ("a", (0,)), ("a", (1,)))

    def die(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(t2.store.writer, "append_line", die)
        with pytest.raises(KeyboardInterrupt):
            compact(paths, above=1)
    assert keys(paths) == [("a", 0), ("a", 1)]
    compact(paths, above=1)
    assert keys(paths) == [("a", 0), ("a", 1)]


def test_a_reader_survives_compaction_under_its_feet(paths, monkeypatch):
    fill(paths, "w", ("a", (0,)), ("a", (1,)))
    stale = iter([manifest_entries(paths)])
    compact(paths, above=1)
    monkeypatch.setattr(t2.store.reader, "manifest_entries", lambda p: next(stale, None) or manifest_entries(p))
    assert keys(paths) == [("a", 0), ("a", 1)]


# Grades


def test_grades_are_kept_and_rebuilt(paths):
    fill(paths, "w", ("a", (GREEDY_DRAW, 0, 1)), ("b", (0,)))
    first, second, third = CountingGrader(), CountingGrader(), CountingGrader()
    right_QM = graded(paths, first).right_QM
    assert right_QM.tolist() == [[True, True], [False, False]]
    assert graded(paths, second).right_QM.equal(right_QM)
    shutil.rmtree(paths.grades)
    assert graded(paths, third).right_QM.equal(right_QM)
    assert (first.graded, second.graded, third.graded) == (4, 0, 4)


def test_graders_do_not_share_grades(paths):
    fill(paths, "w", ("a", (0,)), ("b", (0,)))
    # Two versions that are one word as a file name.
    one, other = CountingGrader("x-$"), CountingGrader("x-£")
    graded(paths, one), graded(paths, other)
    assert (one.graded, other.graded) == (2, 2)


def test_a_short_sidecar_is_rebuilt(paths):
    fill(paths, "w", ("a", (0, 1)), ("b", (0,)))
    graded(paths, CountingGrader())
    folder = next(paths.grades.iterdir())
    shutil.copy(folder / "w-00002.parquet", folder / "w-00001.parquet")
    grader = CountingGrader()
    graded(paths, grader)
    assert grader.graded == 2


@pytest.mark.parametrize("content", [b"", b"PAR1 and nothing else"])
def test_a_damaged_sidecar_is_rebuilt(paths, content):
    fill(paths, "w", ("a", (0, 1)), ("b", (0,)))
    graded(paths, CountingGrader())
    (next(paths.grades.iterdir()) / "w-00001.parquet").write_bytes(content)
    grader = CountingGrader()
    graded(paths, grader)
    assert grader.graded == 2


def test_new_shards_alone_are_graded(paths):
    fill(paths, "w", ("a", (0, 1)), ("b", (0,)))
    grader = CountingGrader()
    pool_grader = PoolGrader(ShardReader(paths), grader)
    pool_grader.refresh()
    fill(paths, "x", ("b", (1,)))
    pool_grader.refresh()
    assert grader.graded == 4
    assert pool_grader.complete_ids(2) == set()
    fill(paths, "y", ("b", (GREEDY_DRAW,)))
    pool_grader.refresh()
    assert pool_grader.complete_ids(2) == {"b"}
