"""A DataModule's place for tests that need a part of one."""

from __future__ import annotations

from typing import Any

import pytest


class _Unexpected:
    """Fails the test that asks for it; an attribute of the instance goes first."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: object, owner: type) -> Any:
        return pytest.fail(f"asked for {self.name}") if instance is not None else self


class NoBudgetData:
    """All members of `BudgetData`; those that a subclass does not give must not be asked for."""

    job: Any = _Unexpected()
    eps: Any = _Unexpected()
    splits: Any = _Unexpected()
    head_shape: Any = _Unexpected()
    export_info: Any = _Unexpected()
    prepare_data: Any = _Unexpected()
    setup: Any = _Unexpected()
    feature_layers: Any = _Unexpected()
    model_folder: Any = _Unexpected()
    read_with: Any = _Unexpected()
    train_set: Any = _Unexpected()
    is_stage_start: Any = _Unexpected()
    split: Any = _Unexpected()
    features_of: Any = _Unexpected()
    together: Any = _Unexpected()
    labelled: Any = _Unexpected()
    dedup_keys: Any = _Unexpected()
    wait_for: Any = _Unexpected()
    all_labelled: Any = _Unexpected()
    labelled_part: Any = _Unexpected()
    complete_questions: Any = _Unexpected()
