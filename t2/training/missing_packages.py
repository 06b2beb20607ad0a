"""Packages that a class of a configuration needs and that are not installed, found in Lightning's errors."""

from __future__ import annotations

import re


def missing_module(error: BaseException | None) -> ModuleNotFoundError | None:
    """What is behind an error: jsonargparse wraps those of a class where a list of them would do as well."""
    while error is not None and not isinstance(error, ModuleNotFoundError):
        error = error.__cause__ or error.__context__
    return error


def package_of(error: ModuleNotFoundError) -> str:
    """The package that is missing: named by Python, or by Lightning in the words "Requirement 'wandb>=0.12.10' ..."."""
    named = re.search(r"Requirement '([\w.-]+)", str(error))
    return named[1] if named else (error.name or "that it names").split(".")[0]
