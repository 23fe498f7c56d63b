"""Samples for a page: images of a run with all texts generated for them, from whatever tables the run has."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mminstruct.report.page import picture
from mminstruct.store.reader import RunReader, TableReader, encoded, picture_column

_ABOUT = ("domain", "kind", "split")
"""Columns shown beside a row, if a table has them."""


@dataclass
class Derived:
    """Texts generated for an image under one id: an image-instruction pair or a dialogue."""

    id: str
    texts: dict[str, str] = field(default_factory=dict)
    """Texts by column; those of parent rows come first."""
    turns: list[tuple[str, str]] = field(default_factory=list)
    """(speaker, text), if a table has it as a conversation; *texts* are not shown then."""
    about: dict[str, str] = field(default_factory=dict)
    parents: dict[str, str] = field(default_factory=dict)
    """Ids of parent rows, by column."""
    within: set[str] = field(default_factory=set)
    """Ids of the pairs in its turns, which are not shown again."""
    dropped: list[str] = field(default_factory=list)
    """``TABLE: REASON``."""


@dataclass
class Sample:
    """One image with its texts."""

    id: str
    picture: str | None = None
    """A data URI; None if the image cannot be shown."""
    given: dict[str, str] = field(default_factory=dict)
    """Texts that came with the image, by column."""
    texts: dict[str, str] = field(default_factory=dict)
    """Texts generated from the image alone, by column."""
    made: list[Derived] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)


def samples(run: RunReader, most: int) -> list[Sample]:
    """At most *most* images, from parts spread evenly over the run; equal runs give equal samples."""
    root = _root(run)
    keys = list(root.table.parts()) if root is not None else []
    if root is None or not keys:
        return []
    chosen = keys[:: max(1, len(keys) // most)][:most]
    found = [sample for key in chosen for sample in _of_part(run, root, key, -(-most // len(chosen)))][:most]
    _name_parents(run, [made for sample in found for made in sample.made])
    return found


def texts(row: dict[str, Any], columns: Iterable[str]) -> dict[str, str]:
    """The texts in *columns* of a row; lists of texts are joined, one text per line."""
    found = {name: row[name] for name in columns if row.get(name)}
    joined = {name: "\n".join(map(str, one)) if isinstance(one, list) else str(one) for name, one in found.items()}
    return {name: text for name, text in joined.items() if text.strip()}


def _root(run: RunReader) -> TableReader | None:
    """The table whose rows are the samples: the first one with images, else the first one with ids."""
    named = [table for table in run.values() if table.tagged("id")]
    return next((table for table in named if picture_column(table)), named[0] if named else None)


def _of_part(run: RunReader, root: TableReader, key: str, most: int) -> list[Sample]:
    """The *most* images of one part, sorted by id; images with derived texts come first."""
    (kind, *_), mine = root.tagged("id"), root.tagged("text")
    found = {row[kind]: Sample(row[kind], given=texts(row, mine)) for row in _rows(root, key, [kind, *mine])}
    kinds = {name for table in run.values() for name in table.tagged("id")}
    for table in run.values():
        if table is not root:
            _add(found, table, key, kind, kinds)
    chosen = sorted(found.values(), key=lambda sample: (not sample.made, sample.id))[:most]
    pixels = _pixels(root, key, kind, [sample.id for sample in chosen])
    for sample in chosen:
        sample.picture = picture(pixels.get(sample.id))
        within = {id_ for made in sample.made for id_ in made.within - {made.id}}
        sample.made = [made for made in sample.made if made.id not in within]
    return chosen


def _add(found: dict[str, Sample], table: TableReader, key: str, kind: str, kinds: set[str]) -> None:
    """Add the rows and drops in part *key* of a table to the samples *found*; *kinds* are all id columns of the run."""
    own, spoken = table.tagged("id"), [name for name in table.tagged("text") if _conversation(table, name)]
    plain = [name for name in table.tagged("text") if name not in spoken]
    within = [(column, inner) for inner in sorted(kinds) for column in table.lists(inner)]
    if not own or kind not in table.tagged("id", "parent"):
        return
    parents = [name for name in table.tagged("parent") if name != kind]
    about = [name for name in _ABOUT if name in table.schema.names]
    left = {drop["id"]: f"{table.name}: {drop['reason']}" for drop in _drops(table, key)}
    for row in _rows(table, key, [*own, kind, *parents, *plain, *spoken, *about, *(column for column, _ in within)]):
        sample = found.get(row[kind])
        if sample is None:
            continue
        if own[0] == kind:
            sample.texts |= texts(row, plain)
            continue
        made = next((one for one in sample.made if one.id == row[own[0]]), None)
        if made is None:
            sample.made.append(made := Derived(row[own[0]]))
        made.texts |= texts(row, plain)
        made.parents |= {name: row[name] for name in parents if row[name]}
        made.about |= {name: str(row[name]) for name in about if row[name]}
        for name in spoken:
            made.turns = [(turn["from"], turn["value"].replace("<image>", "").strip()) for turn in row[name]]
        made.within |= {turn[inner] for column, inner in within for turn in row[column] or [] if turn[inner]}
    for sample in found.values() if left else ():
        sample.dropped += [left[sample.id]] if sample.id in left else []
        for made in sample.made:
            made.dropped += [left[made.id]] if made.id in left else []


def _conversation(table: TableReader, name: str) -> bool:
    return name in table.lists("from") and name in table.lists("value")


def _rows(table: TableReader, key: str, columns: Iterable[str]) -> list[dict[str, Any]]:
    part = table.table.find(key)
    return [] if part is None else list(table.table.load(part, tuple(dict.fromkeys(columns))).to_pylist())


def _drops(table: TableReader, key: str) -> list[dict[str, Any]]:
    receipt = table.table.receipt(key)
    return [] if receipt is None else table.table.drops(receipt)


def _pixels(root: TableReader, key: str, kind: str, ids: list[str]) -> dict[str, bytes | None]:
    name, part = picture_column(root), root.table.find(key)
    if name is None or part is None:
        return {}
    table = root.table.load(part, (kind, name))
    wanted = table.filter(pc.is_in(table[kind], value_set=pa.array(ids, table[kind].type)))
    return {row[kind]: encoded(row[name]) for row in wanted.to_pylist()}


def _name_parents(run: RunReader, made: list[Derived]) -> None:
    """Put the texts of parent rows before the texts of each derived row."""
    for kind in sorted({kind for one in made for kind in one.parents}):
        ids = sorted({one.parents[kind] for one in made if kind in one.parents})
        said: dict[str, dict[str, str]] = {}
        for table in run.values():
            plain = [name for name in table.tagged("text") if not _conversation(table, name)]
            if kind in table.tagged("id") and plain and table.table.parts():
                for row in table.to_arrow([kind, *plain], pc.field(kind).isin(ids)).to_pylist():
                    said.setdefault(row[kind], {}).update(texts(row, plain))
        for one in made:
            one.texts = said.get(one.parents.get(kind, ""), {}) | one.texts
    for one in made:
        columns: dict[str, str] = {}
        for name, text in one.texts.items():
            columns.setdefault(text, name)  # several tables may hold the same question
        one.texts = {name: text for text, name in columns.items()}
