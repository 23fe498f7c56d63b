"""Ingest: images of the real world, checked, made uniform and counted, with whatever came with them."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pyarrow as pa

from mminstruct import schemas
from mminstruct.readers.container import BadImage
from mminstruct.readers.image import EVALUATION, Rules, normalise
from mminstruct.sources import archive, folder, parquet, sidecar, urls
from mminstruct.sources.facts import digest
from mminstruct.sources.fetch import Reach
from mminstruct.sources.layout import describe, layout, listing
from mminstruct.sources.place import Place, Shard, collection, look
from mminstruct.sources.sample import Rule, Sample, ShardError, slugs
from mminstruct.stage import Drop, Read, Rows, Stage, Transform, content_id, made, runtime, where
from mminstruct.text import repair

_LAYOUTS = ("auto", "tar", "folder", "parquet", "urls")
_MOST_MEMBERS = 2_000_000
"""Of one shard: each that is dropped is held in memory until the shard is committed."""
_PILLOW_PIXELS = 178_956_970
"""Where Pillow refuses to decode by itself."""


@dataclass(kw_only=True)
class Ingest(Stage):
    """Reads a collection; one row for each distinct image of a shard, one drop with its reason for every other.

    A shard that ends early fails as a whole: what it held up to there is not taken for all that it holds.
    """

    path: str = where()
    """Folder, file or pattern, on a disk or at any fsspec URL (``s3://bucket/sa1b``)."""
    layout: str = "auto"
    """tar (SA-1B, img2dataset, WebDataset), folder, parquet, urls; auto goes by what lies there."""
    name: str = ""
    """Of the collection, for the column ``source``; '' takes the last piece of the path, of a pattern its folder."""
    licence: str | None = None
    """Of images that bring none of their own."""
    rows: int = 512
    """Images in a part."""
    group: int = 4096
    """Files in a shard of a folder; rows in a shard of a list of addresses."""
    columns: dict[str, str] = field(default_factory=dict)
    """Fields and columns with other than the usual names: any of image, url, alt_text, licence."""
    key: str = "last"
    """Which dot ends the key of a member: last, or first as in WebDataset, for members such as ``7.left.jpg``."""
    checksum: str = ""
    """Sidecar field with a digest (MD5, SHA-1, SHA-256) of the image's bytes as stored. img2dataset's ``sha256`` is one
    only where it did not resize: by default it is of the bytes before."""
    links: bool = False
    """Whether symbolic links to files in a folder are followed; links to folders never are."""
    member_bytes: int = 64 << 20
    """Most bytes of one image file."""
    formats: tuple[str, ...] = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
    """Formats to decode, by their first bytes; TIFF and AVIF can be added."""
    longest: int = 1024
    """Longest side as kept, pixels."""
    shortest: int = 28
    """Least side of an original, pixels."""
    aspect: float = 10.0
    """Most of longer to shorter side."""
    pixels: int = 50_000_000
    """Most pixels of an original."""
    strict: bool = True
    """Whether JPEGs that the decoder warns of are dropped: most damage inside a file shows only so."""
    allow_private: bool = False
    """Whether addresses that are not public may be fetched."""
    redirects: int = 0
    """How many redirects a fetch may follow."""
    seconds: float = 20.0
    """For one fetch."""
    fetch_bytes: int = 20 << 20
    """Most bytes of one fetch."""
    concurrency: int = runtime(32)
    """Fetches at a time on each worker."""

    reads: ClassVar[dict[str, Read]] = {}
    writes: ClassVar[pa.Schema] = schemas.INGEST
    takes: ClassVar[str] = "member"
    core_seconds = 0.06
    """0.03 s was measured for JPEGs of 2250 x 1500 pixels and 0.15 MB; those of SA-1B have 0.4 to 1 MB."""

    def __post_init__(self) -> None:
        self._listed: tuple[Place, dict[str, Shard]] | None = None
        if not self.name and self.path:
            self.name = collection(self.path)

    def check(self) -> None:
        faults = []
        if self.layout not in _LAYOUTS:
            faults.append(f"layout={self.layout}: take one of {', '.join(_LAYOUTS)}")
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
        """Unit key -> what tells whether the shard changed: its name, size, and ETag or time of change.

        Raises:
            ValueError: nothing at ``path``, or nothing that the layout reads.
        """
        place = look(self.path)
        shards = self._shards(place)
        self._listed = place, shards
        return {key: shard.facts for key, shard in shards.items()}

    def content(self, key: str) -> str | None:
        """Digest of the bytes of a shard that ``shards`` named; None on stores, and where it has changed since."""
        if self._listed is None:
            return None
        place, shards = self._listed
        return digest(place, shards[key].read_from) if key in shards else None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_listed": None}  # a listing may hold a million names: workers make their own

    def listing(self) -> dict[str, Any]:
        """Of the files that ``shards`` saw, which is called first where it was not."""
        if self._listed is None:
            self.shards()
        assert self._listed is not None
        place, shards = self._listed
        return listing(place, shards.values())

    def _layout(self, place: Place) -> str:
        return layout(place, self._named("image"), self._named("url")) if self.layout == "auto" else self.layout

    def _named(self, ours: str) -> tuple[str, ...]:
        return (self.columns[ours],) if ours in self.columns else ()

    def _shards(self, place: Place) -> dict[str, Shard]:
        kind = self._layout(place)
        if kind == "tar":
            found = archive.shards(place)
        elif kind == "folder":
            found = folder.shards(place, self._rule, self.group, self.name)
        elif kind == "parquet":
            found = parquet.shards(place)
        else:
            found = urls.shards(place, self.group)
        if not found:
            raise ValueError(f"path={self.path} holds nothing that layout={kind} reads; it holds {describe(place)}")
        shards = {shard.name: shard for shard in found}
        return {key: shards[name] for key, name in slugs(list(shards)).items()}

    @property
    def _rule(self) -> Rule:
        return "first" if self.key == "first" else "last"

    def load(self, **whole: Any) -> Transform:
        place = look(self.path)
        kind = self._layout(place)
        shards = self._shards(place)
        warnings.filterwarnings("ignore", module=r"PIL\.")  # of broken EXIF and such, once for each image

        def ingest(key: str) -> Iterator[Rows]:
            shard = shards.get(key)
            if shard is None:
                raise ValueError(f"shard {key} is no longer at path={self.path}")
            rows: list[dict[str, Any] | Drop] = []
            kept, seen = 0, dict[str, str]()
            for count, one in enumerate(self._read(place, kind, shard), 1):
                if count > _MOST_MEMBERS:
                    raise ShardError(f"{shard.name} holds more than {_MOST_MEMBERS} members: split it")
                row = one if isinstance(one, Drop) else self._row(one, shard, seen)
                rows.append(row)
                kept += not isinstance(row, Drop)
                if kept == self.rows:
                    yield Rows(len(rows), made(schemas.INGEST, rows))
                    rows, kept = [], 0
            if rows:
                yield Rows(len(rows), made(schemas.INGEST, rows))

        return ingest

    def _read(self, place: Place, kind: str, shard: Shard) -> Iterator[Sample | Drop]:
        if kind == "tar":
            return archive.read(place, shard, self._rule, self.member_bytes)
        if kind == "folder":
            return folder.read(place, shard, self._rule, self.member_bytes, self.links)
        if kind == "parquet":
            return parquet.read(place, shard, self._named("image"), self.member_bytes)
        reach = Reach(private=self.allow_private, redirects=self.redirects, seconds=self.seconds, size=self.fetch_bytes)
        columns = self._named("url") or sidecar.GUESSES["url"]
        images = (*self._named("image"), *parquet.IMAGE_COLUMNS)
        return urls.read(place, shard, columns, images, reach, self.concurrency)

    def _row(self, sample: Sample, shard: Shard, seen: dict[str, str]) -> dict[str, Any] | Drop:
        """The sample as a row; *seen* holds the shard's images so far, by id."""
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
