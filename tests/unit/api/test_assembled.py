"""A choice out of the pieces that it was streamed in, as the openai client would put it together."""

from __future__ import annotations

from functools import reduce

from t2.api.assembled import as_one_chunk, grown
from t2.api.upstream import Json


def assembled(*pieces: Json) -> Json:
    return reduce(grown, pieces, {})


def test_texts_of_a_chat_are_joined() -> None:
    choice = assembled(
        {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None},
        {"index": 0, "delta": {"reasoning": "well "}, "token_ids": [4]},
        {"index": 0, "delta": {"reasoning": "well", "content": None}},
        {"index": 0, "delta": {"content": "#### "}, "token_ids": [5, 6]},
        {"index": 0, "delta": {"content": "7"}, "finish_reason": "stop", "stop_reason": None, "token_ids": [7]},
    )
    assert choice["message"] == {"role": "assistant", "content": "#### 7", "reasoning": "well well"}
    assert (choice["finish_reason"], choice["token_ids"]) == ("stop", [4, 5, 6, 7])


def test_arguments_of_tool_calls_go_on_by_their_index() -> None:
    calls = [
        {"index": 0, "id": "a", "type": "function", "function": {"name": "add", "arguments": "{"}},
        {"index": 1, "id": "b", "type": "function", "function": {"name": "sub", "arguments": ""}},
        {"index": 0, "function": {"arguments": '"x": 1}'}},
        {"index": 1, "function": {"arguments": "{}"}},
    ]
    choice = assembled(*({"index": 0, "delta": {"tool_calls": [call]}} for call in calls))
    assert choice["message"]["tool_calls"] == [
        {"id": "a", "type": "function", "function": {"name": "add", "arguments": '{"x": 1}'}},
        {"id": "b", "type": "function", "function": {"name": "sub", "arguments": "{}"}},
    ]


def test_log_probabilities_go_on() -> None:
    choice = assembled(
        {"index": 0, "text": "a", "logprobs": {"tokens": ["a"], "token_logprobs": [-1.0]}},
        {"index": 0, "text": "b", "logprobs": {"tokens": ["b"], "token_logprobs": [-2.0]}},
        {"index": 0, "text": "", "logprobs": None},
    )
    assert (choice["text"], choice["logprobs"]) == ("ab", {"tokens": ["a", "b"], "token_logprobs": [-1.0, -2.0]})


def test_pieces_of_one_choice_are_one_chunk_and_others_stay_as_they_are() -> None:
    role = {"id": "c", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]}
    text = {"id": "c", "choices": [{"index": 0, "delta": {"content": "7"}, "finish_reason": None}]}
    end = {"id": "c", "choices": [{"index": 0, "delta": {"content": "!"}, "finish_reason": "stop"}]}
    said = {"index": 0, "delta": {"role": "assistant", "content": "7!"}, "finish_reason": "stop"}
    assert as_one_chunk([role, text, end]) == [{"id": "c", "choices": [said]}]
    assert as_one_chunk([text]) == [text]
    assert as_one_chunk([]) == []
    other = {"id": "c", "choices": [{"index": 1, "delta": {"content": "7"}}]}
    assert as_one_chunk([role, other]) == [role, other]
    call = {"id": "c", "choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {}}]}}]}
    assert as_one_chunk([role, call]) == [role, call]
    thought = {"id": "c", "choices": [{"index": 0, "delta": {"reasoning": "well"}}]}
    assert as_one_chunk([thought, text]) == [thought, text]
    pieces = [{"id": "c", "choices": [{"index": 0, "text": each}]} for each in "ab"]
    assert as_one_chunk(pieces) == [{"id": "c", "choices": [{"index": 0, "text": "ab"}]}]
