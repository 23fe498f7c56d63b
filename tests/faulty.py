"""An unreliable remote store in memory, with random 403s, 503s and timeouts."""

from __future__ import annotations

import errno
import random
import threading
from typing import Any

import fsspec
from fsspec.exceptions import FSTimeoutError
from fsspec.implementations.memory import MemoryFileSystem

_INSIDE = threading.local()
"""Methods of the store call each other: only the outermost call fails."""
READS = ("cat_file", "ls", "info", "open", "size", "exists", "isfile", "find")
WRITES = ("pipe_file", "rm_file")


class Faulty(MemoryFileSystem):  # type: ignore[misc]
    """Raises with probability ``chance`` before a read, and before or after a write (its response may be lost)."""

    protocol = "faulty"
    chance = 0.0
    dice = random.Random(0)
    raised = 0

    @classmethod
    def begin(cls, chance: float, seed: int) -> None:
        cls.chance, cls.dice, cls.raised = chance, random.Random(seed), 0

    def _perhaps(self, path: str) -> None:
        if not getattr(_INSIDE, "depth", 0) and self.dice.random() < self.chance:
            type(self).raised += 1
            raise self.dice.choice(
                (
                    PermissionError(errno.EACCES, "Forbidden", path),
                    OSError(errno.EIO, "503 Slow Down", path),
                    FSTimeoutError(path),
                    ValueError("a library's own error"),
                )
            )


def _unsure(name: str) -> Any:
    whole = getattr(MemoryFileSystem, name)
    write = name in WRITES

    def method(self: Faulty, path: str, *args: Any, **kwargs: Any) -> Any:
        after = write and self.dice.random() < 0.5
        if not after:
            self._perhaps(path)
        _INSIDE.depth = getattr(_INSIDE, "depth", 0) + 1
        try:
            done = whole(self, path, *args, **kwargs)
        finally:
            _INSIDE.depth -= 1
        if after:
            self._perhaps(path)
        return done

    return method


for _name in (*READS, *WRITES):
    setattr(Faulty, _name, _unsure(_name))
fsspec.register_implementation("faulty", Faulty, clobber=True)
