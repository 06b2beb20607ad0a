"""Train a budget head: `python train.py fit --config configs/my-model.yaml`.

Labels that are missing are drawn beside training; `validate`, `test` and `predict` work on a finished pool.
"""

from __future__ import annotations

from data_modules import BudgetDataModule
from t2.training.cli import run_cli
from t2.training.module import BudgetProbe


def main(args: list[str] | None = None) -> None:
    """Run the command line; `args` replaces `sys.argv[1:]`."""
    run_cli(BudgetProbe, BudgetDataModule, args)


if __name__ == "__main__":
    main()
