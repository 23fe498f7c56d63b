"""Deletion by id: a word in the run's folder that an image, a pair or an instruction must leave every later export.

    _deleted/20261121T153000Z-1f0c9a4e.json     {reason, time, ids: {id: kind}}, one a command, never changed

The tables keep their rows: their receipts say what they hold, and other rows were made with them. To be rid of the
bytes, remove the run.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from operator import or_

import pyarrow as pa
import pyarrow.compute as pc

from mminstruct import schemas
from mminstruct.checksum import Damaged, seal, unseal
from mminstruct.store import Store

KINDS = ("pair_id", "image_id", "instruction_id")
_FOLDER = "_deleted"


@dataclass(frozen=True, slots=True)
class Deleted:
    """Why and when an id left."""

    kind: str
    """One of ``KINDS``."""
    reason: str
    time: str
    """UTC, ISO 8601."""


def delete(url: str, ids: Iterable[str], reason: str) -> dict[str, Deleted]:
    """Leave word that *ids* are deleted; all of them or, where one is not of this run, none.

    Returns:
        Those that were not deleted before.

    Raises:
        FileNotFoundError: there is no run.
        LookupError: no table has such an id; it names the first few.
        ValueError: no reason.
    """
    if not reason.strip():
        raise ValueError("a deletion needs a reason: whoever finds the row gone will ask")
    store, wanted = Store(url), sorted(set(ids))
    kinds = _kinds(store, wanted)
    unknown = [id_ for id_ in wanted if id_ not in kinds]
    if unknown:
        raise LookupError(
            f"{len(unknown)} of {len(wanted)} ids are in no table of {url}, so nothing was deleted: "
            f"{', '.join(unknown[:5])}; give whole ids (`mminstruct trace` finds them)"
        )
    there = deleted(store)
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    new = {id_: Deleted(kinds[id_], reason, now) for id_ in wanted if id_ not in there}
    if new:
        facts = {"reason": reason, "time": now, "ids": {id_: kinds[id_] for id_ in new}}
        data = seal(facts, indent=1)
        stamp = now.replace("-", "").replace(":", "")
        store.write(data, _FOLDER, f"{stamp}-{hashlib.sha256(data).hexdigest()[:8]}.json")
    return new


def deleted(store: Store) -> dict[str, Deleted]:
    """All that is deleted in a run, by id; the first deletion of an id counts.

    Raises:
        Damaged: a file of deletions is not what was written, so it is unknown which ids must be left out.
    """
    found: dict[str, Deleted] = {}
    for name, data in sorted(store.read_many(_FOLDER, store.names(_FOLDER)).items()):
        where = store.show(_FOLDER, name)
        mend = "restore it, or move it away and give its deletions again (`mminstruct delete`)"
        if not name.endswith(f"-{hashlib.sha256(data).hexdigest()[:8]}.json"):
            raise Damaged(f"{where} is not what was written (its SHA-256 is not that of its name): {mend}")
        facts = unseal(data, where, mend)
        for id_, kind in facts["ids"].items():
            found.setdefault(id_, Deleted(kind, facts["reason"], facts["time"]))
    return found


def as_text(store: Store) -> str:
    """How much is deleted, in a line; empty where nothing is."""
    found = deleted(store)
    if not found:
        return ""
    kinds = Counter(one.kind.removesuffix("_id") for one in found.values())
    named = ", ".join(f"{count} {kind}{'s' * (count > 1)}" for kind, count in sorted(kinds.items()))
    table = store.table("export").dataset(schemas.EXPORT)
    left = table.count_rows(filter=reduce(or_, (pc.field(kind).isin(list(found)) for kind in KINDS)))
    return f"deleted: {named}; later exports leave out {left} of {table.count_rows()} rows; the tables keep their bytes"


def inherit(store: Store, base: Store) -> None:
    """Take over the deletions of a run whose tables are taken over."""
    for name in base.names(_FOLDER):
        store.copy_from(base, _FOLDER, name)


def _kinds(store: Store, ids: list[str]) -> dict[str, str]:
    """Which of *ids* the run's tables have, and as what."""
    tables = {name: schema for name, schema in schemas.TABLES.items() if store.table(name).manifest() is not None}
    if not tables:
        raise FileNotFoundError(f"{store.url}: no run here: a run has a folder a table, with a manifest.json in it")
    found: dict[str, str] = {}
    for name, schema in tables.items():
        for kind in (kind for kind in KINDS if kind in schema.names):
            left = pa.array([id_ for id_ in ids if id_ not in found], pa.string())
            scan = store.table(name).dataset(schema).scanner(columns=[kind], filter=pc.field(kind).isin(left))
            found |= {id_: kind for batch in scan.to_batches() for id_ in batch[kind].to_pylist()}
    return found
