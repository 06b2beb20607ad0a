"""What an exported head records of the data that it has learned from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from t2.export import key_digest
from t2.grading.record import GraderRecord
from t2.head_record import Answering, BaseModel, DataRecord, Features, Labels, Prompt
from t2.pools.prepare import Prepared
from t2.pools.reading import Reading
from t2.spec import LabelJob


def data_record(
    job: LabelJob,
    prepared: Prepared,
    reading: Reading,
    *,
    eps: float,
    questions: Mapping[str, int],
    mean_tokens: float | None,
    seen_keys: Iterable[str],
) -> DataRecord:
    """The record of one pool and of how its questions are read.

    Args:
        job: what the config says of the pool.
        prepared: the pool as it is.
        reading: by which LLM its prompts are read, and what of it.
        eps: accuracy given up to call N enough.
        questions: how many are in each split.
        mean_tokens: of a sample of a train question; None: not all of them are labelled.
        seen_keys: dedup keys of the questions that the head knows when it is chosen.
    """
    spec, reads, proxy = prepared.spec, reading.spec, reading.proxy
    return DataRecord(
        base_model=BaseModel(*(spec.model.get(name) for name in ("id", "revision", "fingerprint"))),
        features=Features(
            model_fingerprint=reads.model_fingerprint,
            layers=reads.layers,
            pooling=reads.pooling,
            model_id=proxy.id if proxy else None,
            model_revision=proxy.revision if proxy else None,
        ),
        prompt=Prompt.from_json(spec.prompt, "the pool's spec"),
        sampling=spec.sampling,
        labels=Labels(
            eps=eps,
            samples_per_question=job.samples_per_question,
            grader=job.task.grader.version,
            cost_unit=spec.cost_unit,
            questions=dict(questions),
        ),
        answering=Answering(
            grader=GraderRecord.of(job.task.grader),
            dtype=job.sampler.dtype,
            max_model_len=job.sampler.max_model_len,
        ),
        mean_tokens_per_sample=mean_tokens,
        seen_questions=tuple(sorted(map(key_digest, set(seen_keys)))),
    )
