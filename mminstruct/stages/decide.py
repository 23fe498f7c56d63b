"""Human decisions about questions and answers: accept, edit or reject. One unit is one file of decisions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from mminstruct import schemas
from mminstruct.reviewing.folder import Found, find
from mminstruct.stage import Read, Rows, Stage, Transform, output, where


@dataclass(kw_only=True)
class Decide(Stage):
    """A source of decisions: one row for each line of a file, or a drop with its reason (``reviewing/lines.py``).

    A unit knows its own file and the ``sheet.json`` beside it, nothing else. What depends on other files or on the
    texts of the run is left to ``review``.
    """

    path: Any = where(None)
    """A file of decisions, a folder of them, or a list of these; null: no human review."""

    reads: ClassVar[dict[str, Read]] = {}
    writes: ClassVar[pa.Schema] = schemas.DECIDE
    row_key: ClassVar[str] = "decision_id"
    core_seconds = 0.001  # assumed: reads lines of JSON

    def check(self) -> None:
        paths = self.path if isinstance(self.path, list | tuple) else [self.path or ""]
        if not all(isinstance(path, str) for path in paths):
            raise ValueError(f"path={self.path}: take a folder, a file, or a list of these")

    def shards(self) -> dict[str, dict[str, Any]]:
        """Unit key -> facts that show whether a file or its ``sheet.json`` changed.

        Raises:
            ValueError: as for ``reviewing.folder.find``.
        """
        return {key: one.facts for key, one in self._found().decisions.items()}

    def content(self, key: str) -> str | None:
        one = self._found().decisions.get(key)
        return None if one is None else one.digest

    def listing(self, taken: Collection[str] | None = None) -> dict[str, Any] | None:
        found = self._found()
        if not found.decisions:
            return None
        read = len(found.decisions)
        passed = dict(Counter(found.passed.values()).most_common())
        return {"files": read + len(found.passed), "read": read, "shards": read, "passed": passed}

    def load(self) -> Transform:
        decisions = self._found().decisions

        def decide(key: str) -> Iterator[Rows]:
            if key not in decisions:
                raise ValueError(f"the file {key} is no longer at path={self.path}")
            rows = decisions[key].read()
            yield Rows(len(rows), output(self.writes, rows))

        return decide

    def _found(self) -> Found:
        """The files at ``path``, listed anew."""
        paths = [self.path] if isinstance(self.path, str) else self.path
        try:
            return find(paths) if paths else Found({}, {})
        except ValueError as error:
            raise ValueError(f"recipe.decide.path={error}") from error  # the message begins with the path
