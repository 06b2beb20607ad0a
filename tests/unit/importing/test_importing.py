"""`t2 import`: what a file says is what the pool holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.imported_files import Import, graded, question, samples, stored
from hypothesis import given, settings
from hypothesis import strategies as st

import t2.importing.command
import t2.importing.rows
from t2.errors import T2Error
from t2.grading.given import grader_named
from t2.hashing import sha256_of_file
from t2.importing.command import import_file
from t2.importing.given_classes import given_classes
from t2.importing.sample_file import GivenSample
from t2.pools.load import load_pool
from t2.spec import GREEDY_DRAW, Question
from t2.store.pool_spec import read_spec
from t2.store.reader import manifest_entries, read_prompt_tokens, read_questions
from t2.store.schema import IMPORTED_FORMAT_VERSION, PoolPaths
from t2.voting import ABSENT, ABSTAINED

# What is stored


def test_an_imported_pool_is_an_ordinary_pool(run: Import, file: Path, pool: Path) -> None:
    row = question(
        "a",
        [{"text": "so #### 7", "answer": "7", "tokens": 5}, {"text": "#### 8", "tokens": 3, "finish_reason": "length"}],
        prompt_tokens=11,
        dedup_key="k",
        family="sums",
        size=4,
        greedy={"answer": "7", "tokens": 2},
        other_field=[1],
    )
    summary = run(row, model="gpt-x")
    paths = PoolPaths(pool)
    assert read_questions(paths) == ([Question("a", "question a", "7", "k", "sums", 4)], [()])
    assert read_prompt_tokens(paths) == [11]
    shown = ("draw", "num_tokens", "text", "finish_reason", "given_class", "given_answer", "token_ids")
    assert [tuple(r[name] for name in shown) for r in stored(pool)] == [
        (GREEDY_DRAW, 2, "7", "stop", "7", "7", []),
        (0, 5, "so #### 7", "stop", "7", "7", []),
        (1, 3, "#### 8", "length", None, None, []),
    ]
    assert [entry["rows"] for entry in manifest_entries(paths)] == [3]
    content = json.loads(paths.spec.read_text())
    assert (content["format"], content["format_version"]) == ("t2-pool", IMPORTED_FORMAT_VERSION)
    assert content["model"]["id"] == "gpt-x"
    assert content["model"]["num_layers"] is content["model"]["revision"] is content["sampling"]["temperature"] is None
    assert content["source"] == summary.source
    assert summary.source == {
        "file": "samples.jsonl",
        "sha256": sha256_of_file(file),
        "tokenizer": None,
        "questions": 1,
        "samples": 2,
        "greedy": 1,
        "tokens_counted": 0,
        "classes_from_text": 0,
        "unfinished": {"length": 1},
    }
    assert sorted(path.name for path in pool.parent.iterdir()) == ["pool", "samples.jsonl"]
    assert "\n".join(summary.lines()) == (
        f"samples.jsonl imported: 1 questions, 2 samples -> {pool}\n"
        "1 samples abstain because they did not finish: finish_reason 'length' 1."
    )


def test_what_is_left_out_has_a_default(run: Import, pool: Path) -> None:
    run(question("a", prompt_tokens=None, family=None, greedy=None))
    assert read_questions(PoolPaths(pool))[0] == [Question("a", "question a", "7", "question a", "", 0)]
    assert read_spec(PoolPaths(pool)).model["id"] == "unknown"


def test_numbers_are_stored_as_they_are_written(run: Import, pool: Path) -> None:
    line = b'{"id": 3, "question": 1.50, "answer": 0.50, "samples": [{"answer": 0.50}, {"answer": 1e5}]}'
    run(line)
    (only,) = read_questions(PoolPaths(pool))[0]
    assert (only.id, only.text, only.answer) == ("3", "1.50", "0.50")
    assert [row["text"] for row in stored(pool)] == ["0.50", "1e5"]


STRANGE = [
    "<script>alert('x')</script>",
    "\x00\x07\x1b[31m\t\r\n  ",
    "\u202egnp.exe",
    "７",
    "a\u2028b\x85c",
    "🧮" * 3,
    "#" * 1_000_000,
]


@pytest.mark.parametrize("text", STRANGE, ids=range(len(STRANGE)))
def test_strange_texts_are_stored_as_they_are(run: Import, pool: Path, text: str) -> None:
    run(question(samples=[{"text": text}, {"answer": text}, {"answer": "7"}]))
    assert [(row["text"], row["given_answer"]) for row in stored(pool)] == [(text, None), (text, text), ("7", "7")]


def test_a_megabyte_of_digits_is_a_text_like_any_other(run: Import, pool: Path) -> None:
    digits = b"1" * 1_000_000
    run(b'{"id": 1, "question": "?", "answer": 7, "samples": [{"answer": ' + digits + b"}]}")
    assert stored(pool)[0]["text"] == digits.decode()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=5), st.booleans())
def test_any_text_comes_back(texts: list[str], escaped: bool) -> None:
    """However a JSON writer escapes, and whatever line separators are inside."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        file, pool = Path(folder) / "s.jsonl", Path(folder) / "pool"
        row = question(samples=[{"text": text} for text in texts])
        file.write_text(json.dumps(row, ensure_ascii=escaped) + "\r\n\r\n", encoding="utf-8", newline="")
        import_file(str(file), str(pool))
        assert [row["text"] for row in stored(pool)] == texts


def test_shards_are_bounded_and_lose_nothing(run: Import, pool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(t2.importing.rows, "_ROWS_PER_SHARD", 5)
    run(*(question(i, samples(*range(3)), greedy={"answer": "7"}) for i in range(7)))
    assert [entry["rows"] for entry in manifest_entries(PoolPaths(pool))] == [8, 8, 8, 4]
    expected = [(str(i), draw) for i in range(7) for draw in range(-1, 3)]
    assert [(row["question_id"], row["draw"]) for row in stored(pool)] == expected


def test_long_texts_end_a_shard_too(run: Import, pool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(t2.importing.rows, "_CHARACTERS_PER_SHARD", 100)
    run(*(question(i, [{"text": "x" * 60}]) for i in range(3)))
    assert [entry["rows"] for entry in manifest_entries(PoolPaths(pool))] == [1, 1, 1]


@pytest.mark.parametrize("long", ["answer", "finish_reason"])
def test_every_text_of_a_sample_counts_towards_its_shard(
    run: Import, pool: Path, monkeypatch: pytest.MonkeyPatch, long: str
) -> None:
    """Only `text` and the vote counted: long answers that vote for nothing filled the memory."""
    monkeypatch.setattr(t2.importing.rows, "_CHARACTERS_PER_SHARD", 100)
    reason = {"finish_reason": "length"} | {long: "x" * 100}
    run(*(question(i, [{"text": "", "answer": "8", **reason}]) for i in range(3)))
    assert [entry["rows"] for entry in manifest_entries(PoolPaths(pool))] == [1, 1, 1]


def test_a_note_names_a_handful_of_finish_reasons(run: Import) -> None:
    """Every reason was printed, whole: one line of megabytes."""
    reasons = [*["length"] * 3, *["x" * 1_000_000] * 2, *(f"reason {n}" for n in range(20))]
    summary = run(question(samples=[{"answer": "7", "finish_reason": reason} for reason in reasons]))
    (note,) = [line for line in summary.lines() if "abstain" in line]
    assert note == (
        "25 samples abstain because they did not finish: finish_reason 'length' 3, "
        f"'{'x' * 39}... 2, 'reason 0' 1, 'reason 1' 1, 'reason 10' 1 and 17 other reasons."
    )


@pytest.mark.parametrize("reason", ["stop", "STOP", "end_turn", "stop_sequence", "eos", "Completed"])
def test_what_other_engines_call_finished(run: Import, pool: Path, reason: str) -> None:
    summary = run(question(samples=[{"answer": "7", "finish_reason": reason}] * 2))
    assert graded(pool).vote_QM.tolist() == [[0, 0]]
    assert not graded(pool).truncated_QM.any()
    assert not any("finish" in line for line in summary.lines())


def test_where_nothing_has_finished_it_is_said_loudly(run: Import) -> None:
    cut = {"answer": "7", "finish_reason": "length"}
    lines = list(run(question(samples=[cut] * 3, greedy=cut)).lines())
    assert any(line.startswith("NOTHING HAS FINISHED, so nothing votes") for line in lines)


def test_an_unfinished_greedy_answer_is_no_unfinished_sample(run: Import) -> None:
    cut = {"answer": "7", "finish_reason": "length"}
    lines = list(run(question(samples=[cut, {"answer": "7"}], greedy=cut)).lines())
    assert any(line.startswith("1 samples abstain because they did not finish") for line in lines)
    assert not any("NOTHING" in line for line in lines)


def test_a_grader_that_was_named_is_not_said_to_be_missing(run: Import) -> None:
    summary = run(question(samples=[{"text": "It is #### 7"}], answer="7"), grader="numeric")
    assert summary.source["classes_from_text"] == 1, "which would be said if none had been named"
    assert not any("no grader was chosen" in line for line in summary.lines())


# Grades


def test_string_equality_counts_without_flags(run: Import, pool: Path) -> None:
    run(question(samples=samples("7", " 7. ", "８", "8", None, ""), answer=" 7."))
    got = graded(pool)
    assert got.vote_QM.tolist() == [[0, 0, 1, 1, ABSTAINED, ABSTAINED]]
    assert got.right_QM.tolist() == [[True, True, False, False, False, False]]


def test_flags_count_before_strings(run: Import, pool: Path) -> None:
    rows = [{"answer": "1/2", "correct": True}, {"answer": "0.50", "correct": True}, {"answer": "0.5"}]
    rows += [{"answer": "1/2"}, {"answer": "x", "correct": False}, {"answer": "y", "correct": None}]
    run(question(samples=rows, answer="0.5"))
    got = graded(pool)
    assert got.vote_QM.tolist() == [[0, 0, 0, 0, 1, 2]]
    assert got.right_QM.tolist() == [[True, True, True, True, False, False]]


def test_unfinished_samples_abstain_whatever_their_flag(run: Import, pool: Path) -> None:
    rows = [{"answer": "7", "correct": flag, "finish_reason": "length"} for flag in (True, False, None)]
    run(question(samples=[*rows, {"answer": None, "correct": False}]))
    got = graded(pool)
    assert got.vote_QM.tolist() == [[ABSTAINED] * 4]
    assert got.truncated_QM.tolist() == [[True, True, True, False]]


def test_a_text_without_answer_is_its_own_class_and_that_is_said(run: Import, pool: Path) -> None:
    summary = run(
        question(samples=[{"text": "7"}, {"text": "it is 8"}, {"text": "8!"}, {"text": "ok", "correct": True}])
    )
    assert graded(pool).vote_QM.tolist() == [[0, 1, 2, 0]]
    assert summary.source["classes_from_text"] == 2
    assert any("2 samples vote for their whole text" in line for line in summary.lines())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("789"), st.sampled_from([True, False, None])), min_size=1, max_size=8))
def test_classes_agree_with_a_plain_reading_of_the_rule(drawn: list[tuple[str, bool | None]]) -> None:
    rows = [GivenSample(a, a, True, flag, 1, "stop") for a, flag in drawn]
    right = {a for a, flag in drawn if flag is True}
    wrong = {a for a, flag in drawn if flag is False}
    if "7" in wrong or right & wrong:
        with pytest.raises(T2Error, match="at f:1"):
            given_classes("7", rows, "f:1")
    else:
        assert given_classes("7", rows, "f:1") == ["7" if a in right or a == "7" else a for a, _ in drawn]


def test_a_grader_reads_texts_by_marker_and_answers_bare(run: Import, pool: Path) -> None:
    rows = [{"text": "3+4 #### 7.0"}, {"text": "7"}, {"answer": "14/2"}, {"answer": "#### 7"}]
    rows += [{"text": "no marker", "answer": "7"}, {"answer": None}, {"answer": "7", "finish_reason": "length"}]
    run(question(samples=rows), grader="numeric")
    loaded = load_pool(pool)
    assert loaded.grader == grader_named("numeric").version
    assert loaded.pool.right_QM.tolist() == [[True, False, True, True, True, False, False]]
    assert loaded.pool.vote_QM.tolist() == [[0, ABSTAINED, 0, 0, 0, ABSTAINED, ABSTAINED]]


def test_the_default_grader_is_recorded_and_can_be_overruled(run: Import, pool: Path) -> None:
    run(question(samples=samples("7.0", "7")), grader="numeric")
    assert read_spec(PoolPaths(pool)).default_grader == "numeric"
    assert graded(pool).right_QM.tolist() == [[True, True]]
    assert graded(pool, "given").right_QM.tolist() == [[False, True]]
    assert graded(pool, "exact").right_QM.tolist() == [[False, True]]


def test_grades_of_two_graders_do_not_meet(run: Import, pool: Path) -> None:
    run(question(samples=samples("7.0", "7")))
    assert graded(pool, "numeric").right_QM.tolist() == [[True, True]]
    assert graded(pool, "exact").right_QM.tolist() == [[False, True]]
    assert graded(pool, "numeric").right_QM.tolist() == [[True, True]]


# Cost


def test_tokens_are_taken_as_given(run: Import, pool: Path) -> None:
    assert run(question(samples=samples(1, 2, tokens=9), prompt_tokens=4)).cost_unit == "tokens"
    assert graded(pool).tokens_QM.tolist() == [[9, 9]]
    assert graded(pool).prompt_tokens_Q.tolist() == [4]


def test_without_tokens_cost_is_in_samples_and_says_so(run: Import, pool: Path) -> None:
    summary = run(question("a", samples(1, 2), prompt_tokens=4), question("b"))
    assert summary.cost_unit == "samples"
    assert json.loads((pool / "pool.json").read_text())["cost_unit"] == "samples"
    assert any("Cost is in samples, not tokens" in line for line in summary.lines())
    loaded = load_pool(pool)
    assert loaded.cost_unit == "samples"
    assert loaded.pool.tokens_QM.tolist() == [[1, 1], [1, 0]]
    assert loaded.pool.prompt_tokens_Q.tolist() == [0, 0]
    assert "Cost is in samples, not tokens" in loaded.notes[0]


def test_a_tokenizer_counts_what_is_missing(run: Import, pool: Path, tiny_arith: str) -> None:
    """The tiny LLM's tokenizer has one token a character."""
    rows = [
        {"text": "3+4#7"},
        {"text": "3+4#7", "finish_reason": "length"},
        {"answer": "12"},
        {"answer": 1, "tokens": 9},
    ]
    summary = run({**question("a", rows, greedy={"text": "#7"}), "question": "3+4"}, tokenizer=tiny_arith)
    assert summary.cost_unit == "tokens"
    assert (summary.source["tokenizer"], summary.source["tokens_counted"]) == ("tiny-arith", 4)
    got = graded(pool)
    assert got.tokens_QM.tolist() == [[6, 5, 3, 9]]
    assert got.greedy_tokens_Q.tolist() == [3]
    assert got.prompt_tokens_Q.tolist() == [3]
    assert any("Tokens of 4 samples were counted" in note for note in load_pool(pool).notes)


def test_given_prompt_tokens_are_not_counted_again(run: Import, pool: Path, tiny_arith: str) -> None:
    run(question(prompt_tokens=77), tokenizer=tiny_arith)
    assert read_prompt_tokens(PoolPaths(pool)) == [77]


# Unusual, but a pool


@pytest.mark.parametrize(
    ("rows", "present", "right"),
    [
        ([question(samples=samples(7))], [[True]], [[True]]),
        ([question(samples=samples(8, 9))], [[True, True]], [[False, False]]),
        ([question(samples=samples(7, 7))], [[True, True]], [[True, True]]),
        ([question(samples=samples(None, None))], [[True, True]], [[False, False]]),
        ([question("a", samples(7, 7, 8)), question("b", samples(7))], [[1, 1, 1], [1, 0, 0]], [[1, 1, 0], [1, 0, 0]]),
        ([question("a", ()), question("b", samples(7, 8))], [[True, True]], [[True, False]]),
    ],
    ids=["one question, one sample", "none correct", "all correct", "all abstain", "ragged", "an empty list"],
)
def test_unusual_pools_are_accepted(run: Import, pool: Path, rows: list[Any], present: Any, right: Any) -> None:
    run(*rows)
    got = graded(pool)
    assert got.present_QM.tolist() == [[bool(x) for x in row] for row in present]
    assert got.right_QM.tolist() == [[bool(x) for x in row] for row in right]
    assert bool(((got.vote_QM == ABSENT) == ~got.present_QM).all())


def test_a_byte_order_mark_is_no_mistake(run: Import, pool: Path) -> None:
    run(b"\xef\xbb\xbf" + json.dumps(question()).encode())
    assert len(stored(pool)) == 1


def test_greedy_answers_are_there_or_not(run: Import, pool: Path) -> None:
    run(question("a", greedy={"answer": "7"}), question("b", greedy={"answer": "8"}), question("c"))
    got = graded(pool)
    assert got.greedy_present_Q.tolist() == [True, True, False]
    assert got.greedy_right_Q.tolist() == [True, False, False]
    assert got.take([2, 0]).greedy_present_Q.tolist() == [False, True]
