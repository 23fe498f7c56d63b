"""Which reader fits what lies at a place, and what of it that reader passes by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from typing import Any

from mminstruct.readers.text import Unreadable
from mminstruct.sources.parquet import has_addresses, image_column, schema
from mminstruct.sources.place import TABLES, TARS, UNFINISHED, Place, Shard, unfinished
from mminstruct.sources.sample import IMAGES, SIDECARS, ignored
from mminstruct.sources.sidecar import GUESSES

_REASONS = 30
"""Most different reasons in a listing; hostile names could make any number of extensions."""

_OTHER = "no image by its name: other extensions, or none"


def layout(place: Place, image_columns: Collection[str], url_columns: Collection[str]) -> str:
    """tar, folder, parquet or urls, by what lies there.

    Raises:
        ValueError: nothing that any layout could read.
    """
    if place.finished(*TARS):
        return "tar"
    if place.named(*(f".{extension}" for extension in IMAGES)):
        return "folder"
    if not [name for name in place.finished(*TABLES) if not ignored(name)]:
        raise ValueError(
            f"path={place.url} holds no archive (.tar, .tar.gz), image, Parquet file or list of addresses; it holds"
            f" {describe(place)}. A bare folder name means all below it"
        )
    columns: list[str] = []
    for name in place.finished(".parquet"):
        try:
            found = schema(place, name)
        except (Unreadable, OSError):  # this file will fail by its name; another may show the layout
            columns = columns or ["(unreadable)"]
            continue
        if column := image_column(found, image_columns):
            return "urls" if has_addresses(place, name, column) else "parquet"
        if set(found.names) & set(url_columns or GUESSES["url"]):
            return "urls"
        columns = found.names
    if not columns or columns == ["(unreadable)"]:
        return "parquet" if columns else "urls"
    raise ValueError(
        f"path={place.url}: its Parquet files have neither images nor addresses in a column that is known; name one,"
        f" columns.image=NAME or columns.url=NAME; there are {', '.join(columns)}"
    )


def describe(place: Place) -> str:
    """The first names at a place, and how many are passed by for which reason."""
    names = ", ".join(list(place.files)[:3])
    reasons = Counter(place.passed.values()).most_common(3)
    said = [f"{len(place.files)} files ({names})"] if names else []
    return ", ".join([*said, *(f"{count} x {reason}" for reason, count in reasons)])


def listing(place: Place, shards: Iterable[Shard]) -> dict[str, Any]:
    """What became of every file that a place lists: ``files == read + sum(passed.values())``.

    Returns:
        ``files`` listed, ``shards``, files ``read`` by them, and files ``passed`` by, reason to count.
    """
    shards = list(shards)
    taken = {name for shard in shards for name in (*shard.files, *shard.tables)}
    reasons = Counter(place.passed.values())
    reasons.update(_unread(name) for name in place.files if name not in taken)
    most = dict(reasons.most_common(_REASONS))
    if rest := reasons.total() - sum(most.values()):
        most[_OTHER] = most.get(_OTHER, 0) + rest
    read = len(taken & set(place.files))
    return {"files": len(place.files) + len(place.passed), "shards": len(shards), "read": read, "passed": most}


def _unread(name: str) -> str:
    """Why a file that may be data is in no shard of the layout that was taken."""
    lower = name.lower()
    extension = lower.rpartition("/")[2].rpartition(".")[2] if "." in lower.rpartition("/")[2] else ""
    if ignored(name):
        return "README or licence"
    if lower.endswith((*TARS, *TABLES)) and extension not in SIDECARS and unfinished(name):
        return UNFINISHED
    if lower.endswith(TARS):
        return "archive: read it by layout=tar"
    if extension in IMAGES:
        return "image: read it by layout=folder"
    if extension == "parquet":
        return "Parquet file: read it by layout=parquet, or layout=urls"
    if lower.endswith(TABLES):
        return "list: read it by layout=urls"
    return f"no image by its name: .{extension}" if extension.isalnum() and len(extension) < 12 else _OTHER
