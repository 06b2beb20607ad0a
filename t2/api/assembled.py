"""A choice put together from the pieces that it was streamed in. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from t2.api.upstream import Json


def grown(whole: Json, piece: Json) -> Json:
    """A choice so far with the next piece of it: texts are joined, lists go on, all else is replaced.

    The `delta` of a chat's chunk grows to the `message` of its answer; what a completion's chunk says is a choice
    already.
    """
    joined = dict(whole)
    for key, value in piece.items():
        if key == "delta":
            joined["message"] = _joined(joined.get("message") or {}, value or {})
        elif key == "text":
            joined["text"] = (joined.get("text") or "") + (value or "")
        elif key == "logprobs":
            joined["logprobs"] = _lists_joined(joined.get("logprobs"), value)
        elif key == "token_ids":
            joined["token_ids"] = [*(joined.get("token_ids") or []), *(value or [])]
        elif value is not None or key not in joined:
            joined[key] = value
    return joined


def as_one_chunk(chunks: Sequence[Json]) -> list[Json]:
    """Chunks of one choice that are there at the same time, as one: a client wakes up for each that is sent.

    Tool calls stay in pieces, which say what they are pieces of, and so does what was reasoned before an answer.
    """
    pieces = [piece for chunk in chunks for piece in chunk["choices"]]
    if len(pieces) < 2 or len({piece["index"] for piece in pieces}) > 1 or any(_is_apart(each) for each in pieces):
        return list(chunks)
    whole: Json = {}
    for piece in pieces:
        whole = grown(whole, piece)
    choice = {"delta" if name == "message" else name: value for name, value in whole.items()}
    return [{**chunks[-1], "choices": [choice]}]


def _is_apart(piece: Json) -> bool:
    delta = piece.get("delta") or {}
    return any(delta.get(name) for name in ("tool_calls", "reasoning", "reasoning_content"))


def _joined(whole: Json, piece: Json) -> Json:
    message = dict(whole)
    for key, value in piece.items():
        if key == "tool_calls":
            message[key] = _calls(list(message.get(key) or []), value or [])
        elif isinstance(value, str) and key != "role":
            message[key] = (message.get(key) or "") + value
        elif value is not None or key not in message:
            message[key] = value
    return message


def _calls(calls: list[Json], pieces: list[Json]) -> list[Json]:
    """Tool calls: a piece names its call by `index`, and brings more of the function's arguments."""
    by_index: dict[int, Json] = dict(enumerate(calls))
    for piece in pieces:
        index = int(piece.get("index", 0))
        call = by_index.get(index, {})
        said = {key: value for key, value in piece.items() if value is not None and key not in ("index", "function")}
        function = dict(call.get("function") or {})
        for key, value in (piece.get("function") or {}).items():
            if value is not None:
                function[key] = function.get(key, "") + value if key == "arguments" else value
        by_index[index] = {**call, **said, "function": function}
    return [by_index[index] for index in sorted(by_index)]


def _lists_joined(whole: Any, piece: Any) -> Any:
    """Log-probabilities: an object of lists, of which each goes on."""
    if not isinstance(whole, dict) or not isinstance(piece, dict):
        return piece if whole is None else whole
    joined = dict(whole)
    for key, value in piece.items():
        joined[key] = [*(joined.get(key) or []), *value] if isinstance(value, list) else value
    return joined
