"""Before the first label is paid for: can the features of its prompts be had at all? Two prompts tell."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from t2.activations.cache import FeatureCache, FeatureSpec, prompt_key
from t2.activations.features import pooled_features, wider_caches
from t2.config import DataSettings
from t2.endings import no_signals_in_children
from t2.errors import T2Error, in_a_line
from t2.model_files import ModelFiles
from t2.pools.prepare import Prompt, is_finished, prepare
from t2.pools.reading import Reading
from t2.store.lock import is_held
from t2.store.pool_spec import read_spec
from t2.store.schema import PoolPaths

GIGABYTE = 1e9
WORTH_A_WORD = 0.2 * GIGABYTE
"""Bytes of weights from which it is said before that they are loaded."""


def try_features(data: DataSettings, say: Callable[[str], None]) -> None:
    """Compute and keep the features of a pool's shortest and longest prompt, and free the LLM again.

    Nothing is loaded where the pool lacks no sample, another process draws them, or the cache has features of this LLM
    for one of the pool's questions.

    Args:
        data: of a config.
        say: is told what a large LLM costs here, beforehand.

    Raises:
        T2Error: layers that the LLM does not have, or no features; says what failed, and that no sample was drawn.
    """
    paths = PoolPaths(Path(data.pool.path))
    if is_held(paths) or (paths.spec.exists() and read_spec(paths).imported):  # `fill` has its own words for both
        return
    prepared = prepare(data.pool, data.allow_proxy).only_wanted()
    reading = Reading.of(prepared, data)
    files = reading.proxy or prepared.model_files
    if files is None or is_finished(paths, prepared.wanted, data.pool):
        return
    # Learned queries do not exist yet; whether all tokens can be read, their mean tells as well.
    spec = replace(reading.spec, pooling="mean") if data.pooling == "attention" else reading.spec
    if _has_some(data.features_root, spec, prepared.prompts):
        return
    by_length = sorted(range(len(prepared.prompts)), key=lambda row: len(prepared.prompts[row]))
    of_question = {prepared.questions[row].id: prepared.prompts[row] for row in (by_length[0], by_length[-1])}
    _extract(data.features_root, spec, files, of_question, say)


def _extract(
    root: Path, spec: FeatureSpec, files: ModelFiles, of_question: Mapping[str, Prompt], say: Callable[[str], None]
) -> None:
    size = sum(path.stat().st_size for path in files.folder.glob("*.safetensors"))
    if size >= WORTH_A_WORD:
        say(
            f"Features of two prompts first, so that no label is paid for in vain: transformers loads the "
            f"{size / GIGABYTE:.1f} GB of {files.id} and frees them again. `--try_features false` leaves that out."
        )
    begin = time.monotonic()
    prompts, names = list(of_question.values()), list(of_question)
    if complaint := _in_a_process_of_its_own(root, spec, prompts, str(files.folder), names):
        raise T2Error(
            f"Expected features of {files.id} at layers {list(spec.layers)} before samples are drawn, got: {complaint} "
            "No sample was drawn yet. Take another LLM, or one that gives the features in its place "
            "(`data.allow_proxy`); `--try_features false` draws the samples all the same."
        )
    if size >= WORTH_A_WORD:
        say(f"Features of {files.id} can be had; that took {time.monotonic() - begin:.0f} s.")


def _in_a_process_of_its_own(*args: Any) -> str:
    """What `_complaint` gives. The engine that comes next finds neither memory nor threads of the LLM's taken."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send_complaint, args=(sender, *args), name="t2-trial", daemon=True)
    with no_signals_in_children(signal.SIGINT):  # Ctrl-C is for this process, which ends that one
        process.start()
    sender.close()
    try:
        return str(receiver.recv())
    except EOFError:
        process.join()
        return f"the process that loaded it ended with exit code {process.exitcode}, as where memory runs out."
    finally:
        process.kill()
        process.join()
        # Python started one more process to look after shared memory, of which there is none. It would outlive this one
        # by a moment, and whoever ends a labeller wants nothing left behind. There is no public way to end it.
        resource_tracker._resource_tracker._stop()  # type: ignore[attr-defined]


def _send_complaint(sender: Connection, *args: Any) -> None:
    sender.send(_complaint(*args))


def _complaint(
    root: Path, spec: FeatureSpec, prompts: Sequence[Prompt], model_folder: str, names: Sequence[str]
) -> str:
    """Compute and keep features: a sentence that says why not; empty if all is well."""
    try:
        pooled_features(root, spec, prompts, lambda: Path(model_folder), names)
    except T2Error as error:
        return str(error)
    except Exception as error:  # whatever an architecture's own code raises
        return f"{in_a_line(error)}."
    return ""


def _has_some(root: Path, spec: FeatureSpec, prompts: Sequence[Prompt]) -> bool:
    """Whether a cache has features of this LLM, at these layers and perhaps more, for one of the prompts."""
    keys = {prompt_key(prompt) for prompt in prompts}
    return any(keys & cache.keys() for cache in (FeatureCache(root, spec), *wider_caches(root, spec)))
