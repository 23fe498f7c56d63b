"""The protocol of all sources: a source recognises a listing, names its shards, and reads one as samples and drops.

A source of your own is a subclass of ``ImageSource``; ``recipe.ingest.layout=package.module:Class`` uses it
(docs/sources.md).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from mminstruct.sources.fetch import Reach
from mminstruct.sources.listing import Listing
from mminstruct.sources.sample import Rule, Sample
from mminstruct.stage import Drop


@dataclass(frozen=True, slots=True)
class Shard:
    """One unit of reading."""

    name: str
    """Unique in its listing, and stable: the name of a file, with a suffix where a file has several shards."""
    files: tuple[str, ...]
    """Names in the listing of the files that its members come from."""
    rows: tuple[int, int] | None = None
    """Range of rows, for a table that is read in several shards; it ends at -1 where the rows cannot be counted."""
    beside: tuple[str, ...] = ()
    """Other files whose content decides its rows, such as metadata tables; several shards may share them."""
    reports: tuple[str, ...] = ()
    """Metadata tables of which this shard, and no other, drops the rows that name no image."""

    @property
    def read_from(self) -> tuple[str, ...]:
        """Names of all files whose content decides its rows."""
        return tuple(dict.fromkeys((*self.files, *self.beside)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Fields of the stage ``ingest`` that a source may use; ``mminstruct/stages/ingest.py`` explains each."""

    name: str = ""
    rule: Rule = "last"
    """``Ingest.key``."""
    group: int = 4096
    columns: Mapping[str, str] = field(default_factory=dict)
    links: bool = False
    member_bytes: int = 64 << 20
    reach: Reach = field(default_factory=Reach)
    concurrency: int = 32

    def named(self, column: str) -> tuple[str, ...]:
        """The name that the user gave for our *column*, if any."""
        return (self.columns[column],) if column in self.columns else ()


class ImageSource(ABC):
    """One way to store images, over one listing.

    The driver creates it to list the shards; each worker creates it again to read them. So two objects over the same
    files must give the same shards.
    """

    endings: ClassVar[tuple[str, ...]] = ()
    """Lower-case ends of the names of files that it reads."""
    what: ClassVar[str] = ""
    """What such a file is called."""

    def __init__(self, listing: Listing, options: Options) -> None:
        self.listing, self.options = listing, options

    def recognises(self) -> bool:
        """Whether ``layout=auto`` takes this source for the listing, unless an earlier one in ``LAYOUTS`` does.

        Raises:
            ValueError: the files are of its kind, but a setting is missing; the message names the setting.
        """
        return bool(self.shards())

    @abstractmethod
    def shards(self) -> list[Shard]:
        """All shards; no file is in ``files`` of two shards, unless their ``rows`` differ."""

    @abstractmethod
    def read(self, shard: Shard) -> Iterator[Sample | Drop]:
        """One ``Sample`` or ``Drop`` for each member, in a fixed order; no two have the same member name.

        Raises:
            Unreadable, ShardError: the shard cannot be read to its end. It then fails as a whole.
        """
