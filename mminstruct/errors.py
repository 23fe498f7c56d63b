"""The errors that mminstruct raises on purpose, as one tree; each also has the built-in base that fits it.

Error:
      ConfigurationError (ValueError)    a recipe, key or name that cannot work, found before anything runs
        RecipeError                      a recipe whose stages do not fit together
        DriftError                       the run's folder was made by another recipe
        TooFewRows, OtherSheets          sheets for reviewers that cannot be written
      InputError (ValueError)            outside data that cannot be read
        Unreadable, ShardError           a file or shard
        BadImage, InvalidRow, Fault      one image, one conversation, one annotation
      StorageError (OSError)             the run's folder
        Damaged                          a file is not what was written
        Unreachable                      the file system does not answer
      RunError (RuntimeError)            a run that stopped
        FailedUnits, UnitError           units that failed
        Halt                             nothing can continue: Held, BudgetExceeded, EndpointError
        WorkerFault, EngineDead          a worker that is broken
      ExportError (ValueError)           an export that cannot be written
      MissingTable (KeyError)            a table that the run does not have
      ModelError                         a request or a reply of a model that cannot be used

``except mminstruct.Error`` catches all of them. For unknown ids, paths and arguments, functions raise Python's own
LookupError, FileNotFoundError and ValueError.
"""

from __future__ import annotations


class Error(Exception):
    """Base class of all errors that mminstruct raises on purpose."""


class ConfigurationError(Error, ValueError):
    """A configuration or recipe cannot work; the message names the key and how to fix it."""


class InputError(Error, ValueError):
    """Outside data cannot be read."""


class StorageError(Error, OSError):
    """A file of a run cannot be read or written, or is not what was written."""


class RunError(Error, RuntimeError):
    """A run stopped; the same command continues it."""


class ModelError(Error):
    """A request to a model, or its reply, cannot be used."""
