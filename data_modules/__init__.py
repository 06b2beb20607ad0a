"""DataModules: from a pool that may still be filling to batches."""

from data_modules.budget import BudgetDataModule

__all__ = ["BudgetDataModule"]
