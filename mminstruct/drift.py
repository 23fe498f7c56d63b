"""What the units of a table were made from, compared with what is there now."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mminstruct.recipe import differences
from mminstruct.stage import CHANGED, Stage
from mminstruct.store.columns import Columns
from mminstruct.store.datafile import Part
from mminstruct.store.packed import Packed
from mminstruct.store.receipt import Receipt
from mminstruct.store.tables import Table

AGAIN = "which would be made again"
"""Reason for a table that is refused only because one of its inputs is refused."""
CONTENT = "content"
"""Name of the digest of the bytes that were read from a shard; only receipts have it."""
TAKEN = "images taken"
"""Fact of a shard that ``images=N`` cuts: how many of its images the run takes."""


@dataclass(frozen=True, kw_only=True)
class Digests:
    """Digests of the inputs of a table's units, as they are now."""

    shards: Mapping[str, Mapping[str, Any]] | None = None
    """Of a source: facts of each shard."""
    parts: Mapping[str, Packed[Part]] = field(default_factory=dict)
    """Tables of which a unit reads the part with its key."""
    wholes: Mapping[str, str] = field(default_factory=dict)
    """Digests of the tables that every unit reads whole."""

    def __call__(self, key: str) -> dict[str, str]:
        """Those of one unit, by name."""
        if self.shards is not None:
            return {fact: str(value) for fact, value in self.shards.get(key, {}).items()}
        mine = {table: sha256[:16] for table, found in self.parts.items() if (sha256 := found.tag(key)) is not None}
        return {**{f"whole {table}": whole for table, whole in self.wholes.items()}, **mine}

    def equal(self, keys: list[str], inputs: Columns) -> bool:
        """Whether the units *keys*, which are sorted, have exactly these *inputs*. Not for a source."""
        names = [*(f"whole {table}" for table in self.wholes), *self.parts]
        if set(names) != set(inputs.names or ()) or len(names) != len(inputs.names or ()):
            return False
        if any(value != whole for table, whole in self.wholes.items() for value in inputs[f"whole {table}"]):
            return False
        return all(
            inputs[table] == [sha256 and sha256[:16] for sha256 in found.along(keys)]
            for table, found in self.parts.items()
        )


def digest(parts: Packed[Part]) -> str:
    """Number and digest of *parts*. The same rows in the same parts have the same digest."""
    found = hashlib.sha256()  # ``content_id`` of all of them, which need not be in memory at once
    for number, (key, sha256) in enumerate(parts.tags()):
        found.update(f"{chr(0) if number else ''}{key} {sha256}".encode("utf-8", "surrogatepass"))
    return f"{len(parts)} part{'s' * (len(parts) != 1)}, digest {found.hexdigest()[:16]}"


def changes(stage: Stage, receipt: Receipt, now: Mapping[str, str]) -> list[str]:
    """Inputs of a unit that changed since it was made, one line each.

    Args:
        now: Digests of the inputs; for a shard, its facts. If a shard differs only in the time of its last change, its
            bytes are compared with those that were read.
    """
    if stage.reads:  # an input that is gone is itself being made again: not stale yet
        if receipt.inputs == now:
            return []
        return [line for line in differences(receipt.inputs, now) if not line.endswith("-> (absent)")]
    if not now:
        return ["its shard is gone from the source"]
    was = {fact: value for fact, value in receipt.inputs.items() if fact != CONTENT}
    if TAKEN in was or TAKEN in now:
        was, now = {TAKEN: "all", **was}, {TAKEN: "all", **now}
    lines = [line for line in differences(was, now) if not line.startswith(f"{CHANGED}: ")]
    if not lines and was.get(CHANGED) != now.get(CHANGED):
        before, there = receipt.inputs.get(CONTENT), stage.content(receipt.key)
        if before is None or before != there:
            lines = [f"{CONTENT}: {before or 'unknown'} -> {there or 'unknown'}"]
    return lines


def stale(stage: Stage, name: str, receipts: Packed[Receipt], now: Digests) -> list[str]:
    """Units whose inputs changed since they were made, one line each. Identical lines are reported once."""
    units: dict[str, list[str]] = {}
    for chunk in receipts.chunks():
        if stage.reads and now.equal(chunk.keys, chunk.columns.maps("inputs")):
            continue  # then ``changes`` has none for each of them
        for key, receipt in chunk.values().items():
            for line in changes(stage, receipt, now(key)):
                units.setdefault(line, []).append(key)
    more = {line: f" (and {len(keys) - 1} more)" if len(keys) > 1 else "" for line, keys in units.items()}
    return [f"{name}/{keys[0]}{more[line]}: {line}" for line, keys in units.items()]


def differs(table: Table, wanted: Mapping[str, Any]) -> list[str]:
    """Differences between a table and the *wanted* manifest; empty if there is none, or no table."""
    there = table.manifest()
    if there is None or there["fingerprint"] == wanted["fingerprint"]:
        return []
    now, changed = wanted["renamed"], differences(there["config"], wanted["config"])
    lines = [re.sub(r"^\w+", lambda old: now.get(old[0], old[0]), line) for line in changed]
    lines += [f"schema {line}" for line in differences(there["schema"], wanted["schema"])]
    lines += [f"stage {there['stage']} -> {wanted['stage']}"] if there["stage"] != wanted["stage"] else []
    was, now_is = there.get("version", 1), wanted.get("version", 1)
    lines += [f"stage {wanted['stage']}: version {was} -> {now_is}, which gives other rows"] if was != now_is else []
    again = [name for name, mark in wanted["inputs"].items() if there["inputs"].get(name) != mark]
    return lines or [f"it reads {', '.join(again)}, {AGAIN}"]
