"""Models in use in this process: a second stage with the same model gets the same object, not a second copy."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakValueDictionary

_LOADED: WeakValueDictionary[tuple[str, str], Any] = WeakValueDictionary()
_SHARING = contextvars.ContextVar("sharing", default=False)


@contextmanager
def sharing() -> Iterator[None]:
    """Models that are loaded inside are shared. Only one thread may be inside at a time."""
    token = _SHARING.set(True)
    try:
        yield
    finally:
        _SHARING.reset(token)


def once(model: Any, use: str, load: Callable[[], Any]) -> Any:
    """Inside ``sharing``, what is in use for a ``Model``; else, or if there is nothing, the result of *load*.

    Args:
        use: ``chat`` or ``embed``.
    """
    if not _SHARING.get():
        return load()
    found = _LOADED.get((use, repr(model)))
    if found is None:
        found = load()
        if type(found).__weakrefoffset__:  # a class with __slots__ has none
            _LOADED[use, repr(model)] = found
    return found


def in_use(model: Any) -> list[Any]:
    """The shared objects of a ``Model``. They stay loaded as long as something refers to them."""
    return [found for use in ("chat", "embed") if (found := _LOADED.get((use, repr(model)))) is not None]
