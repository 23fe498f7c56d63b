"""A run's folder: tables of Parquet parts, each committed by a receipt that is created exclusively and last.

Layout of a table, on a local disk or any fsspec URL::

    manifest.json                       what the table was made by
    listing.json                        of a source: how many files it lists, how many are read or passed by, and why
    sa_000020-0007.3f9a1c2e.parquet     a part: its key, and the first 8 hex digits of the file's SHA-256
    _receipts/sa_000020.json            the commit of one unit: its parts, its sums, what it cost
    _dropped/…parquet  _failed/…json  _calls/…jsonl

A data file's name holds its digest, so a late twin of a worker can never overwrite what a receipt names, and the
same work done again lands on the same name. Readers see only what receipts name; all else is rebuildable or rubbish.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs as pafs
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from mminstruct import schemas
from mminstruct.stage import Drop

_FORMAT = ds.ParquetFileFormat(
    default_fragment_scan_options=ds.ParquetFragmentScanOptions(page_checksum_verification=True, pre_buffer=False)
)
_ROW_GROUP = 512
"""Rows: parts are one row group unless a table holds more in one unit (clusters, the final choice)."""


@dataclass(frozen=True, slots=True)
class Part:
    """One data file that a receipt names."""

    part: str
    file: str
    rows: int
    bytes: int
    sha256: str


@dataclass(slots=True, kw_only=True)
class Receipt:
    """The commit of one unit. Sums close: ``taken == kept + sum(dropped.values())``."""

    key: str
    parts: list[Part]
    taken: int
    """Rows (or archive members) that went in."""
    kept: int
    """Of those, how many live on in at least one row."""
    dropped: dict[str, int]
    """Reason to number of rows that left."""
    drops: str | None = None
    """File in ``_dropped`` with each of them."""
    inputs: dict[str, str] = field(default_factory=dict)
    """Digest of what each input was when this was made."""
    seconds: float = 0.0
    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0
    notes: dict[str, int] = field(default_factory=dict)
    host: str = ""
    version: str = ""

    @property
    def rows(self) -> int:
        return sum(part.rows for part in self.parts)

    @classmethod
    def from_json(cls, text: str | bytes) -> Receipt:
        facts = json.loads(text)
        return cls(**{**facts, "parts": [Part(**part) for part in facts["parts"]]})


class Store:
    """A folder of tables.

    Args:
        url: a local path, or any fsspec URL (``s3://bucket/run``); options such as an endpoint come from fsspec's
            own configuration and environment, never from here.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.fs, self.root = fsspec.core.url_to_fs(url)
        self.root = self.root.rstrip("/")
        self.local = isinstance(self.fs, LocalFileSystem)

    def path(self, *pieces: str) -> str:
        return "/".join((self.root, *pieces))

    def table(self, name: str) -> Table:
        return Table(self, name)

    def names(self, *pieces: str) -> list[str]:
        """Sorted names in a folder; empty where there is none. Never cached: others write here too."""
        path = self.path(*pieces)
        if self.local:
            try:
                return sorted(name for name in os.listdir(path) if not name.startswith("."))
            except FileNotFoundError:
                return []
        self.fs.invalidate_cache()
        try:
            found = self.fs.ls(path, detail=False)
        except FileNotFoundError:
            return []
        return sorted(name.rsplit("/", 1)[-1] for name in found if name.rstrip("/") != path)

    def read(self, *pieces: str) -> bytes | None:
        """A small file's bytes, or None where there is none."""
        try:
            return bytes(self.fs.cat_file(self.path(*pieces)))
        except FileNotFoundError:
            return None

    def read_many(self, folder: str, names: Iterable[str]) -> dict[str, bytes]:
        """Small files of one folder by name, fetched side by side where the store is remote."""
        names = list(names)
        if self.local or not names:
            found = {name: self.read(folder, name) for name in names}
            return {name: data for name, data in found.items() if data is not None}
        got = self.fs.cat([self.path(folder, name) for name in names], on_error="omit")
        return {path.rsplit("/", 1)[-1]: bytes(data) for path, data in got.items()}

    def write(self, data: bytes, *pieces: str) -> None:
        """Write or replace a file; on a local disk it is whole or absent, also after a power cut."""
        path = self.path(*pieces)
        if not self.local:
            self.fs.pipe_file(path, data)
            return
        os.replace(self._temporary(path, data), path)
        _sync_folder(path)

    def create(self, data: bytes, *pieces: str) -> bool:
        """Create a file whole, or leave the one that is there; False in that case. Put-if-absent is the commit."""
        path = self.path(*pieces)
        if self.local:
            temporary = self._temporary(path, data)
            try:
                os.link(temporary, path)  # atomic, and fails where the name is taken; open("x") could be left torn
            except FileExistsError:
                return False
            finally:
                os.unlink(temporary)
            _sync_folder(path)
            return True
        try:
            self.fs.pipe_file(path, data, mode="create")
        except FileExistsError:
            return False
        return True

    def bring(self, other: Store, *pieces: str) -> None:
        """Take over a file of another store, by a hard link where both are on one local disk."""
        path, theirs = self.path(*pieces), other.path(*pieces)
        if self.local and other.local:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            try:
                os.link(theirs, path)
                return
            except FileExistsError:
                return
            except OSError:  # another disk, or one without links
                pass
        self.write(other.read(*pieces) or b"", *pieces)

    def remove(self, *pieces: str) -> None:
        """Remove a file that may be gone already."""
        try:
            self.fs.rm_file(self.path(*pieces))
        except FileNotFoundError:
            return

    def _temporary(self, path: str, data: bytes) -> str:
        folder, name = path.rsplit("/", 1)
        os.makedirs(folder, exist_ok=True)
        temporary = f"{folder}/.{name}.{uuid.uuid4().hex[:8]}"
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        return temporary

    @property
    def arrow(self) -> pafs.FileSystem:
        """The same place as pyarrow sees it."""
        return pafs.LocalFileSystem() if self.local else pafs.PyFileSystem(pafs.FSSpecHandler(self.fs))


class Table:
    """One table of a run."""

    def __init__(self, store: Store, name: str) -> None:
        self.store = store
        self.name = name
        self._receipts: dict[str, Receipt] = {}
        self._index: dict[str, Part] = {}

    def manifest(self) -> dict[str, Any] | None:
        data = self.store.read(self.name, "manifest.json")
        return None if data is None else dict(json.loads(data))

    def list_source(self, facts: dict[str, Any]) -> None:
        """Write what became of every file that the source lists; the last listing stands."""
        self.store.write(json.dumps(facts, ensure_ascii=False, indent=1).encode(), self.name, "listing.json")

    def listing(self) -> dict[str, Any] | None:
        """What ``list_source`` wrote."""
        data = self.store.read(self.name, "listing.json")
        return None if data is None else dict(json.loads(data))

    def receipt(self, key: str) -> Receipt | None:
        """The receipt of one unit, looked up afresh; a torn one counts as none and is removed."""
        data = self.store.read(self.name, "_receipts", f"{key}.json")
        if data is None:
            return None
        try:
            return Receipt.from_json(data)
        except (ValueError, TypeError, KeyError):
            self.store.remove(self.name, "_receipts", f"{key}.json")
            return None

    def receipts(self) -> dict[str, Receipt]:
        """All receipts by unit key, in order of keys; only those new since the last call are read."""
        names = self.store.names(self.name, "_receipts")
        keys = [name.removesuffix(".json") for name in names if name.endswith(".json")]
        new = [f"{key}.json" for key in keys if key not in self._receipts]
        for name, data in self.store.read_many(f"{self.name}/_receipts", new).items():
            try:
                self._receipts[name.removesuffix(".json")] = Receipt.from_json(data)
            except (ValueError, TypeError, KeyError):  # torn by a disk that lied about fsync: the unit is not done
                self.store.remove(self.name, "_receipts", name)
        return {key: self._receipts[key] for key in keys if key in self._receipts}

    def parts(self, only: frozenset[str] | None = None) -> dict[str, Part]:
        """All committed parts by part key, in order; *only* these keys if given."""
        found = {part.part: part for receipt in self.receipts().values() for part in receipt.parts}
        return {key: found[key] for key in sorted(found) if only is None or key in only}

    def find(self, key: str) -> Part | None:
        """One committed part: by the receipt of its own unit, of its shard, or of whichever unit wrote it."""
        if key not in self._index:
            for unit in (key, key.rpartition("-")[0]):
                receipt = self.receipt(unit) if unit else None
                self._index.update({part.part: part for part in (receipt.parts if receipt else ())})
            if key not in self._index:
                self._index = self.parts()
        return self._index.get(key)

    def failures(self) -> dict[str, dict[str, Any]]:
        """What each failed unit said last."""
        names = self.store.names(self.name, "_failed")
        found = self.store.read_many(f"{self.name}/_failed", names)
        return {name.removesuffix(".json"): json.loads(data) for name, data in found.items()}

    def put(self, part: str, table: pa.Table) -> Part:
        """Write one part under a name of its own and verify it; nobody sees it before a receipt names it."""
        return self._put(part, table, "")

    def put_drops(self, key: str, drops: list[Drop]) -> str | None:
        """Write the rows that left; the file's name, or None where there are none."""
        if not drops:
            return None
        rows = [{"id": drop.id, "reason": drop.reason, "detail": drop.detail} for drop in drops]
        return self._put(key, pa.Table.from_pylist(rows, schema=schemas.DROPPED), "_dropped/").file

    def _put(self, part: str, table: pa.Table, folder: str) -> Part:
        buffer = io.BytesIO()
        pq.write_table(table, buffer, row_group_size=_ROW_GROUP, compression="zstd", write_page_checksum=True)
        data = buffer.getvalue()
        digest = hashlib.sha256(data).hexdigest()
        file = f"{part}.{digest[:8]}.parquet"
        self.store.write(data, self.name, folder + file)
        path = self.store.path(self.name, folder + file)
        with self.store.fs.open(path, "rb") as handle:
            rows = pq.read_metadata(handle).num_rows
        size = self.store.fs.size(path)
        if rows != table.num_rows or size != len(data):
            raise OSError(f"{path}: {rows} rows and {size} bytes came back of {table.num_rows} and {len(data)} written")
        return Part(part, file, rows, size, digest)

    def commit(self, receipt: Receipt) -> Receipt:
        """Create the receipt; where another worker was first, its receipt stands and is returned."""
        data = json.dumps(asdict(receipt), ensure_ascii=False).encode()
        if not self.store.create(data, self.name, "_receipts", f"{receipt.key}.json"):
            first = self.receipt(receipt.key)
            if first is not None:
                named = {part.file for part in first.parts}
                for part in receipt.parts:
                    if part.file not in named:
                        self.store.remove(self.name, part.file)
                return first
            raise OSError(f"{self.name}/{receipt.key}: a receipt was there and is gone; run the same command again")
        self.store.remove(self.name, "_failed", f"{receipt.key}.json")
        return receipt

    def fail(self, key: str, error: str, trace: str) -> None:
        """Leave word of a failed unit; it is tried again by the next run."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        facts = {"key": key, "error": error, "traceback": trace, "time": now}
        self.store.write(json.dumps(facts, ensure_ascii=False, indent=1).encode(), self.name, "_failed", f"{key}.json")

    def load(self, part: Part, columns: tuple[str, ...]) -> pa.Table:
        """One part's columns, page checksums verified."""
        with self.store.fs.open(self.store.path(self.name, part.file), "rb") as handle:
            file = pq.ParquetFile(handle, page_checksum_verification=True)
            return file.read(columns=list(columns))

    def dataset(self, schema: pa.Schema, only: frozenset[str] | None = None) -> ds.Dataset:
        """The whole table, lazily: fragments in order of part keys, page checksums verified."""
        paths = [self.store.path(self.name, part.file) for part in self.parts(only).values()]
        return ds.FileSystemDataset.from_paths(paths, schema=schema, format=_FORMAT, filesystem=self.store.arrow)

    def dropped(self) -> Iterator[dict[str, Any]]:
        """Every dropped row: key of its unit, id, reason, detail."""
        for key, receipt in self.receipts().items():
            if receipt.drops:
                with self.store.fs.open(self.store.path(self.name, "_dropped", receipt.drops), "rb") as handle:
                    for row in pq.read_table(handle, page_checksum_verification=True).to_pylist():
                        yield {"unit": key, **row}

    def digest(self, only: frozenset[str] | None = None) -> str:
        """Digest of all committed parts: the same rows in the same parts have the same digest."""
        text = "\n".join(f"{part.part} {part.sha256}" for part in self.parts(only).values())
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _sync_folder(path: str) -> None:
    """Make a new name in a local folder survive a power cut."""
    handle = os.open(os.path.dirname(path), os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
