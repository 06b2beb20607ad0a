"""`main` of `t2`: finds the command, reads its options, and calls the function of that name."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from t2 import __version__
from t2.cli import answering, exports, looking, pools
from t2.endings import one_line_endings

COMMANDS: dict[str, Any] = {
    "label": pools.label,
    "import": pools.import_samples,
    "curse": looking.curse,
    "layers": looking.layers,
    "grade": pools.grade,
    "evaluate": looking.evaluate,
    "report": looking.report,
    "export": exports.export,
    "ask": answering.ask,
    "push": exports.push,
    "serve": answering.serve,
    "gateway": answering.gateway,
    "shadow-report": answering.shadow_report,
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
        typed, others = _without_others(typed, answering.serve) if typed[:1] == ["serve"] else (typed, [])
        if typed[:1] == ["serve"]:
            from t2.serving.arguments import check_names_the_llm  # it needs torch, which no other command waits for

            check_names_the_llm(typed[1:], others, FLAGS)
        parser = ArgumentParser(
            prog="t2", description="Labels, exports and reports of budget heads; never trains.", version=_version()
        )
        subcommands = parser.add_subcommands()
        for name, function in COMMANDS.items():
            subparser = ArgumentParser(description=(function.__doc__ or "").split("\n")[0])
            subparser.add_function_arguments(
                function,
                as_group=False,
                as_positional=name in POSITIONAL,
                skip={*OPTIONAL_POSITIONAL.get(name, ()), *((OTHERS,) if function is answering.serve else ())},
            )
            for argument in OPTIONAL_POSITIONAL.get(name, ()):
                subparser.add_argument(argument, nargs="*", type=str, help=f"{argument}, instead of a file")
            subcommands.add_subcommand(name, subparser, help=subparser.description)
        parsed = parser.parse_args(_with_flags(typed))
        options = parsed[parsed.subcommand].as_dict() | ({OTHERS: others} if others else {})
        if parsed.subcommand in CONFIGURED:
            _check_config(options[CONFIGURED[parsed.subcommand]])
        COMMANDS[parsed.subcommand](**options)


def _version() -> str:
    """Of T2 as it is installed; of these files where it is not, as in a checkout on Python's path."""
    try:
        return version("t2-budget")
    except PackageNotFoundError:
        return __version__


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
        f"{arg}=true" if arg in FLAGS and value.lower() not in ("true", "false") else arg
        for arg, value in zip(args, values, strict=True)
    ]


def _check_config(source: str) -> None:
    """Every key of a config must be known, also those that the command leaves to train.py: a typo is a wrong figure.

    What is no YAML file is left to the command, which knows best what it wanted.
    """
    if source.endswith((".yaml", ".yml")) and os.path.isfile(source):
        from t2.training.config_checks import check_config

        check_config(source)
