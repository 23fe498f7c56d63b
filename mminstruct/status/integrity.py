"""Finds damage in a run: compares files with receipts, and receipts with each other. Reads only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from itertools import chain, compress, repeat
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mminstruct.checksum import Damaged, unseal
from mminstruct.store import deletion, spending
from mminstruct.store.datafile import Part
from mminstruct.store.listing import Listing
from mminstruct.store.packed import Chunk, Packed
from mminstruct.store.receipt import Receipt
from mminstruct.store.tables import Store, Table

DAMAGED_COPY = "is damaged, so the original could not be restored from it"


def damaged_part(table: Table, key: str, part: Part, sizes: Mapping[str, int] | None) -> str:
    """How a part of unit *key* differs from its receipt; empty if it does not.

    Args:
        sizes: Bytes of each file of the table, to compare sizes only; None to compare every byte.
    """
    if sizes is not None and sizes.get(part.file) == part.bytes:
        return ""
    receipt = table.store.show(table.name, "_receipts", f"{key}.json")
    if sizes is None:
        try:
            table.verify(part)
        except Damaged as error:
            return f"{table.name}/{part.part}: {error} (its receipt: {receipt})"
    elif part.file not in sizes:
        return f"{table.name}/{part.part}: {part.file} is gone (its receipt: {receipt})"
    else:
        found = f"has {sizes[part.file]} bytes, its receipt says {part.bytes}"
        return f"{table.name}/{part.part}: {part.file} {found} (its receipt: {receipt})"
    return ""


class DataFiles:
    """Names and sizes of a table's data files, as they are now."""

    def __init__(self, table: Table) -> None:
        self._table = table
        found = table.store.scan(table.name)
        sized = (f"{name}/{stamp.split(' ', 1)[0]}" for name, stamp in found if name.endswith(".parquet"))
        self._listing = Listing((one, "") for one in sized)  # one digest of both: names alone are not compared
        self._sizes: dict[str, int] | None = None

    def faults(self, chunk: Chunk[Receipt]) -> list[str]:
        """A line for each part of *chunk* that is missing or has another size than its receipt says."""
        lengths, parts = chunk.columns.lists("parts")
        named = zip(parts["file"], parts["bytes"], strict=True)
        here = self._listing.holds((f"{file}/{size}", "") for file, size in named)
        if here.all():
            return []
        if self._sizes is None:
            self._sizes = self._table.store.sizes(self._table.name)
        units = chain.from_iterable(map(repeat, chunk.keys, lengths))
        return [
            damaged_part(self._table, key, Part(**facts), self._sizes)
            for key, facts, right in zip(units, parts.rows(), here, strict=True)
            if not right
        ]


def wrong_drops(table: Table, receipt: Receipt) -> str:
    """How a unit's file in ``_dropped`` and its receipt differ in their drop counts; empty if they do not."""
    if receipt.drops is None and not receipt.dropped:
        return ""
    try:
        counts = Counter(row["reason"] for row in table.drops(receipt))
    except Damaged as error:
        return f"{table.name}/{receipt.key}: {error}"
    if counts == receipt.dropped:
        return ""
    said = f"its receipt says it dropped {receipt.dropped}, in _dropped there is {dict(counts)}"
    return f"{table.name}/{receipt.key}: {said}"


def compare_input(
    name: str,
    rows_in: int,
    facts: dict[str, Any],
    done: Packed[Receipt],
    parts: dict[str, Packed[Part]],
    store: Store | None,
) -> tuple[list[str], list[str]]:
    """Compare a table's ``rows_in`` with the rows of its input; rows with the same id count once.

    Args:
        done: Receipts of the finished units.
        parts: Parts of each table.
        store: The run, to count distinct ids; None skips that count.

    Returns:
        Remarks that explain the counts, and faults.
    """
    source, row_key = next(iter(facts["inputs"]), None), facts.get("row_key")
    if source is None or not len(done):
        return [], []
    whole = source != facts["primary"]
    count = rows = 0
    for chunk in parts[source].chunks() if source in parts else ():
        used = [True] * len(chunk.keys) if whole else [tag is not None for tag in done.along(chunk.keys)]
        count, rows = count + sum(used), rows + sum(compress(chunk.columns["rows"], used))
    if rows_in > rows:
        return [], [f"{name}: {rows_in} in, but {source} has {rows} rows"]
    each = "" if whole or count < 2 else " in each part"
    once = f"{rows_in} in, of {rows} rows of {source}: rows with the same {row_key or 'id'}{each} count once"
    notes = [f"{name}: {once}"] if rows_in < rows else []
    if store is not None and row_key is not None:
        try:
            came = (part for key, part in parts[source].items() if whole or key in done)
            found = _distinct(store.table(source), came, row_key, whole)
        except OSError:  # ``damaged_parts`` reports the file
            return notes, []
        if found != rows_in:
            return notes, [f"{name}: {rows_in} in, but {source} has {found} distinct {row_key}{each}"]
    return notes, []


def damaged_copies(table: Table, receipts: Mapping[str, Receipt]) -> list[str]:
    """Damaged copies of the manifest and of receipts; remarks, since the originals are intact."""
    found = table.store.read_many(f"{table.name}/_copies", ["manifest.json"])
    receipts_there = table.store.names(table.name, "_copies", "_receipts")
    found |= {
        f"_receipts/{name}": data
        for name, data in table.store.read_many(f"{table.name}/_copies/_receipts", receipts_there).items()
    }
    notes = []
    for name, data in found.items():
        key = name.removeprefix("_receipts/").removesuffix(".json")
        where = table.store.show(table.name, "_copies", name)
        try:
            if name == "manifest.json":
                same = unseal(data, where, "") == table.manifest()
            else:
                same = key not in receipts or table.kept.parse(data, key) == receipts[key]
        except Damaged:
            same = False
        if not same:
            notes.append(f"{table.name}: {where} {DAMAGED_COPY}")
    return notes


def _distinct(table: Table, parts: Iterable[Part], column: str, whole: bool) -> int:
    """Number of distinct values of a column: over all parts, or summed over each part."""
    columns = [pq.read_table(table.open(part), columns=[column])[column].cast(pa.string()) for part in parts]
    if whole:
        return len(pc.unique(pa.chunked_array([chunk for some in columns for chunk in some.chunks], pa.string())))
    return sum(len(pc.unique(some)) for some in columns)


def run_files(store: Store) -> list[str]:
    """Damage to files that belong to no table: configuration, tombstones, budget claims."""

    def spent() -> None:
        for name, data in store.read_many(spending.FOLDER, store.names(spending.FOLDER)).items():
            spending.claimed(store, name, data)

    checks: tuple[Callable[[], object], ...] = (store.config, lambda: deletion.deleted(store), spent)
    faults = []
    for check in checks:
        try:
            check()
        except (Damaged, KeyError, TypeError) as error:
            faults.append(str(error))
    return faults
