"""By what a change of a shard is seen: names within the source, sizes, ETags or bytes; never the path."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from typing import Any

from fsspec.implementations.local import LocalFileSystem

from mminstruct import content
from mminstruct.sources.place import File, Place
from mminstruct.stage import CHANGED, content_id


def facts(place: Place, shard: str, names: Iterable[str]) -> dict[str, Any]:
    """Facts of a shard that is read from these files of *place*.

    On a disk names and sizes, and when the files were changed (``CHANGED``): a hint only, since where it differs the
    bytes are compared. On a store names, sizes and ETags.
    """
    files = {name: place.files[name] for name in names}
    found: dict[str, Any] = {"shard": shard, "files": len(files), "bytes": sum(file.size for file in files.values())}
    if len(files) > 1:
        found["names"] = content_id(*(f"{name} {file.size}" for name, file in sorted(files.items())))
    stamps = [f"{name} {_stamp(file)}" for name, file in sorted(files.items())]
    return {**found, CHANGED if _local(place) else "stamp": content_id(*stamps)}


def digest(place: Place, names: Iterable[str]) -> str | None:
    """SHA-256 over the bytes of these files, 16 hex digits; None where the place is a store, which has ETags.

    None, too, where a file is not what it was when *place* was listed: then it is unknown which bytes were read.
    """
    files = {name: place.files[name] for name in sorted(names)}
    if not _local(place):
        return None
    try:
        found = content.hashes(file.path for file in files.values())
        if any(str(os.stat(file.path).st_mtime) != _stamp(file) for file in files.values()):
            return None
    except OSError:
        return None
    return content_id(*(f"{name} {found[file.path]}" for name, file in files.items()))


def _stamp(file: File) -> str:
    """Of a link, when its target was changed: the listing has the time of the link itself."""
    if not file.link:
        return file.stamp
    with contextlib.suppress(OSError):
        return str(os.stat(file.path).st_mtime)
    return ""


def _local(place: Place) -> bool:
    return isinstance(place.fs, LocalFileSystem)
