"""LLaVA's format: one JSON list of conversations per split, and images as files.

A conversation has at most one image: LLaVA-1.5's loader opens one file, and treats every record with the key ``image``
as having an image.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from mminstruct.export.images import place
from mminstruct.export.records import own, row_of
from mminstruct.export.row import Row
from mminstruct.readers.conversation import InvalidRow

FILES = "{split}.json"
IMAGES = 1
USE = "LLaVA: `--data_path train.json --image_folder .`; here: `mminstruct train`"


def write(rows: Iterator[Row], folder: Path, split: str) -> None:
    with open(folder / FILES.format(split=split), "w", encoding="utf-8") as file:
        for number, row in enumerate(rows):
            if len(row.images) > IMAGES:
                raise InvalidRow("images", f"{len(row.images)} images: LLaVA takes one; the format swift takes several")
            image = {"image": place(row.images[0], folder)} if row.images else {}
            record = {"id": row.id, **image, "conversations": row.turns, **row.provenance()}
            file.write(",\n" if number else "[\n")
            json.dump(record, file, ensure_ascii=False)
        file.write("\n]\n")


def read(folder: Path, split: str) -> Iterator[Row]:
    for record in own(folder / FILES.format(split=split)):
        yield row_of(record, folder)
