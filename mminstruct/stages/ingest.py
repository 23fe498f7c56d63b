"""Reads images from outside, validates and normalises them, and keeps their texts and metadata."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pyarrow as pa

from mminstruct import schemas
from mminstruct.readers.container import BadImage
from mminstruct.readers.image import EVALUATION, Rules, normalise
from mminstruct.sources import sidecar
from mminstruct.sources.facts import digest, facts
from mminstruct.sources.fetch import Reach
from mminstruct.sources.layout import account, choose, describe, source_class
from mminstruct.sources.listing import collection, list_path
from mminstruct.sources.sample import Sample, ShardError, slugs
from mminstruct.sources.source import ImageSource, Options, Shard
from mminstruct.stage import Drop, Read, Rows, Stage, Transform, content_id, output, runtime, where
from mminstruct.text import repair
from mminstruct.unit import BEYOND, UNIT

_MOST_MEMBERS = 2_000_000
"""Limit per shard: dropped members are held in memory until the shard is committed."""
_PILLOW_PIXELS = 178_956_970
"""Pillow itself refuses to decode larger images."""


@dataclass(kw_only=True)
class Ingest(Stage):
    """Reads a collection: one row for each distinct image of a shard, one drop with its reason for each other member.

    A truncated shard fails as a whole, so that it never counts as complete.
    """

    path: str = where()
    """Folder, file or pattern, on a disk or at any fsspec URL (``s3://bucket/sa1b``)."""
    layout: str = "auto"
    """tar (SA-1B, img2dataset, WebDataset), folder, parquet, urls; auto takes the first of these that recognises the
    files; package.module:Class is a custom source (docs/sources.md)."""
    name: str = ""
    """Name of the collection, for the column ``source``. Empty: last part of the path; for a pattern, of its folder."""
    licence: str | None = None
    """Licence of images whose metadata has none."""
    rows: int = 512
    """Images in a part."""
    group: int = 4096
    """Files in a shard of a folder; rows in a shard of a list of addresses."""
    columns: dict[str, str] = field(default_factory=dict)
    """Non-standard names of fields and columns in the source: keys are any of image, url, alt_text, licence."""
    key: str = "last"
    """Dot at which the key of a member ends: last, or first as in WebDataset, for members such as ``7.left.jpg``."""
    checksum: str = ""
    """Sidecar field with a digest (MD5, SHA-1, SHA-256) of the image's bytes as stored. img2dataset's ``sha256``
    qualifies only if img2dataset did not resize: by default it is the digest of the original bytes."""
    links: bool = False
    """Whether symbolic links to files in a folder are followed; links to folders never are."""
    member_bytes: int = 64 << 20
    """Largest image file, bytes."""
    formats: tuple[str, ...] = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
    """Formats to decode, detected from the first bytes; TIFF and AVIF can be added."""
    longest: int = 1024
    """Longest side of a stored image, pixels; larger images are scaled down."""
    shortest: int = 28
    """Minimum length of the shorter side of an original, pixels."""
    aspect: float = 10.0
    """Largest ratio of the longer to the shorter side."""
    pixels: int = 50_000_000
    """Maximum number of pixels of an original."""
    strict: bool = True
    """Whether to drop JPEGs on a decoder warning: most damage inside a file causes only a warning."""
    allow_private: bool = False
    """Whether addresses that are not public may be fetched."""
    redirects: int = 0
    """How many redirects a fetch may follow."""
    seconds: float = 20.0
    """Timeout of one fetch."""
    fetch_bytes: int = 20 << 20
    """Maximum size of one fetch, bytes."""
    concurrency: int = runtime(32)
    """Concurrent fetches on each worker."""

    reads: ClassVar[dict[str, Read]] = {}
    writes: ClassVar[pa.Schema] = schemas.INGEST
    row_key: ClassVar[str] = "member"
    counts_images = True
    core_seconds = 0.06
    """0.03 s was measured for JPEGs of 2250 x 1500 pixels and 0.15 MB; SA-1B's have 0.4 to 1 MB."""

    def __post_init__(self) -> None:
        self._listed: tuple[ImageSource, dict[str, Shard]] | None = None
        if not self.name and self.path:
            self.name = collection(self.path)

    def check(self) -> None:
        faults = []
        if self.layout != "auto":
            try:
                source_class(self.layout)
            except ValueError as error:
                faults.append(str(error))
        if self.key not in ("last", "first"):
            faults.append(f"key={self.key}: take last or first")
        if unknown := set(self.formats) - set(EVALUATION.formats):
            known = ", ".join(EVALUATION.formats)
            faults.append(f"formats names {', '.join(sorted(unknown))}: take any of {known}")
        if not self.formats:
            faults.append("formats is empty: name at least one, such as JPEG")
        if not self.path:
            faults.append("path is empty: give a folder, a file or a URL")
        sizes = ("rows", "group", "member_bytes", "longest", "shortest", "aspect", "pixels")
        for name in (*sizes, "seconds", "fetch_bytes", "concurrency"):
            if getattr(self, name) <= 0:
                faults.append(f"{name}={getattr(self, name)}: it must be positive")
        if self.pixels > _PILLOW_PIXELS:
            faults.append(f"pixels={self.pixels}: at most {_PILLOW_PIXELS}, where the decoder itself stops")
        if unknown := set(self.columns) - {"image", "url", "alt_text", "licence"}:
            faults.append(f"columns names {', '.join(sorted(unknown))}: it may name image, url, alt_text, licence")
        if faults:
            raise ValueError("\n".join(faults))

    def shards(self) -> dict[str, dict[str, Any]]:
        """Unit key -> facts that show whether the shard changed: names, sizes, and ETags or modification times.

        Raises:
            ValueError: ``path`` does not exist, or holds nothing that the layout reads.
        """
        source, shards = self._listed = self._list()
        return {key: facts(source.listing, shard) for key, shard in shards.items()}

    def content(self, key: str) -> str | None:
        """Digest of the bytes of a shard; None on remote stores, and if it is new or changed since ``shards`` ran."""
        if self._listed is None:
            return None
        source, shards = self._listed
        return digest(source.listing, shards[key].read_from) if key in shards else None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_listed": None}  # a listing may hold a million names: each worker lists again

    def listing(self, taken: Collection[str] | None = None) -> dict[str, Any]:
        """Numbers of files listed and read, and why the others are not read. Lists the source if needed."""
        if self._listed is None:
            self._listed = self._list()
        source, shards = self._listed
        later = [shard for key, shard in shards.items() if taken is not None and key not in taken]
        return account(source.listing, shards.values(), later)

    def _list(self) -> tuple[ImageSource, dict[str, Shard]]:
        """The source, and its shards by unit key."""
        source = choose(self.layout, list_path(self.path), self._options)
        shards = {shard.name: shard for shard in source.shards()}
        if not shards:
            there = describe(source.listing)
            what = source.what or "shard"
            raise ValueError(f"path={self.path} holds no {what}, as layout={self.layout} reads; it holds {there}")
        return source, {key: shards[name] for key, name in slugs(list(shards)).items()}

    @property
    def _options(self) -> Options:
        return Options(
            name=self.name, rule="first" if self.key == "first" else "last", group=self.group, columns=self.columns,
            links=self.links, member_bytes=self.member_bytes, concurrency=self.concurrency,
            reach=Reach(
                private=self.allow_private, redirects=self.redirects, seconds=self.seconds, size=self.fetch_bytes
            ),
        )  # fmt: skip

    def load(self, **whole: Any) -> Transform:
        source, shards = self._list()
        warnings.filterwarnings("ignore", module=r"PIL\.")  # for each image with broken EXIF, for example

        def ingest(key: str) -> Iterator[Rows]:
            shard = shards.get(key)
            if shard is None:
                raise ValueError(f"shard {key} is no longer at path={self.path}")
            rows: list[dict[str, Any] | Drop] = []
            kept, seen = 0, dict[str, str]()
            unit = UNIT.get()
            for count, one in enumerate(source.read(shard), 1):
                if count > _MOST_MEMBERS:
                    raise ShardError(f"{shard.name} holds more than {_MOST_MEMBERS} members: split it")
                if unit is not None and unit.images == len(seen) and isinstance(one, Sample):
                    unit.enough = True
                    one = Drop(one.member, BEYOND, f"the run takes {unit.images} images of this shard")
                row = one if isinstance(one, Drop) else self._row(one, shard, seen)
                rows.append(row)
                kept += not isinstance(row, Drop)
                if kept == self.rows:
                    yield Rows(len(rows), output(schemas.INGEST, rows))
                    rows, kept = [], 0
            if rows:
                yield Rows(len(rows), output(schemas.INGEST, rows))

        return ingest

    def _row(self, sample: Sample, shard: Shard, seen: dict[str, str]) -> dict[str, Any] | Drop:
        """The sample as a row; *seen* is the shard's images so far, id to member name."""
        image_id = content_id(sample.data)
        if image_id in seen:
            return Drop(sample.member, "dup_exact", f"the same bytes as {seen[image_id]}")
        try:
            described = sidecar.describe(sample, self.columns, self.checksum)
            picture = normalise(sample.data, self._rules)
        except BadImage as error:
            return Drop(sample.member, error.reason, repair(error.detail))
        seen[image_id] = sample.member
        row = {
            "image_id": image_id,
            **{name.name: getattr(picture, name.name) for name in dataclasses.fields(picture)},
            **{name.name: getattr(described, name.name) for name in dataclasses.fields(described)},
            "source": self.name,
            "shard": repair(shard.name),
            "member": sample.member,
        }
        row["licence"] = row["licence"] or self.licence
        return row

    @property
    def _rules(self) -> Rules:
        return Rules(
            formats=tuple(self.formats), pixels=self.pixels, longest=self.longest, shortest=self.shortest,
            aspect=self.aspect, strict=self.strict,
        )  # fmt: skip
