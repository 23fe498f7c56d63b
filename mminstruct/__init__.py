"""mminstruct: turns image collections into visual instruction-tuning data.

    import mminstruct

    run = mminstruct.open("runs/demo")     # tables by name, read when they are asked for
    run["caption"].to_pandas()
    run.show(id)                           # rows of an id with its picture, in a notebook

To write a stage of your own, subclass ``Stage`` and list it in a ``Recipe``; see docs/library.md.
"""

import importlib
from typing import TYPE_CHECKING, Any

from mminstruct.version import __version__ as __version__

if TYPE_CHECKING:
    from mminstruct.checksum import Damaged as Damaged
    from mminstruct.errors import ConfigurationError as ConfigurationError
    from mminstruct.errors import Error as Error
    from mminstruct.errors import InputError as InputError
    from mminstruct.errors import ModelError as ModelError
    from mminstruct.errors import RunError as RunError
    from mminstruct.errors import StorageError as StorageError
    from mminstruct.export import ExportError as ExportError
    from mminstruct.library import OpenRun as OpenRun
    from mminstruct.library import Shown as Shown
    from mminstruct.library import open as open
    from mminstruct.models.model import Model as Model
    from mminstruct.recipe import Recipe as Recipe
    from mminstruct.recipe import RecipeError as RecipeError
    from mminstruct.run import DriftError as DriftError
    from mminstruct.run import FailedUnits as FailedUnits
    from mminstruct.schemas import column as column
    from mminstruct.schemas import table as table
    from mminstruct.stage import Drop as Drop
    from mminstruct.stage import Halt as Halt
    from mminstruct.stage import Read as Read
    from mminstruct.stage import Rows as Rows
    from mminstruct.stage import Stage as Stage
    from mminstruct.stage import StageOutput as StageOutput
    from mminstruct.stage import output as output
    from mminstruct.stage import part as part
    from mminstruct.stage import prompt as prompt
    from mminstruct.stage import role as role
    from mminstruct.stage import runtime as runtime
    from mminstruct.stage import whole as whole
    from mminstruct.status.tables import TableStatus as TableStatus
    from mminstruct.status.trace import Trace as Trace
    from mminstruct.store.reader import MissingTable as MissingTable
    from mminstruct.store.reader import RunReader as RunReader
    from mminstruct.store.reader import TableReader as TableReader

_WHERE = {
    "checksum": ("Damaged",),
    "errors": ("ConfigurationError", "Error", "InputError", "ModelError", "RunError", "StorageError"),
    "export": ("ExportError",),
    "library": ("OpenRun", "Shown", "open"),
    "models.model": ("Model",),
    "store.reader": ("MissingTable", "RunReader", "TableReader"),
    "recipe": ("Recipe", "RecipeError"),
    "run": ("DriftError", "FailedUnits"),
    "schemas": ("column", "table"),
    "stage": (
        "Drop",
        "Halt",
        "Read",
        "Rows",
        "Stage",
        "StageOutput",
        "output",
        "part",
        "prompt",
        "role",
        "runtime",
        "whole",
    ),
    "status.tables": ("TableStatus",),
    "status.trace": ("Trace",),
}
"""Public names by module; imported when they are first used, so that ``import mminstruct`` stays fast."""
_MODULES = {name: module for module, names in _WHERE.items() for name in names}
__all__ = ["__version__", *_MODULES]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'mminstruct' has no attribute {name!r}")
    return getattr(importlib.import_module(f"mminstruct.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
