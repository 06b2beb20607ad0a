"""What a pool still lacks. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from t2.errors import T2Error, quoted
from t2.spec import GREEDY_DRAW, Question, SampleRequest


def missing_requests(
    questions: Sequence[Question],
    prompts: Sequence[tuple[int, ...]],
    have: dict[str, set[int]],
    samples_per_question: int,
    samples_per_request: int,
) -> list[SampleRequest]:
    """Requests that complete the pool, question by question, the greedy answer first.

    Args:
        questions: in labelling order.
        prompts: token ids of each question's prompt.
        have: draws that the pool holds, by question id; may hold more than is asked.
        samples_per_question: M, the wanted draws are 0..M-1.
        samples_per_request: the most draws of one request.
    """
    requests = []
    for question, prompt in zip(questions, prompts, strict=True):
        held = have.get(question.id, set())
        if GREEDY_DRAW not in held:
            requests.append(SampleRequest(question.id, prompt, (GREEDY_DRAW,)))
        missing = [draw for draw in range(samples_per_question) if draw not in held]
        for start in range(0, len(missing), samples_per_request):
            requests.append(SampleRequest(question.id, prompt, tuple(missing[start : start + samples_per_request])))
    return requests


def merge_questions(old: Iterable[Question], new: Iterable[Question]) -> list[Question]:
    """The old questions, then those that are new; family, size and dedup key are the new ones'.

    Raises:
        T2Error: an id is there with another text or answer.
    """
    merged = {question.id: question for question in old}
    for question in new:
        before = merged.get(question.id, question)
        merged[question.id] = question
        if (before.text, before.answer) != (question.text, question.answer):
            raise T2Error(
                f"Expected question {quoted(question.id)} as it is in the pool ({quoted(before.text, 40)} -> "
                f"{quoted(before.answer, 40)}), got {quoted(question.text, 40)} -> {quoted(question.answer, 40)}. "
                "Give changed questions new ids."
            )
    return list(merged.values())
