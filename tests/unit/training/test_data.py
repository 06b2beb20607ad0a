"""`BudgetData`: who gives what training asks for, and what is said of those who do not."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from types import SimpleNamespace

import lightning as L
import pytest

from data_modules import BudgetDataModule
from t2.errors import T2Error
from t2.spec import LabelJob
from t2.tasks import ArithTask
from t2.training import accuracy_cost, calibrate, decide, export_head, module, trainer
from t2.training.accuracy_cost import AccuracyCost
from t2.training.data import MEMBERS, BudgetData, as_budget_data, data_of, needed_data


def with_datamodule(datamodule: object) -> L.Trainer:
    return SimpleNamespace(datamodule=datamodule)  # type: ignore[return-value]  # no more of it is looked at


def test_a_budget_data_module_is_one_before_setup(tmp_path: Path) -> None:
    """Before `setup` its head shape cannot be had; that it will be there is what counts."""
    data = BudgetDataModule(LabelJob(str(tmp_path), "model", ArithTask(10)))
    given: BudgetData = data
    assert as_budget_data(data) is given
    assert data_of(with_datamodule(data)) is given


PARTS = (module, calibrate, decide, trainer, accuracy_cost)


@pytest.mark.parametrize("part", PARTS)
def test_members_are_what_training_uses(part: object) -> None:
    used = {
        node.attr
        for node in ast.walk(ast.parse(inspect.getsource(part)))  # type: ignore[arg-type]  # a module
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "data"
    }
    assert used
    assert used <= set(MEMBERS)


def test_no_member_is_asked_for_in_vain() -> None:
    source = "".join(inspect.getsource(part) for part in (*PARTS, export_head))
    assert [name for name in MEMBERS if f"data.{name}" not in source] == []


def test_another_data_module_is_refused_by_name() -> None:
    message = r"Expected a BudgetDataModule, .* got LightningDataModule without job, eps, .*, complete_questions\."
    with pytest.raises(T2Error, match=message):
        data_of(with_datamodule(L.LightningDataModule()))


def test_no_data_module_is_none_or_an_error() -> None:
    assert data_of(with_datamodule(None)) is None
    with pytest.raises(T2Error, match="Expected a BudgetDataModule for the callback AccuracyCost, got none"):
        needed_data(with_datamodule(None), AccuracyCost())
