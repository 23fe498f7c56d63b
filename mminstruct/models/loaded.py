"""Models in use in this process: a second stage with the same model gets the same object, not a second copy."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any
from weakref import WeakValueDictionary

_LOADED: WeakValueDictionary[tuple[str, str], Any] = WeakValueDictionary()
_LOCK = threading.RLock()


def once(model: Any, use: str, load: Callable[[], Any]) -> Any:
    """The object that is in use for a ``Model``, or the result of *load*; it is freed when nothing refers to it.

    Args:
        use: ``chat`` or ``embed``.
    """
    with _LOCK:
        found = _LOADED.get((use, repr(model)))
        if found is None:
            found = load()
            if type(found).__weakrefoffset__:  # a class with __slots__ has none
                _LOADED[use, repr(model)] = found
        return found


def in_use(model: Any) -> list[Any]:
    """What is in use for a ``Model``. Who keeps it, keeps the model loaded."""
    return [found for use in ("chat", "embed") if (found := _LOADED.get((use, repr(model)))) is not None]
