"""From a client's JSON to what T2 is asked for: options read, combinations without sense refused, the rest completed.

Pure. T2's options stand in `vllm_xargs`, where vLLM's own clients put what a server's extensions want to know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from t2.answering.asking import PromptForm, grader_of
from t2.answering.options import AnswerOptions
from t2.api.conversation import HeadPrompt, text_of
from t2.api.upstream import Json
from t2.errors import T2Error, quoted
from t2.grading.given import GRADERS
from t2.head_record import HeadRecord
from t2.spec import Grader

Kind = Literal["chat", "completion"]
BudgetMode = Literal["auto", "off"]
PREFIX = "t2_"
NUMBERS = {"t2_price": "price", "t2_round_price": "round_price"}
COUNTS = {"t2_max_samples": "max_samples", "t2_max_rounds": "max_rounds"}
SWITCHES = ("t2_vote", "t2_cancel")
OPTIONS = ("t2_budget", *NUMBERS, *COUNTS, *SWITCHES, "t2_grader")
GRADER_NAMES = {**{name: name for name in GRADERS}, "latex": "math"}
"""What a request may say as `t2_grader`. Never the path of a class: a request must not name code to run."""
_SAMPLING = ("temperature", "top_p", "top_k", "max_tokens", "stop")
_FURTHER_SAMPLING = (
    *("min_p", "frequency_penalty", "presence_penalty", "repetition_penalty", "logit_bias", "min_tokens"),
    *("stop_token_ids", "ignore_eos", "bad_words", "allowed_token_ids", "response_format", "structured_outputs"),
)
"""Fields that change what is sampled, and that no export sets."""


@dataclass(frozen=True)
class BudgetedRequest:
    """A request whose number of samples T2 decides."""

    kind: Kind
    body: Json
    """what every wave asks for, but for `n`; nothing of T2 is in it"""
    options: AnswerOptions
    grader: Grader
    vote: bool
    """one choice is wanted, the answer that wins; else all"""
    cancel: bool
    """start all samples, and abort those that still run when the rule stops"""
    stream: bool
    include_usage: bool
    """a stream is to end with the usage"""
    prompt: PromptForm
    changed: tuple[str, ...]
    """fields of sampling that the client has set otherwise than the export"""


class RequestReader:
    """Reads requests for one head."""

    def __init__(
        self,
        record: HeadRecord,
        check: Callable[[AnswerOptions], None],
        default: BudgetMode = "off",
        frame: tuple[str, str] | None = None,
        models: Sequence[str] = (),
    ) -> None:
        """Set what requests are read for.

        Args:
            record: of the head: its prompt, sampling and grader.
            check: refuses options that the head cannot be asked for, `Planner.check`.
            default: what a request gets that says nothing.
            frame: see `HeadPrompt`.
            models: names under which the server has the head's LLM itself, since it may have adapters under others;
                empty: the server does not say, and every name is taken for the LLM's.
        """
        self._models = tuple(models)
        self.default, self._check = default, check
        self._sampling = record.sampling or {}
        self._prompt = None if record.prompt is None else HeadPrompt(record.prompt.spec, frame)
        self.grader = _grader_of(record)
        """the head's own; None: it is the user's own class, and requests must name another one"""
        if default == "auto" and self.grader is None:
            raise T2Error(
                "Expected `--default off` for a head whose answers are read by a class of the user's own, which no "
                "file may name, got auto. Requests then say `t2_grader` themselves."
            )

    def read(self, body: Json, kind: Kind) -> BudgetedRequest | None:
        """What a request asks of T2; None: nothing, so that it goes on untouched.

        Args:
            body: of a request that whoever answers it has found to be well-formed.
            kind: of request.

        Raises:
            T2Error: an unknown or ill-typed option, or options that make no sense together.
        """
        options = _own_options(body)
        mode = options.get("t2_budget", self.default)
        if mode not in ("auto", "off"):
            raise T2Error(f'Expected `t2_budget` as "auto" or "off", got {_said(mode)}.')
        if mode == "off":
            if further := sorted(options.keys() - {"t2_budget"}):
                raise T2Error(
                    f'Expected `t2_budget: "auto"` beside {", ".join(further)}, got none. Set it in `vllm_xargs`, or '
                    "leave the others out."
                )
            return None
        try:
            self._check_model(body)
            _check_combination(body, kind, options)
        except T2Error:
            if not options:  # only the server's default asks for T2
                return None
            raise
        return self._read(body, kind, options)

    def shadowed(self, body: Json, kind: Kind) -> BudgetedRequest | None:
        """A request that asks nothing of T2, as shadow mode watches it: its own prompt and sampling, the head's grader.

        None: T2 could not decide it (more than text, several prompts, an adapter), or nothing reads its answers.
        """
        try:
            self._check_model(body)
            _check_combination({**body, "n": None}, kind, {})
        except T2Error:
            return None
        if self.grader is None:
            return None
        stream, usage = bool(body.get("stream")), bool((body.get("stream_options") or {}).get("include_usage"))
        plain = _without_t2(body)
        form = self._form_as_sent(body, kind)
        return BudgetedRequest(kind, plain, AnswerOptions(), self.grader, False, False, stream, usage, form, ())

    def _read(self, body: Json, kind: Kind, options: Mapping[str, Any]) -> BudgetedRequest:
        asked = {field: options[name] for name, field in (NUMBERS | COUNTS).items() if name in options}
        try:
            answer_options = AnswerOptions(**asked)
            self._check(answer_options)
        except T2Error as error:
            raise T2Error(_with_prefix(str(error))) from error
        plain, form = self._with_prompt(body, kind)
        plain, changed = self._with_sampling(plain)
        return BudgetedRequest(
            kind=kind,
            body=_without_t2(plain),
            options=answer_options,
            grader=self._grader(options.get("t2_grader")),
            vote=_switch(options, "t2_vote"),
            cancel=_switch(options, "t2_cancel"),
            stream=bool(body.get("stream")),
            include_usage=bool((body.get("stream_options") or {}).get("include_usage")),
            prompt=form,
            changed=changed,
        )

    def _check_model(self, body: Json) -> None:
        """Refuse a request for another model than the head's LLM. Without a name vLLM takes the LLM.

        Raises:
            T2Error: names both.
        """
        asked = body.get("model")
        if asked and self._models and asked not in self._models:
            raise T2Error(
                f'Expected the model {" or ".join(self._models)} in a request with `t2_budget: "auto"`, got '
                f"{quoted(str(asked))}. The head has learned from the activations of that LLM alone, not from those of "
                "an adapter: ask for it, or send the request without T2's options."
            )

    def _form_as_sent(self, body: Json, kind: Kind) -> PromptForm:
        """Of a request to which nothing is added."""
        if self._prompt is None:
            return "other"
        return self._prompt.form_as_sent(body) if kind == "chat" else self._prompt.form_of_text(body["prompt"])

    def _grader(self, name: object) -> Grader:
        if name is None and self.grader is not None:
            return self.grader
        if not isinstance(name, str) or name not in GRADER_NAMES:
            got = "none" if name is None else _said(name)
            own = "" if self.grader is not None else " This head's own grader is a class that no file may name."
            raise T2Error(f"Expected `t2_grader` among {sorted(GRADER_NAMES)}, got {got}.{own}")
        return _grader_named(GRADER_NAMES[name])

    def _with_prompt(self, body: Json, kind: Kind) -> tuple[Json, PromptForm]:
        if self._prompt is None:
            return body, "other"
        if kind == "chat":
            return self._prompt.completed(body)
        form = self._prompt.form_of_text(body["prompt"])
        # What a chat template has rendered has its special tokens already.
        return ({"add_special_tokens": False, **body} if form == "as sent" else body), form

    def _with_sampling(self, body: Json) -> tuple[Json, tuple[str, ...]]:
        """The export's sampling where the client says nothing, and what it has set otherwise."""
        filled, changed = dict(body), []
        for field in _SAMPLING:
            own = self._sampling.get(field)
            asked = body.get(field)
            if field == "max_tokens" and asked is None:
                asked = body.get("max_completion_tokens")
            if asked is not None:
                same = [asked] == own if field == "stop" and isinstance(asked, str) else asked == own
                changed += [] if same else [field]
            elif own not in (None, []):
                filled[field] = own
        changed += [field for field in _FURTHER_SAMPLING if body.get(field)]
        return filled, tuple(changed)


def _own_options(body: Json) -> dict[str, Any]:
    """T2's own entries of `vllm_xargs`."""
    given = body.get("vllm_xargs") or {}
    if outside := sorted(key for key in body if key.startswith(PREFIX)):
        raise T2Error(f"Expected {', '.join(outside)} inside `vllm_xargs`, got it beside it. Move it there.")
    options = {key: value for key, value in given.items() if key.startswith(PREFIX)}
    if unknown := sorted(options.keys() - set(OPTIONS)):
        raise T2Error(f"Expected options among {list(OPTIONS)}, got {quoted(', '.join(unknown))} in `vllm_xargs`.")
    return options


def _check_combination(body: Json, kind: Kind, options: Mapping[str, Any]) -> None:
    """Refuse what cannot be had together with `t2_budget: "auto"`.

    Raises:
        T2Error: names it.
    """
    for field in ("n", "best_of"):
        if body.get(field) is not None:
            raise T2Error(f'Expected `{field}` or `t2_budget: "auto"`, got both. Leave `{field}` out: T2 chooses it.')
    if body.get("temperature") == 0:
        raise T2Error(
            'Expected a `temperature` above 0 in a request with `t2_budget: "auto"`, got 0: equal answers need no '
            "vote. Leave it out: the head's own is taken."
        )
    for field in ("use_beam_search", "echo", "prompt_embeds"):
        if body.get(field):
            raise T2Error(f"Expected no `{field}` in a request with `t2_budget`, got it. Leave one of them out.")
    if (body.get("stream_options") or {}).get("continuous_usage_stats"):
        raise T2Error(
            "Expected no `continuous_usage_stats` in a request with `t2_budget`, got it. The usage is known at the "
            "end: set `include_usage`."
        )
    for switch in SWITCHES:
        if body.get("stream") and _switch(options, switch):
            raise T2Error(
                f"Expected `stream` or `{switch}`, got both. What is streamed are all choices as they are drawn: "
                "leave one of them out."
            )
    if kind == "chat":
        for message in body["messages"]:
            text_of(message)
    elif not _is_one_prompt(body.get("prompt")):
        raise T2Error("Expected one prompt in a request with `t2_budget`, got several. Send a request for each.")


def _is_one_prompt(prompt: object) -> bool:
    """A text, a list of token ids, or a list with one of these."""
    if isinstance(prompt, str):
        return True
    if not isinstance(prompt, list) or not prompt:
        return False
    return len(prompt) == 1 or all(isinstance(token, int) for token in prompt)


def _switch(options: Mapping[str, Any], name: str) -> bool:
    value = options.get(name, False)
    if value not in (True, False):  # 0 and 1 are equal to them: `vllm_xargs` has numbers where JSON has booleans
        raise T2Error(f"Expected `{name}` as true or false, got {_said(value)}.")
    return bool(value)


def _without_t2(body: Json) -> Json:
    """What a wave asks for: without T2's options, and without what every wave sets itself."""
    plain = {key: value for key, value in body.items() if key not in ("n", "stream", "stream_options", "request_id")}
    others = {key: value for key, value in (plain.pop("vllm_xargs", None) or {}).items() if not key.startswith(PREFIX)}
    return plain | ({"vllm_xargs": others} if others else {})


def _with_prefix(message: str) -> str:
    """A message about `price` as the client has typed it: `t2_price`."""
    for name, field in (NUMBERS | COUNTS).items():
        message = message.replace(f"`{field}`", f"`{name}`")
    return message


def _grader_of(record: HeadRecord) -> Grader | None:
    try:
        return grader_of(record)
    except T2Error:
        return None


@lru_cache
def _grader_named(name: str) -> Grader:
    return GRADERS[name]()


def _said(value: object) -> str:
    return quoted(value) if isinstance(value, str) else str(value)[:60]
