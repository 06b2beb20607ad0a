"""Commands that answer by vote, and their shadow mode: `t2 ask`, `t2 serve`, `t2 gateway`, `t2 shadow-report`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal


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
    max_model_len: int | None = None,
    kv_cache_gib: float | None = None,
    gpu_memory_utilization: float = 0.9,
    tensor_parallel_size: int = 1,
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
        max_model_len: tokens of prompt and answer; by default as the samples were drawn.
        kv_cache_gib: memory of the KV cache in GiB; by default 2 on a CPU, what is left of `gpu_memory_utilization` on
            a GPU.
        gpu_memory_utilization: share of a GPU's memory for the engine.
        tensor_parallel_size: GPUs that share the LLM.
    """
    from t2.ask.command import already, what_is_asked
    from t2.ask.command import ask as answers
    from t2.ask.voting_llm import EngineSettings, VotingLLM

    work = what_is_asked(questions, file, out)  # before an LLM is loaded
    if (before := already(work)) is not None:
        print(before, flush=True)
    if not (work if isinstance(work, Sequence) else work.left):
        return
    engine = EngineSettings(
        max_num_seqs=max_num_seqs,
        max_model_len=max_model_len,
        kv_cache_gib=kv_cache_gib,
        gpu_memory_utilization=gpu_memory_utilization,
        tensor_parallel_size=tensor_parallel_size,
        dtype=dtype,
    )
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


def _shadow_samples(shadow: bool, samples: int | None) -> int | None:
    """Samples of every request in shadow mode; None: there is none.

    Raises:
        T2Error: one of both options without the other.
    """
    from t2.errors import T2Error

    if shadow != (samples is not None):
        raise T2Error("Expected `--shadow` and `--samples N` together, got one of them. Set both, or none.")
    return samples
