"""What upstreams answer, read and put together: samples with their tokens, all choices in order, a true usage. Pure.

Tokens of a sample are its `token_ids`, where the upstream gives them, or the number that it says while it streams.
OpenAI's protocol itself counts tokens of all choices together: they are then shared out evenly, so that the sum is true
and the single counts are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from http import HTTPStatus

from t2.answering.question import Answered, QuestionInProgress
from t2.api.assembled import grown
from t2.api.requests import BudgetedRequest
from t2.api.upstream import PROMPT_TOKENS, TOKENS_SO_FAR, Json, UpstreamError, error_body

_TOKEN_FIELDS = ("token_ids", "prompt_token_ids")
"""Fields that T2 asks for to count tokens; shown to clients that have asked for them themselves."""
_OWN_FIELDS = (TOKENS_SO_FAR, PROMPT_TOKENS)
"""Fields between an upstream and T2; never shown."""


@dataclass
class Drawn:
    """What one request to the upstream has brought: its choices, and the samples that they are."""

    response: Json
    """as it came; of a stream what its last chunks say"""
    choices: list[Json]
    samples: list[Answered]

    @classmethod
    def of(cls, response: Json, most: int) -> Drawn:
        """Of a whole answer to a request for so many samples; some servers draw one, whatever `n` they are asked.

        Raises:
            UpstreamError: there is no sample in it, or there are more.
        """
        choices = sorted(response.get("choices") or [], key=lambda choice: int(choice["index"]))
        if not 1 <= len(choices) <= most:
            raise wrong_number(most, len(choices))
        texts = [_text_of(choice) for choice in choices]
        counts = _tokens_of([choice.get("token_ids") for choice in choices], completion_tokens(response))
        reasons = [str(choice.get("finish_reason")) for choice in choices]
        return cls(response, choices, [Answered(*sample) for sample in zip(texts, reasons, counts, strict=True)])

    @property
    def prompt_tokens(self) -> int:
        return int((self.response.get("usage") or {}).get("prompt_tokens") or 0)


@dataclass(eq=False)
class StreamedSample:
    """One choice of a stream, as it grows."""

    choice: Json = field(default_factory=dict)
    """what has come of it, as an answer that is not streamed has it"""
    pieces: int = 0
    """chunks with something in them: about the tokens, where nobody counts them"""

    def add(self, piece: Json) -> bool:
        """Take the next piece; whether the sample ends with it."""
        had_ended = self.reason is not None
        delta = piece.get("delta")
        said = [piece.get("text"), *(value for key, value in (delta or {}).items() if key != "role")]
        self.pieces += any(said)
        self.choice = grown(self.choice, piece)
        return self.reason is not None and not had_ended

    def cut_off(self) -> None:
        """Nobody has read its end: it counts as aborted, with the tokens that it has."""
        self.choice = {**self.choice, "finish_reason": None}

    @property
    def reason(self) -> str | None:
        """Why it has ended; None: it has not."""
        reason = self.choice.get("finish_reason")
        return None if reason is None else str(reason)

    @property
    def counted(self) -> int | None:
        """Tokens so far; None: the upstream does not say."""
        if (ids := self.choice.get("token_ids")) is not None:
            return len(ids)
        so_far = self.choice.get(TOKENS_SO_FAR)
        return None if so_far is None else int(so_far)

    @property
    def tokens(self) -> int:
        """Counted, or guessed."""
        return self.pieces if self.counted is None else self.counted

    def answered(self) -> Answered:
        """The sample by itself; one that has no end was cut off."""
        return Answered(_text_of(self.choice), self.reason or "abort", self.tokens)


@dataclass(eq=False)
class StreamedRequest:
    """One request to the upstream, as its chunks come: which samples have ended, and what they have cost."""

    first: int
    """draw number of its first sample"""
    samples: list[StreamedSample]
    usage: Json = field(default_factory=dict)
    head: Json = field(default_factory=dict)
    """what every chunk says: id, model and the like"""
    prompt_ids: int = 0
    """tokens of the prompt, where the upstream lists or counts them before the end"""

    @classmethod
    def of(cls, first: int, num_samples: int) -> StreamedRequest:
        return cls(first, [StreamedSample() for _ in range(num_samples)])

    def add(self, chunk: Json) -> list[StreamedSample]:
        """Take a chunk; the samples that end with it.

        Raises:
            UpstreamError: it is of a sample that was not asked for.
        """
        self.usage = chunk.get("usage") or self.usage
        self.head = self.head or head_of(chunk)
        self.prompt_ids = self.prompt_ids or len(chunk.get("prompt_token_ids") or []) or chunk.get(PROMPT_TOKENS, 0)
        ended = []
        for piece in chunk.get("choices") or []:
            self.prompt_ids = self.prompt_ids or len(piece.get("prompt_token_ids") or [])
            if (index := int(piece["index"])) >= len(self.samples):
                raise wrong_number(len(self.samples), index + 1)
            if self.samples[index].add(piece):
                ended.append(self.samples[index])
        return ended

    def close(self) -> int:
        """The stream is over: samples that never came, since some servers draw one whatever `n` they are asked for.

        Raises:
            UpstreamError: none has come, or one has no end.
        """
        came = [sample for sample in self.samples if sample.choice]
        if not came or any(sample.reason is None for sample in came):
            raise UpstreamError(
                HTTPStatus.BAD_GATEWAY,
                error_body("Expected the end of every streamed sample, got none.", HTTPStatus.BAD_GATEWAY),
            )
        missing = len(self.samples) - len(came)
        self.samples = came
        return missing

    def drawn(self) -> Drawn:
        """What has come, once the stream is over."""
        counted = [sample.counted for sample in self.samples]
        counts = [sample.tokens for sample in self.samples]
        total = completion_tokens({"usage": self.usage})
        if self.usage and (None in counted or sum(counts) != total):
            counts = _shared(total, len(counts))
        parts = zip(self.samples, counts, strict=True)
        samples = [replace(sample.answered(), tokens=count) for sample, count in parts]
        return Drawn({**self.head, "usage": self.usage}, [sample.choice for sample in self.samples], samples)

    @property
    def tokens(self) -> int:
        """Generated so far."""
        return sum(sample.tokens for sample in self.samples)

    @property
    def prompt_tokens(self) -> int:
        return int(self.usage.get("prompt_tokens") or self.prompt_ids)


def head_of(chunk: Json) -> Json:
    """What all chunks of a stream say alike."""
    own = ("choices", "usage", *_TOKEN_FIELDS, *_OWN_FIELDS)
    return {key: value for key, value in chunk.items() if key not in own and value is not None}


def wrong_number(asked: int, got: int) -> UpstreamError:
    """An answer with another number of samples than was asked for."""
    message = f"Expected 1 to {asked} choices of the server behind T2, got {got}."
    return UpstreamError(HTTPStatus.BAD_GATEWAY, error_body(message, HTTPStatus.BAD_GATEWAY))


def completion_tokens(response: Json) -> int:
    """Generated tokens of all choices, as the upstream counts them."""
    return int((response.get("usage") or {}).get("completion_tokens") or 0)


def merged(request: BudgetedRequest, question: QuestionInProgress, drawn: Sequence[Drawn], notes: Json) -> Json:
    """The answer of a request: one choice or all, a true usage, and what T2 has to say.

    Args:
        request: of the client.
        question: as it stands when nothing is drawn any more.
        drawn: all that the upstream has brought, in order of draw; at least one.
        notes: what is said in `t2` besides the question, see `t2_object`.
    """
    choices = [choice for part in drawn for choice in part.choices]
    if request.vote:
        winner = question.winner
        choices = [choices[0 if winner is None else winner]]
    shown = [shown_choice(choice, index, request) for index, choice in enumerate(choices)]
    first = {key: value for key, value in drawn[0].response.items() if is_shown(key, request)}
    usage = merged_usage([part.response.get("usage") or {} for part in drawn], question)
    return {**first, "choices": shown, "usage": usage, "t2": t2_object(request, question, notes)}


def merged_usage(usages: Sequence[Json], question: QuestionInProgress) -> Json:
    """Prompt tokens once, generated tokens of everything: all rounds, the probe's token, samples that were aborted."""
    usage = dict(usages[0]) if usages else {}
    if parts := [part for each in usages if (part := each.get("completion_tokens_details"))]:
        names = {name for part in parts for name in part}
        usage["completion_tokens_details"] = {name: sum(part.get(name) or 0 for part in parts) for name in names}
    counts = {"prompt_tokens": question.prompt_tokens, "completion_tokens": question.tokens}
    return {**usage, **counts, "total_tokens": question.prompt_tokens + question.tokens}


def t2_object(request: BudgetedRequest, question: QuestionInProgress, notes: Json) -> Json:
    """What T2 says of an answer: the `t2` of a response, and of the last chunk of a stream."""
    answer = question.answer()
    said = asdict(answer)
    for name in ("text", "prompt_tokens", "samples_at_once"):
        del said[name]
    return {
        **said,
        "rounds": list(answer.rounds),
        "abstained": answer.samples - question.aborted - sum(answer.votes.values()),
        "aborted": question.aborted,
        "greedy": question.is_greedy,
        "usage": "estimated" if question.is_estimated else "counted",
        "n_ref": question.n_ref,
        "prompt": request.prompt,
        "sampling": list(request.changed) or "as exported",
        **notes,
    }


def shown_choice(choice: Json, index: int, request: BudgetedRequest) -> Json:
    """A choice at its place among all of the request, with the fields that the client has asked for."""
    return {key: value for key, value in {**choice, "index": index}.items() if is_shown(key, request)}


def is_shown(key: str, request: BudgetedRequest) -> bool:
    """Whether the client has asked for a field of the answer, or gets it anyway."""
    return key not in _OWN_FIELDS and (key not in _TOKEN_FIELDS or bool(request.body.get("return_token_ids")))


def _text_of(choice: Json) -> str:
    message = choice.get("message")
    return (message.get("content") if isinstance(message, dict) else choice.get("text")) or ""


def _tokens_of(ids: Sequence[Sequence[int] | None], total: int) -> list[int]:
    counted = [len(each) for each in ids if each is not None]
    return counted if len(counted) == len(ids) else _shared(total, len(ids))


def _shared(total: int, parts: int) -> list[int]:
    """A whole number in so many equal parts, the first ones larger by one where it does not come out even."""
    return [total // parts + (index < total % parts) for index in range(parts)]
