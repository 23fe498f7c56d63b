"""Flips single bits in the files of a finished run, one at a time, and checks that every change is detected.

    python benchmarks/flips.py RUN --flips 1500

A flip is *found* if the reader raises an error or reports a fault; *equal* if it reads the same as before (white space
in JSON, bytes that are never read); *SILENT* if it reads something else without a fault. There are two readers:
``status --verify``, and a consumer that loads all tables, drops, deletions and the configuration. Passes if no flip is
silent. Works on a copy of the run.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq

from mminstruct.status.integrity import DAMAGED_COPY
from mminstruct.status.tables import as_json, table_statuses
from mminstruct.store import deletion
from mminstruct.store.reader import manifests
from mminstruct.store.receipts import PACKED
from mminstruct.store.tables import Store

KINDS = {
    "_receipts": "receipt", "_receipts.packed": "packed", "_copies": "copy", "_dropped": "drops",
    "_deleted": "deletion", "_spent": "claim",
}  # fmt: skip


def kind(path: Path) -> str:
    """Kind of file, for the table of results."""
    named = next((KINDS[piece] for piece in path.parts if piece in KINDS), None)
    return named or {".parquet": "part"}.get(path.suffix, path.name)


def checked(run: Path) -> str:
    """The output of ``status --verify``; raises as it does."""
    statuses = table_statuses(str(run), verify=True)
    for status in statuses:
        copies = (note for note in status.remarks if DAMAGED_COPY in note or PACKED in note)
        faults = [*status.faults, *copies]
        if faults:
            raise OSError(faults[0])
    return as_json(statuses)


def consumed(run: Path) -> str:
    """A digest of all that a consumer reads: rows, schemas, manifests, drops, configuration."""
    store = Store(str(run))
    read = hashlib.sha256()
    for name, facts in manifests(store).items():
        table = store.table(name)
        read.update(repr((name, facts, list(table.receipts().values()), table.failures())).encode())
        read.update(repr(list(table.dropped())).encode())
        for part in table.parts().values():
            with table.open(part) as file:
                found = pq.read_table(file, page_checksum_verification=True)
            read.update(repr((found.schema, found.schema.metadata, found.to_pylist())).encode())
    read.update(repr((store.config(), deletion.deleted(store))).encode())
    return read.hexdigest()


def flip(file: Path, bit: int) -> bytes:
    """Flip one bit of *file*; returns its previous content."""
    data = file.read_bytes()
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    file.write_bytes(changed)
    return data


def outcome(read: Callable[[Path], str], run: Path, before: str) -> str:
    try:
        return "equal" if read(run) == before else "SILENT"
    except (OSError, ValueError, KeyError, TypeError):
        return "found"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--flips", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(shutil.copytree(given.run, Path(folder, "run")))
        silent = flips(run, given.flips, given.seed)
    sys.exit(1 if silent else 0)


def flips(run: Path, count: int, seed: int) -> int:
    """Flip *count* bits of the run's files, one at a time, and print a table by kind of file.

    Returns:
        The number of silent flips.
    """
    files = [path for path in sorted(run.rglob("*")) if path.is_file() and path.stat().st_size]
    chance = random.Random(seed)
    readers = {"status --verify": checked, "consumer": consumed}
    before = {name: read(run) for name, read in readers.items()}
    results: dict[str, Counter[str]] = {}
    bits = chance.choices(files, [path.stat().st_size for path in files], k=count)
    for file in bits:
        bit = chance.randrange(8 * file.stat().st_size)
        data = flip(file, bit)
        try:
            for name, read in readers.items():
                result = outcome(read, run, before[name])
                results.setdefault(f"{kind(file.relative_to(run))}, {name}", Counter())[result] += 1
                if result == "SILENT":
                    print(f"SILENT: {file.relative_to(run)} bit {bit}, {name}")
        finally:
            file.write_bytes(data)
    for name, found in sorted(results.items()):
        print(f"{name:<32}" + "".join(f"{found[word]:>6} {word}" for word in ("found", "equal", "SILENT")))
    return sum(found["SILENT"] for found in results.values())


if __name__ == "__main__":
    main()
