"""T2: budget heads that predict how many samples of self-consistency a question deserves.

Folder order is data order: tasks -> prompts -> (sampling -> store -> grading -> curves || activations) -> heads ->
policies -> comparison -> export -> serving. Importing `t2` loads nothing heavy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from t2.errors import T2Error

if TYPE_CHECKING:
    from t2.answering.question import VotedAnswer
    from t2.ask.voting_llm import VotingLLM
    from t2.budget_head import BudgetHead

__version__ = "0.1.0"
__all__ = ["BudgetHead", "T2Error", "VotedAnswer", "VotingLLM", "__version__"]
_LAZY = {
    "BudgetHead": "t2.budget_head",
    "VotedAnswer": "t2.answering.question",
    "VotingLLM": "t2.ask.voting_llm",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 't2' has no attribute {name!r}")
