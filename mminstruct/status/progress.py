"""Progress of a run, within its units too: a live table on a terminal, otherwise log lines."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
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
from mminstruct.unit import Counters

_EVERY = 5.0
"""Seconds between log lines."""
_WITHIN = 30.0
"""Seconds without a line of a table after which its units in progress get one; ten times as many if none of their
counters has changed."""
_LOOK = 1.0
"""Seconds between two looks at the units in progress on a terminal, and five times as many without one."""
_OVER = 60.0
"""Seconds for which a unit that has ended is known, as it may still be reported as in progress."""
_say = partial(say, flush=True)
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
    parts: int = 0
    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0
    in_progress: list[Counters] = field(default_factory=list)
    said: float = 0.0
    """When its last log line was written."""
    shown: list[int] = field(default_factory=list)
    """Counters of its units in progress in that line."""
    warnings: dict[str, list[int]] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)
    ended: float = field(default_factory=time.monotonic)

    def rate(self) -> float:
        """Rows per second since the table began, without units that an earlier run executed."""
        return (self.rows + sum(unit.done for unit in self.in_progress)) / max(self.ended - self.began, 1e-3)

    def usage(self) -> tuple[int, int, int, float]:
        """Calls, tokens in, tokens out and US dollars, of ended units and those in progress."""
        ended = self.calls, self.tokens_in, self.tokens_out, self.cost
        calls, tokens_in, tokens_out, cost = zip(ended, *(unit[-4:] for unit in self.in_progress), strict=True)
        return sum(calls), sum(tokens_in), sum(tokens_out), sum(cost)

    def executed(self) -> float:
        """Units that this run executed, with the share of those in progress that is done."""
        return self.fresh + sum(min(1.0, unit.done / unit.rows) for unit in self.in_progress if unit.rows)

    def within(self) -> str:
        """Rows of the units in progress that are done, and all of them if they are known."""
        done, rows = (sum(some) for some in zip(*((unit.done, unit.rows) for unit in self.in_progress), strict=True))
        return f"{done}/{rows}" if rows else str(done) if done else ""


class Progress:
    """Context manager that counts and shows the events of a run.

    Args:
        say: Writes a log line; used without a terminal.
        in_hand: Counters of units in progress (``run.Engine``); called in a thread.
    """

    def __init__(self, say: Callable[[str], None] = _say, in_hand: Callable[[], list[Counters]] = list) -> None:
        self.lines: dict[str, _Line] = {}
        self.in_hand = in_hand
        self.say = say
        self.console = Console(stderr=True)
        self.live = Live(console=self.console, refresh_per_second=4, transient=True) if sys.stderr.isatty() else None
        self._last = 0.0
        self._before: dict[str, str] = {}
        """The table before a table in its segment, whose parts are the table's units."""
        self._over: dict[tuple[str, str], float] = {}
        """Units that have ended lately, and when."""
        self._lock = threading.RLock()
        self._end = threading.Event()
        self._looking = threading.Thread(target=self._look, name="progress", daemon=True)
        self._warned: set[str] = set()

    def __enter__(self) -> Progress:
        if self.live:
            self.live.start()
        self._looking.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._looking.join(timeout=_EVERY)
        if self.live:
            self.live.stop()
            self.console.print(self.table())

    def begin(self, tables: list[str], keys: Collection[str]) -> None:
        """Start a segment; *keys* are the units of its first table."""
        with self._lock:
            for name in tables:
                line = self.lines.setdefault(name, _Line())
                line.began = line.ended = time.monotonic()
            self.lines[tables[0]].left = (self.lines[tables[0]].left or 0) + len(keys)
            self._before |= dict(zip(tables[1:], tables, strict=False))

    def _look(self) -> None:
        while not self._end.wait(_LOOK if self.live else 5 * _LOOK):
            self.look(self.in_hand())

    def look(self, units: list[Counters]) -> None:
        """Show the units in progress; they replace those of the last look."""
        with self._lock:
            now = time.monotonic()
            self._over = {unit: ended for unit, ended in self._over.items() if now - ended < _OVER}
            of: dict[str, list[Counters]] = {}
            for unit in units:
                if (unit.table, unit.key) not in self._over:
                    of.setdefault(unit.table, []).append(unit)
            for name in [*self.lines, *(of.keys() - self.lines.keys())]:
                line, some = self.lines.setdefault(name, _Line()), of.get(name, [])
                if some and not line.fresh and not line.in_progress:  # its models are loaded now
                    line.began = max(line.began, now - max(unit.seconds for unit in some))
                line.in_progress = some
                if some:
                    line.ended = now
                    if not self.live:
                        self._say_within(name, line)
            if self.live:
                self.live.update(self.table())

    def _say_within(self, name: str, line: _Line) -> None:
        """Write a line about the units in progress, if the table's last one was long ago."""
        quiet = line.ended - max(line.said, line.began)
        shown = [value for unit in sorted(line.in_progress) for value in (unit.done, unit.calls)]
        if quiet >= _WITHIN and (shown != line.shown or quiet >= 10 * _WITHIN):
            line.said, line.shown = line.ended, shown
            self.say(self._text(name))

    def watch(self, event: Event) -> None:
        """Count a finished or failed unit."""
        with self._lock:
            self._watch(event)

    def _watch(self, event: Event) -> None:
        line = self.lines.setdefault(event.table, _Line())
        line.ended = time.monotonic()
        others = [unit for unit in line.in_progress if unit.key != event.key]
        if event.fresh or len(others) < len(line.in_progress):  # elsewhere, if it was begun again
            self._over[event.table, event.key] = line.ended
            line.in_progress = others
        if event.receipt is None:
            line.failed += 1
        else:
            line.done += 1
            line.kept += event.receipt.kept
            line.dropped += sum(event.receipt.dropped.values())
            line.parts += len(event.receipt.parts)
            line.calls += event.receipt.calls
            line.tokens_in += event.receipt.tokens_in
            line.tokens_out += event.receipt.tokens_out
            line.cost += event.receipt.cost
            add_warnings(line.warnings, event.receipt)
            self._warn(event.table)
            if event.fresh:
                line.fresh += 1
                line.rows += event.receipt.rows_in
        if self.live:
            self.live.update(self.table())
        elif event.fresh and (line.ended - self._last > _EVERY or self._complete(event.table) or event.error):
            self._last = line.said = line.ended
            self.say(
                self._text(event.table)
                + (f" | {one_line(f'{event.key} FAILED: {event.error}')}" if event.error else "")
            )

    def finished(self, name: str, receipts: Packed[Receipt]) -> None:
        """Count the units of a table in which nothing is left to do."""
        with self._lock:
            line, found = self.lines.setdefault(name, _Line()), totals(receipts)
            line.ended = time.monotonic()
            line.done += found.units
            line.kept += found.kept
            line.dropped += sum(found.dropped.values())
            line.parts += found.parts
            line.calls += found.calls
            line.tokens_in += found.tokens_in
            line.tokens_out += found.tokens_out
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

    def _total(self, name: str) -> int | None:
        """Units of a table; None before the table that makes its parts is complete."""
        before = self._before.get(name)
        if self.lines[name].left is None and before is not None and self._complete(before):
            return self.lines[before].parts
        return self.lines[name].left

    def _complete(self, name: str) -> bool:
        line, total = self.lines[name], self._total(name)
        return total is not None and line.done + line.failed >= total

    def _units(self, name: str) -> str:
        total = self._total(name)
        return f"{self.lines[name].done}" + (f"/{total}" if total is not None else "")

    def _eta(self, name: str) -> str:
        line, total, executed = self.lines[name], self._total(name), self.lines[name].executed()
        if total is None or not executed or self._complete(name):
            return ""
        left = total - line.done - line.failed - (executed - line.fresh)
        return _duration((line.ended - line.began) / executed * max(0.0, left))

    def _text(self, name: str) -> str:
        line, eta = self.lines[name], self._eta(name)
        calls, tokens_in, tokens_out, cost = line.usage()
        within = line.within() if line.in_progress else ""
        return (
            f"{name}: {self._units(name)} units"
            + (f", {len(line.in_progress)} in progress" if line.in_progress else "")
            + (f" ({within} rows)" if within else "")
            + f", {line.kept} kept, {line.dropped} dropped, {line.rate():.1f} rows/s"
            + (f", {line.failed} failed" if line.failed else "")
            + (f", {calls} calls, {_short(tokens_in)} tokens in, {_short(tokens_out)} out" if calls else "")
            + (f", ${cost:.{2 if cost >= 0.01 else 4}f}" if cost else "")
            + (f", {eta} left" if eta else "")
        )

    def table(self) -> Table:
        """The live table: one row per table; empty columns are left out."""
        columns: dict[str, list[str]] = {}
        for name, line in self.lines.items():
            calls, tokens_in, tokens_out, cost = line.usage()
            row = {
                "table": name, "units": self._units(name), "kept": str(line.kept), "dropped": str(line.dropped),
                "failed": str(line.failed), "rows in\nprogress": (line.within() or "...") if line.in_progress else "",
                "calls": _short(calls) if calls else "",
                "tokens\nin/out": f"{_short(tokens_in)}/{_short(tokens_out)}" if calls else "",
                "US$": f"{cost:.{2 if cost >= 0.01 else 4}f}" if cost else "",
                "rows/s": f"{line.rate():.1f}" if line.executed() else "-", "left": self._eta(name),
            }  # fmt: skip
            for header, cell in row.items():
                columns.setdefault(header, []).append(cell)
        columns = {header: cells for header, cells in columns.items() if any(cells)}
        shown = Table(*columns, box=None, header_style="bold", padding=(0, 1, 0, 0), pad_edge=False)
        for cells in zip(*columns.values(), strict=True):
            shown.add_row(*cells)
        return shown


def _short(count: int) -> str:
    """A count in at most five characters, up to 10^10."""
    return str(count) if count < 10_000 else f"{count / 1e3:.0f}k" if count < 10_000_000 else f"{count / 1e6:.0f}M"


def _duration(seconds: float) -> str:
    """Seconds in the unit that suits them."""
    if seconds < 600:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 36_000 else f"{seconds / 3600:.1f} h"


class FirstRows:
    """Says one line for each table with texts or names: the first row of the first unit that this build commits.

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
        # texts first: an image without one has at least the name of its file
        columns = [*tagged(writes, "text"), *tagged(writes, "name")]
        shown = [name for name in columns if pa.types.is_string(writes.field(name).type)]
        if shown:
            with suppress(OSError):  # a line for the eye is no reason to stop a build
                table = self.run.table(event.table)
                part = next(part for part in event.receipt.parts if part.rows)
                row = table.load(part, (id_column, *shown)).slice(0, 1).to_pylist()[0]
                text = one_line(str(next((row[name] for name in shown if row[name]), "")))
                if text:
                    cut = text if len(text) <= _LONGEST else text[:_LONGEST].rstrip() + "..."
                    self.say(f'{event.table} {row[id_column]}: "{cut}"{self._how}')
                    self._how = ""
        self._seen.add(event.table)
