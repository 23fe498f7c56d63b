"""Progress of a run: a live table on a terminal, otherwise log lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType

import pyarrow as pa
from rich.console import Console
from rich.live import Live
from rich.table import Table

from mminstruct.run import Event, Run
from mminstruct.schemas import tagged
from mminstruct.stage import keys
from mminstruct.store.packed import Packed
from mminstruct.store.receipt import Receipt, add_warnings, alarming
from mminstruct.store.totals import totals
from mminstruct.terminal import one_line, say

_EVERY = 5.0
"""Seconds between log lines."""
_LONGEST = 90
"""Characters of a row's text that are shown."""


@dataclass
class _Line:
    done: int = 0
    fresh: int = 0
    failed: int = 0
    left: int | None = None
    kept: int = 0
    dropped: int = 0
    rows: int = 0
    cost: float = 0.0
    warnings: dict[str, list[int]] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)
    ended: float = field(default_factory=time.monotonic)

    def rate(self) -> float:
        """Rows per second since the table began, without units that an earlier run executed."""
        return self.rows / max(self.ended - self.began, 1e-3)


class Progress:
    """Context manager that counts and shows the events of a run.

    Args:
        say: Writes a log line; used without a terminal.
    """

    def __init__(self, say: Callable[[str], None] = say) -> None:
        self.lines: dict[str, _Line] = {}
        self.say = say
        self.console = Console(stderr=True)
        self.live = Live(console=self.console, refresh_per_second=4, transient=True) if sys.stderr.isatty() else None
        self._last = 0.0
        self._warned: set[str] = set()

    def __enter__(self) -> Progress:
        if self.live:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live:
            self.live.stop()
            self.console.print(self.table())

    def begin(self, tables: list[str], keys: Collection[str]) -> None:
        """Start a segment; *keys* are the units of its first table."""
        for name in tables:
            line = self.lines.setdefault(name, _Line())
            line.began = line.ended = time.monotonic()
        self.lines[tables[0]].left = (self.lines[tables[0]].left or 0) + len(keys)

    def watch(self, event: Event) -> None:
        """Count a finished or failed unit."""
        line = self.lines.setdefault(event.table, _Line())
        line.ended = time.monotonic()
        if event.receipt is None:
            line.failed += 1
        else:
            line.done += 1
            line.kept += event.receipt.kept
            line.dropped += sum(event.receipt.dropped.values())
            line.cost += event.receipt.cost
            add_warnings(line.warnings, event.receipt)
            self._warn(event.table)
            if event.fresh:
                line.fresh += 1
                line.rows += event.receipt.rows_in
        if self.live:
            self.live.update(self.table())
        elif event.fresh and (line.ended - self._last > _EVERY or self._complete(event.table) or event.error):
            self._last = line.ended
            self.say(
                self._text(event.table)
                + (f" | {one_line(f'{event.key} FAILED: {event.error}')}" if event.error else "")
            )

    def finished(self, name: str, receipts: Packed[Receipt]) -> None:
        """Count the units of a table in which nothing is left to do."""
        line, found = self.lines.setdefault(name, _Line()), totals(receipts)
        line.ended = time.monotonic()
        line.done += found.units
        line.kept += found.kept
        line.dropped += sum(found.dropped.values())
        line.cost += found.cost
        for said, counts in found.warnings.items():
            line.warnings[said] = [a + b for a, b in zip(line.warnings.get(said, (0, 0)), counts, strict=True)]
        self._warn(name)
        if self.live:
            self.live.update(self.table())

    def _warn(self, name: str) -> None:
        """Show warnings of a table as soon as they are due, each once in a run."""
        for said, line in alarming(self.lines[name].warnings).items():
            if said not in self._warned:
                self._warned.add(said)
                text = f"WARNING: {name}: {line}"
                self.console.print(text, style="bold red", markup=False, highlight=False) if self.live else self.say(
                    text
                )

    def _complete(self, name: str) -> bool:
        line = self.lines[name]
        return line.left is not None and line.done + line.failed >= line.left

    def _eta(self, line: _Line) -> str:
        if line.left is None or not line.fresh or line.done + line.failed >= line.left:
            return ""
        seconds = (line.ended - line.began) / line.fresh * (line.left - line.done - line.failed)
        return f"{seconds:.0f} s"

    def _text(self, name: str) -> str:
        line = self.lines[name]
        of = f"/{line.left}" if line.left is not None else ""
        eta = self._eta(line)
        return (
            f"{name}: {line.done}{of} units, {line.kept} kept, {line.dropped} dropped, {line.rate():.1f} rows/s"
            + (f", {line.failed} failed" if line.failed else "")
            + (f", ${line.cost:.2f}" if line.cost else "")
            + (f", {eta} left" if eta else "")
        )

    def table(self) -> Table:
        """The live table: one row per table."""
        shown = Table("table", "units", "kept", "dropped", "failed", "rows/s", "left", box=None, header_style="bold")
        for name, line in self.lines.items():
            of = f"/{line.left}" if line.left is not None else ""
            rate = f"{line.rate():.1f}" if line.fresh else "-"
            numbers = (str(number) for number in (line.kept, line.dropped, line.failed))
            shown.add_row(name, f"{line.done}{of}", *numbers, rate, self._eta(line))
        return shown


class FirstRows:
    """Says one line for each table with texts: the first row of the first unit that this build commits.

    Args:
        say: Writes a line.
    """

    def __init__(self, run: Run, say: Callable[[str], None] = say) -> None:
        self.run, self.say = run, say
        self._seen: set[str] = set()
        self._how = f" (mminstruct trace {run.url} ID follows an id)"

    def watch(self, event: Event) -> None:
        """Look at a unit that has ended."""
        if event.table in self._seen or not event.fresh or event.receipt is None or not event.receipt.kept:
            return
        writes = self.run.stages[event.table].writes
        id_column = [*tagged(writes, "id", "member"), keys(self.run.stages[event.table])[1]][0]
        texts = [name for name in tagged(writes, "text") if pa.types.is_string(writes.field(name).type)]
        if texts:
            with suppress(OSError):  # a line for the eye is no reason to stop a build
                table = self.run.table(event.table)
                part = next(part for part in event.receipt.parts if part.rows)
                row = table.load(part, (id_column, texts[0])).slice(0, 1).to_pylist()[0]
                text = one_line(str(row[texts[0]] or ""))
                if text:
                    cut = text if len(text) <= _LONGEST else text[:_LONGEST].rstrip() + "..."
                    self.say(f'{event.table} {row[id_column]}: "{cut}"{self._how}')
                    self._how = ""
        self._seen.add(event.table)
