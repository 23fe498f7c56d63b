"""Trivial stages, for tests and measurements of the engines."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from mminstruct.recipe import Recipe
from mminstruct.stage import Drop, Halt, Rows, Stage, StageOutput, Transform, content_id, output, part, runtime, whole

NUMBERS = pa.schema([pa.field("id", pa.string(), nullable=False), pa.field("value", pa.int64(), nullable=False)])
TOTAL = pa.schema([pa.field("id", pa.string(), nullable=False), pa.field("total", pa.int64(), nullable=False)])


@dataclass(kw_only=True)
class Count(Stage):
    """Shards of numbers."""

    shard_count: int = 2
    parts: int = 2
    rows: int = 8
    reads = {}
    writes = NUMBERS
    row_key = "id"

    def shards(self) -> dict[str, dict[str, Any]]:
        return {f"shard-{i:05d}": {"size": self.parts * self.rows} for i in range(self.shard_count)}

    def load(self) -> Transform:
        def count(shard: str) -> Iterator[Rows]:
            for index in range(self.parts):
                rows = [{"id": content_id(shard, str(index), str(i)), "value": i} for i in range(self.rows)]
                yield Rows(self.rows, output(NUMBERS, rows))

        return count


@dataclass(kw_only=True)
class Pass(Stage):
    """Copies rows; drops every value that is divisible by ``drop``."""

    drop: int = 0
    poison: str = ""
    """Key of a unit that raises, or that kills its worker if the key starts with '!'."""
    halts: str = runtime("")
    loads_alone: str = runtime("")
    """File that records the start and end of each ``load``."""
    broken: str = runtime("")
    dies_once: str = runtime("")
    """If this file is missing, a worker creates it and dies."""
    company: str = runtime("")
    """Folder where the other units write a file and wait to die with the poison unit, which waits for three of them."""
    marks: str = runtime("")
    """Folder in which each unit writes a line when it is executed."""
    reads = {"count": part("id", "value")}
    writes = NUMBERS
    row_key = "id"

    def load(self) -> Transform:
        if self.broken:
            raise OSError(self.broken)
        if self.loads_alone:
            for word in ("in ", "out "):
                with open(self.loads_alone, "a") as file:
                    file.write(word)
                time.sleep(0.3)

        def through(count: pa.Table) -> StageOutput:
            if self.halts:
                raise Halt(self.halts)
            if self.dies_once and not Path(self.dies_once).exists():
                Path(self.dies_once).touch()
                os._exit(9)
            if self.marks:
                with open(Path(self.marks) / f"{os.getpid()}", "a") as file:
                    file.write(f"{content_id(*count['id'].to_pylist()[:1])}\n")
            if not self.drop and not self.poison:
                return StageOutput(count, [])
            rows = count.to_pylist()
            if self.poison and rows and rows[0]["id"] == self.poison.lstrip("!"):
                if self.poison.startswith("!"):
                    self._wait(lambda: not self.company or len(list(Path(self.company).iterdir())) >= 3)
                    os._exit(9)
                raise ValueError("poison")
            if self.company and rows and not (mine := Path(self.company) / rows[0]["id"]).exists():
                mine.touch()
                self._wait(lambda: False)
            return output(NUMBERS, [Drop(r["id"], "divides", str(r["value"])) if self.drop and r["value"] % self.drop == 0 else r
                                  for r in rows])  # fmt: skip

        return through

    @staticmethod
    def _wait(until: Callable[[], bool]) -> None:
        """Wait for a condition, at most a minute."""
        end = time.monotonic() + 60
        while not until() and time.monotonic() < end:
            time.sleep(0.02)


@dataclass(kw_only=True)
class After(Pass):
    reads = {"first": part("id", "value")}

    def load(self) -> Transform:
        through = super().load()
        return lambda first: through(count=first)


@dataclass(kw_only=True)
class Sum(Stage):
    """A barrier: the running total over all rows, one part per ten rows."""

    reads = {"second": whole("id", "value")}
    writes = TOTAL
    row_key = "id"

    def load(self, second: ds.Dataset) -> Transform:
        def total() -> Iterator[tuple[str, StageOutput]]:
            table = second.to_table().sort_by("id")
            sums = pc.cumulative_sum(table["value"])
            out = pa.table([table["id"], sums], schema=TOTAL)
            for start in range(0, max(out.num_rows, 1), 10):
                yield f"ten-{start:06d}", StageOutput(out.slice(start, 10).combine_chunks(), [])

        return total


@dataclass(kw_only=True)
class Last(Stage):
    reads = {"sum": part("id", "total")}
    writes = TOTAL
    row_key = "id"

    def load(self) -> Transform:
        return lambda sum: StageOutput(sum, [])


@dataclass(kw_only=True)
class Small(Recipe):
    """Source, two streaming stages, a barrier, and one stage after it."""

    count: Count
    first: Pass
    second: After
    sum: Sum
    last: Last


def small(count: Count | None = None, **passing: Any) -> Small:
    alone = {"loads_alone": passing.get("loads_alone", "")}
    return Small(count=count or Count(), first=Pass(**passing), second=After(**alone), sum=Sum(), last=Last())
