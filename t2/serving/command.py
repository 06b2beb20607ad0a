"""`t2 serve`: vLLM's own server with a head in it, started as a child, watched, and ended with all that it started."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from t2.answering.asking import Asking, check_base_model
from t2.answering.planner import Planner
from t2.budget_head import BudgetHead
from t2.endings import SIGNALS
from t2.engine.engine_head import EngineHead
from t2.errors import T2Error, quoted
from t2.export import local_folder
from t2.model_files import ModelFiles, resolve_model
from t2.policies.record import in_words
from t2.serving.arguments import ServerArguments, server_environment
from t2.serving.settings import ServerSettings

_SERVER_MODULE = "vllm.entrypoints.openai.api_server"
"""Not the script `vllm serve`, which wants a package of the name vllm, and fails with the one for CPUs."""
_END_SECONDS = 10.0
"""How long processes that outlive the server may take to end."""
_SET_PARENT_DEATH_SIGNAL, _SET_CHILD_SUBREAPER = 1, 36
"""Of Linux's prctl."""


def serve(model: str, head: str, told: Sequence[str], settings: Callable[[str, str], ServerSettings]) -> int:
    """Serve until a signal comes or the server dies.

    Args:
        model: hub id or folder of the LLM.
        head: folder or hub id of the export.
        told: flags for vLLM.
        settings: of T2's part, from folder and name of the head.

    Returns:
        The server's exit code.

    Raises:
        T2Error: a head that is not for this LLM, or settings that make no sense; nothing was started.
    """
    import torch

    folder = local_folder(head).resolve()
    export, files = BudgetHead.from_pretrained(folder), resolve_model(model)
    check_for_this_llm(export, files)
    chosen = settings(str(folder), folder.name if os.path.isdir(head) else head)
    on_cpu = not torch.cuda.is_available()
    engine_head = EngineHead.of(export, folder, files)
    arguments = ServerArguments.of(files, engine_head, export.record.answering, told, on_cpu)
    print("\n".join(introduction(Planner(export), arguments, chosen)), flush=True)
    environment = server_environment(os.environ, on_cpu, arguments.is_eager) | chosen.in_environment()
    return watched([sys.executable, "-m", _SERVER_MODULE, *arguments.flags], environment)


def check_for_this_llm(head: BudgetHead, model: ModelFiles) -> None:
    """Refuse an export of another LLM, also one that reads no activations: its prices are those of the LLM's answers.

    Raises:
        T2Error: it is of another LLM, chat template or end tokens; names both sides.
    """
    check_base_model(head, model)
    Asking.of(head, "exact").check_ends(model.folder)  # any grader will do here: requests may name their own
    if head.record.prompt is not None:
        if head.record.prompt.template != "chat":
            raise T2Error(
                f"Expected a head of the LLM's own chat template, which the server renders, got one of "
                f"{quoted(head.record.prompt.template)}. Ask it by `t2 ask`, or train one with `prompt.template: chat`."
            )
        head.renderer(model)  # refuses another template


def introduction(planner: Planner, arguments: ServerArguments, settings: ServerSettings) -> list[str]:
    """What is served, and how it is asked."""
    head = planner.head
    reads = f"layers {', '.join(map(str, head.layers))}" if planner.needs_activations else "no activations"
    if settings.shadow is not None:
        mode = f"Shadow mode: every request gets {settings.shadow} samples; {settings.shadow_log} says what T2 would do"
    elif settings.default == "auto":
        mode = "Every request that sets no `n` gets its samples from T2."
    else:
        mode = 'Requests ask for it by "vllm_xargs": {"t2_budget": "auto"}.'
    return [
        f"Model {arguments.served_name}, head {settings.head_name}: {in_words(head.policy)}, reads {reads}.",
        f"At most {planner.most} samples a question; N_ref, what a fixed number would take, is {planner.n_ref}.",
        mode,
        f"{arguments.url} (OpenAI's interface), {arguments.url.removesuffix('/v1')}/t2 (the head), .../metrics",
    ]


def watched(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a command until it ends, pass signals on to it, and leave no process of it behind.

    Returns:
        Its exit code; 128 and the signal, if one has ended it.
    """
    import psutil

    own = psutil.Process()
    _prctl(_SET_CHILD_SUBREAPER, 1)  # what the server leaves behind becomes a child of this process
    before = {child.pid for child in own.children(recursive=True)}
    process = subprocess.Popen(command, env=dict(environment), preexec_fn=_die_with_parent)
    with _passing_signals(process):
        code = process.wait()
    left = [child for child in own.children(recursive=True) if child.pid not in before]
    for end in ("terminate", "kill"):
        for child in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                getattr(child, end)()
        _, left = psutil.wait_procs(left, timeout=_END_SECONDS)
    return code if code >= 0 else 128 - code


@contextmanager
def _passing_signals(process: subprocess.Popen[bytes]) -> Iterator[None]:
    before = {signum: signal.getsignal(signum) for signum in SIGNALS}
    for signum in SIGNALS:
        signal.signal(signum, lambda number, _: process.send_signal(number))
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _die_with_parent() -> None:
    """In the child, before the server: it gets SIGTERM if `t2 serve` is killed."""
    _prctl(_SET_PARENT_DEATH_SIGNAL, int(signal.SIGTERM))


def _prctl(option: int, value: int) -> None:
    """Linux alone has it; elsewhere the server's own care must do."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
