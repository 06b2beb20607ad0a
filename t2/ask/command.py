"""`t2 ask`: questions from the shell or a file, each answered by vote, and what that took."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from t2.answering.question import VotedAnswer
from t2.answering.question_file import Asked, questions_of
from t2.ask.voting_llm import VotingLLM
from t2.errors import T2Error, quoted
from t2.json_lines import read_objects
from t2.progress import progress
from t2.store.files import append_line, cut_half_line

_LONGEST_SHOWN = 600
"""Characters of an answer's text."""


@dataclass(frozen=True)
class AskedFile:
    """A file of questions, and what is left of it to ask."""

    out: Path
    left: tuple[Asked, ...]
    num_questions: int

    @classmethod
    def of(cls, file: Path, out: Path) -> AskedFile:
        """Read both, before an LLM is loaded; half a line at the end of the answers, left by an end, is cut off.

        Raises:
            T2Error: no such file, or one that holds something else.
        """
        asked = questions_of(file)
        done = set[str]()
        if out.exists():
            done = {row.required("id") for row in read_objects(out, "answers", still_written=True)}
            with out.open("r+b") as file_of_answers:
                cut_half_line(file_of_answers.fileno())
        return cls(out, tuple(each for each in asked if each.id not in done), len(asked))


def ask_file(llm: VotingLLM, asked: Sequence[Asked], out: Path) -> Iterator[tuple[Asked, VotedAnswer]]:
    """Answer questions and append a line for each as soon as it is settled: an end loses those in flight alone."""
    for index, answer in llm.answer_stream([each.question for each in asked]):
        line = {"id": asked[index].id, "question": asked[index].question, **asdict(answer)}
        append_line(out, json.dumps(line, ensure_ascii=False))
        yield asked[index], answer


def ask(llm: VotingLLM, work: Sequence[str] | AskedFile) -> Iterator[str]:
    """Answer what is asked; gives the lines to print as they come.

    Raises:
        T2Error: questions from the shell that are too long, before any is answered; or, after all others of a file
            are answered, that some were left out.
    """
    if not isinstance(work, AskedFile):
        for question, answer in zip(work, llm.answer(work), strict=True):
            yield f"> {question}"
            yield from in_words(answer)
        return
    # One of thousands must not keep the others from being answered.
    too_long = llm.too_long([each.question for each in work.left])
    for index, tokens in too_long.items():
        yield f"Left out: {quoted(work.left[index].id)}, whose prompt of {tokens} tokens is too long"
    asked = [each for index, each in enumerate(work.left) if index not in too_long]
    answers = []
    with progress("answering", len(asked), unit="questions") as advance:
        for _, answer in ask_file(llm, asked, work.out):
            answers.append(answer)
            advance(len(answers))
    yield summary_of(answers, len(too_long))
    if work.out.exists():
        yield f"Answers  {work.out}"
    if too_long:
        raise T2Error(
            f"Expected questions whose prompts have at most {llm.max_prompt_tokens} tokens, got {len(too_long)} of "
            f"{work.num_questions} that are longer and were left out. Shorten them and ask the file again: only what "
            "has no answer yet is asked."
        )


def already(work: Sequence[str] | AskedFile) -> str | None:
    """What was answered before; None: nothing was."""
    if isinstance(work, AskedFile) and (done := work.num_questions - len(work.left)):
        return f"{done} of {work.num_questions} questions are answered in {work.out} already"
    return None


def in_words(answer: VotedAnswer) -> list[str]:
    """An answer for the terminal: what won, how sure, by which votes, in how many rounds, and what it took."""
    if answer.answer is None:
        head = f"No answer: none of {answer.samples} samples could be read."
    else:
        sure = "" if answer.confidence is None else f", right with probability {answer.confidence:.2f}"
        head = f"{answer.answer}{sure}"
    votes = ", ".join(f"{name}: {count}" for name, count in answer.votes.items())
    unread = f"{answer.abstained} without a vote" if answer.abstained else ""
    lines = [head]
    if answer.text is not None:
        lines.append(f"  {' '.join(answer.text.split())[:_LONGEST_SHOWN]}")
    lines += [
        f"  votes    {', '.join(filter(None, (votes, unread)))}",
        f"  samples  {' + '.join(map(str, answer.rounds))} in {_rounds(len(answer.rounds))}",
        f"  tokens   {answer.tokens}, {against_fixed(answer)}",
    ]
    return lines


def against_fixed(answer: VotedAnswer) -> str:
    """What FixedN(N_ref) would have taken at the same length of a sample: an estimate, since it was not drawn."""
    expected = answer.samples_at_once * answer.mean_tokens
    ratio = answer.tokens / expected if expected else 1.0
    return f"about {ratio:.2f} of the {round(expected)} that {answer.samples_at_once} samples would take"


def summary_of(answers: Sequence[VotedAnswer], left_out: int = 0) -> str:
    """One line over many answers, and how many questions were left out because they are too long."""
    tokens = sum(answer.tokens for answer in answers)
    expected = sum(answer.samples_at_once * answer.mean_tokens for answer in answers)
    samples = sum(answer.samples for answer in answers) / max(1, len(answers))
    rounds = sum(len(answer.rounds) for answer in answers) / max(1, len(answers))
    unread = sum(answer.answer is None for answer in answers)
    return (
        f"{len(answers)} answers, {samples:.1f} samples in {rounds:.2f} rounds a question, {tokens} tokens: about "
        f"{tokens / expected if expected else 1.0:.2f} of FixedN's, estimated from the samples' lengths"
        + (f"; {unread} without an answer" if unread else "")
        + (f"; {left_out} too long, left out" if left_out else "")
    )


def what_is_asked(questions: Sequence[str] | None, file: str | None, out: str | None) -> Sequence[str] | AskedFile:
    """Either questions, or a file and where its answers go.

    Raises:
        T2Error: neither or both, or files that cannot be used.
    """
    if bool(questions) == (file is not None):
        raise T2Error('Expected a question or `--file questions.jsonl`, got both or neither. t2 ask HEAD "question"')
    if file is not None and out is not None:
        return AskedFile.of(Path(file), Path(out))
    if file is not None or out is not None:
        raise T2Error("Expected `--out answers.jsonl` with `--file` and not without, got one of them. Add the other.")
    return questions or ()


def _rounds(num: int) -> str:
    return "1 round" if num == 1 else f"{num} rounds"
