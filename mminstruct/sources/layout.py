"""The table of sources: which one reads a listing, and which of its files that source does not read."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterable
from typing import Any

from mminstruct import plugin
from mminstruct.sources.archive import TarSource
from mminstruct.sources.folder import FolderSource
from mminstruct.sources.listing import TABLES, TARS, UNFINISHED, Listing, unfinished
from mminstruct.sources.parquet import ParquetSource
from mminstruct.sources.sample import SIDECARS, ignored
from mminstruct.sources.source import ImageSource, Options, Shard
from mminstruct.sources.urls import UrlSource

LAYOUTS: dict[str, type[ImageSource]] = {
    "tar": TarSource,
    "folder": FolderSource,
    "parquet": ParquetSource,
    "urls": UrlSource,
}
"""Sources by the name that ``recipe.ingest.layout`` takes, in the order in which ``auto`` tries them."""

_REASONS = 30
"""Most different reasons in an account; hostile names could make any number of extensions."""
_AFTER = "after the images that images= takes"
_OTHER = "no image by its name: other extensions, or none"


def source_class(layout: str) -> type[ImageSource]:
    """The source that *layout* names: an entry of ``LAYOUTS``, or ``package.module:Class`` from outside the package.

    Raises:
        ValueError: no such entry, module or class, or the class is no complete ``ImageSource``.
    """
    if not plugin.is_outside(layout):
        if layout in LAYOUTS:
            return LAYOUTS[layout]
        known = ", ".join(("auto", *LAYOUTS))
        raise ValueError(f"layout={layout}: take one of {known}, or your own source as package.module:Class")
    found = plugin.load(layout, "layout")
    if not (inspect.isclass(found) and issubclass(found, ImageSource)):
        raise ValueError(f"layout={layout} is no subclass of mminstruct.sources.ImageSource")
    if missing := sorted(found.__abstractmethods__):
        raise ValueError(f"layout={layout} does not implement {', '.join(missing)}")
    return found


def choose(layout: str, listing: Listing, options: Options) -> ImageSource:
    """The source that *layout* names; for ``auto`` the first of ``LAYOUTS`` that recognises the listing.

    Raises:
        ValueError: no source recognises it, or one that does needs a setting.
    """
    if layout != "auto":
        return source_class(layout)(listing, options)
    sources = (source(listing, options) for source in LAYOUTS.values())
    found = next((source for source in sources if source.recognises()), None)
    if found is None:
        raise ValueError(
            f"path={listing.url} holds no archive (.tar, .tar.gz), image, Parquet file or list of addresses; it holds"
            f" {describe(listing)}. The path of a folder includes all folders below it"
        )
    return found


def describe(listing: Listing) -> str:
    """The first names of a listing, and the most common reasons for which files are not read."""
    names = ", ".join(list(listing.files)[:3])
    reasons = Counter(listing.passed.values()).most_common(3)
    said = [f"{len(listing.files)} files ({names})"] if names else []
    return ", ".join([*said, *(f"{count} x {reason}" for reason, count in reasons)])


def account(listing: Listing, shards: Iterable[Shard], later: Iterable[Shard] = ()) -> dict[str, Any]:
    """How many listed files are read, and how many are not, for which reason.

    Args:
        later: Those of *shards* that the run does not read, because it has its images (``images=N``).

    Returns:
        ``files`` listed, ``shards``, files ``read`` by them, and files ``passed`` by, reason to count. Always
        ``files == read + sum(passed.values())``.
    """
    after = set(later)
    shards = [shard for shard in shards if shard not in after]
    read = {name for shard in shards for name in shard.read_from}
    passed = {name for shard in after for name in shard.read_from} - read
    reasons = Counter(listing.passed.values())
    reasons.update(_AFTER if name in passed else _unread(name) for name in listing.files if name not in read)
    most = dict(reasons.most_common(_REASONS))
    if rest := reasons.total() - sum(most.values()):
        most[_OTHER] = most.get(_OTHER, 0) + rest
    return {
        "files": len(listing.files) + len(listing.passed),
        "shards": len(shards),
        "read": len(read & set(listing.files)),
        "passed": most,
    }


def _unread(name: str) -> str:
    """Why a file that may be data is in no shard of the layout that was taken."""
    lower = name.lower()
    _, dot, extension = lower.rpartition("/")[2].rpartition(".")
    if ignored(name):
        return "README or licence"
    if lower.endswith((*TARS, *TABLES)) and extension not in SIDECARS and unfinished(name):
        return UNFINISHED
    if layouts := [layout for layout, source in LAYOUTS.items() if lower.endswith(source.endings)]:
        return f"{LAYOUTS[layouts[0]].what}: read it by layout={', or layout='.join(layouts)}"
    return f"no image by its name: .{extension}" if dot and extension.isalnum() and len(extension) < 12 else _OTHER
