"""The version of the package; receipts and settings of a run name it."""

__version__ = "0.1.0"
