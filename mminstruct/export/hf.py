"""A Hugging Face dataset: Parquet files by split, with images inside.

``datasets.load_dataset(folder)`` reads it offline, and the Hub's viewer can show it. Files have about 500 MB and row
groups 100 rows, as the Hub recommends for images (docs: image datasets).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from mminstruct.export import croissant
from mminstruct.export.card import CardFacts
from mminstruct.export.row import PROVENANCE, TURNS, Image, Row
from mminstruct.export.shards import shards
from mminstruct.readers.conversation import InvalidRow
from mminstruct.stages.export import SCHEMA as _SCHEMA

SCHEMA = pa.schema([field.with_nullable(True) for field in _SCHEMA], _SCHEMA.metadata)
"""``datasets`` reads features from the metadata only if the columns are nullable."""
FILES = "data/{split}-*.parquet"
USE = '`datasets.load_dataset("NAME", split="train")`: `["image"]` is decoded, `["conversations"]` the turns'
IMAGES = 1
ROW_GROUP = 100
FILE_BYTES = 500_000_000


def write(rows: Iterator[Row], folder: Path, split: str, *, file_bytes: int = FILE_BYTES) -> None:
    """Write ``data/SPLIT-00000-of-0000N.parquet``."""
    (folder / "data").mkdir(exist_ok=True)
    records = (_record(row, split) for row in rows)
    blocks = (
        pa.Table.from_pylist(group, schema=SCHEMA) for group in iter(lambda: list(islice(records, ROW_GROUP)), [])
    )
    paths = []
    for number, tables in shards(((block.nbytes, block) for block in blocks), file_bytes, 1 << 30):
        paths.append(folder / "data" / f"{split}-{number:05d}")
        with pq.ParquetWriter(paths[-1], SCHEMA, compression="snappy", write_page_index=True) as writer:
            for table in tables:
                writer.write_table(table, row_group_size=ROW_GROUP)
    for path in paths:
        path.rename(path.with_name(f"{path.name}-of-{len(paths):05d}.parquet"))


def _record(row: Row, split: str) -> dict[str, Any]:
    if len(row.images) > IMAGES:
        raise InvalidRow("images", f"{len(row.images)} images: hf takes one per row; the format swift takes several")
    image = {"bytes": row.images[0].read(), "path": row.images[0].name} if row.images else None
    return {"pair_id": row.id, "image": image, "conversations": row.turns, "split": split, **row.provenance()}


def read(folder: Path, split: str) -> Iterator[Row]:
    files = sorted(folder.glob(FILES.format(split=split)))
    if files:
        yield from rows(ds.dataset(files, schema=SCHEMA))


def finish(folder: Path, facts: CardFacts) -> None:
    """Add the size of each split to *facts*, and write ``croissant.json``."""
    for split in facts.rows:
        footers = map(pq.read_metadata, sorted(folder.glob(FILES.format(split=split))))
        groups = (footer.row_group(number) for footer in footers for number in range(footer.num_row_groups))
        facts.sizes[split] = sum(group.total_byte_size for group in groups)
    (folder / "croissant.json").write_text(croissant.text(facts), encoding="utf-8")


def rows(table: ds.Dataset, **scan: Any) -> Iterator[Row]:
    """Rows of a table with the columns of ``schemas.EXPORT``, in order, with 100 rows in memory at a time.

    Args:
        scan: arguments of ``pyarrow.dataset.Dataset.scanner``. Without the column ``image``, images are named by id.
    """
    for batch in batches(table, **scan):
        for found in batch.to_pylist():
            image = found.get("image", {"bytes": None, "path": found["image_id"]})
            yield Row(
                id=found["pair_id"],
                turns=found["conversations"],
                images=() if image is None else (Image(image["path"] or "", data=image["bytes"] or b""),),
                questions=found.get(TURNS),  # absent in exports of earlier versions
                **{name: found[name] for name in PROVENANCE},
            )


def batches(table: ds.Dataset, **scan: Any) -> Iterator[pa.RecordBatch]:
    """Batches, read one row group at a time: a scan of the whole table would read up to 1 GiB ahead.

    Uses new fragments, because those of the table would keep the metadata of every file, 46 KB per part.
    """
    for fragment in table.get_fragments():
        groups = [fragment]
        if isinstance(fragment, ds.ParquetFileFragment):
            groups = fragment.format.make_fragment(fragment.path, fragment.filesystem).split_by_row_group()
        for group in groups:
            yield from group.to_batches(schema=table.schema, batch_size=ROW_GROUP, batch_readahead=1, **scan)
