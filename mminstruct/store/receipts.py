"""The receipts of a table: read once by a process, and all in one object beside them.

    _receipts.packed    copies of the receipts, each with the size and time (on an object store: the ETag) of its file,
                        and the parts that they name

A build writes the object when it begins and when a segment ends, so that the next command needs one listing and one
read instead of a read of every receipt. The receipts stay the truth: of the object only those entries are used whose
file is still there and still the same; the others are read. So the object may be missing, old, or written by two
drivers, and nothing has to be removed with it. One that is damaged is not used.

The object also has a digest of the names, sizes and times (or ETags) of the files that it was made of. If the folder
still has this digest, no file is missing, new, or other than it was. A comparison of each entry with its file would
find just that, and is skipped.
"""

from __future__ import annotations

import logging
import operator
from collections.abc import Iterable, Iterator, Mapping

from mminstruct.checksum import Damaged, unseal
from mminstruct.files import Files
from mminstruct.store.datafile import Part
from mminstruct.store.listing import Listing
from mminstruct.store.packed import COUNT, Block, Entry, Packed, Spool, blocks, dump, load
from mminstruct.store.receipt import Receipt

FIX = "the build command of this run restores it from its copy"
PACKED = "_receipts.packed"
_LOG = logging.getLogger(__name__)
_AT_ONCE = 4 * COUNT
"""Receipts that are read before they are packed."""


class Receipts:
    """The receipts of the table *name* in *store*.

    ``fault`` says what is wrong with the object that has all receipts; empty if it is right, or not there.
    """

    def __init__(self, store: Files, name: str) -> None:
        self.store, self.name = store, name
        self._settled = False
        self.forget()

    def forget(self) -> None:
        """Read again what is next needed."""
        self.fault = ""
        self._kept = self._written = _packed([])
        self._parts: tuple[Packed[Receipt], Packed[Part]] = self._kept, parts_of()
        self._listed = self._stored = ""
        self._looked = False
        self._spool = Spool()

    def settle(self, settled: bool = True) -> None:
        """Let ``all`` list the receipts at its next call, and with *settled* only then, until this is called again.

        For callers that know that no process writes receipts, or that want those of one moment.
        """
        self._settled, self._looked = settled, False

    def one(self, key: str) -> Receipt | None:
        """The receipt of one unit, read now.

        Raises:
            Damaged: it is not what was written.
        """
        data = self.store.read(self.name, "_receipts", f"{key}.json")
        return None if data is None else self.parse(data, key)

    def parse(self, data: bytes, key: str) -> Receipt:
        """The receipt of unit *key* from its bytes.

        Raises:
            Damaged: it is truncated, changed, not a receipt, or the receipt of another unit.
        """
        where = self.store.show(self.name, "_receipts", f"{key}.json")
        fix = f"{FIX}; if it does not, since size and time are those of {PACKED}, remove that file first"
        facts = unseal(data, where, fix)
        try:
            found = Receipt.from_facts(facts)
        except (TypeError, KeyError, ValueError) as error:
            raise Damaged(f"{where} is no receipt ({error}): {fix}") from None
        if found.key != key:
            raise Damaged(f"{where} is the receipt of unit {found.key}: {fix}")
        return found

    def all(self, damaged: dict[str, str] | None = None, packed: bool = True) -> Packed[Receipt]:
        """All receipts, in order of keys; only those new since the last call are read.

        A receipt never changes, but if it is removed, its unit is made again. So receipts that are gone are not kept.

        Args:
            damaged: Collects the errors of damaged receipts, by key.
            packed: Whether to use the object that has all of them.

        Raises:
            Damaged: one is not what was written, and *damaged* is not given.
        """
        if self._settled and self._looked:
            return self._kept
        fresh = not self._listed
        names = None if self.store.local else dict(self._scan(fresh))
        here = Listing(self._scan(fresh) if names is None else names.items())
        if self._mark(here) == self._listed:
            self._looked = True
            return self._kept
        stored, parts = list[Block](), list[Block]()
        if len(here) and packed and fresh:
            stored, parts = self._load()
            self._kept = self._written = _packed(stored)
            if stored and here.digest == self._stored:
                self._parts = self._kept, _packed_parts(parts)
                self._listed, self._looked = self._mark(here), True
                return self._kept
        if names is None:
            names = dict(self._scan(fresh))
            here = Listing(names.items())
        tags = {name.removesuffix(".json"): tag for name, tag in names.items()}
        tags = {key: tags[key] for key in sorted(tags)}
        for key, tag in tags.items() if self.store.local and not fresh else ():
            tags[key] = self._kept.tag(key) or self.store.stamp(self.name, "_receipts", f"{key}.json") or tag
        faults: dict[str, str] = {}
        found = list(self._merged(tags, faults))
        if len(found) > 2 * (len(tags) // COUNT + 1):
            self._spool = Spool()
            found = list(blocks(_packed(found).entries(), self._spool))
        self._kept = _packed(found)
        if stored and len(found) == len(stored) and all(map(operator.is_, found, stored)):
            self._parts = self._kept, _packed_parts(parts)
        if not faults:
            self._listed, self._looked = self._mark(here), True
        elif damaged is None:
            raise Damaged(next(iter(faults.values())))
        else:
            damaged |= faults
        return self._kept

    def _mark(self, here: Listing) -> str:
        """What a second listing is compared with; on a local disk without sizes and times, which cost a call each."""
        return here.names if self.store.local else here.digest

    def _scan(self, stamped: bool) -> Iterator[tuple[str, str]]:
        found = self.store.scan(self.name, "_receipts", stamped=stamped)
        return (entry for entry in found if entry[0].endswith(".json"))

    def _load(self) -> tuple[list[Block], list[Block]]:
        """The object's blocks of receipts and of parts; none if it is not there, or damaged."""
        where = self.store.show(self.name, PACKED)
        found: list[list[Block]] = []
        self._stored = ""
        try:
            if (file := self.store.stream(self.name, PACKED)) is not None:
                with file:
                    self._stored, found = load(file, where, "the receipts are read; the next build writes it again")
        except Damaged as error:
            self.fault = str(error)
        receipts, parts = found or ([], [])
        return receipts, parts

    def _merged(self, tags: dict[str, str], faults: dict[str, str]) -> Iterator[Block]:
        """Blocks of the receipts with these *tags*: those that are known, and the others, which are read here."""
        some: list[Entry | str] = []
        for item in self._kept.matching(tags):
            if not isinstance(item, Block):
                some.append(item)
            if some and (isinstance(item, Block) or len(some) == _AT_ONCE):
                yield from blocks(self._read(some, tags, faults), self._spool)
                some = []
            if isinstance(item, Block):
                yield item
        yield from blocks(self._read(some, tags, faults), self._spool)

    def _read(self, some: list[Entry | str], tags: dict[str, str], faults: dict[str, str]) -> Iterator[Entry]:
        new = [f"{item}.json" for item in some if isinstance(item, str)]
        data = self.store.read_many(f"{self.name}/_receipts", new)
        for item in some:
            if not isinstance(item, str):
                yield item
            elif (bytes_ := data.get(f"{item}.json")) is not None:
                try:
                    yield item, tags[item], self.parse(bytes_, item).facts()
                except Damaged as error:
                    faults[item] = str(error)

    def parts(self, damaged: dict[str, str] | None = None, packed: bool = True) -> Packed[Part]:
        """All committed parts by part key, each tagged with the SHA-256 of its file; arguments as in ``all``."""
        receipts = self.all(damaged, packed)
        of, parts = self._parts
        if of is not receipts:  # one assignment, so a thread that reads other receipts meanwhile does no harm
            parts = parts_of(receipts)
            self._parts = receipts, parts
        return parts

    def consolidate(self) -> None:
        """Write the object that has all receipts, unless it has them already. For builds only."""
        parts = self.parts({})
        kept = self._kept  # those that have these parts
        if self.fault:
            _LOG.warning("%s", self.fault)
        if not len(kept) or (kept is self._written and not self.fault):
            return
        now = listing_of(kept).digest
        if now != self._stored or self.fault:
            self.store.write(dump(now, kept.blocks, parts.blocks), self.name, PACKED, sync=False)
        self._stored, self._written, self.fault = now, kept, ""

    def differs(self) -> str:
        """How the object differs from the receipts, which were read without it; empty if it does not."""
        (receipts, parts), kept = self._load(), self.all({}, packed=False)
        stored = _packed(receipts)
        wrong = [key for key, tag in stored.tags() if kept.tag(key) == tag and kept[key] != stored[key]]
        where = self.store.show(self.name, PACKED)
        if wrong:
            return f"{where} has other contents than the receipt {wrong[0]}: remove it"
        if list(parts_of(stored).entries()) != list(_packed_parts(parts).entries()):
            return f"{where} has other parts than its receipts name: remove it"
        same = self._stored == (listing_of(stored).digest if receipts else "")
        return "" if same else f"{where} has another digest of its receipts' files than they have: remove it"


def listing_of(kept: Packed[Receipt]) -> Listing:
    """The files of receipts as the folder lists them."""
    return Listing((f"{key}.json", tag) for key, tag in kept.tags())


def _packed(some: Iterable[Block]) -> Packed[Receipt]:
    return Packed(some, lambda key, tag, facts: Receipt.from_facts(facts))


def packed_receipts(receipts: Mapping[str, Receipt]) -> Packed[Receipt]:
    """*receipts* in order of their keys."""
    if isinstance(receipts, Packed):
        return receipts
    return _packed(blocks(((key, "", receipts[key].facts()) for key in sorted(receipts)), Spool()))


def parts_of(*receipts: Packed[Receipt]) -> Packed[Part]:
    """The parts of *receipts* by part key, each tagged with its SHA-256."""

    def parts() -> Iterator[Entry]:
        for some in receipts:
            for chunk in some.chunks():
                for part in chunk.columns.lists("parts")[1].rows():
                    yield part.pop("part"), part.pop("sha256"), part

    in_order = True

    def increasing() -> Iterator[Entry]:
        nonlocal in_order
        last = ""
        for entry in parts():
            if entry[0] <= last:
                in_order = False
                return
            last = entry[0]
            yield entry

    found = list(blocks(increasing(), Spool()))
    if not in_order:  # keys of parts need not be in the order of their units: then all are in memory at once
        every = {entry[0]: entry for entry in parts()}
        found = list(blocks((every[key] for key in sorted(every)), Spool()))
    return _packed_parts(found)


def _packed_parts(some: Iterable[Block]) -> Packed[Part]:
    return Packed(some, lambda key, tag, facts: Part(key, sha256=tag, **facts))
