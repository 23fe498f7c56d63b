"""ms-swift's standard format, OpenAI messages: JSON Lines with ``messages`` and ``images``, and images as files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from mminstruct.export.images import place
from mminstruct.export.records import own, row_of
from mminstruct.export.row import Row

FILES = "{split}.jsonl"
USE = "ms-swift: `ROOT_IMAGE_DIR=. swift sft --dataset train.jsonl`"
_ROLES = {"human": "user", "gpt": "assistant"}


def write(rows: Iterator[Row], folder: Path, split: str) -> None:
    with open(folder / FILES.format(split=split), "w", encoding="utf-8") as file:
        for row in rows:
            messages = [{"role": _ROLES[turn["from"]], "content": turn["value"]} for turn in row.turns]
            images = [place(image, folder) for image in row.images]
            record = {"id": row.id, "messages": messages, "images": images, **row.provenance()}
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def read(folder: Path, split: str) -> Iterator[Row]:
    for record in own(folder / FILES.format(split=split)):
        yield row_of(record, folder)
