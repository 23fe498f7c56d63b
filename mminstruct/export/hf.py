"""A Hugging Face dataset: Parquet files by split with images inside, and a card.

``datasets.load_dataset(folder)`` reads it offline, the Hub's viewer shows it as it is. Files are cut near 500 MB and
row groups at 100 rows, as the Hub asks for images (docs: image datasets).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from mminstruct.export import ExportError, Funnel, Tables, card, prove_image, prove_turns, replacing, rows, splits
from mminstruct.stages.export import SCHEMA as _SCHEMA

SCHEMA = pa.schema([field.with_nullable(True) for field in _SCHEMA], _SCHEMA.metadata)
"""``datasets`` takes its features from the metadata only for columns that may be null."""
ROW_GROUP = 100
FILE_BYTES = 500_000_000


def write(
    tables: Tables, to: Path, *, funnel: Funnel = (), overwrite: bool = False, file_bytes: int = FILE_BYTES
) -> dict[str, int]:
    """Write ``data/SPLIT-00000-of-0000N.parquet`` and ``README.md``; rows by split."""
    table = tables("export")
    counts = splits(table)
    with replacing(to, overwrite) as folder:
        (folder / "data").mkdir()
        facts = card.Facts(name=to.absolute().name, rows=counts, funnel=funnel)
        for split in counts:
            facts.bytes[split] = _write_split(table, split, folder / "data", file_bytes)
        facts.download = sum(path.stat().st_size for path in (folder / "data").iterdir())
        for column, into in (("licence", facts.licences), ("source", facts.sources)):
            found = table.to_table(columns=[column])[column].value_counts().to_pylist()
            into.update({str(entry["values"] or "unknown"): entry["counts"] for entry in found})
        (folder / "README.md").write_text(card.text(facts), encoding="utf-8")
        prove(folder, counts)
    return counts


def _write_split(table: ds.Dataset, split: str, folder: Path, file_bytes: int) -> int:
    """Write one split; bytes of its columns in memory."""
    writer: pq.ParquetWriter | None = None
    paths: list[Path] = []
    total = size = 0
    group: list[dict[str, object]] = []

    def flush() -> None:
        nonlocal writer, total, size
        block = pa.Table.from_pylist(group, schema=SCHEMA)
        if writer is not None and size + block.nbytes > file_bytes:
            writer.close()
            writer = None
        if writer is None:
            paths.append(folder / f"{split}-{len(paths):05d}")
            writer = pq.ParquetWriter(paths[-1], SCHEMA, compression="snappy", write_page_index=True)
            size = 0
        writer.write_table(block, row_group_size=ROW_GROUP)
        size, total = size + block.nbytes, total + block.nbytes
        group.clear()

    for row in rows(table, split):
        group.append(row)
        if len(group) == ROW_GROUP:
            flush()
    if group:
        flush()
    if writer is not None:
        writer.close()
    for path in paths:
        path.rename(path.with_name(f"{path.name}-of-{len(paths):05d}.parquet"))
    return total


def prove(folder: Path, counts: dict[str, int]) -> None:
    """Read every row back and check it.

    Raises:
        ExportError: naming the row, or the split whose rows are not all there.
    """
    proven: set[bytes] = set()
    for split, wanted in counts.items():
        found: Counter[str] = Counter()
        for row in rows(ds.dataset(sorted((folder / "data").glob(f"{split}-*.parquet")))):
            found[row["pair_id"]] += 1
            prove_turns(row["pair_id"], row["conversations"], 1)
            data = row["image"]["bytes"] or b""
            digest = hashlib.sha256(data).digest()
            if digest not in proven:
                prove_image(row["pair_id"], data)
                proven.add(digest)
        if found.total() != wanted:
            raise ExportError(f"split {split}: {found.total()} rows written of {wanted}")
        if twice := [key for key, count in found.items() if count > 1]:
            raise ExportError(f"row {twice[0]}: {found[twice[0]]} times in split {split}")
