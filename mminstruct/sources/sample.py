"""What every source yields: samples, each an image with what came with it, and drops for whatever cannot be one.

Images and their sidecars meet here by key: the member's name without its extension.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from mminstruct.readers.container import IMAGES as IMAGES
from mminstruct.readers.container import sniff
from mminstruct.readers.text import Unreadable
from mminstruct.stage import Drop, content_id, note
from mminstruct.text import repair

TEXTS = frozenset(("txt", "caption"))
SIDECARS = TEXTS | {"json"}
_NOT_DATA = re.compile(
    r"(?:^|/)(?:\._.*|__MACOSX/.*|\.DS_Store|Thumbs\.db|desktop\.ini"
    r"|(?:readme|licen[cs]e|copying|changelog)(?:\.\w+)?)$",
    re.I,
)
_ENDING = re.compile(r"\.(?:tar|tar\.gz|tgz|parquet|csv|tsv|jsonl|txt)(?=$|:)", re.I)
_SIDECAR_BYTES = 4 << 20
_WINDOW_BYTES = 64 << 20
_WINDOW_KEYS = 4096
"""How much waits for sidecars that do not stand next to their image."""

Rule = Literal["last", "first"]
"""Which dot ends the key of a dotted name: ``a.b.jpg`` is ``a.b`` by the last, ``a`` by the first (WebDataset)."""


class ShardError(Unreadable):
    """A shard that cannot be read to its end: the message says where, and how to mend it."""


@dataclass(slots=True, kw_only=True)
class Sample:
    """An image's original bytes, and what came with it."""

    member: str
    """As stored: repaired, and different from all others of its shard."""
    name: str
    """As found."""
    key: str
    """Name without extension."""
    data: bytes
    json: bytes | None = None
    text: bytes | None = None
    row: dict[str, Any] = field(default_factory=dict)
    """Columns of the table that it came with or from."""


class Names:
    """Gives each member a name fit to store, none twice; names are never used as paths."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def __call__(self, raw: str, where: str | int) -> str:
        """*raw* repaired; where that name is taken, or nothing is left of it, with *where* it was found."""
        name = repair(raw.encode("utf-8", "surrogateescape").decode("utf-8", "replace") if _broken(raw) else raw)
        if name != raw:
            note("member_renamed")
        name = name[:1000]
        if not name or name in self._taken:
            name = f"{name}@{where}"
        self._taken.add(name)
        return name


def _broken(text: str) -> bool:
    return any("\ud800" <= letter <= "\udfff" for letter in text)


@dataclass(slots=True)
class _Group:
    member: str = ""
    name: str = ""
    image: bytes | None = None
    json: bytes | None = None
    text: bytes | None = None
    first: str = ""
    """The sidecar that opened it."""
    size: int = 0


class Gather:
    """Brings images and sidecars of a shard together, in whatever order they come, in bounded memory.

    Every image candidate becomes a sample or a drop, and so does every key that has sidecars alone (``no_image``).
    Of two members of one name, or two images of one key, the first counts.
    """

    def __init__(self, rule: Rule, member_bytes: int) -> None:
        self.rule, self.member_bytes = rule, member_bytes
        self.names = Names()
        self.keys: set[str] = set()
        """Of all image candidates so far, whatever became of them."""
        self._raw: set[str] = set()
        self._groups: dict[str, _Group] = {}
        self._held = 0

    def wanted(self, name: str, size: int) -> bool:
        """Whether to read a member's bytes at all."""
        limit = _SIDECAR_BYTES if split(name, self.rule)[1] in SIDECARS else self.member_bytes
        return size <= limit and not ignored(name)

    def refuse(self, name: str, where: str | int, reason: str, detail: str) -> Drop:
        return Drop(self.names(name, where), reason, detail)

    def add(self, name: str, where: str | int, size: int, data: bytes | None) -> Iterator[Sample | Drop]:
        """Take in a member; *data* is None for one that is not ``wanted``."""
        if ignored(name):
            note("member_ignored")
            return
        key, extension = split(name, self.rule)
        sidecar = extension in SIDECARS
        if not sidecar and data is not None and extension not in IMAGES and sniff(data) is None:
            note("member_ignored")
            return
        if name in self._raw:
            if sidecar:
                note("sidecar_repeated")
            else:
                yield self.refuse(name, where, "dup_member", f"a second member of this name, {size} bytes")
            return
        self._raw.add(name)
        if sidecar:
            self._add_sidecar(name, key, extension, data)
        elif data is None:
            self.keys.add(key)
            yield self.refuse(name, where, "member_too_big", f"{size} bytes; at most {self.member_bytes}")
        elif key in self.keys:
            detail = f"another image has the key {key!r} by the {self.rule} dot"
            yield self.refuse(name, where, "key_ambiguous", detail)
        else:
            self.keys.add(key)
            group = self._groups.setdefault(key, _Group())
            group.member, group.name, group.image = self.names(name, where), name, data
            self._hold(group, len(data))
        yield from self._overflow()

    def _add_sidecar(self, name: str, key: str, extension: str, data: bytes | None) -> None:
        if data is None:
            note("sidecar_too_big")
            data = b""
        if key in self.keys and key not in self._groups:
            note("sidecar_late")
            return
        group = self._groups.setdefault(key, _Group())
        group.first = group.first or name
        kind = "json" if extension == "json" else "text"
        if getattr(group, kind) is None:
            setattr(group, kind, data)
            self._hold(group, len(data))

    def _hold(self, group: _Group, size: int) -> None:
        group.size += size
        self._held += size

    def _overflow(self) -> Iterator[Sample | Drop]:
        while self._held > _WINDOW_BYTES or len(self._groups) > _WINDOW_KEYS:
            oldest = next((key for key, group in self._groups.items() if group.image is not None), None)
            yield self._pop(next(iter(self._groups)) if oldest is None else oldest)

    def _pop(self, key: str) -> Sample | Drop:
        group = self._groups.pop(key)
        self._held -= group.size
        if group.image is None:
            return self.refuse(group.first, "sidecar", "no_image", f"no image has the key {key!r}")
        return Sample(member=group.member, name=group.name, key=key, data=group.image, json=group.json, text=group.text)

    def finish(self) -> Iterator[Sample | Drop]:
        """What still waits."""
        for key in list(self._groups):
            yield self._pop(key)


def ignored(name: str) -> bool:
    """Whether a file is known to be no data: hidden files, macOS's twins, a README."""
    return _NOT_DATA.search(name) is not None


def split(name: str, rule: Rule) -> tuple[str, str]:
    """Key (with its folder) and extension in lower case; '' where there is none."""
    folder, slash, base = name.rpartition("/")
    stem, dot, extension = base.rpartition(".") if rule == "last" else base.partition(".")
    if not dot:
        return name, ""
    return folder + slash + stem, extension.lower()


def slugs(names: list[str]) -> dict[str, str]:
    """Unit key -> shard name: letters, digits, dots, dashes; told apart by a digest where two would be the same."""
    plain = {name: _slug(name) for name in names}
    often: dict[str, int] = {}
    for slug in plain.values():
        often[slug.lower()] = often.get(slug.lower(), 0) + 1
    keys = {f"{slug}-{content_id(name)[:8]}" if often[slug.lower()] > 1 else slug: name for name, slug in plain.items()}
    return dict(sorted(keys.items()))


def _slug(name: str) -> str:
    stem = _ENDING.sub("", name.rsplit("/", 1)[-1])
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", stem).strip("-._")[:120] or "shard"
