"""ShareGPT for LLaMA-Factory: JSON Lines, images as files, and ``dataset_info.json`` with the names of the columns.

``images`` is always a list, empty for text only: LLaMA-Factory requires the column in every row.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from mminstruct.export.card import CardFacts
from mminstruct.export.images import place
from mminstruct.export.records import own, row_of
from mminstruct.export.row import Row

FILES = "{split}.jsonl"
USE = "LLaMA-Factory: `dataset_dir: .`, `media_dir: .`, `dataset: NAME_train` (dataset_info.json has the names)"


def write(rows: Iterator[Row], folder: Path, split: str) -> None:
    with open(folder / FILES.format(split=split), "w", encoding="utf-8") as file:
        for row in rows:
            images = [place(image, folder) for image in row.images]
            record = {"id": row.id, "conversations": row.turns, "images": images, **row.provenance()}
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def read(folder: Path, split: str) -> Iterator[Row]:
    for record in own(folder / FILES.format(split=split)):
        yield row_of(record, folder)


def finish(folder: Path, facts: CardFacts) -> None:
    """Write ``dataset_info.json`` (LLaMA-Factory, data/README.md)."""
    columns = {"messages": "conversations", "images": "images"}
    tags = {"role_tag": "from", "content_tag": "value", "user_tag": "human", "assistant_tag": "gpt"}
    entry = {"formatting": "sharegpt", "columns": columns, "tags": tags}
    info = {f"{facts.name}_{split}": {"file_name": FILES.format(split=split), **entry} for split in facts.rows}
    (folder / "dataset_info.json").write_text(json.dumps(info, indent=1, ensure_ascii=False), encoding="utf-8")
