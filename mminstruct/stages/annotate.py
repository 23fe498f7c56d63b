"""Annotations of images, from ready rows: the readers of published formats replace this file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from mminstruct import schemas
from mminstruct.stage import Read, Rows, Stage, Transform, output, where


@dataclass(kw_only=True)
class Annotate(Stage):
    """A source: one unit is one annotation set."""

    sets: dict[str, Any] = where(factory=dict)
    """Annotation sets by name."""

    reads: ClassVar[dict[str, Read]] = {}
    writes: ClassVar[pa.Schema] = schemas.ANNOTATE
    row_key: ClassVar[str] = "annotation_id"

    def shards(self) -> dict[str, dict[str, Any]]:
        return {name: {"bytes": Path(one["path"]).stat().st_size} for name, one in self.sets.items()}

    def load(self, **whole: Any) -> Transform:
        def annotate(key: str) -> Iterator[Rows]:
            lines = Path(self.sets[key]["path"]).read_text(encoding="utf-8").strip().split("\n")
            rows = [json.loads(line) for line in lines if line]
            yield Rows(len(rows), output(schemas.ANNOTATE, rows))

        return annotate
