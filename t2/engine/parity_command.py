"""`t2 export --check`: transformers and the engine read the same prompts, one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from t2.answering.question_file import questions_of
from t2.budget_head import BudgetHead
from t2.config import read_data
from t2.engine.engine_head import EngineHead
from t2.engine.parity import Parity, compare
from t2.engine.reading import read_in_engine
from t2.errors import T2Error
from t2.model_files import resolve_model
from t2.sampling import VLLMSampler
from t2.splits import spread
from t2.store.reader import read_questions
from t2.store.schema import PoolPaths

MOST_CHECKED = 200
"""Questions that are compared, unless somebody asks for more."""
_MAX_TOKENS = 16
"""Of an answer: none is drawn, but an engine wants to know."""


def check_parity(
    folder: Path,
    source: str,
    model: str | None = None,
    dtype: str | None = None,
    most: int | None = None,
    engine: Mapping[str, Any] | None = None,
) -> Parity:
    """Compare on questions.

    Args:
        folder: of the export.
        source: folder of a pool, a config that names one, or a file of {"question"} lines.
        model: folder or hub id of the LLM; None: where the head says that it comes from.
        dtype: of the engine; None: as the samples were drawn.
        most: see `questions_at`.
        engine: further arguments of `vllm.LLM`.

    Raises:
        T2Error: no questions, a decision without activations, or what `EngineHead.of` refuses.
    """
    head, questions = BudgetHead.from_pretrained(folder), questions_at(source, most)
    files = resolve_model(model) if model is not None else resolve_model(*head.reads)
    engine_head = EngineHead.of(head, folder, files)
    if engine_head is None:
        raise T2Error("Expected a head that reads activations, got a decision without: there is nothing to compare.")
    plain_QLD = head.activations(questions, files.folder)
    renderer = head.renderer(files)
    answering = head.record.answering
    sampler = VLLMSampler(
        max_tokens=_MAX_TOKENS,
        dtype=dtype or (answering.dtype if answering and answering.dtype else "auto"),
        max_model_len=answering.max_model_len if answering else None,
    )
    sampler.carry(engine_head.hf_overrides, **(engine or {}))
    try:
        sampler.open(str(files.folder), 0)
        prompts = [renderer.ids(question) for question in questions]
        sampler.check_prompts({str(row): prompt for row, prompt in enumerate(prompts)})
        return compare(head, plain_QLD, read_in_engine(sampler, engine_head, prompts))
    finally:
        sampler.close()


def questions_at(source: str, most: int | None = None) -> Sequence[str]:
    """Texts of questions of a pool, a config or a file: at most `most` (None: `MOST_CHECKED`), spread over all.

    Raises:
        T2Error: there are none, or none are wanted.
    """
    most = MOST_CHECKED if most is None else most
    if most < 1:
        raise T2Error(f"Expected at least 1 question to check, got {most}. Leave `--check` out to check nothing.")
    place = Path(source)
    if place.is_dir() or place.suffix in (".yaml", ".yml"):
        root = Path(read_data(source).pool.path) if place.is_file() else place
        texts = [question.text for question in read_questions(PoolPaths(root))[0]]
    else:
        texts = [each.question for each in questions_of(place)]
    if not texts:
        raise T2Error(f"Expected questions in {source}, got none. Name a pool, a config or a file of questions.")
    return spread(texts, most)
