"""Processes one unit: reads its inputs, calls the stage's function, checks the row counts, commits the output."""

from __future__ import annotations

import socket
import threading
import time
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mminstruct import schemas
from mminstruct.checksum import Damaged
from mminstruct.drift import CONTENT, TAKEN
from mminstruct.errors import RunError
from mminstruct.files import Unreachable
from mminstruct.models.loaded import sharing
from mminstruct.recipe import inputs
from mminstruct.run import Event, Run
from mminstruct.schemas.ids import alike, joined, numbers, places, texts
from mminstruct.stage import Halt, Rows, Stage, StageOutput, Transform, WorkerFault, keys
from mminstruct.store import spending
from mminstruct.store.datafile import Part
from mminstruct.store.journal import Calls
from mminstruct.store.receipt import Receipt
from mminstruct.store.tables import Table, drop_table
from mminstruct.unit import IN_HAND, UNIT, Unit
from mminstruct.version import __version__

_LOADING = threading.Lock()
"""Workers of a process load one at a time: two threads that import transformers at once can see it half imported."""


class UnitError(RunError, ValueError):
    """The output of a unit breaks its stage's contract."""


@dataclass
class Worker:
    """Processes units of one table. Created on the driver; loads its models on the machine where it runs."""

    run: Run
    name: str
    _transform: Transform | None = field(default=None, repr=False)
    _wholes: dict[str, Any] = field(default_factory=dict, repr=False)
    _digests: dict[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.stage: Stage = self.run.stages[self.name]
        self.table = self.run.table(self.name)
        self._sources = {table: self.run.table(table) for table, _ in inputs(self.stage).values()}

    def __getstate__(self) -> tuple[Run, str]:
        return self.run, self.name

    def __setstate__(self, state: tuple[Run, str]) -> None:
        self.__init__(*state)  # type: ignore[misc]

    def load(self) -> None:
        """Load the models and the whole inputs."""
        for name, (table, read) in inputs(self.stage).items():
            if read.mode == "whole":
                source, only = self._sources[table], self.run.limit(table)
                self._wholes[name] = source.dataset(self.run.stages[table].writes, only)
                self._digests[f"whole {table}"] = self.run.whole(table)
        if not self.stage.reads:
            self._shards = self.run.current(self.name)
        self._transform = self.stage.load(**self._wholes)

    def work(self, key: str) -> Event:
        """Process one unit unless it has a receipt. A fault of the unit becomes an event; a fault of the worker raises.

        Raises:
            Halt: The run's folder cannot be read or written (a full disk, status 403), or the unit's receipt is
                damaged. The unit is not at fault, and the next unit would fail, too.
        """
        return self.done(key) or self.make(key)

    def done(self, key: str) -> Event | None:
        """The event of a unit that has a receipt.

        Raises:
            Halt: As ``work``.
        """
        try:
            done = self.table.receipt(key)
        except Unreachable as error:
            raise Halt(f"{self.name}/{key}: {error}") from error
        except Damaged as error:
            raise Halt(str(error)) from error
        return None if done is None else Event(self.name, key, done, fresh=False)

    def make(self, key: str) -> Event:
        """``work`` for a unit that has no receipt."""
        try:
            self._ready()
            return Event(self.name, key, self._make(key))
        except Unreachable as error:
            raise Halt(f"{self.name}/{key}: {error}") from error
        except (MemoryError, WorkerFault, Halt):
            raise
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
            self.table.fail(key, said, traceback.format_exc())
            return Event(self.name, key, None, said)

    def _ready(self) -> None:
        """Load once; the worker's other threads wait.

        Raises:
            Halt: A model or input cannot be loaded, so no unit of this table can be processed.
        """
        with _LOADING, sharing():
            if self._transform is None:
                try:
                    self.load()
                except (MemoryError, WorkerFault, Halt, Unreachable):
                    raise
                except Exception as error:
                    raise Halt(f"{self.name}: its worker cannot start: {type(error).__name__}: {error}") from error

    def _make(self, key: str) -> Receipt:
        began = time.monotonic()
        given, digests = self._inputs(key)
        assert self._transform is not None
        calls = Calls(self.table, key)
        budget = spending.ledger(self.run.url)
        unit = Unit(table=self.name, key=key, journal=calls, budget=budget, images=self.run.rest(self.name, key))
        if self.stage.reads and (first := given.get(next(iter(self.stage.reads)))) is not None:
            unit.rows, unit.expected = first.num_rows, first.num_rows * self.stage.asks()
        token = UNIT.set(unit)
        IN_HAND.add(unit)
        try:
            ledger = _Ledger(self.stage, self.table, key)
            if not self.stage.reads:
                for index, rows in enumerate(cast(Iterator[Rows], self._transform(key))):
                    ledger.add(f"{key}-{index:04d}", rows.output, rows.rows_in)
                    unit.done = ledger.rows_in
                if not ledger.parts:  # a shard without images still has a part, so that its end is on record
                    ledger.add(f"{key}-0000", StageOutput(self.stage.writes.empty_table(), []), 0)
            else:
                out = self._transform(**given)
                for part, some in (
                    [(key, out)] if isinstance(out, StageOutput) else cast(Iterable[tuple[str, StageOutput]], out)
                ):
                    ledger.add(part, some)
                ledger.close(self._taken(given))
        finally:
            IN_HAND.discard(unit)
            UNIT.reset(token)
            budget.release()
        if (content := self.stage.content(key)) is not None:
            digests[CONTENT] = content
        if unit.enough:
            digests[TAKEN] = str(unit.images)
        receipt = Receipt(
            key=key, parts=ledger.parts, rows_in=ledger.rows_in, kept=ledger.kept, dropped=ledger.reasons(),
            drops=self.table.put_drops(key, ledger.drops()), inputs=digests,
            seconds=round(time.monotonic() - began, 3), calls=unit.calls, tokens_in=unit.tokens_in,
            tokens_out=unit.tokens_out, cost=round(unit.cost, 6), notes=unit.notes, warnings=unit.warnings,
            host=socket.gethostname(), version=__version__,
        )  # fmt: skip
        receipt = self.table.commit(receipt)
        if unit.calls or calls.used:
            calls.clear()
        return receipt

    def _inputs(self, key: str) -> tuple[dict[str, pa.Table], dict[str, str]]:
        if not self.stage.reads:
            return {}, self._shards(key)
        given: dict[str, pa.Table] = {}
        digests = dict(self._digests)
        for name, (table, read) in inputs(self.stage).items():
            if read.mode == "part":
                source = self._sources[table]
                part = source.find(key)
                if part is None:
                    raise UnitError(f"{self.name}/{key} needs part {key} of {table}, which is not there: did it fail?")
                given[name] = read.rename(source.load(part, read.columns))
                digests[table] = part.sha256[:16]
        return given, digests

    def _taken(self, given: dict[str, pa.Table]) -> np.ndarray:
        """Distinct ``numbers`` of the first input's column that identifies rows, sorted."""
        name = next(iter(self.stage.reads))
        column, _ = keys(self.stage)
        read = given[name] if name in given else self._wholes[name]
        batches = read.select([column]).to_batches() if name in given else read.to_batches(columns=[column])
        return np.unique(joined([numbers(batch[column]) for batch in batches]))


class _Ledger:
    """Writes the parts of a unit and counts their rows. An id takes 8 bytes: a unit may have a hundred million."""

    def __init__(self, stage: Stage, table: Table, key: str) -> None:
        self.stage, self.table, self.where = stage, table, f"{table.name}/{key}"
        self.parts: list[Part] = []
        self.rows_in = self.kept = 0
        self._drops: list[pa.Table] = []
        self._kept: list[np.ndarray] = []

    def add(self, part: str, made: StageOutput, rows_in: int | None = None) -> None:
        table = made.table
        if not table.schema.equals(self.stage.writes):
            table = table.select(self.stage.writes.names).cast(self.stage.writes)
        for column in self.stage.writes:
            if not column.nullable and table[column.name].null_count:
                raise UnitError(f"{self.where}: {column.name} is null in a kept row, and may not be")
        # a stage may add metadata of its own (Hugging Face features), never lose ours
        metadata = {**(self.stage.writes.metadata or {}), **(made.table.schema.metadata or {})}
        table = table.cast(schemas.stored(self.stage.writes)).replace_schema_metadata(metadata)
        self.parts.append(self.table.put(part, table))
        if made.drops:
            self._drops.append(drop_table(made.drops))
        if rows_in is None:
            self._kept += [np.unique(numbers(chunk)) for chunk in table[keys(self.stage)[1]].chunks]
            return
        if rows_in != table.num_rows + len(made.drops):
            raise UnitError(f"{self.where}: {rows_in} rows_in, but {table.num_rows} kept and {len(made.drops)} dropped")
        self.rows_in += rows_in
        self.kept += table.num_rows

    def close(self, rows_in: np.ndarray) -> None:
        """Check that every input id is kept or dropped exactly once, and that there are no other ids.

        Args:
            rows_in: Distinct ids as ``numbers``, sorted.

        Raises:
            UnitError: It names up to three ids.
        """
        kept = np.unique(joined(self._kept))
        dropped = np.sort(joined([numbers(chunk) for chunk in self.drops()["id"].chunks]))
        kept, dropped, rows_in = alike([kept, dropped, rows_in])
        repeated = np.unique(dropped[1:][dropped[1:] == dropped[:-1]])
        faults = {
            "were lost": rows_in[~(_among(rows_in, kept) | _among(rows_in, dropped))],
            "came from nowhere": np.concatenate([some[~_among(some, rows_in)] for some in (kept, dropped)]),
            "were both kept and dropped, or dropped twice": np.union1d(kept[_among(kept, dropped)], repeated),
        }
        for what, ids in faults.items():
            if len(ids):
                named = ", ".join(texts(ids[:3]).to_pylist())
                raise UnitError(f"{self.where}: {len(ids)} {keys(self.stage)[0]} {what}: {named}")
        self.rows_in, self.kept = len(rows_in), len(kept)

    def drops(self) -> pa.Table:
        """The rows that were dropped."""
        return pa.concat_tables([schemas.DROPPED.empty_table(), *self._drops]).combine_chunks()

    def reasons(self) -> dict[str, int]:
        counts = pc.value_counts(self.drops()["reason"]).to_pylist()
        return {count["values"]: count["counts"] for count in sorted(counts, key=lambda count: str(count["values"]))}


def _among(ids: np.ndarray, others: np.ndarray) -> np.ndarray:
    return places(others, ids)[1]
