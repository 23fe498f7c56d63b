"""How a changed shard is noticed: by names within the listing, sizes, and ETags or bytes; never by the path."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from typing import Any

from fsspec.implementations.local import LocalFileSystem

from mminstruct import content
from mminstruct.sources.listing import File, Listing
from mminstruct.sources.source import Shard
from mminstruct.stage import CHANGED, content_id


def facts(listing: Listing, shard: Shard) -> dict[str, Any]:
    """Facts of *shard* and of all files that it is read from.

    On a local disk: names, sizes, and the files' modification times (``CHANGED``). The times are only a hint: where
    they alone differ, the bytes are compared. On a remote store: names, sizes and ETags.
    """
    files = sorted((name, listing.files[name]) for name in shard.read_from)
    found: dict[str, Any] = {}
    if shard.rows is not None:
        start, stop = shard.rows
        found["rows"] = max(0, stop - start)
    found |= {"shard": shard.name, "files": len(files), "bytes": sum(file.size for _, file in files)}
    if len(files) > 1:
        found["names"] = content_id(*(f"{name} {file.size}" for name, file in files))
    stamps = [f"{name} {_stamp(file)}" for name, file in files]
    return {**found, CHANGED if _local(listing) else "stamp": content_id(*stamps)}


def digest(listing: Listing, names: Iterable[str]) -> str | None:
    """First 16 hex digits of a SHA-256 over the bytes of these files; None on a remote store, which has ETags.

    None, too, where a file has changed since it was listed: then it is unknown which bytes were read.
    """
    files = {name: listing.files[name] for name in sorted(names)}
    if not _local(listing):
        return None
    try:
        found = content.hashes(file.path for file in files.values())
        if any(str(os.stat(file.path).st_mtime) != _stamp(file) for file in files.values()):
            return None
    except OSError:
        return None
    return content_id(*(f"{name} {found[file.path]}" for name, file in files.items()))


def _stamp(file: File) -> str:
    """For a link, the modification time of its target: the listing has that of the link itself."""
    if not file.link:
        return file.stamp
    with contextlib.suppress(OSError):
        return str(os.stat(file.path).st_mtime)
    return ""


def _local(listing: Listing) -> bool:
    return isinstance(listing.fs, LocalFileSystem)
