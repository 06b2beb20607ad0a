"""A pool of scripted answers, and the two ways to ask for a head's verdict on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from t2.budget_head import BudgetHead
from t2.cli import main
from t2.judging.questions import HeadQuestions, load_questions
from t2.pools.load import LoadedPool, load_pool

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "assets" / "tiny-arith"
NUM_QUESTIONS, SAMPLES, TOKENS = 90, 8, 25
GRID = (1, 3, 5, 8)
SEEN = 30
POOL_SEED, LIVE_SEED = 1, 2
"""What a live run draws is given, so that its 95% intervals hold in every run of the tests or in none."""
PRICE = 60.0
"""Points per 1,000 tokens: a random head's budgets differ."""


@dataclass(frozen=True)
class World:
    """A finished pool of scripted answers, its config, and its questions."""

    folder: Path
    config: Path

    @property
    def pool(self) -> Path:
        return self.folder / "pool"

    def loaded(self) -> LoadedPool:
        return load_pool(self.config)


MakeHead = Callable[..., Path]


def fails(capsys: pytest.CaptureFixture[str], *args: Any) -> str:
    """Runs `t2 evaluate`, which must end with exit code 2 and one line; gives that line."""
    with pytest.raises(SystemExit) as caught:
        main(["evaluate", *map(str, args)])
    # Where features are missing the LLM is read, and transformers shows its progress.
    shown = [line for line in capsys.readouterr().err.splitlines() if line and not line.startswith("Loading weights")]
    assert caught.value.code == 2
    assert len(shown) == 1
    assert shown[0].startswith("error: ")
    return shown[0]


def asked(head: Path, source: Path, **options: Any) -> HeadQuestions:
    return load_questions(BudgetHead.from_pretrained(head), str(source), **options)
