"""Human decisions about questions and answers: accept, edit or reject. One unit is one file of decisions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from mminstruct import schemas
from mminstruct.stage import Read, Rows, Stage, Transform, where


@dataclass(kw_only=True)
class Decide(Stage):
    """A source of decisions. Files cannot be read yet, so the table has no units and no rows."""

    path: list[str] | None = where(None)
    """Files of decisions, or folders of them; null: no human review. Other values are refused for now."""

    reads: ClassVar[dict[str, Read]] = {}
    writes: ClassVar[pa.Schema] = schemas.DECIDE
    row_key: ClassVar[str] = "decision_id"
    core_seconds = 0.001  # assumed: reads lines of JSON

    def check(self) -> None:
        if self.path:
            raise ValueError(
                f"path={self.path}: this version cannot read decisions; leave it out (null), and every pair is kept"
                " as `unseen`"
            )

    def shards(self) -> dict[str, dict[str, Any]]:
        """No files, no units."""
        return {}

    def load(self) -> Transform:
        def decide(key: str) -> Iterator[Rows]:
            raise KeyError(f"there is no file of decisions {key}")

        return decide
