"""`t2 ask`: a question or a file, what is printed, and that nothing is asked twice."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from t2.answering.question import VotedAnswer
from t2.ask.command import AskedFile, already, ask, in_words, questions_of, summary_of
from t2.ask.voting_llm import EngineSettings
from t2.cli import main
from t2.errors import T2Error


def voted(answer: str | None = "8", confidence: float | None = 0.934) -> VotedAnswer:
    votes = {"8": 3, "7": 1} if answer else {}
    return VotedAnswer(answer, "3+5\n#### 8" if answer else None, confidence, votes, 5, 60, (3, 2), 20, 10)


class Scripted:
    """Answers in reverse, as an engine may; a token is a letter."""

    max_prompt_tokens = 20

    def __init__(self) -> None:
        self.asked = list[str]()

    def too_long(self, questions: Sequence[str]) -> dict[int, int]:
        return {i: len(each) for i, each in enumerate(questions) if len(each) > self.max_prompt_tokens}

    def answer_stream(self, questions: Sequence[str]) -> Iterator[tuple[int, VotedAnswer]]:
        for index in reversed(range(len(questions))):
            self.asked.append(questions[index])
            yield index, voted()

    def answer(self, questions: Sequence[str]) -> list[VotedAnswer]:
        return [answer for _, answer in self.answer_stream(questions)]


def test_an_answer_in_words() -> None:
    assert in_words(voted()) == [
        "8, right with probability 0.93",
        "  3+5 #### 8",
        "  votes    8: 3, 7: 1, 1 without a vote",
        "  samples  3 + 2 in 2 rounds",
        "  tokens   60, about 0.50 of the 120 that 10 samples would take",
    ]
    assert in_words(voted(None, None))[0] == "No answer: none of 5 samples could be read."
    assert in_words(voted(confidence=None))[0] == "8"


def test_a_question_from_the_shell() -> None:
    llm = Scripted()
    lines = list(ask(llm, ["3+5"]))  # type: ignore[arg-type]
    assert llm.asked == ["3+5"]
    assert lines == ["> 3+5", *in_words(voted())]


def test_a_file_is_asked_once(tmp_path: Path) -> None:
    """Whatever is answered is kept; a second run asks the rest alone."""
    file, out = tmp_path / "questions.jsonl", tmp_path / "answers.jsonl"
    rows = [{"id": "a", "question": "1+1"}, {"question": "2+2"}, {"id": "c", "question": "3+3", "answer": "6"}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    llm = Scripted()
    work = AskedFile.of(file, out)
    assert already(work) is None
    lines = list(ask(llm, work))  # type: ignore[arg-type]
    assert lines[0].startswith("3 answers, 5.0 samples in 2.00 rounds a question, 180 tokens: about 0.50 of FixedN's")
    answers = [json.loads(line) for line in out.read_text().splitlines()]
    assert [each["question"] for each in answers] == ["3+3", "2+2", "1+1"]
    assert answers[0]["id"] == "c"
    assert answers[0]["votes"] == {"8": 3, "7": 1}
    out.write_text("".join(out.read_text().splitlines(keepends=True)[:2]))  # as if it had been ended there
    with out.open("a") as file_of_answers:
        file_of_answers.write('{"id": "half a li')  # as `kill -9` leaves it
    again = Scripted()
    work = AskedFile.of(file, out)
    assert (already(work) or "").startswith("2 of 3 questions are answered in")
    assert len(list(ask(again, work))) == 2  # type: ignore[arg-type]
    assert again.asked == ["1+1"]
    assert len(out.read_text().splitlines()) == 3


def told(llm: Scripted, work: AskedFile) -> tuple[list[str], str]:
    """The lines that are printed before the error, and the error."""
    lines = list[str]()
    with pytest.raises(T2Error) as caught:
        lines.extend(ask(llm, work))  # type: ignore[arg-type]
    return lines, str(caught.value)


def test_a_question_that_is_too_long_is_left_out_of_a_file(tmp_path: Path) -> None:
    """One of them had the whole file refused, in words of a labeller's config."""
    file, out = tmp_path / "questions.jsonl", tmp_path / "answers.jsonl"
    rows = [{"id": "a", "question": "1+1"}, {"id": "long", "question": "1+" * 20 + "1"}, {"id": "c", "question": "3+3"}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    llm = Scripted()
    (left_out, summary, where), error = told(llm, AskedFile.of(file, out))
    assert left_out == "Left out: 'long', whose prompt of 41 tokens is too long"
    assert summary.startswith("2 answers, ")
    assert summary.endswith("; 1 too long, left out")
    assert where == f"Answers  {out}"
    assert error == (
        "Expected questions whose prompts have at most 20 tokens, got 1 of 3 that are longer and were left out. "
        "Shorten them and ask the file again: only what has no answer yet is asked."
    )
    assert llm.asked == ["3+3", "1+1"]
    assert [json.loads(line)["id"] for line in out.read_text().splitlines()] == ["c", "a"]
    again = Scripted()
    assert told(again, AskedFile.of(file, out))[1] == error, "it is still there"
    assert again.asked == []
    file.write_text(file.read_text().replace("1+" * 20, "1+"))
    list(ask(again, AskedFile.of(file, out)))  # type: ignore[arg-type]
    assert again.asked == ["1+1"], "shortened, it is asked"


def test_a_file_of_nothing_but_long_questions_names_no_answers(tmp_path: Path) -> None:
    file, out = tmp_path / "questions.jsonl", tmp_path / "answers.jsonl"
    file.write_text(json.dumps({"id": "long", "question": "1+" * 20 + "1"}) + "\n")
    lines, error = told(Scripted(), AskedFile.of(file, out))
    assert [line.split(",")[0] for line in lines] == ["Left out: 'long'", "0 answers"]
    assert "got 1 of 1" in error
    assert not out.exists()


def test_answers_are_on_disk_as_soon_as_they_are_there(tmp_path: Path) -> None:
    file, out = tmp_path / "questions.jsonl", tmp_path / "answers.jsonl"
    file.write_text('{"question": "1+1"}\n{"question": "2+2"}\n')

    class Ended(Scripted):
        def answer_stream(self, questions: Sequence[str]) -> Iterator[tuple[int, VotedAnswer]]:
            yield 0, voted()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(ask(Ended(), AskedFile.of(file, out)))  # type: ignore[arg-type]
    assert len(out.read_text().splitlines()) == 1


def test_an_end_before_the_first_answer_is_no_obstacle(tmp_path: Path) -> None:
    """The file is there and empty."""
    file, out = tmp_path / "questions.jsonl", tmp_path / "answers.jsonl"
    file.write_text('{"question": "1+1"}\n')
    out.touch()
    assert [each.question for each in AskedFile.of(file, out).left] == ["1+1"]


def test_what_is_answered_already_loads_no_llm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = tmp_path / "questions.jsonl", tmp_path / "answers.jsonl"
    file.write_text('{"id": "a", "question": "1+1"}\n')
    out.write_text('{"id": "a", "answer": "2"}\n')
    main(["ask", "no-such-head", "--file", str(file), "--out", str(out)])
    assert capsys.readouterr().out.startswith("1 of 1 questions are answered in")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '{"id": "a", "question": "1"}\n{"id": "a", "question": "2"}\n',
            "Expected unique ids, got 'a' on lines 1 and 2",
        ),
        ('{"id": "a"}\n', "Expected the field 'question'"),
        ("not json\n", "Expected"),
        ("", "Expected"),
    ],
)
def test_files_that_are_no_questions(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "questions.jsonl").write_text(text)
    with pytest.raises(T2Error, match=said):
        questions_of(tmp_path / "questions.jsonl")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Expected a question or `--file questions.jsonl`, got both or neither"),
        (["1+1", "--file", "f.jsonl", "--out", "o"], "Expected a question or `--file"),
        (["--file", "no.jsonl", "--out", "o"], "no.jsonl"),
        (["--file", "f.jsonl"], "Expected `--out answers.jsonl` with `--file`"),
        (["1+1", "--out", "o"], "Expected `--out answers.jsonl` with `--file` and not without"),
        (["1+1"], "no-such-head"),
    ],
)
def test_mistakes_are_said_before_an_engine_starts(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["ask", "no-such-head", *arguments])
    assert caught.value.code == 2
    assert said in capsys.readouterr().err


def test_the_command_ends_with_an_exit_code_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A script that asks thousands of questions sees that some have no answer."""
    file, out = tmp_path / "questions.jsonl", tmp_path / "answers.jsonl"
    file.write_text('{"question": "1+1"}\n' + json.dumps({"id": "long", "question": "1+" * 20 + "1"}) + "\n")
    monkeypatch.setattr("t2.ask.voting_llm.VotingLLM", lambda *_, **__: nullcontext(Scripted()))
    with pytest.raises(SystemExit) as caught:
        main(["ask", "any-head", "--file", str(file), "--out", str(out)])
    assert caught.value.code == 2
    output = capsys.readouterr()
    assert output.out.splitlines()[-1] == f"Answers  {out}"
    assert output.err.startswith("error: Expected questions whose prompts have at most 20 tokens, got 1 of 2")


def test_the_engine_gets_what_the_shell_says(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[tuple[Any, ...]] = []

    def voting(head: str, model: str | None, **settings: Any) -> Any:
        opened.append((head, model, settings))
        return nullcontext(Scripted())

    monkeypatch.setattr("t2.ask.voting_llm.VotingLLM", voting)
    engine: dict[str, Any] = {
        **{"max_num_seqs": 8, "max_model_len": 512, "kv_cache_gib": 0.5, "gpu_memory_utilization": 0.4},
        **{"tensor_parallel_size": 2, "dtype": "float32"},
    }
    flags = [f"--{name}={value}" for name, value in engine.items()]
    main(["ask", "a-head", "3+5", "--model", "m", "--price=2", *flags])
    ((head, model, settings),) = opened
    assert (head, model, settings.pop("engine")) == ("a-head", "m", EngineSettings(**engine))
    assert settings.pop("price") == 2
    assert set(settings.values()) == {None}


def test_a_summary_of_nothing() -> None:
    assert summary_of([]).startswith("0 answers")
