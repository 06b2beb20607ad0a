"""Commands that make and grade pools: `t2 label`, `t2 import`, `t2 grade`."""

from __future__ import annotations

from functools import partial

from t2.endings import keeping


def label(config: str, preview: int = 0, try_features: bool = True) -> None:
    """Draw the samples that a pool lacks; resumable at any time.

    Args:
        config: YAML file; its `data`, and of `model` what says how the LLM is read, are used; the rest is train.py's.
        preview: look at this many questions first, with a few samples each, and estimate the whole job. Its samples
            are kept: nothing is drawn twice while the settings stay the same.
        try_features: before the first sample, see whether the LLM's features can be had, on two prompts: transformers
            loads the LLM once and frees it again, unless the feature cache holds some already.
    """
    from t2.config import read_data
    from t2.pools.fill import Progress, fill
    from t2.pools.question_notes import question_notes
    from t2.pools.trial import try_features as tried
    from t2.preview.command import preview as look_at
    from t2.preview.early import EarlyLook
    from t2.progress import progress
    from t2.spec import DEFAULT_GRID

    data = read_data(config)
    job, look = data.pool, EarlyLook(data.pool, data.eps, data.grid or DEFAULT_GRID)
    for line in question_notes(job, data.splits) if preview else []:
        print(line, flush=True)  # before the model is loaded, which takes a while
    with keeping(lambda: f"no sample was drawn yet; what {job.path} holds is kept"):
        if try_features and not preview:
            tried(data, partial(print, flush=True))
        with progress("preview" if preview else "labelling", unit="samples") as advance:

            def tell(now: Progress) -> None:
                advance(now.samples_finished, now.samples_total, now.length)
                if not preview:
                    look(now)

            if preview:
                lines = [*look_at(data, preview, tell).lines()]
            else:
                done = fill(job, data.splits, tell)
                drawn = f"{done.samples_done} samples ({done.tokens} tokens) drawn, {done.resumed} were there"
                lines = [*job.task.notes(), f"Pool {job.path}: {drawn}"]
    print("\n".join(lines))


def import_samples(
    path: str,
    pool: str = "pools/imported",
    grader: str | None = None,
    tokenizer: str | None = None,
    model: str | None = None,
) -> None:
    """Turn stored answers (JSONL, one question a line) into a pool.

    Args:
        path: file of {"id", "question", "answer", "samples": [{"text" or "answer", "correct"?, "tokens"?}]} lines.
        pool: folder of the new pool.
        grader: numeric, exact, math, choice or the path of a class grades again; by default the file's flags or string
            equality count.
        tokenizer: folder or hub id of the tokenizer that counts tokens which the file does not give.
        model: what produced the samples, for the record.
    """
    from t2.importing.command import import_file

    with keeping(lambda: "no pool was made, an import is whole or not at all", goes_on=False):
        summary = import_file(path, pool, grader, tokenizer, model)
    for line in summary.lines():
        print(line)


def grade(
    pool: str,
    grader: str | None = None,
    diff: bool = False,
    against: str | None = None,
    examples: int = 5,
) -> None:
    """What a grader makes of a pool's samples and how it got there, or what it would change before it is used.

    Args:
        pool: folder of a pool, or a config.
        grader: numeric, exact, math, choice, given, or the path of a class; by default the config's or the pool's own.
        diff: show what the grader changes from the config's or the pool's own: votes, abstentions, what is right, N*.
        against: the grader that `--diff` starts from.
        examples: questions, and changed samples, that are shown in full.
    """
    from rich.console import Console

    from t2.regrading.command import grades_of

    Console().print(grades_of(pool, grader, diff, against, examples))
