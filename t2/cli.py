"""`t2`: everything that never trains. One YAML serves `t2` and `train.py`: this reads its `data.pool` subtree."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from t2.endings import keeping, one_line_endings


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


def export(
    checkpoint: str,
    folder: str | None = None,
    check: str | None = None,
    model: str | None = None,
    dtype: str | None = None,
) -> None:
    """Turn a checkpoint of train.py into an exported head: config.json, model.safetensors, model card.

    Args:
        checkpoint: path of the .ckpt file; with `--check` also the folder or hub id of a head that is exported already.
        folder: where the head goes; by default beside the checkpoint, under its name without the suffix.
        check: see that vLLM reads and decides as transformers did in training, on the questions of this pool (folder
            or config) or file ({"question"} a line). Ends with an error where too many get another number of samples.
        model: folder or hub id of the LLM that `--check` runs; by default the one that the head names.
        dtype: of weights and activations in the engine of `--check`; by default as the samples were drawn.
    """
    from t2.checkpoint import export_checkpoint

    head = checkpoint
    if check is None or os.path.isfile(checkpoint):
        head = str(export_checkpoint(checkpoint, folder or Path(checkpoint).with_suffix("")))
        print(f"Exported the head to {head}")
    if check is not None:
        from rich.console import Console

        from t2.engine.parity import parity_table
        from t2.engine.parity_command import check_parity
        from t2.export import local_folder
        from t2.pages.terminal import rich_table

        parity = check_parity(local_folder(head), check, model, dtype)
        Console().print(rich_table(parity_table(parity, f"{head} in vLLM against transformers")))
        parity.check()


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


def curse(
    pool: str,
    out: str = "curse",
    grader: str | None = None,
    eps: float | None = None,
    min_samples: int | None = None,
) -> None:
    """How bad is overscaling: accuracy curve, N*, N_D, M_D, sample types, and what triggers the curse.

    Args:
        pool: folder of a pool, or a config.
        out: folder of curse.json, figures and index.html.
        grader: numeric, exact, math, choice, given, or the path of a class; by default the config's or the pool's own.
        eps: accuracy given up to call N enough; by default the config's `data.eps`, else 0.02.
        min_samples: leave out questions with fewer samples.
    """
    from rich.console import Console

    from t2.curse.command import curse_of

    answer = curse_of(pool, Path(out), grader, eps, min_samples)
    Console().print(answer.text)
    for path in answer.files:
        print(path)


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


def report(
    pool: str,
    out: str = "report",
    predictions: str | None = None,
    grader: str | None = None,
    new_after: int | None = None,
    cap: int | None = None,
    learning_curve: bool = False,
    caps: list[int] | None = None,
    wandb: str | None = None,
) -> None:
    """Heads x policies from out-of-fold predictions: accuracy against tokens, tuned out of fold, with intervals.

    Args:
        pool: folder of a pool, or a config.
        out: folder of report.md, key.md, report.json, index.html and the pictures.
        predictions: file of `train.py cross_validate`; by default `predictions.safetensors` inside the pool.
        grader: numeric, exact, math, choice, given, or the path of a class; by default the config's or the pool's own.
        new_after: make the claims once more on the questions that came into the pool after so many (rows of its
            questions.parquet), because the first ones may have led to the choice of a method.
        cap: largest budget, in samples, by default the grid's: what all rules and FixedN(N_ref) may draw at most.
        learning_curve: instead of all this, what labelling more questions or more samples is worth, from the
            predictions of `train.py cross_validate --learning_curve true`: learning_curve.md, .png and .json.
        caps: instead of all this, four rules at each of these largest budgets, as [16, 32, 64]: caps.md, .png, .json.
        wandb: project of Weights & Biases that gets the files as an artifact, with the pool that they are of.
    """
    if learning_curve or caps:
        from t2.comparison.growth_command import write_caps, write_learning_curve
        from t2.errors import T2Error

        if (learning_curve and caps) or new_after is not None or cap is not None:
            raise T2Error(
                "Expected `--learning_curve` or `--caps` alone, got both, or `--cap` or `--new_after` beside them. Ask "
                "for one after the other."
            )
        files = write_caps(pool, Path(out), caps, predictions, grader) if caps else []
        files += write_learning_curve(pool, Path(out), predictions, grader) if learning_curve else []
    else:
        from t2.comparison.command import report_of

        files = report_of(pool, Path(out), predictions, grader, new_after, cap)
    for path in files:
        print(path)
    if wandb is not None:
        from t2.pools.load import pool_folder
        from t2.tracking.wandb_artifacts import log_report

        print(f"W&B: {log_report(wandb, pool_folder(pool), files, Path(out))}")


def layers(
    config: str, out: str = "layers", layers: Literal["every-4th", "every-2nd", "all", "last"] | list[int] = "all"
) -> None:
    """What each layer of the LLM knows of a question, out of fold, and which to put into `model.layers`.

    Args:
        config: of a labelled pool. Layers whose features are not cached are read by its LLM.
        out: folder of layers.md, layers.json and layers.png.
        layers: which to look at: "all", "every-2nd", "every-4th", "last", or numbers from 1.
    """
    from rich.console import Console

    from t2.layers.command import layers_of
    from t2.pages.terminal import rich_table

    table, advice, files = layers_of(config, Path(out), layers)
    Console().print(rich_table(table))
    print(advice)
    for path in files:
        print(path)


def evaluate(
    head: str,
    pool: str,
    out: str = "evaluation",
    live: int = 0,
    proxy: str | None = None,
    features: str | None = None,
    grader: str | None = None,
    min_samples: int | None = None,
) -> None:
    """What an exported head is worth on any pool of its model: all that `report` shows, and the head as exported.

    Args:
        head: folder or hub id of the exported head.
        pool: folder of a pool, or a config. Questions that the head has learned from are left out.
        out: folder of report.md, report.json, frontier.png, ladder.png, index.html, and live.json.
        live: ask this many of the questions anew through the engine of the config, policy by policy.
        proxy: hub id or folder of the LLM that the head reads, where the pool does not lead to it (imported pools).
        features: folder of the feature caches; by default the config's, else `features` inside the pool.
        grader: numeric, exact, math, choice, given, or the path of a class; by default the config's or the pool's own.
        min_samples: leave out questions with fewer samples.
    """
    from t2.judging.command import evaluate_head

    for path in evaluate_head(head, pool, Path(out), live, proxy, features, grader, min_samples):
        print(path)


def ask(
    head: str,
    questions: list[str] | None = None,
    file: str | None = None,
    out: str | None = None,
    model: str | None = None,
    price: float | None = None,
    round_price: float | None = None,
    max_samples: int | None = None,
    max_rounds: int | None = None,
    grader: str | None = None,
    dtype: str | None = None,
    max_num_seqs: int | None = None,
) -> None:
    """Answer questions, or a file of them, by vote: as many samples as the head decides, in one vLLM engine.

    Args:
        head: folder or hub id of the exported head.
        questions: their texts.
        file: instead of questions: {"question"} a line, and an "id" where there are some.
        out: file of the answers, one a line; those that it has already are not asked again.
        model: folder or hub id of the LLM; by default the one that the head names.
        price: accuracy points that 1,000 generated tokens must bring; by default, as below, what the export decided.
        round_price: accuracy points that one more wait must bring.
        max_samples: of a question.
        max_rounds: waits of a question.
        grader: numeric, exact, math, choice, or the path of a class; by default the head's.
        dtype: of weights and activations in the engine; by default as the samples were drawn.
        max_num_seqs: sequences that run at once.
    """
    from t2.ask.command import already, what_is_asked
    from t2.ask.command import ask as answers
    from t2.ask.voting_llm import EngineSettings, VotingLLM

    work = what_is_asked(questions, file, out)  # before an LLM is loaded
    if (before := already(work)) is not None:
        print(before, flush=True)
    if not (work if isinstance(work, Sequence) else work.left):
        return
    engine = EngineSettings(max_num_seqs=max_num_seqs, dtype=dtype)
    with VotingLLM(
        head,
        model,
        price=price,
        round_price=round_price,
        max_samples=max_samples,
        max_rounds=max_rounds,
        grader=grader,
        engine=engine,
    ) as llm:
        for line in answers(llm, work):
            print(line, flush=True)


def gateway(
    url: str,
    head: str,
    llm: str | None = None,
    host: str = "127.0.0.1",
    port: int = 8100,
    api_key_env: str = "OPENAI_API_KEY",
    client_key_env: str | None = None,
    timeout: float = 600.0,
    probe_timeout: float = 30.0,
    fallback_samples: int | None = None,
    default: Literal["auto", "off"] = "off",
    most_at_once: int | None = None,
    shadow: bool = False,
    samples: int | None = None,
    shadow_log: str = "shadow.jsonl",
    shadow_text: bool = False,
) -> None:
    """Answer by vote in front of any OpenAI-compatible server; what asks nothing of T2 is passed on untouched.

    Args:
        url: of the server behind, as http://127.0.0.1:8000.
        head: folder or hub id of the exported head.
        llm: folder or hub id of the LLM that the head reads, in this process; by default where the head says. "none":
            nobody reads the prompts, and every question gets the plan of the training questions.
        host: address to listen on.
        port: to listen on.
        api_key_env: environment variable with the key of the server behind, for clients that send none.
        client_key_env: environment variable with the key that clients must send; by default none is asked for.
        timeout: seconds without a byte of the server behind until a request fails.
        probe_timeout: seconds until a question is answered without its activations.
        fallback_samples: samples of such a question; by default N_ref.
        default: what requests get that say nothing of `t2_budget`.
        most_at_once: samples that one request to the server behind may ask for.
        shadow: change no answer: T2 only writes down what it would have drawn.
        samples: with `--shadow`, of every request that sets no `n`.
        shadow_log: file of what it would have drawn, for `t2 shadow-report`.
        shadow_text: keep prompts and answers in that file.
    """
    from t2.gateway.command import GatewaySettings, run_gateway

    settings = GatewaySettings(
        url=url,
        head=head,
        llm=llm,
        host=host,
        port=port,
        api_key_env=api_key_env,
        client_key_env=client_key_env,
        timeout=timeout,
        probe_timeout=probe_timeout,
        fallback_samples=fallback_samples,
        default=default,
        most_at_once=most_at_once,
        shadow=_shadow_samples(shadow, samples),
        shadow_log=shadow_log if shadow else None,
        shadow_text=shadow_text,
    )
    run_gateway(settings, partial(print, flush=True))


def shadow_report(log: str, out: str = "shadow") -> None:
    """What T2 would have been worth on a server's own traffic: agreement, tokens and waits saved, from shadow mode.

    Args:
        log: file that a server has written in shadow mode.
        out: folder of shadow.json, shadow.png and index.html.
    """
    from rich.console import Console

    from t2.shadow.command import shadow_report_of

    answer = shadow_report_of(Path(log), Path(out))
    Console().print(answer.text)
    for path in answer.files:
        print(path)


def push(
    head: str,
    repo: str,
    branch: str | None = None,
    private: bool = False,
    license: str | None = None,
    base_model: str | None = None,
    dry_run: bool = False,
) -> None:
    """Publish an exported head on the hub, after a look at all that would go: its card, and no path of this machine.

    Args:
        head: folder of the exported head.
        repo: hub id, owner/name; made where it is missing.
        branch: to push to, made where it is missing; by default the main branch.
        private: make the repository private; one that is there must be.
        license: of the head, as apache-2.0, for the card; needed unless the card names one.
        base_model: hub id of the LLM that the head reads, where the export names a folder.
        dry_run: say what would go, and send nothing.
    """
    from t2.push import Push

    ready = Push.of(head, repo, branch, private, license, base_model)
    for line in ready.lines():
        print(line)
    if dry_run:
        print("A dry run: nothing was sent.")
        return
    from huggingface_hub import HfApi

    ready.send(HfApi(library_name="t2"))
    print(f"Sent. To use it: t2.BudgetHead.from_pretrained({', '.join(map(repr, filter(None, (repo, branch))))})")


def serve(
    model: str,
    head: str | None = None,
    default: Literal["auto", "off"] = "off",
    probe_timeout: float = 30.0,
    fallback_samples: int | None = None,
    shadow: bool = False,
    samples: int | None = None,
    shadow_log: str = "shadow.jsonl",
    shadow_text: bool = False,
    vllm: list[str] | None = None,
) -> None:
    """VLLM's OpenAI-compatible server with a head in it: `t2 serve MODEL --head HEAD [any flag of vLLM's server]`.

    Args:
        model: hub id or folder of the LLM.
        head: folder or hub id of the exported head.
        default: what a request gets that says nothing: auto or off.
        probe_timeout: seconds that reading a prompt may take, before a fixed number of samples is drawn instead.
        fallback_samples: that number; by default N_ref.
        shadow: change no answer: T2 only writes down what it would have drawn.
        samples: with `--shadow`, of every request that sets no `n`.
        shadow_log: file of what it would have drawn, for `t2 shadow-report`.
        shadow_text: keep prompts and answers in that file.
        vllm: flags that are not named here go to vLLM as they are.
    """
    from t2.errors import T2Error
    from t2.serving.command import serve as serve_until_ended
    from t2.serving.settings import ServerSettings

    if head is None:
        raise T2Error("Expected `--head FOLDER_OR_HUB_ID` of an exported head, got none.")

    def settings(folder: str, name: str) -> ServerSettings:
        return ServerSettings(
            head=folder,
            head_name=name,
            default=default,
            probe_seconds=probe_timeout,
            fallback_samples=fallback_samples,
            shadow=_shadow_samples(shadow, samples),
            shadow_log=os.path.abspath(shadow_log) if shadow else None,
            shadow_text=shadow_text,
        )

    if code := serve_until_ended(model, head, vllm or [], settings):
        raise SystemExit(code)


def _shadow_samples(shadow: bool, samples: int | None) -> int | None:
    """Samples of every request in shadow mode; None: there is none.

    Raises:
        T2Error: one of both options without the other.
    """
    from t2.errors import T2Error

    if shadow != (samples is not None):
        raise T2Error("Expected `--shadow` and `--samples N` together, got one of them. Set both, or none.")
    return samples


COMMANDS: dict[str, Any] = {
    "label": label,
    "import": import_samples,
    "curse": curse,
    "layers": layers,
    "grade": grade,
    "evaluate": evaluate,
    "report": report,
    "export": export,
    "ask": ask,
    "push": push,
    "serve": serve,
    "gateway": gateway,
    "shadow-report": shadow_report,
}
POSITIONAL = {
    *("import", "curse", "layers", "grade", "evaluate", "report", "export", "push", "ask", "serve", "shadow-report"),
}
"""Commands whose required arguments are written without their names."""
OPTIONAL_POSITIONAL = {"ask": ("questions",)}
"""Arguments that are written without their names: any number of them, or none."""
FLAGS = ("--diff", "--shadow", "--shadow_text")
"""Options that mean true where no value follows."""
OTHERS = "vllm"
"""The parameter of `serve` that takes what no other one does."""
CONFIGURED = {
    "label": "config",
    "curse": "pool",
    "layers": "config",
    "grade": "pool",
    "evaluate": "pool",
    "report": "pool",
}
"""Commands that read a config, and the argument that names it (or the folder of a pool)."""


def main(args: list[str] | None = None) -> None:
    """Entry point of the console script; a mistake of the user ends with one line and exit code 2."""
    if os.getcwd() not in sys.path:  # classes of the user's own beside the config, as train.py finds them
        sys.path.append(os.getcwd())
    with one_line_endings("t2", *(sys.argv[1:] if args is None else args)):
        from jsonargparse import ArgumentParser

        typed = sys.argv[1:] if args is None else args
        typed, others = _without_others(typed, serve) if typed[:1] == ["serve"] else (typed, [])
        parser = ArgumentParser(prog="t2", description="Labels, exports and reports of budget heads; never trains.")
        subcommands = parser.add_subcommands()
        for name, function in COMMANDS.items():
            subparser = ArgumentParser(description=(function.__doc__ or "").split("\n")[0])
            subparser.add_function_arguments(
                function,
                as_group=False,
                as_positional=name in POSITIONAL,
                skip={*OPTIONAL_POSITIONAL.get(name, ()), *((OTHERS,) if function is serve else ())},
            )
            for argument in OPTIONAL_POSITIONAL.get(name, ()):
                subparser.add_argument(argument, nargs="*", type=str, help=f"{argument}, instead of a file")
            subcommands.add_subcommand(name, subparser, help=subparser.description)
        parsed = parser.parse_args(_with_flags(typed))
        options = parsed[parsed.subcommand].as_dict() | ({OTHERS: others} if others else {})
        if parsed.subcommand in CONFIGURED:
            _check_config(options[CONFIGURED[parsed.subcommand]])
        COMMANDS[parsed.subcommand](**options)


def _without_others(args: list[str], function: Callable[..., None]) -> tuple[list[str], list[str]]:
    """A command line in two: what a function has parameters for, dashes in names as underscores, and all other flags.

    A flag that is not the function's takes along all words up to the next one that is.
    """
    names = {"help", *inspect.signature(function).parameters} - {OTHERS}
    own: list[str] = []
    others: list[str] = []
    target = own
    for word in args:
        word = "--help" if word == "-h" else word
        if word.startswith("-"):
            name, equals, value = word.lstrip("-").partition("=")
            known = name.replace("-", "_")
            target = own if known in names else others
            word = f"--{known}{equals}{value}" if target is own else word
        target.append(word)
    return own, others


def _with_flags(args: list[str]) -> list[str]:
    """`--diff` alone as `--diff=true`: jsonargparse wants a value for every option of a function."""
    values = [*args, ""][1:]
    return [
        f"{arg}=true" if arg in FLAGS and value not in ("true", "false") else arg
        for arg, value in zip(args, values, strict=True)
    ]


def _check_config(source: str) -> None:
    """Every key of a config must be known, also those that the command leaves to train.py: a typo is a wrong figure.

    What is no YAML file is left to the command, which knows best what it wanted.
    """
    if source.endswith((".yaml", ".yml")) and os.path.isfile(source):
        from t2.training.cli import check_config

        check_config(source)


if __name__ == "__main__":
    main()
