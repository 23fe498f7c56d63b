"""What every source yields: samples, which are images with their sidecars, and drops for all other members.

Images and sidecars are joined here by name: ``a.jpg`` and ``a.txt`` by their key, the name without its extension;
``a.jpg`` and ``a.jpg.txt`` by the whole name of the image. Names are compared and stored in Unicode's normal form NFC:
macOS writes ``é`` as two characters, most other systems as one.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from mminstruct.content import LITTER
from mminstruct.readers.container import IMAGES as IMAGES
from mminstruct.readers.container import sniff
from mminstruct.readers.text import Unreadable
from mminstruct.stage import Drop, content_id
from mminstruct.text import repair
from mminstruct.unit import BEYOND, enough, note

TEXTS = frozenset(("txt", "caption"))
SIDECARS = TEXTS | {"json"}
_NOT_DATA = re.compile(
    rf"(?:^|/)(?:{LITTER}|(?:\._[^/]*|__MACOSX)/.*"
    r"|(?:readme|licen[cs]e|copying|changelog)(?:\.(?:txt|md|rst|html?|pdf))?)$",
    re.I,
)
_ENDING = re.compile(r"\.(?:tar|tar\.gz|tgz|parquet|csv|tsv|jsonl|txt)(?=$|:)", re.I)
_SIDECAR_BYTES = 4 << 20
_WINDOW_BYTES = 64 << 20
_WINDOW_KEYS = 4096
"""How many images and sidecars wait for their counterpart, where it is not the next member."""

Rule = Literal["last", "first"]
"""Which dot ends the key of a name: that of ``a.b.jpg`` is ``a.b`` by the last, ``a`` by the first (WebDataset)."""


class ShardError(Unreadable):
    """A shard that cannot be read to its end: the message says where, and how to fix it."""


@dataclass(slots=True, kw_only=True)
class Sample:
    """An image's original bytes, and its sidecars."""

    member: str
    """Its name as stored: repaired, and unique in its shard."""
    name: str
    """Its name as found."""
    key: str
    """Name without extension, in NFC."""
    data: bytes
    json: bytes | None = None
    text: bytes | None = None
    row: dict[str, Any] = field(default_factory=dict)
    """Columns of its row in a table."""
    shared: bool = False
    """Whether the row describes other images, too."""


class Names:
    """Gives each member a unique name that can be stored; names are never used as paths."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def __call__(self, raw: str, where: str | int) -> str:
        """*raw*, repaired; with the suffix ``@`` *where* it was found if that name is taken or empty."""
        name = repair(raw.encode("utf-8", "surrogateescape").decode("utf-8", "replace") if _broken(raw) else raw)
        if name != raw:
            note("member_renamed")
        name = name[:1000]
        if not name or name in self._taken:
            note("member_name_taken" if name else "member_without_name")
            ends = itertools.chain([""], (f".{count}" for count in itertools.count(2)))
            name = next(one for end in ends if (one := f"{name}@{where}{end}") not in self._taken)
        self._taken.add(name)
        return name


def _broken(text: str) -> bool:
    return any("\ud800" <= letter <= "\udfff" for letter in text)


@dataclass(frozen=True, slots=True)
class _Image:
    member: str
    raw: str
    name: str
    """In NFC."""
    key: str
    data: bytes


@dataclass(frozen=True, slots=True)
class _Sidecar:
    raw: str
    kind: str
    """json or text."""
    key: str
    owner: str
    """Name of its image, where its own name contains it (``a.jpg.txt``); '' for ``a.txt``."""
    data: bytes


@dataclass(slots=True)
class _Group:
    """Images and sidecars with the same stem."""

    images: list[_Image] = field(default_factory=list)
    sidecars: list[_Sidecar] = field(default_factory=list)
    size: int = 0


class SampleAssembler:
    """Joins the images and sidecars of a shard, whatever their order, in bounded memory.

    Every image candidate becomes a sample or a drop. Every sidecar joins its image, is a drop (``no_image``), or is
    counted in a note: ``sidecar_repeated`` (the image has one of that kind), ``sidecar_ambiguous`` (two images have its
    key), ``sidecar_late`` (its image has left the window), ``sidecar_of_drop``, ``sidecar_too_big``.

    Args:
        rule: which dot ends a key.
        member_bytes: most bytes of an image.
        one_image: whether a key has one image, as in a WebDataset, so that a second one is dropped; else each image is
            a sample.
    """

    def __init__(self, rule: Rule, member_bytes: int, *, one_image: bool = False) -> None:
        self.rule, self.member_bytes, self.one_image = rule, member_bytes, one_image
        self.names = Names()
        self.keys: dict[str, str] = {}
        """Keys of all image candidates so far, sample or drop, each with the first name that has it."""
        self._raw: set[str] = set()
        self._groups: dict[str, _Group] = {}
        self._gone: set[str] = set()
        self._refused: set[str] = set()
        self._held = 0

    def wanted(self, name: str, size: int) -> bool:
        """Whether the bytes of a member are needed."""
        limit = _SIDECAR_BYTES if _sidecar_kind(name, self.rule) else self.member_bytes
        return size <= limit and not ignored(name) and not enough()

    def refuse(self, name: str, where: str | int, reason: str, detail: str) -> Drop:
        """A drop of the member *name*; if it is an image, its sidecars are counted as ``sidecar_of_drop``."""
        self._refused |= {normal(name), split(name, self.rule)[0]}
        return Drop(self.names(name, where), reason, detail)

    def add(self, name: str, where: str | int, size: int, data: bytes | None) -> Iterator[Sample | Drop]:
        """Add a member; *data* is None if it is not ``wanted``. Yields what is complete."""
        if ignored(name):
            note("member_ignored")
            return
        key, extension = split(name, self.rule)
        kind = _sidecar_kind(name, self.rule)
        promised = extension in IMAGES
        if not kind and data is not None and not promised and sniff(data) is None:
            note("member_ignored")
            return
        if name in self._raw:
            if kind:
                note("sidecar_repeated")
            else:
                yield self.refuse(name, where, "dup_member", f"a second member of this name, {size} bytes")
            return
        self._raw.add(name)
        if data is None and enough():
            if promised:
                self.keys.setdefault(key, name)
                yield self.refuse(name, where, BEYOND, "not read")
            else:
                note(BEYOND)
        elif kind:
            self._add_sidecar(name, key, kind, data)
        elif data is None:
            if promised:
                self.keys.setdefault(key, name)
            yield self.refuse(name, where, "member_too_big", f"{size} bytes; at most {self.member_bytes}")
        elif self.one_image and key in self.keys:
            detail = f"{self.keys[key][:200]!r} has the same key {key[:200]!r}, up to its {self.rule} dot and in NFC"
            yield self.refuse(name, where, "key_ambiguous", detail)
        else:
            self.keys.setdefault(key, name)
            group = self._groups.setdefault(_root(key), _Group())
            group.images.append(_Image(self.names(name, where), name, normal(name), key, data))
            self._hold(group, len(data))
        yield from self._overflow()

    def _add_sidecar(self, name: str, key: str, kind: str, data: bytes | None) -> None:
        if data is None:
            note("sidecar_too_big")
            return
        stem = normal(name).rpartition(".")[0]
        owner = stem if split(stem, "last")[1] in IMAGES else ""
        root = _root(key)
        if root in self._gone and root not in self._groups:
            note("sidecar_late")
            return
        group = self._groups.setdefault(root, _Group())
        group.sidecars.append(_Sidecar(name, kind, key, owner, data))
        self._hold(group, len(data))

    def _hold(self, group: _Group, size: int) -> None:
        group.size += size
        self._held += size

    def _overflow(self) -> Iterator[Sample | Drop]:
        while self._held > _WINDOW_BYTES or len(self._groups) > _WINDOW_KEYS:
            oldest = next((root for root, group in self._groups.items() if group.images), None)
            yield from self._pop(next(iter(self._groups)) if oldest is None else oldest)

    def _pop(self, root: str) -> Iterator[Sample | Drop]:
        group = self._groups.pop(root)
        self._gone.add(root)
        self._held -= group.size
        left = list(group.sidecars)
        keys = [image.key for image in group.images]
        for image in group.images:
            own = [one for one in left if one.owner == image.name]
            if keys.count(image.key) == 1:
                own += [one for one in left if one not in own and self._shares_key(one, image)]
            left = [one for one in left if one not in own]
            found = {one.kind: one.data for one in reversed(own)}
            note("sidecar_repeated", len(own) - len(found))
            yield Sample(
                member=image.member, name=image.raw, key=image.key, data=image.data,
                json=found.get("json"), text=found.get("text"),
            )  # fmt: skip
        for one in left:
            if one.owner in self._refused or (one.key in self._refused and one.key not in keys):
                note("sidecar_of_drop")
            elif one.key in self.keys and not one.owner:
                note("sidecar_ambiguous" if one.key in keys else "sidecar_late")
            else:
                beside = f"; beside it is {group.images[0].raw[:200]!r}" if group.images else ""
                wanted = f"is called {one.owner!r}" if one.owner else f"has the key {one.key!r}"
                yield Drop(self.names(one.raw, "sidecar"), "no_image", f"no image {wanted}{beside}")

    def _shares_key(self, sidecar: _Sidecar, image: _Image) -> bool:
        """Whether both have one key, and the sidecar does not name another image, as ``x.png.txt`` by the first dot."""
        return sidecar.key == image.key and (not sidecar.owner or self.rule == "last")

    def finish(self) -> Iterator[Sample | Drop]:
        """Samples and drops of all members that still wait."""
        for root in list(self._groups):
            yield from self._pop(root)


def normal(name: str) -> str:
    """*name* in NFC, the form in which names are compared."""
    return unicodedata.normalize("NFC", name)


def _sidecar_kind(name: str, rule: Rule) -> str:
    """``json`` or ``text``; '' if it is no sidecar."""
    stem, dot, last = name.rpartition("/")[2].rpartition(".")
    extension = last.lower() if dot else ""
    if extension not in SIDECARS or (split(name, rule)[1] != extension and split(stem, "last")[1] not in IMAGES):
        return ""
    return "json" if extension == "json" else "text"


def stem(name: str, rule: Rule) -> str:
    """The part of a name that an image and its sidecars share: ``a`` of ``a.jpg``, ``a.png.jpg``, ``a.jpg.txt``."""
    return _root(split(name, rule)[0])


def _root(key: str) -> str:
    while (parts := split(key, "last"))[1] in IMAGES:
        key = parts[0]
    return key


def ignored(name: str) -> bool:
    """Whether a file is known to be no data: files of operating systems, a README, a licence."""
    return _NOT_DATA.search(name) is not None


def split(name: str, rule: Rule) -> tuple[str, str]:
    """Key (with its folder, in NFC) and extension in lower case; '' if there is none."""
    name = normal(name)
    folder, slash, base = name.rpartition("/")
    stem, dot, extension = base.rpartition(".") if rule == "last" else base.partition(".")
    if not dot:
        return name, ""
    return folder + slash + stem, extension.lower()


def slugs(names: list[str]) -> dict[str, str]:
    """Unit key -> shard name, sorted by key. Keys have letters, digits, dots, dashes, and a digest if they collide."""
    plain = {name: _slug(name) for name in names}
    often: dict[str, int] = {}
    for slug in plain.values():
        often[slug.lower()] = often.get(slug.lower(), 0) + 1
    keys = {f"{slug}-{content_id(name)[:8]}" if often[slug.lower()] > 1 else slug: name for name, slug in plain.items()}
    return dict(sorted(keys.items()))


def _slug(name: str) -> str:
    stem = _ENDING.sub("", name.rsplit("/", 1)[-1])
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", stem).strip("-._")[:120] or "shard"
