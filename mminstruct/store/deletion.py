"""Deletion by id: tombstone files in the run's folder. Every later export leaves the ids out.

    _deleted/20261121T153000Z-1f0c9a4e.json     {reason, time, ids: {id: kind}}, one per command, immutable

The tables keep their rows, because receipts hold the digests of the files and later rows derive from them. To erase
the bytes, remove the run.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mminstruct.checksum import Damaged, seal, unseal
from mminstruct.store.reader import RunReader
from mminstruct.store.tables import Store

_EXPORTED = "export"
"""The table that `mminstruct export` writes out."""
_FOLDER = "_deleted"


@dataclass(frozen=True, slots=True)
class Deleted:
    """Why and when an id was deleted."""

    kind: str
    """Name of its column: pair_id, image_id, instruction_id."""
    reason: str
    time: str
    """UTC, ISO 8601."""


def delete(url: str, ids: Iterable[str], reason: str) -> dict[str, Deleted]:
    """Write a tombstone file for all *ids*, or for none if one of them is not in this run.

    Returns:
        The ids that were not deleted before.

    Raises:
        FileNotFoundError: there is no run.
        LookupError: no table has such an id; the message names the first few.
        ValueError: *reason* is empty.
    """
    if not reason.strip():
        raise ValueError("a deletion needs a reason, which exports and traces show: --reason")
    wanted = sorted(set(ids))
    run = RunReader(url)
    store, kinds = run.store, _kinds(run, wanted)
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
    """All deletions of a run, by id; the first deletion of an id counts.

    Raises:
        Damaged: a tombstone file is not what was written, so it is unknown which ids must be left out.
    """
    found: dict[str, Deleted] = {}
    for name, data in sorted(store.read_many(_FOLDER, store.names(_FOLDER)).items()):
        where = store.show(_FOLDER, name)
        fix = "restore it, or move it away and delete its ids again (`mminstruct delete`)"
        if not name.endswith(f"-{hashlib.sha256(data).hexdigest()[:8]}.json"):
            raise Damaged(f"{where} is not what was written (its SHA-256 is not that of its name): {fix}")
        facts = unseal(data, where, fix)
        for id_, kind in facts["ids"].items():
            found.setdefault(id_, Deleted(kind, facts["reason"], facts["time"]))
    return found


def as_text(store: Store) -> str:
    """One line about what is deleted; empty if nothing is."""
    found = deleted(store)
    if not found:
        return ""
    kinds = Counter(one.kind.removesuffix("_id") for one in found.values())
    named = ", ".join(f"{count} {kind}{'s' * (count > 1)}" for kind, count in sorted(kinds.items()))
    left_out, cut, rows = _effect(RunReader(store), found)
    turns = f" and cut turns from {cut}" if cut else ""
    return f"deleted: {named}; later exports leave out {left_out}{turns} of {rows} rows; the tables keep their bytes"


def inherit(store: Store, base: Store) -> None:
    """Copy the deletions of a run whose tables are reused."""
    for name in base.names(_FOLDER):
        store.copy_from(base, _FOLDER, name)


def _effect(run: RunReader, found: dict[str, Deleted]) -> tuple[int, int, int]:
    """Number of dataset rows that an export leaves out, that it shortens, and in total."""
    left_out = cut = rows = 0
    if _EXPORTED not in run:
        return left_out, cut, rows
    table, gone = run[_EXPORTED], pa.array(sorted(found), pa.string())
    own, kinds = table.tagged("id", "parent"), sorted({one.kind for one in found.values()})
    turns = {column: [kind for kind in kinds if column in table.lists(kind)] for column in table.schema.names}
    turns = {column: kinds for column, kinds in turns.items() if kinds}

    def is_gone(values: pa.Array) -> np.ndarray:
        return np.asarray(pc.is_in(values, value_set=gone).to_numpy(zero_copy_only=False))

    for batch in table.dataset().to_batches(columns=[*own, *turns]):
        out, some = np.zeros(batch.num_rows, bool), np.zeros(batch.num_rows, bool)
        for column in own:
            out |= is_gone(batch[column])
        for column, kinds in turns.items():
            held, row_of = pc.list_flatten(batch[column]), pc.list_parent_indices(batch[column]).to_numpy()
            dead = np.any([is_gone(pc.struct_field(held, kind)) for kind in kinds], axis=0)
            some[row_of[dead]] = True
            out |= some & (np.bincount(row_of[~dead], minlength=batch.num_rows) == 0)
        left_out, cut, rows = left_out + int(out.sum()), cut + int((some & ~out).sum()), rows + batch.num_rows
    return left_out, cut, rows


def _kinds(run: RunReader, ids: list[str]) -> dict[str, str]:
    """The *ids* that are in the run's tables, and the column of each."""
    found: dict[str, str] = {}
    for table in run.values():
        for kind in table.tagged("id", "parent", "member"):
            left = pa.array([id_ for id_ in ids if id_ not in found], pa.string())
            scan = table.dataset().scanner(columns=[kind], filter=pc.field(kind).isin(left))
            found |= {id_: kind for batch in scan.to_batches() for id_ in batch[kind].to_pylist()}
    return found
