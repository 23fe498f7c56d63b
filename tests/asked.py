"""A stage that asks a model once for each row, behind a source of numbers."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from mminstruct.models.model import Model
from mminstruct.recipe import Recipe
from mminstruct.stage import Stage, StageOutput, Transform, part, runtime
from tests.doing_nothing import NUMBERS, Count


@dataclass(kw_only=True)
class Asked(Stage):
    """Passes rows on after a model has answered each."""

    model: Model
    dies_once: str = runtime("")
    """If this file is missing, a worker creates it, and dies after five seconds of its first unit."""
    reads = {"count": part("id", "value")}
    writes = NUMBERS
    row_key = "id"

    def load(self) -> Transform:
        chat = self.model.chat()

        def ask(count: pa.Table) -> StageOutput:
            if self.dies_once and not Path(self.dies_once).exists():
                Path(self.dies_once).touch()
                threading.Timer(5.0, os._exit, (9,)).start()
            rows = [[{"role": "user", "content": f"{row}"}] for row in count["id"].to_pylist()]
            assert len(chat.chat(rows, seeds=list(range(len(rows))))) == len(rows)  # type: ignore[arg-type]
            return StageOutput(count, [])

        return ask


@dataclass(kw_only=True)
class Asking(Recipe):
    count: Count
    asked: Asked
