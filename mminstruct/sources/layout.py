"""Which reader fits what lies at a place."""

from __future__ import annotations

from collections.abc import Collection

from mminstruct.sources.parquet import image_column, schema
from mminstruct.sources.place import TABLES, TARS, Place
from mminstruct.sources.sample import IMAGES


def layout(place: Place, image_columns: Collection[str]) -> str:
    """tar, folder, parquet or urls, by what lies there.

    Raises:
        ValueError: nothing that any layout could read.
    """
    if place.named(*TARS):
        return "tar"
    if place.named(*(f".{extension}" for extension in IMAGES)):
        return "folder"
    tables = place.named(*TABLES)
    if not tables:
        there = ", ".join(list(place.files)[:3]) or "only hidden ones"
        raise ValueError(
            f"path={place.url} holds no archive (.tar, .tar.gz), image, Parquet file or list of addresses; its"
            f" {len(place.files)} files are: {there}. A bare folder name means all below it; names beginning with _ or"
            " . are passed by"
        )
    first = next((name for name in tables if name.endswith(".parquet")), None)
    if first is None:
        return "urls"
    return "parquet" if image_column(schema(place, first), image_columns) else "urls"
