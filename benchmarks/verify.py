"""Measures the cost of verification: reads tables with and without comparing every byte with its digest.

    python benchmarks/verify.py --rounds 5

Three cases: small rows (captions), rows with pixels of which only ids are read, and rows with pixels read completely.
Each is read part by part (``Table.load``), as a whole (``Table.dataset``), and by Arrow alone without verification.
Medians of interleaved rounds; the ratio is the result.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from mminstruct.store.receipt import Receipt
from mminstruct.store.tables import Store, Table

TEXTS = pa.schema([("id", pa.string()), ("caption", pa.string())])
PIXELS = pa.schema([("id", pa.string()), ("image", pa.binary())])
WORDS = ("a", "red", "boat", "on", "the", "lake", "under", "two", "clouds", "and", "one", "bird")


def fill(table: Table, schema: pa.Schema, parts: int, rows: int, size: int) -> None:
    chance = random.Random(0)
    for number in range(parts):
        ids = [chance.randbytes(8).hex() for _ in range(rows)]
        if schema == PIXELS:
            values: list[bytes] | list[str] = [chance.randbytes(size) for _ in range(rows)]
        else:
            values = [" ".join(chance.choices(WORDS, k=size)) for _ in range(rows)]
        key = f"part-{number:05d}"
        part = table.put(key, pa.table([ids, values], schema=schema))
        table.commit(Receipt(key=key, parts=[part], rows_in=rows, kept=rows, dropped={}))


def cpu(do: Callable[[], object]) -> float:
    """CPU seconds of all threads, which other load changes less than wall-clock time."""
    began = time.process_time()
    do()
    return time.process_time() - began


def compare(name: str, table: Table, schema: pa.Schema, columns: list[str], rounds: int) -> None:
    """Print the cost per part with and without verification."""
    some = list(table.parts().values())
    paths = [table.store.path(table.name, part.file) for part in some]
    reads: dict[str, Callable[[], object]] = {
        "parts, verified": lambda: [table.load(part, tuple(columns)) for part in some],
        "parts, straight": lambda: [
            pq.ParquetFile(path, page_checksum_verification=True).read(columns=columns) for path in paths
        ],
        "whole, verified": lambda: table.dataset(schema).to_table(columns=columns),
        "whole, straight": lambda: ds.dataset(paths, schema=schema).to_table(columns=columns),
    }
    times: dict[str, list[float]] = {how: [] for how in reads}
    for _ in range(rounds):
        for how, read in reads.items():
            times[how].append(cpu(read))
    middle = {how: statistics.median(found) * 1000 / len(some) for how, found in times.items()}
    size = sum(part.bytes for part in some) / len(some) / 1e6
    for what in ("parts", "whole"):
        checked, straight = middle[f"{what}, verified"], middle[f"{what}, straight"]
        ratio = f"{checked:.2f} ms CPU a part verified, {straight:.2f} ms straight: {checked / straight:.2f} times"
        print(f"{name} ({size:.2f} MB a part), {what}: {ratio}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        fill(store.table("texts"), TEXTS, 200, 100, 40)
        fill(store.table("pixels"), PIXELS, 40, 100, 30_000)
        compare("texts", store.table("texts"), TEXTS, ["id", "caption"], given.rounds)
        compare("ids beside pixels", store.table("pixels"), PIXELS, ["id"], given.rounds)
        compare("pixels", store.table("pixels"), PIXELS, ["id", "image"], given.rounds)


if __name__ == "__main__":
    main()
