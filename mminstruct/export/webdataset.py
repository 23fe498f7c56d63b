"""WebDataset: tar files of samples; a sample is an image and a JSON record with the same key.

Keys are consecutive numbers, because ids may contain dots, which would end a key. All shards of a split except the
last are full.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

from mminstruct.export.records import provenance
from mminstruct.export.row import Image, Row
from mminstruct.export.shards import shards
from mminstruct.readers import conversation, text
from mminstruct.readers.values import parse

FILES = "{split}-*.tar"
USE = 'webdataset: `wds.WebDataset("train-{000000..000009}.tar").decode("pil")`, with the number of the last shard'
SHARD_BYTES = 1_000_000_000
SHARD_ROWS = 10_000


def write(
    rows: Iterator[Row], folder: Path, split: str, *, shard_bytes: int = SHARD_BYTES, shard_rows: int = SHARD_ROWS
) -> None:
    weighed = ((sum(len(data) for _, data in members), members) for members in map(_members, rows))
    number = 0
    for shard, samples in shards(weighed, shard_bytes, shard_rows):
        with tarfile.open(folder / f"{split}-{shard:06d}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            for members in samples:
                for ending, data in members:
                    info = tarfile.TarInfo(f"{number:09d}.{ending}")  # time, owner and mode are constant
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
                number += 1


def _members(row: Row) -> list[tuple[str, bytes]]:
    """Extension and content: ``jpg``, or ``0.jpg``, ``1.jpg``, … for several images; then ``json``."""
    several = len(row.images) > 1
    named = [(f"{n}." * several + Path(image.name).suffix[1:], image.read()) for n, image in enumerate(row.images)]
    names = {"images": [image.name for image in row.images]} if row.images else {}
    record = {"id": row.id, "conversations": row.turns, **names, **row.provenance()}
    return [*named, ("json", json.dumps(record, ensure_ascii=False).encode())]


def read(folder: Path, split: str) -> Iterator[Row]:
    for path in sorted(folder.glob(FILES.format(split=split))):
        with tarfile.open(path, "r|") as tar:
            images: list[bytes] = []
            for member in tar:
                file = tar.extractfile(member)
                data = file.read() if file is not None else b""
                if not re.fullmatch(r"\d{9}\.json", member.name):
                    images.append(data)
                    continue
                record = parse(text.decode(data, member.name), f"{path}: {member.name}")
                found = conversation.read(record)
                shown = zip(found.images, images, strict=True)
                yield Row(
                    id=found.id,
                    turns=found.turns,
                    images=tuple(Image(name, data=image) for name, image in shown),
                    **provenance(record),
                )
                images = []
