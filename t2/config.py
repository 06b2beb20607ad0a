"""The one reader of a config's `data:`: `train.py` and all `t2` commands take their types and defaults from here.

One YAML serves them all. This reads and checks the part that `t2` commands use, without Lightning; the command line
has the rest of the file checked too, by `t2.training.config_checks`, which knows the signatures of `train.py`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from t2.activations.layers import LayerChoice
from t2.activations.pooling import Pooling
from t2.errors import T2Error, quoted
from t2.spec import LabelJob
from t2.splits import SplitFractions
from t2.yaml_files import is_yaml, read_yaml

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser


BackboneChoice = Literal["cached", "frozen", "lora"]
"""Where a head's features come from: read once and kept, or from the LLM inside the LightningModule at each step."""


LINKED = ("layers", "backbone", "pooling")
"""Keys below `model:` that the data must know too: how the LLM is read."""


@dataclass(eq=False)
class DataSettings:
    """Everything that a config says below `data:`."""

    pool: LabelJob
    """where samples lie and how missing ones are drawn"""
    layers: LayerChoice = "every-4th"
    """tapped blocks; linked from `model.layers`"""
    backbone: BackboneChoice = "cached"
    """whether batches are features or token ids; linked from `model.backbone`"""
    pooling: Pooling = "last-token"
    """of a prompt's tokens; linked from `model.pooling`"""
    grid: list[int] | None = None
    """budgets in samples; None: 1, 3, 5, 7, 9, 12, 16, 24, 32 as far as the pool goes"""
    eps: float = 0.02
    """accuracy given up to call N enough, in [0, 1)"""
    splits: SplitFractions = SplitFractions()  # noqa: RUF009  # frozen
    """shares of train, validation, calibration and test questions"""
    batch_size: int = 64
    """questions of an optimizer step"""
    features: str | None = None
    """folder of the feature cache; None: `features` inside the pool"""
    allow_proxy: str | None = None
    """hub id or folder of another LLM that gives the features; None: the pool's own LLM. An imported pool needs it"""
    max_epochs: int = 100
    """linked from `trainer.max_epochs`; decides how fast the train set grows"""
    min_calibration: int = 0
    """fewest calibration questions with keys of their own that `fit` accepts; linked from `calibration`, 0 unless its
    mode is "required" """
    seed: int = 0
    """of the order within an epoch"""
    stall_timeout_seconds: float = 1800.0
    """longest wait without a new sample"""

    def __post_init__(self) -> None:
        """Reject what no command can use."""
        if not (isinstance(self.eps, float | int) and 0 <= self.eps < 1):  # a config may say null; NaN fails too
            raise T2Error(f"Expected `data.eps` in [0, 1), got {self.eps}.")
        if self.backbone == "cached" and self.pooling == "attention":
            raise T2Error(
                "Expected `model.backbone: frozen` or `lora` for `model.pooling: attention`, whose queries are trained "
                "on the activations of all tokens, got cached. Choose one of them, or another pooling."
            )

    @property
    def features_root(self) -> Path:
        """Folder of the feature caches."""
        return Path(self.features) if self.features else Path(self.pool.path) / "features"


def read_data(config: str | Path) -> DataSettings:
    """The `data:` of a config that train.py reads too.

    Raises:
        T2Error: no such file, no YAML, no `data.pool`, or a key or value below `data:` that does not fit.
    """
    from jsonargparse import ArgumentError, ArgumentParser

    content = read_config(config)
    data = content.get("data")
    if not isinstance(data, dict) or "pool" not in data:
        raise T2Error(f"Expected the key `data.pool` in {config}, got none. See configs/ for examples.")
    name_classes()
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(DataSettings, "data")
    # train.py links them from there, and `check_config` has asked about them.
    model = content.get("model")
    linked = {key: model[key] for key in LINKED if key in model} if isinstance(model, dict) else {}
    try:
        settings: DataSettings = parser.instantiate_classes(parser.parse_object({"data": data | linked})).data
    except ArgumentError as error:
        raise T2Error(complaint(str(error), config, known_keys(parser))) from error
    return settings


def read_config(config: str | Path) -> dict[str, Any]:
    """The content of a config, with the content of another file in place of its name where `data.pool.task` names one.

    The name is relative to the config's folder, or where there is no such file to the working folder.

    Raises:
        T2Error: see `read_yaml`; or the file of the task is not there.
    """
    content = read_yaml(config)
    if (file := task_file(content, config)) is not None:
        content["data"]["pool"]["task"] = read_yaml(file)
    return content


def task_file(content: dict[str, Any], config: str | Path) -> Path | None:
    """The file that `data.pool.task` of a config names; None: the task stands in the config itself.

    Raises:
        T2Error: it is not there.
    """
    pool = data.get("pool") if isinstance(data := content.get("data"), dict) else None
    if not (isinstance(pool, dict) and is_yaml(name := pool.get("task"))):
        return None
    places = [Path(config).parent / name, Path(name)]
    if (file := next((place for place in places if place.is_file()), None)) is None:
        raise T2Error(
            f"Expected the file of a task as `data.pool.task` in {config}, got {quoted(name)}: neither beside the "
            "config nor in the working folder. Mend the path; configs/tasks/ has some."
        )
    return file


def name_classes() -> None:
    """Import what a config may name without a module path, and let help texts come from the fields' docstrings."""
    from jsonargparse import set_parsing_settings

    import t2.sampling
    import t2.tasks  # noqa: F401

    set_parsing_settings(docstring_parse_attribute_docstrings=True)


def known_keys(parser: ArgumentParser) -> list[str]:
    """Every key that a parser takes, as "data.pool.path"."""
    return [action.dest for action in parser._actions if action.dest not in ("help", "config")]


def complaint(message: str, source: str | Path, known: Iterable[str]) -> str:
    """What jsonargparse says over several lines as one: where, what was expected, what came.

    Its messages nest: each level names its key or class and indents what went wrong below it. The path of the key is
    collected from the levels, the reason is the innermost line.

    Args:
        message: of an `ArgumentError`.
        source: file that was read, or "the command line".
        known: keys that the parser takes, for a guess at what was meant.
    """
    group = re.match(r"Group '([^']+)'", message)
    levels = [*([group.group(1)] if group else []), *re.findall(r'(?:Parser key|[Kk]ey) "([^"]+)"', message)]
    path = ".".join(levels) if group else ".init_args.".join(levels)
    if unknown := re.search(r"does not accept \w+ '([^']+)'|[Oo]ption '([^']+)' is not accepted", message):
        of_class = ".init_args." if unknown.group(2) else "."
        key = of_class.join([*([path] if path else []), unknown.group(1) or unknown.group(2)])
        return f"Expected keys that T2 knows in {source}, got `{key}`.{_meant(key, known)}"
    if missing := re.search(r"following arguments are required: (.+)", message):
        key = ".init_args.".join([*([path] if path else []), missing.group(1)])
        return f"Expected the key `{key}` in {source}, got none. See configs/ for examples."
    value = re.search(r"Given value: (.+)", message) or re.search(r"Got value: (.+)", message)
    kinds = re.findall(r"Expected an? (?!dot import path string)(.+?)(?:\. Got|$)", message, re.MULTILINE)
    if union := re.search(r"Subtypes: \[(list\[\w+\]), (.+)\]\n", message):  # its reasons are those of the elements
        kinds = [union.group(1), union.group(2)]
    classes = re.search(r"Expected a dot import path string: (.+)", message)
    wanted = [*map(_readable, dict.fromkeys(kinds)), *(["the name of a class that T2 knows"] if classes else [])]
    if path and wanted and (value or classes):
        shown = (value or classes).group(1).strip()  # type: ignore[union-attr]  # one of them is there
        return f"Expected {' or '.join(wanted)} as `{path}` in {source}, got {quoted(shown)}."
    return f"Expected values that fit in {source}, got: {_one_line(message)}"


def _readable(kind: str) -> str:
    """<class 'int'> as int, NoneType as null, a Literal as its values, list[int] as a list of int."""
    if elements := re.fullmatch(r"list\[(\w+)\]", kind):
        return f"a list of {elements.group(1)}"
    if choices := re.match(r"typing\.Literal\[(.+)\]", kind):
        return f"one of {choices.group(1)}"
    return re.sub(r"<class '([\w.]+)'>", lambda match: match.group(1).rsplit(".", 1)[-1], kind).replace(
        "NoneType", "null"
    )


def _meant(key: str, known: Iterable[str]) -> str:
    """A guess at the key that was meant, as a sentence; empty without a good one."""
    close = difflib.get_close_matches(key, list(known), n=1, cutoff=0.75)
    return f" Did you mean `{close[0]}`?" if close else " See configs/ for examples."


def _one_line(text: str) -> str:
    return " ".join(text.split())
