"""Exports on disk: record, weights or votes, digests of the questions seen, and a card. Written whole, read with care.

They are read without Lightning, LLM or pickle.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from t2.activations.learned import NOTHING_LEARNED, QUERY, Learned
from t2.activations.lora import ADAPTER_CONFIG_FILE, ADAPTER_FOLDER, ADAPTER_WEIGHTS_FILE, save_adapter
from t2.errors import T2Error
from t2.head_record import HeadRecord
from t2.heads.base import Head
from t2.heads.prior import PriorHead
from t2.heads.training_votes import TrainingVotes
from t2.hub import download
from t2.model_card import model_card
from t2.policies.one_round import FixedN
from t2.policies.record import PolicyRecord, in_words
from t2.policies.stoppers import STOPPERS, PlanWithoutHead
from t2.store.files import write_atomically, write_text_atomically

HEAD_FORMAT = "t2-head"
HEAD_FORMAT_VERSION = 2
"""2: a policy may look at answers, with a `decision` that says why it was chosen."""
CONFIG_FILE, CARD_FILE = "config.json", "README.md"
WEIGHTS_FILE, VOTES_FILE, SEEN_QUESTIONS_FILE = "model.safetensors", "votes.safetensors", "seen_questions.txt"
POOLING_FILE = "pooling.safetensors"
"""Learned queries of attention pooling."""
EXPORT_FILES = (
    *(CONFIG_FILE, CARD_FILE, WEIGHTS_FILE, VOTES_FILE, POOLING_FILE, SEEN_QUESTIONS_FILE),
    *(f"{ADAPTER_FOLDER}/{name}" for name in (ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE)),
)
"""All that an export may hold: what is downloaded, uploaded and tracked of it."""


def key_digest(dedup_key: str) -> str:
    """What stands for a question in `seen_questions.txt`: the first 16 hex digits of its key's SHA-256."""
    return hashlib.sha256(dedup_key.encode()).hexdigest()[:16]


def check_export_folder(folder: str | Path) -> None:
    """Make sure that an export replaces nothing but an earlier export.

    Raises:
        T2Error: the folder has a config.json of something else, such as the LLM.
    """
    place = Path(folder) / CONFIG_FILE
    if not place.exists():
        return
    try:
        config = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        config = None
    if not (isinstance(config, dict) and config.get("format") == HEAD_FORMAT):
        raise T2Error(
            f"Expected a new folder for the head, or one of an earlier export, got {folder}, whose {CONFIG_FILE} is of "
            "something else. Choose another folder: nothing was written."
        )


@dataclass(frozen=True)
class Export:
    """What an export holds."""

    record: HeadRecord
    head: Head | None
    """None: its policy needs none"""
    votes: TrainingVotes | None = None
    """of the training questions: for a plan without a head, and for how sure an answer is; a `PriorHead` holds them"""
    learned: Learned = NOTHING_LEARNED
    """how the LLM is read, as far as that was trained too"""


def save_head(
    head: Head,
    record: HeadRecord,
    folder: str | Path,
    votes: TrainingVotes | None = None,
    learned: Learned = NOTHING_LEARNED,
) -> Path:
    """Write config, card, and what the policy needs: weights, unless it is a stopping rule that reads no head; votes.

    Args:
        head: trained.
        record: of it; without a policy the largest constant is recorded.
        folder: created; files of an earlier export are replaced.
        votes: of the train questions, for a plan without a head and for how sure an answer is.
        learned: adapter and queries that were trained with the head.

    Raises:
        T2Error: the folder is of something else, a number in the record is NaN or infinite, which JSON has no word for,
            or there are no votes where the policy needs them; nothing is written.
    """
    check_export_folder(folder)
    folder, policy = Path(folder), record.policy or PolicyRecord.of(FixedN(head.shape.grid[-1]))
    needs = STOPPERS[policy.name].needs if policy.name in STOPPERS else "head"
    record = replace(record, policy=policy)
    if needs != "head":
        record = replace(record, head=None, head_arguments={})
    values = replace(record, seen_questions=None).as_json()
    config = {"format": HEAD_FORMAT, "format_version": HEAD_FORMAT_VERSION, **values}
    if wrong := _not_finite(config):
        raise T2Error(
            f"Expected finite numbers in what is recorded of the head, got {', '.join(wrong)}. Set those that are "
            "settings to numbers, and train again."
        )
    served = policy.policy()  # one that makes no sense is refused before anything is written
    if needs == "votes" and votes is None:
        raise T2Error(f"Expected votes of training questions for {in_words(served)}, got none. Run `fit` again.")
    text = json.dumps(config, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in head.state_dict().items()}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG_FILE).unlink(missing_ok=True)  # an earlier head's must never stand beside these weights
    _write_tensors(folder / WEIGHTS_FILE, weights if needs == "head" else None)
    # A `PriorHead` holds them itself. All others say by them how sure an answer is, given its votes.
    holds_votes = needs == "head" and isinstance(head, PriorHead)
    _write_tensors(folder / VOTES_FILE, votes.tensors() if votes is not None and not holds_votes else None)
    read = record.features.model_id if record.features and record.features.model_id else record.base_model.id
    _write_learned(folder, learned if needs == "head" else NOTHING_LEARNED, read)
    write_text_atomically(folder / CARD_FILE, model_card(record))
    if record.seen_questions is not None:
        lines = "".join(f"{digest}\n" for digest in sorted(set(record.seen_questions)))
        write_text_atomically(folder / SEEN_QUESTIONS_FILE, lines)
    else:
        (folder / SEEN_QUESTIONS_FILE).unlink(missing_ok=True)  # of an earlier export: another head's
    # The config goes last: where it is, the export is complete.
    write_text_atomically(folder / CONFIG_FILE, text)
    return folder


def read_head(name: str | Path, revision: str | None) -> Export:
    """What an export holds, from a folder or the hub: its record, and a head or votes as far as its policy needs them.

    Raises:
        T2Error: no such export, another format, or tensors that are missing or unexpected.
    """
    folder = local_folder(name, revision)
    record, votes = _read_config(folder / CONFIG_FILE), None
    head = None if record.head is None else _read_weights(record, folder / WEIGHTS_FILE)
    needs_votes = record.policy is not None and record.policy.name == PlanWithoutHead.name
    if needs_votes or (folder / VOTES_FILE).exists():
        tensors = _read_tensors(folder / VOTES_FILE, "the training questions' votes")
        votes = TrainingVotes.from_tensors(tensors, str(folder / VOTES_FILE))
    record = replace(record, seen_questions=_read_seen(folder / SEEN_QUESTIONS_FILE))
    return Export(record, head, votes, _read_learned(folder, record))


def local_folder(name: str | Path, revision: str | None = None) -> Path:
    """Where an export lies, after a download if it is on the hub.

    Raises:
        T2Error: neither a folder nor a hub id of an export.
    """
    if (folder := Path(name)).is_dir():
        return folder
    files = [file for file in EXPORT_FILES if file != CARD_FILE]
    return download(str(name), revision, "a folder or hub id of an exported head", only=files)


def load_exactly(head: Head, state: dict[str, Tensor], where: str) -> None:
    """Load weights; every tensor must be there with its shape, and none besides.

    Raises:
        T2Error: names what is missing, unexpected or of another shape.
    """
    _check_tensors(head, state, where)
    head.load_state_dict(state)


def _check_tensors(head: Head, state: Mapping[str, Tensor], where: str) -> None:
    head.make_room(state)
    own = head.state_dict()
    missing, unexpected = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    wrong = [f"{n} {tuple(state[n].shape)}" for n in own.keys() & state.keys() if own[n].shape != state[n].shape]
    if missing or unexpected or wrong:
        raise T2Error(
            f"Expected exactly the tensors of {type(head).__name__} in {where}, got missing {missing}, unexpected "
            f"{unexpected}, of another shape {sorted(wrong)}. Export the head again."
        )


def _read_weights(record: HeadRecord, path: Path) -> Head:
    """The head with its weights.

    A record can ask for any size, so the head is built without memory first, and gets some when the file is seen to
    hold these very tensors. Nothing is drawn at random either: an engine that carries the head samples as without it.
    """
    with torch.device("meta"), _float32():
        head = record.untrained_head()
        shapes = {name: torch.empty(shape) for name, shape in _shapes(path, "the head's weights").items()}
    _check_tensors(head, shapes, str(path.parent))
    head.to_empty(device="cpu").load_state_dict(_read_tensors(path, "the head's weights"))
    return head


@contextmanager
def _float32() -> Iterator[None]:
    """Within the context weights are float32; an engine builds its models in another type, and this head among them."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _shapes(path: Path, what: str) -> dict[str, list[int]]:
    """Of the tensors in a file, by its header alone."""
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118  # no mapping
    except (OSError, SafetensorError) as error:
        raise T2Error(f"Expected {what} in {path}, got {error}.") from error


def _not_finite(value: object, where: str = "") -> list[str]:
    """Where in a record there is NaN or infinity, as "policy.arguments.shift nan"."""
    if isinstance(value, float):
        return [] if isfinite(value) else [f"{where} {value}"]
    if not isinstance(value, dict | list):
        return []
    parts = value.items() if isinstance(value, dict) else enumerate(value)
    return [wrong for key, part in parts for wrong in _not_finite(part, f"{where}.{key}" if where else str(key))]


def _write_tensors(path: Path, tensors: dict[str, Tensor] | None) -> None:
    """None: the file of an earlier export must not stay."""
    if tensors is None:
        path.unlink(missing_ok=True)
    else:
        write_atomically(path, lambda scratch: save_file(tensors, scratch))


def _read_tensors(path: Path, what: str) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise T2Error(f"Expected {what} in {path}, got {error}.") from error
    return tensors


def _write_learned(folder: Path, learned: Learned, read: str | None) -> None:
    """Adapter and queries of an LLM that is read; those of an earlier export must not stay."""
    shutil.rmtree(folder / ADAPTER_FOLDER, ignore_errors=True)
    if learned.lora is not None:
        save_adapter(folder / ADAPTER_FOLDER, learned.lora, learned.adapter or {}, read)
    query = None if learned.query_LD is None else {QUERY: learned.query_LD.contiguous()}
    _write_tensors(folder / POOLING_FILE, query)


def _read_learned(folder: Path, record: HeadRecord) -> Learned:
    features = record.features
    if features is None or record.head is None:
        return NOTHING_LEARNED
    adapter = query_LD = None
    if features.lora is not None:
        adapter = _read_tensors(folder / ADAPTER_FOLDER / ADAPTER_WEIGHTS_FILE, "the adapter's weights")
    if features.pooling_name == "attention":
        query_LD = _read_tensors(folder / POOLING_FILE, "the queries of attention pooling").get(QUERY)
    return Learned(features.lora, adapter, query_LD)


def _read_config(path: Path) -> HeadRecord:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise T2Error(f"Expected an exported head with config.json, got {path.parent}: {error}.") from error
    if not isinstance(config, dict):
        raise T2Error(f"Expected a JSON object in {path}, got {type(config).__name__}.")
    version = (config.get("format"), config.get("format_version"))
    if version == (HEAD_FORMAT, 1):
        raise T2Error(
            f"Expected {HEAD_FORMAT} version {HEAD_FORMAT_VERSION}, got version 1 in {path}, made by an earlier t2. "
            "Make it anew from its checkpoint: t2 export CHECKPOINT --folder FOLDER"
        )
    if version != (HEAD_FORMAT, HEAD_FORMAT_VERSION):
        raise T2Error(f"Expected {HEAD_FORMAT} version {HEAD_FORMAT_VERSION}, got {version} in {path}.")
    return HeadRecord.from_json(config, str(path))


def _read_seen(path: Path) -> tuple[str, ...] | None:
    """Digests of the questions that the head learned from; None: the head was exported without them."""
    try:
        lines = path.read_text(encoding="utf-8").split()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise T2Error(f"Expected digests of questions in {path}, got {error}. Export the head again.") from error
    if wrong := [line for line in lines if not re.fullmatch("[0-9a-f]{16}", line)]:
        raise T2Error(f"Expected 16 hex digits a line in {path}, got {wrong[0][:40]!r}. Export the head again.")
    return tuple(lines)
