"""Classes and modules of the user's own packages, named in the configuration as ``my_package.my_module:MyClass``."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from types import ModuleType
from typing import Any

from mminstruct.errors import ConfigurationError


def is_outside(name: str) -> bool:
    """Whether *name* means an object of the user's own package: ours have names without a colon."""
    return ":" in name


def load(name: str, key: str) -> Any:
    """The object that *name* means; its module is looked for on ``sys.path`` and in the current folder.

    Args:
        key: The configuration key that holds the name, for messages.

    Raises:
        ConfigurationError: *name* is not ``module:object``, the module or object does not exist, or its import fails.
    """
    module, _, attribute = name.partition(":")
    if not all(piece.isidentifier() for piece in [*module.split("."), attribute]):
        raise ConfigurationError(f"{key}={name}: write my_package.my_module:MyClass")
    found = load_module(module, f"{key}={name}")
    if not hasattr(found, attribute):
        there = ", ".join(word for word in vars(found) if not word.startswith("_")) or "nothing"
        raise ConfigurationError(f"{key}={name}: {module} has no {attribute}; it has {there}")
    return getattr(found, attribute)


def load_module(module: str, where: str) -> ModuleType:
    """The module of that name, from ``sys.path`` or the current folder.

    Args:
        where: What named it, for messages.

    Raises:
        ConfigurationError: there is no such module, or its import fails.
    """
    try:
        found = importlib.util.find_spec(module.partition(".")[0])
        if found is None and os.getcwd() not in sys.path:  # the `mminstruct` script does not look there by itself
            sys.path.append(os.getcwd())
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise ConfigurationError(f"{where}: {module} imports {error.name}, which is not installed") from error
        raise ConfigurationError(
            f"{where}: there is no module {error.name}; install its package, or put its folder on PYTHONPATH"
        ) from error
    except Exception as error:
        raise ConfigurationError(f"{where}: importing {module} failed: {type(error).__name__}: {error}") from error
