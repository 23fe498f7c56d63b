"""The state of a run (`status`), and what a build would do to it (`plan`). Reads only."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

from mminstruct.checksum import Damaged
from mminstruct.stage import ALL
from mminstruct.status import integrity
from mminstruct.store.datafile import Part
from mminstruct.store.packed import Chunk, Packed
from mminstruct.store.reader import manifests
from mminstruct.store.receipt import Receipt, alarming
from mminstruct.store.tables import Store, Table
from mminstruct.store.totals import Totals

RUN = "(run)"
"""Table name for faults of files that belong to no table."""


@dataclass
class TableStatus:
    """Units, row counts and faults of one table.

    The counts are right if ``rows_in == kept + dropped`` in every unit, and ``rows_in`` matches the input table.
    """

    table: str
    units: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    """Unit -> error."""
    left: int = 0
    """Units that can run now: their inputs exist, and they have neither a receipt nor a failure."""
    waits: list[str] = field(default_factory=list)
    """Incomplete input tables: more units may follow."""
    rows_in: int = 0
    kept: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    rows: int = 0
    seconds: float = 0.0
    tokens: int = 0
    cost: float = 0.0
    listing: dict[str, Any] | None = None
    """Sources only: numbers of ``files`` listed, ``read``, and ``shards``; ``passed``: reason -> files not read."""
    notes: dict[str, int] = field(default_factory=dict)
    """Events that are not drops (a repaired reply, a truncated text): name -> count."""
    warnings: dict[str, list[int]] = field(default_factory=dict)
    """What models or stages warn of -> inputs for which it holds, and all inputs that were looked at."""
    remarks: list[str] = field(default_factory=list)
    """Explanations of the counts, one per line; not faults."""
    faults: list[str] = field(default_factory=list)
    """Wrong row counts, missing files, changed files; one per line."""

    @property
    def open(self) -> bool:
        """Whether units are left, failed, or may still follow."""
        return bool(self.failed or self.left or self.waits)

    @property
    def state(self) -> str:
        """FAULTY, failed, left, waits for a table, or complete."""
        if self.faults:
            return "FAULTY"
        if self.failed or self.left:
            return " and ".join(word for word, some in (("failed", self.failed), ("left", self.left)) if some)
        return f"waits for {self.waits[0]}" if self.waits else "complete"


def table_statuses(
    url: str, *, verify: bool = False, recount: bool = True, tables: Callable[[str], Table] | None = None
) -> list[TableStatus]:
    """All tables of the run at *url*, in the order of its recipe; then ``RUN``, if files of no table are damaged.

    Args:
        verify: Compare every byte of every file with its digest, not only sizes.
        recount: Count the rows in each file of dropped rows. A build does not: the counts that its receipts give were
            checked when the files were written.
        tables: Gives the table of a name with the receipts that this process has read; by default all are read.

    Raises:
        FileNotFoundError: there is no run.
    """
    store = Store(url)
    parts: dict[str, Packed[Part]] = {}
    statuses: dict[str, TableStatus] = {}
    for name, facts in manifests(store).items():
        table = (tables or store.table)(name)
        damaged: dict[str, str] = {}
        table.kept.settle()  # so that parts are those of these receipts, and the folder is listed once
        receipts = table.kept.all(damaged, packed=not verify)
        parts[name] = table.kept.parts(damaged, packed=not verify)
        table.kept.settle(False)
        status = statuses[name] = TableStatus(table=name, units=len(receipts))
        status.faults += damaged.values()
        status.failed = {key: said["error"] for key, said in table.failures().items() if key not in receipts}
        status.left = _left(table, facts, parts, receipts, {*status.failed, *damaged}, status.faults)
        status.waits = [read for read in facts["inputs"] if read in statuses and statuses[read].open]
        unit_faults = _add_all(status, table, receipts, facts["primary"], parts, verify, recount)
        status.listing = table.listing()
        if status.listing and status.listing["files"] != status.listing["read"] + sum(
            status.listing["passed"].values()
        ):
            status.faults.append(f"{name}: {status.listing['files']} files listed, but {files(status.listing)}")
        status.faults += unit_faults
        status.remarks += integrity.damaged_copies(table, receipts) if verify else []
        if verify and (said := table.kept.differs()):
            status.faults.append(f"{name}: {said}")
        status.remarks += [f"{name}: {table.kept.fault}"] if table.kept.fault else []
        if not any(statuses[read].faults for read in facts["inputs"] if read in statuses):
            count = store if verify and not status.open else None
            notes, faults = integrity.compare_input(name, status.rows_in, facts, receipts, parts, count)
            status.remarks += notes
            status.faults += faults
    if faults := integrity.run_files(store):
        statuses[RUN] = TableStatus(table=RUN, faults=faults)
    return list(statuses.values())


def all_faults(statuses: list[TableStatus]) -> list[str]:
    """The faults of all tables."""
    return [fault for status in statuses for fault in status.faults]


def all_warnings(statuses: list[TableStatus]) -> list[str]:
    """One line for each warning of the run, with the counts of the first table that has it."""
    found: dict[str, str] = {}
    for status in statuses:
        for said, line in alarming(status.warnings).items():
            found.setdefault(said, f"{status.table}: {line}")
    return list(found.values())


def incomplete(statuses: list[TableStatus]) -> list[str]:
    """One phrase per table with units left or failed."""
    return [f"{s.table} ({s.left} units left, {len(s.failed)} failed)" for s in statuses if s.left or s.failed]


def _left(
    table: Table, facts: dict[str, Any], parts: dict[str, Packed[Part]], receipts: Packed[Receipt], ended: set[str],
    faults: list[str],
) -> int:  # fmt: skip
    """Number of known units that are neither done nor *ended*."""
    if first := facts["primary"]:
        return sum(key not in ended for key in receipts.missing(parts.get(first, ())))
    if facts["inputs"]:
        return int(ALL not in receipts and ALL not in ended)
    try:
        return max(0, (table.expected() or 0) - len(receipts) - sum(key not in receipts for key in ended))
    except Damaged as error:
        faults.append(str(error))
        return 0


def _add_all(
    status: TableStatus, table: Table, receipts: Packed[Receipt], first: str | None,
    parts: dict[str, Packed[Part]], verify: bool, recount: bool,
) -> list[str]:  # fmt: skip
    """Add all receipts to *status*, in one pass; returns the faults of their files."""
    changed: list[str] = []
    drops: list[str] = []
    found: list[str] = []
    total = Totals()
    there = None if verify else integrity.DataFiles(table)
    with ThreadPoolExecutor(8) as pool:
        for chunk in receipts.chunks():
            total.add(chunk.columns)
            status.faults += _lost(table.name, chunk)
            if first in parts:
                changed += _changed(table.name, chunk, str(first), parts[str(first)])
            if recount and (any(chunk.columns["drops"]) or any(chunk.columns["dropped"])):
                drops += [integrity.wrong_drops(table, receipt) for receipt in chunk.values().values()]
            if there is not None:
                found += there.faults(chunk)
                continue
            units = [(key, part) for key, receipt in chunk.values().items() for part in receipt.parts]
            found += pool.map(lambda unit: integrity.damaged_part(table, unit[0], unit[1], None), units)
    for name in ("rows_in", "kept", "rows", "seconds", "cost", "dropped", "notes", "warnings"):
        setattr(status, name, getattr(total, name))
    status.tokens = total.tokens_in + total.tokens_out
    status.faults += changed
    return [*filter(None, found), *filter(None, drops)]


def _lost(name: str, chunk: Chunk[Receipt]) -> Iterator[str]:
    """A line for each unit in which other rows came out than went in."""
    came, kept, dropped = chunk.columns["rows_in"], chunk.columns["kept"], chunk.columns.maps("dropped")
    if dropped.names == [] and came == kept:
        return
    for key, rows, left, gone in zip(chunk.keys, came, kept, dropped.rows(), strict=True):
        if lost := rows - left - sum(gone.values()):
            what = f"{lost} neither kept nor dropped" if lost > 0 else f"{-lost} more came out"
            yield f"{name}/{key}: {rows} in, but {what}"


def _changed(name: str, chunk: Chunk[Receipt], first: str, parts: Packed[Part]) -> Iterator[str]:
    """A line for each unit that was made from another part of table *first* than there is, or has more rows than it."""
    keys, inputs = chunk.keys, chunk.columns.maps("inputs").rows()
    came = zip(parts.along(keys), parts.along(keys, "rows"), strict=True)
    for key, rows, given, (sha256, most) in zip(keys, chunk.columns["rows_in"], inputs, came, strict=True):
        if sha256 is not None and given.get(first) != sha256[:16]:
            yield f"{name}/{key}: made from a part of {first} that has changed since"
        elif sha256 is not None and rows > most:
            yield f"{name}/{key}: {rows} in, but {first} has {most} rows"


def files(listing: dict[str, Any]) -> str:
    """Text about the files of a source: how many were read, and why others were not."""
    passed = sum(listing["passed"].values())
    return f"{listing['read']} read as {listing['shards']} shards, {passed} passed by"


def as_json(statuses: list[TableStatus]) -> str:
    return json.dumps([asdict(status) | {"state": status.state} for status in statuses], indent=1, ensure_ascii=False)


def as_text(statuses: list[TableStatus]) -> str:
    """One line per table, then drop reasons, remarks, failures and faults, and the state of the run."""
    lines = [
        f"{'table':<10} {'units':>6} {'failed':>6} {'left':>5} {'in':>8} {'kept':>8} {'dropped':>8} {'rows':>8}  state"
    ]
    for s in statuses:
        lines.append(
            f"{s.table:<10} {s.units:>6} {len(s.failed):>6} {s.left:>5}"
            f" {s.rows_in:>8} {s.kept:>8} {sum(s.dropped.values()):>8} {s.rows:>8}  {s.state}"
        )
    for s in statuses:
        if s.listing:
            lines.append(f"  {s.table}: {s.listing['files']} files listed, {files(s.listing)}")
            lines += [f"    {count} x {reason}" for reason, count in s.listing["passed"].items()]
        lines += [f"  {s.table}: {count} x {reason}" for reason, count in Counter(s.dropped).most_common()]
        lines += [f"  {s.table}: noted {count} x {name}" for name, count in Counter(s.notes).most_common()]
        lines += [f"  {remark}" for remark in s.remarks]
        lines += [f"  {s.table}/{key} FAILED: {error}" for key, error in s.failed.items()]
        lines += [f"  FAULT: {fault}" for fault in s.faults]
    lines += [f"WARNING: {line}" for line in all_warnings(statuses)]
    if faults := all_faults(statuses):
        lines.append(f"faulty: {len(faults)} faults")
    elif left := incomplete(statuses):
        lines.append(f"incomplete: {', '.join(left)}; the same build command continues from here")
    else:
        lines.append("complete: all row counts add up")
    return "\n".join(lines)
