"""A run's folder: tables of Parquet parts. Each unit is committed by a receipt, created exclusively and last.

Layout of a table, on a local disk or any fsspec URL::

    manifest.json                       configuration, schema and inputs of the table
    listing.json                        sources only: files listed, files read, and files skipped, with reasons
    sa_000020-0007.3f9a1c2e.parquet     a part: its key, and the first 8 hex digits of the file's SHA-256
    _receipts/sa_000020.json            the commit of one unit: its parts, row counts, costs
    _receipts.packed                    copies of all of them, so that they can be read at once
    _copies/…                           copies of the manifest and the receipts, in case one is damaged
    _dropped/…parquet  _failed/…json  _calls/…jsonl

The name of a data file contains its digest. So a slow duplicate of a worker can never overwrite a file that a receipt
names, and the same work gives the same name. Readers see only files that a receipt names; all others can be removed.
Everything is verified when it is read: by a checksum inside the file, or by the digest in the receipt.
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from mminstruct import schemas
from mminstruct.checksum import Damaged, seal, unseal, unseal_text
from mminstruct.files import Files, Unreachable
from mminstruct.stage import Drop
from mminstruct.store.datafile import Part, describe, opened, opened_by_name
from mminstruct.store.packed import Packed
from mminstruct.store.receipt import Receipt
from mminstruct.store.receipts import FIX, Receipts

__all__ = ["Part", "Receipt", "Store", "Table"]

_FORMAT = ds.ParquetFileFormat(
    default_fragment_scan_options=ds.ParquetFragmentScanOptions(page_checksum_verification=True, pre_buffer=False)
)
_ROW_GROUP = 512
"""Rows. A part is one row group, except in tables with one large unit (cluster, select)."""
_AGAIN = "restore it, or remove the receipt that names it and run the build command again"


class Store(Files):
    """A run's folder: tables, and files beside them.

    Args:
        url: a local path, or any fsspec URL (``s3://bucket/run``); options such as an endpoint come from fsspec's
            own configuration and environment, never from here.
    """

    def table(self, name: str) -> Table:
        return Table(self, name)

    def config(self) -> dict[str, Any] | None:
        """Content of the run's config.yaml; None if there is none.

        Raises:
            Damaged: it is not what was written.
        """
        import yaml

        data = self.read("config.yaml")
        if data is None:
            return None
        where, fix = self.show("config.yaml"), "the build command of this run writes it again"
        try:
            return dict(yaml.safe_load(unseal_text(data, where, fix)) or {})
        except (yaml.YAMLError, ValueError, TypeError) as error:
            raise Damaged(f"{where} is no YAML ({' '.join(str(error).split())}): {fix}") from None


class Table:
    """One table of a run."""

    def __init__(self, store: Store, name: str) -> None:
        self.store = store
        self.name = name
        self.kept = Receipts(store, name)
        """Its receipts, as far as this process has read them."""
        self._index: dict[str, Part] = {}
        self._every: Mapping[str, Part] = {}

    def forget(self) -> None:
        """Read every receipt again when it is next needed: for whoever looks for damage, or replaces a receipt."""
        self.kept.forget()
        self._index, self._every = {}, {}

    def begin(self, facts: Mapping[str, Any]) -> None:
        """Write the manifest, unless there is one."""
        data = seal(facts, indent=1)
        if self.store.create(data, self.name, "manifest.json"):
            self.store.write(data, self.name, "_copies/manifest.json", sync=False)

    def expect(self, units: int) -> None:
        """Store the source's number of units, from which ``status`` computes how many are left."""
        if (data := seal({"units": units})) != self.store.read(self.name, "_units.json"):
            self.store.write(data, self.name, "_units.json", sync=False)

    def expected(self) -> int | None:
        """The source's number of units at the last build; None for other tables and older runs."""
        data = self.store.read(self.name, "_units.json")
        where = self.store.show(self.name, "_units.json")
        return None if data is None else int(unseal(data, where, "the next build writes it again")["units"])

    def manifest(self) -> dict[str, Any] | None:
        """The table's manifest; None if it was not begun.

        Raises:
            Damaged: it is not what was written.
        """
        data = self.store.read(self.name, "manifest.json")
        return None if data is None else unseal(data, self.store.show(self.name, "manifest.json"), FIX)

    def list_source(self, facts: dict[str, Any]) -> None:
        """Write listing.json, unless an earlier build wrote the same content."""
        if (data := seal(facts, indent=1)) != self.store.read(self.name, "listing.json"):
            self.store.write(data, self.name, "listing.json")

    def listing(self) -> dict[str, Any] | None:
        """Content of listing.json, which ``list_source`` writes."""
        data = self.store.read(self.name, "listing.json")
        where = self.store.show(self.name, "listing.json")
        return None if data is None else unseal(data, where, "the next build writes it again")

    def receipt(self, key: str) -> Receipt | None:
        """Read the receipt of one unit; never cached.

        Raises:
            Damaged: it is not what was written.
        """
        return self.kept.one(key)

    def receipts(self, damaged: dict[str, str] | None = None) -> Packed[Receipt]:
        """All receipts by unit key, in order of keys; only those new since the last call are read.

        Args:
            damaged: Collects the errors of damaged receipts, by key.

        Raises:
            Damaged: one is not what was written, and *damaged* is not given.
        """
        return self.kept.all(damaged)

    def parts(self, only: frozenset[str] | None = None) -> Packed[Part]:
        """All committed parts by part key, in order, tagged with their SHA-256; *only* these keys if given."""
        found = self.kept.parts()
        return found if only is None else found.only(only)

    def find(self, key: str) -> Part | None:
        """One committed part, looked up in the receipt of its unit, of its shard, or of the unit that wrote it."""
        if key not in self._index and key not in self._every:
            for unit in (key, key.rpartition("-")[0]):
                receipt = self.receipt(unit) if unit else None
                self._index.update({part.part: part for part in (receipt.parts if receipt else ())})
            if key not in self._index:
                self._every = self.parts()
        return self._index.get(key) or self._every.get(key)

    def failures(self) -> dict[str, dict[str, Any]]:
        """The last error of each failed unit."""
        found = {}
        for name, data in self.store.read_many(f"{self.name}/_failed", self.store.names(self.name, "_failed")).items():
            try:
                facts = unseal(data, self.store.show(self.name, "_failed", name), "the next build tries the unit again")
            except Damaged as error:
                facts = {"error": str(error)}
            found[name.removesuffix(".json")] = {"error": "it did not say why", **facts}
        return found

    def put(self, part: str, table: pa.Table) -> Part:
        """Write one part. Readers do not see it before a receipt names it."""
        return self._put(part, table, "")

    def put_drops(self, key: str, drops: list[Drop] | pa.Table) -> str | None:
        """Write the dropped rows; returns the file's name, or None if there are none."""
        if not len(drops):
            return None
        return self._put(key, drops if isinstance(drops, pa.Table) else drop_table(drops), "_dropped/").file

    def _put(self, part: str, table: pa.Table, folder: str) -> Part:
        buffer = pa.BufferOutputStream()  # writes to BytesIO take as long as all the rest
        pq.write_table(table, buffer, row_group_size=_ROW_GROUP, compression="zstd", write_page_checksum=True)
        data = buffer.getvalue().to_pybytes()
        made = describe(part, data, pq.read_metadata(pa.BufferReader(data)).num_rows)
        self.store.write(data, self.name, folder + made.file)
        path = self.store.path(self.name, folder + made.file)
        size = self.store.ask("look at", path, lambda: self.store.fs.size(path)) if self.store.local else len(data)
        if made.rows != table.num_rows or size != len(data):
            there = f"has {made.rows} rows and {size} bytes, {table.num_rows} and {len(data)} were written"
            raise OSError(f"{path} {there}; run the same command again")
        return made

    def commit(self, receipt: Receipt) -> Receipt:
        """Create the receipt. If another worker was faster, its receipt is kept and returned."""
        data = seal(asdict(receipt))
        if not self.store.create(data, self.name, "_receipts", f"{receipt.key}.json"):
            first = self.receipt(receipt.key)
            if first is not None:
                named = {part.file for part in first.parts}
                for part in receipt.parts:
                    if part.file not in named:
                        self.store.remove(self.name, part.file)
                return first
            raise OSError(f"{self.name}/{receipt.key}: a receipt was there and is gone; run the same command again")
        self.store.write(data, self.name, "_copies/_receipts", f"{receipt.key}.json", sync=False)
        self.store.remove(self.name, "_failed", f"{receipt.key}.json")
        return receipt

    def fail(self, key: str, error: str, trace: str) -> None:
        """Record a failed unit; the next run tries it again."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        facts = {"key": key, "error": error, "traceback": trace, "time": now}
        self.store.write(seal(facts, indent=1), self.name, "_failed", f"{key}.json")

    def open(self, part: Part) -> pa.NativeFile:
        """Open a part for a Parquet reader, which gets only verified bytes.

        Raises:
            Damaged: here or when it is read: it is gone, or not what was written.
        """
        where = self.store.show(self.name, part.file)

        def read(start: int | None, end: int | None) -> bytes:
            try:
                data = self.store.read(self.name, part.file, start=start, end=end)
            except Unreachable:  # a store may refuse a range beyond the end of a file
                if self.store.sizes(self.name).get(part.file, part.bytes) == part.bytes:
                    raise
                raise Damaged(f"{where} has not the {part.bytes} bytes that its receipt says: {_AGAIN}") from None
            if data is None:
                raise Damaged(f"{where} is gone: {_AGAIN}")
            return data

        return opened(part, read, where, _AGAIN)

    def verify(self, part: Part) -> None:
        """Read all of a part.

        Raises:
            Damaged: it is gone, not what was written, or has other rows than its receipt says.
        """
        with self.open(replace(part, blocks="")) as file:
            rows = pq.read_metadata(file).num_rows
        if rows != part.rows:
            where = self.store.show(self.name, part.file)
            raise Damaged(f"{where} has {rows} rows, its receipt says {part.rows}: {_AGAIN}")

    def load(self, part: Part, columns: tuple[str, ...]) -> pa.Table:
        """One part's columns, verified against its receipt."""
        return pq.ParquetFile(self.open(part), page_checksum_verification=True).read(columns=list(columns))

    def dataset(self, schema: pa.Schema, only: frozenset[str] | None = None) -> ds.Dataset:
        """The whole table, lazily: fragments ordered by part key, verified against their receipts when read."""
        _wait_for_arrow_at_exit()
        files = {self.store.path(self.name, part.file): part for part in self.parts(only).values()}
        place = pafs.PyFileSystem(_Verified(self, files))
        return ds.FileSystemDataset.from_paths(list(files), schema=schema, format=_FORMAT, filesystem=place)

    def drops(self, receipt: Receipt) -> list[dict[str, Any]]:
        """Dropped rows of one unit: id, reason, detail; verified against the file's name.

        Raises:
            Damaged: the file is gone, or not what was written.
        """
        if receipt.drops is None:
            return []
        where = self.store.show(self.name, "_dropped", receipt.drops)
        data = self.store.read(self.name, "_dropped", receipt.drops)
        if data is None:
            raise Damaged(f"{where} is gone: {_AGAIN}")
        return list(pq.read_table(opened_by_name(receipt.drops, data, where, _AGAIN)).to_pylist())

    def dropped(self) -> Iterator[dict[str, Any]]:
        """Every dropped row: unit key, id, reason, detail."""
        for key, receipt in self.receipts().items():
            for row in self.drops(receipt):
                yield {"unit": key, **row}

    def digest(self, only: frozenset[str] | None = None) -> str:
        """Digest of all committed parts. The same rows in the same parts have the same digest."""
        text = "\n".join(f"{key} {sha256}" for key, sha256 in self.parts(only).tags())
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def drop_table(drops: list[Drop]) -> pa.Table:
    """*drops* as a table of ``schemas.DROPPED``."""
    rows = [{"id": drop.id, "reason": drop.reason, "detail": drop.detail} for drop in drops]
    return pa.Table.from_pylist(rows, schema=schemas.DROPPED)


@functools.cache
def _wait_for_arrow_at_exit() -> None:
    """Let Arrow's threads release the buffers of finished scans before the interpreter ends.

    A thread that waits for the GIL at that moment is stopped within C++ code, and the process aborts after all its work
    is done: 1 of 40 scripts that read a run of the demo did.
    """
    atexit.register(time.sleep, 0.1)


class _Verified(pafs.FSSpecHandler):  # type: ignore[misc]
    """The parts of a table as a file system that returns only verified bytes."""

    def __init__(self, table: Table, files: dict[str, Part]) -> None:
        super().__init__(table.store.fs)
        self._table, self._files = table, files

    def open_input_file(self, path: str) -> pa.NativeFile:
        return self._table.open(self._files[path])
