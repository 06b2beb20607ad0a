"""T2: budget heads that predict how many samples of self-consistency a question deserves.

Folder order is data order: tasks -> prompts -> (sampling -> store -> grading -> curves || activations) -> heads ->
policies -> comparison -> export. Importing `t2` loads nothing heavy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from t2.errors import T2Error

if TYPE_CHECKING:
    from t2.budget_head import BudgetHead

__version__ = "0.1.0"
__all__ = ["BudgetHead", "T2Error", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "BudgetHead":
        from t2.budget_head import BudgetHead

        return BudgetHead
    raise AttributeError(f"module 't2' has no attribute {name!r}")
