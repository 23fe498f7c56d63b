"""The pictures of a page: small JPEGs as data URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from mminstruct.readers.container import BadImage
from mminstruct.readers.image import load
from mminstruct.store.reader import TableReader, encoded, picture_column

_QUALITY = 80


@dataclass(frozen=True, slots=True)
class Picture:
    """A small JPEG."""

    uri: str
    width: int
    """Pixels."""
    height: int


def pictures(table: TableReader, ids: Iterable[str], longest: int) -> dict[str, Picture | None]:
    """Pictures by image id; None for one that cannot be decoded. Reads pixels of the parts with *ids* only.

    Args:
        table: The table with the images.
        longest: Longest side, pixels.
    """
    (key, *_), column = table.tagged("id"), picture_column(table)
    left = set(ids)
    found: dict[str, Picture | None] = dict.fromkeys(sorted(left))
    for part in table.table.parts().values() if column is not None else ():
        if not left:
            break
        here = left.intersection(table.table.load(part, (key,))[key].to_pylist())
        if here:
            rows = table.dataset(frozenset({part.part})).scanner(
                columns=[key, column], filter=pc.field(key).isin(pa.array(sorted(here), pa.string()))
            )
            for batch in rows.to_batches():
                for row in batch.to_pylist():
                    found[row[key]] = _small(encoded(row[column]), longest)
            left -= here
    return found


def _small(data: bytes | None, longest: int) -> Picture | None:
    try:
        small = load(data or b"", longest=longest)
    except BadImage:
        return None
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=_QUALITY, optimize=True)
    return Picture(f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}", *small.size)
