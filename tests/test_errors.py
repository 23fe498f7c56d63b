"""The exception hierarchy that users of the library can catch."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator

import pytest

import mminstruct

LEFT_OUT = ("mminstruct.training.deepspeed", "mminstruct.schemas.__main__")
"""A module that needs DeepSpeed, and one that prints."""


def exceptions() -> Iterator[type[BaseException]]:
    for module in pkgutil.walk_packages(mminstruct.__path__, "mminstruct."):
        if module.name in LEFT_OUT:
            continue
        for found in vars(importlib.import_module(module.name)).values():
            if inspect.isclass(found) and issubclass(found, BaseException) and found.__module__ == module.name:
                yield found


def test_every_error_of_the_package_is_in_the_tree() -> None:
    found = set(exceptions())
    assert len(found) > 15
    assert {error.__name__ for error in found if not issubclass(error, mminstruct.Error)} == set()


@pytest.mark.parametrize(
    ("name", "base", "builtin"),
    [
        ("recipe.RecipeError", "ConfigurationError", ValueError),
        ("run.DriftError", "ConfigurationError", ValueError),
        ("run.FailedUnits", "RunError", RuntimeError),
        ("stage.Halt", "RunError", RuntimeError),
        ("store.lease.Held", "RunError", RuntimeError),
        ("store.spending.BudgetExceeded", "RunError", RuntimeError),
        ("checksum.Damaged", "StorageError", OSError),
        ("files.Unreachable", "StorageError", OSError),
        ("readers.text.Unreadable", "InputError", ValueError),
        ("readers.conversation.InvalidRow", "InputError", ValueError),
        ("export.ExportError", "Error", ValueError),
        ("store.reader.MissingTable", "Error", KeyError),
    ],
)
def test_an_error_is_caught_by_its_branch_and_by_the_builtin_that_fits(
    name: str, base: str, builtin: type[BaseException]
) -> None:
    module, _, error = name.rpartition(".")
    found = getattr(importlib.import_module(f"mminstruct.{module}"), error)
    assert issubclass(found, getattr(mminstruct, base))
    assert issubclass(found, builtin)


def test_the_tree_is_drawn_where_it_is_defined() -> None:
    from mminstruct import errors

    internal = {"Ambiguous", "TooLarge", "Unanswerable", "InvalidJson", "RequestError", "AmbiguousJson"}
    named = {error.__name__ for error in exceptions() if not error.__name__.startswith("_")} - internal
    assert {name for name in named if name not in str(errors.__doc__)} == set()
