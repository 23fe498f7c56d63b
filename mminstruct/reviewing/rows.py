"""The rows of a run that people can review, and their texts. Follows column tags, so any recipe works."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mminstruct.reviewing.choose import by_chance, by_strata
from mminstruct.stage import instruction_id, pair_id
from mminstruct.store import deletion
from mminstruct.store.reader import MissingTable, RunReader, TableReader, picture_column

WHATS = ("turns", "match", "instructions", "answers", "captions")
ORDERS = ("chance", "doubt")
DOUBTS = ("agrees", "support", "similarity")
"""Columns of which a low value means doubt; the first that a run has is used."""


@dataclass(frozen=True, slots=True)
class Item:
    """What is displayed of a row."""

    question: str = ""
    answer: str = ""
    choices: tuple[str, ...] | None = None
    right: int | None = None
    """Place of the right choice, from 0."""
    phrase: str | None = None
    image: str | None = None
    """Id of the image."""
    before: tuple[tuple[str, str], ...] = ()
    """Earlier questions and answers of the same dialogue."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Rows to choose from."""

    table: TableReader
    groups: dict[str, list[str]]
    """Ids by group, in the order in which they are taken."""
    shares: dict[str, float]
    """Share of each group on a sheet."""
    items: Callable[[Sequence[str]], dict[str, Item]]
    """Reads the texts of ids."""


def pool(
    run: RunReader, what: str, *, where: Sequence[str] = (), order: str = "chance", seed: int = 0,
    only: frozenset[str] | None = None, more: Sequence[str] = (),
) -> Pool:  # fmt: skip
    """The rows of *run* for a kind of sheet, without deleted ones.

    Args:
        what: One of ``WHATS``.
        where: ``COLUMN=VALUE``; all columns must fit, of one column any of its values.
        order: chance, or doubt: the most doubtful rows first (``DOUBTS``).
        only: Ids to choose from; all by default.
        more: Questions of visual question answering that are mixed into instructions.

    Raises:
        MissingTable: the run has no table with such rows.
        ValueError: *order* or *where* does not fit the run.
    """
    if order == "doubt" and what in ("match", "instructions"):
        raise ValueError(f"--order doubt: rating sheets ({what}) are ordered by chance, so that ratings stay blind")
    table = _table(run, what)
    key = table.tagged("id")[0]
    rows = _rows(run, table, key, exported=what == "turns")
    if only is not None:
        rows = rows.filter(_is_in(rows[key], sorted(only)))
    rows = _where(run, table, key, rows, where)
    if what == "match":
        return _match(table, key, rows, seed, lambda some: _texts(run, table, key, some))
    ids = rows[key].to_pylist()
    if what == "instructions":
        return _instructions(run, table, key, ids, seed, more)
    chosen = _doubtful(run, table, key, ids, seed) if order == "doubt" else by_chance(ids, seed, "rows")
    return Pool(table, {"run": chosen}, {"run": 1.0}, lambda some: _texts(run, table, key, some))


def texts(run: RunReader, what: str, ids: Sequence[str]) -> dict[str, Item]:
    """What is displayed now of those *ids* that the run has.

    Raises:
        MissingTable: as for ``pool``.
    """
    table = _table(run, what)
    key = table.tagged("id")[0]
    return _bank(table, key, ids) if what == "instructions" else _texts(run, table, key, ids)


def column(run: RunReader, what: str, name: str, ids: Sequence[str]) -> dict[str, Any]:
    """Values of a column by id, for those *ids* that the run has; empty if it has no such column."""
    try:
        table = _table(run, what)
    except MissingTable:
        return {}
    key = table.tagged("id")[0]
    if name not in table.schema.names:
        return {}
    return {row[key]: row[name] for row in table.to_arrow([key, name], _among(key, ids)).to_pylist()}


def root(run: RunReader) -> TableReader | None:
    """The table with the images; None if the run has none."""
    return next((table for table in run.values() if table.tagged("id") and picture_column(table)), None)


def _table(run: RunReader, what: str) -> TableReader:
    """The table with the rows of a kind of sheet."""
    pictures = root(run)
    image = pictures.tagged("id")[0] if pictures is not None else ""
    named = {name: table for name, table in run.items() if table.tagged("id") and table.num_rows}
    about = {name: table for name, table in named.items() if image in table.tagged("parent")}
    fits: dict[str, Callable[[], list[TableReader]]] = {
        "turns": lambda: [one for one in about.values() if {"question", "answer"} <= set(one.tagged("text"))][-1:],
        "answers": lambda: [one for one in about.values() if "answer" in one.tagged("text")],
        "match": lambda: [one for one in about.values() if "similarity" in one.schema.names],
        "instructions": lambda: [one for one in named.values() if one.tagged("group") and one.tagged("text")],
        "captions": lambda: [
            one for one in named.values() if one is not pictures and image in one.tagged("id") and one.tagged("text")
        ],
    }
    found = fits[what]()
    if not found:
        there = [other for other in WHATS if other != what and fits[other]()]
        hint = f"it has rows for --what {', '.join(there)}" if there else "build it first"
        raise MissingTable(f"{run.url} has no table with rows for --what {what}; {hint}")
    return found[0]


def _rows(run: RunReader, table: TableReader, key: str, *, exported: bool) -> pa.Table:
    """Ids and parents of the rows of *table* that are not deleted; with *exported*, of those that the run selected."""
    rows = table.to_arrow(table.tagged("id", "parent"))
    gone = sorted(deletion.deleted(run.store))
    for name in rows.column_names if gone else ():
        rows = rows.filter(pc.invert(_is_in(rows[name], gone)))
    later = [one for one in _beside(run, table, key) if one.num_rows and not one.lists(key)]
    if exported and later:
        rows = rows.filter(_is_in(rows[key], max(later, key=list(run.values()).index).to_arrow([key])[key]))
    return rows


def _where(run: RunReader, table: TableReader, key: str, rows: pa.Table, where: Sequence[str]) -> pa.Table:
    """The *rows* that fit ``COLUMN=VALUE``."""
    wanted: dict[str, list[str]] = {}
    for one in where:
        column, equals, value = one.partition("=")
        if not equals:
            raise ValueError(f"--where {one}: write COLUMN=VALUE, for example --where kind=choice")
        wanted.setdefault(column, []).append(value)
    for column, values in wanted.items():
        found = _values(run, table, key, column)
        if found is None:
            names = sorted({name for other in _beside(run, table, key) for name in other.schema.names})
            raise ValueError(f"--where {column}: no such column beside {key}; there is {', '.join(names)}")
        known = {one: str(value) for one, value in found.items()}
        kept = rows.filter(_is_in(rows[key], sorted(one for one, value in known.items() if value in values)))
        if rows.num_rows and not kept.num_rows:
            there = Counter(known.get(one, "") for one in rows[key].to_pylist()).most_common(8)
            frequent = ", ".join(f"{value!r} ({count})" for value, count in there)
            raise ValueError(f"--where: no row has {column}={' or '.join(values)}; most frequent are {frequent}")
        rows = kept
    return rows


def _is_in(column: pa.ChunkedArray, values: Sequence[str] | pa.ChunkedArray) -> pa.ChunkedArray:
    known = values if isinstance(values, pa.ChunkedArray) else pa.array(values, column.type)
    return pc.is_in(column, value_set=known)


def _beside(run: RunReader, table: TableReader, key: str) -> list[TableReader]:
    """*table* and all others whose rows have the same ids."""
    return [table, *(one for one in run.values() if one is not table and key in one.tagged("id"))]


def _values(run: RunReader, table: TableReader, key: str, column: str) -> dict[str, Any] | None:
    """A column's values by id, from the first table beside *table* that has it."""
    for one in _beside(run, table, key):
        if column in one.schema.names and column not in one.tagged("heavy") and one.num_rows:
            found = one.to_arrow([key, column])
            return dict(zip(found[key].to_pylist(), found[column].to_pylist(), strict=True))
    return None


def _doubtful(run: RunReader, table: TableReader, key: str, ids: Sequence[str], seed: int) -> list[str]:
    """*ids*, the most doubtful first; rows of unknown doubt come last."""
    for column in DOUBTS:
        values = _values(run, table, key, column)
        if values is not None and any(values.get(one) is not None for one in ids):
            known = {one: value for one in ids if (value := values.get(one)) is not None}
            ordered = sorted(by_chance(list(known), seed, "rows"), key=lambda one: float(known[one]))
            return [*ordered, *by_chance([one for one in ids if one not in known], seed, "rows")]
    raise ValueError(f"--order doubt: the run has no column {', '.join(DOUBTS)} for these rows; take --order chance")


def _match(
    table: TableReader, key: str, pairs: pa.Table, seed: int, items: Callable[[Sequence[str]], dict[str, Item]]
) -> Pool:
    """Matched pairs evenly over similarities, and a quarter of random pairs: the image of one, the text of another."""
    found = table.to_arrow([key, "similarity"])
    similar = dict(zip(found[key].to_pylist(), found["similarity"].to_pylist(), strict=True))
    ids = {row[key]: row for row in pairs.to_pylist()}
    rows = by_chance(list(ids), seed, "random")
    image, text = (name for name in table.tagged("parent") if name != key)
    there = {(row[image], row[text]) for row in ids.values()}
    random: dict[str, tuple[str, str]] = {}
    for one, other in zip(rows, rows[len(rows) // 2 :] + rows[: len(rows) // 2], strict=True):
        mixed = (ids[one][image], ids[other][text])
        if mixed not in there:
            random.setdefault(pair_id(*mixed), (one, other))
    for real in table.to_arrow([key], _among(key, list(random)))[key].to_pylist():  # matched, but not in *pairs*
        del random[real]

    def read(some: Sequence[str]) -> dict[str, Item]:
        mixed = {one: random[one] for one in some if one in random}
        texts = items(sorted({one for one in some if one in ids} | {one for two in mixed.values() for one in two}))
        made = {one: Item(question=texts[b].question, image=texts[a].image) for one, (a, b) in mixed.items()}
        plain = {one: Item(question=texts[one].question, image=texts[one].image) for one in some if one in ids}
        return plain | made

    groups = {"run": by_strata({one: similar[one] for one in ids}, seed), "random": list(random)}
    return Pool(table, groups, {"run": 0.75, "random": 0.25}, read)


def _instructions(
    run: RunReader, table: TableReader, key: str, ids: Sequence[str], seed: int, more: Sequence[str]
) -> Pool:
    """Instructions of the bank, a quarter of seeds that people wrote, and a quarter of other questions."""
    told = (one.manifest["config"].get("seeds") for one in run.values())
    seeds = next((one for one in told if one), None)
    if not seeds:
        raise ValueError(f"{run.url}: no table records seed instructions, which are mixed into these sheets")
    by_id = {name: {instruction_id(one): one for one in some} for name, some in (("seed", seeds), ("vqa", more))}
    groups = {"run": by_chance(ids, seed, "rows")}
    taken = set(ids)
    for name, some in by_id.items():
        groups[name] = by_chance([one for one in some if one not in taken], seed, "rows")
        taken |= set(some)

    def read(some: Sequence[str]) -> dict[str, Item]:
        others = {id_: Item(question=one) for id_, one in (by_id["vqa"] | by_id["seed"]).items()}
        known = others | _bank(table, key, some)
        return {one: known[one] for one in some}

    return Pool(table, groups, {"run": 0.5, "seed": 0.25, "vqa": 0.25}, read)


def _bank(table: TableReader, key: str, ids: Sequence[str]) -> dict[str, Item]:
    """What is displayed of the instructions *ids* of a bank."""
    text = table.tagged("text")[0]
    return {row[key]: Item(question=row[text]) for row in table.to_arrow([key, text], _among(key, ids)).to_pylist()}


def _texts(run: RunReader, table: TableReader, key: str, ids: Sequence[str]) -> dict[str, Item]:
    """What is displayed of *ids*; a question that the table has not comes from the table of its other parent."""
    mine, pictures = table.tagged("text"), root(run)
    image = pictures.tagged("id")[0] if pictures is not None else ""
    extra = [name for name in ("right", "talk", "turn") if name in table.schema.names]
    names = list(dict.fromkeys([*table.tagged("id", "parent"), *mine, *extra]))
    rows = {row[key]: row for row in table.to_arrow(names, _among(key, ids)).to_pylist()}
    asked: dict[str, str] = {}
    parents = [] if "question" in mine or key == image else [one for one in table.tagged("parent") if one != image]
    for parent in parents:
        wanted = sorted({row[parent] for row in rows.values()})
        for other in run.values():
            if parent in other.tagged("id") and other.tagged("text"):
                text = other.tagged("text")[0]
                found = other.to_arrow([parent, text], _among(parent, wanted)).to_pylist()
                said = {row[parent]: row[text] for row in found}
                asked |= {one: said[row[parent]] for one, row in rows.items() if row[parent] in said}
                break
    before = _before(table, key, list(rows.values())) if {"talk", "turn", "question"} <= set(names) else {}
    answer = "answer" if "answer" in mine else mine[0] if mine else ""
    return {
        one: Item(
            question=(row.get("question") or asked.get(one) or "").strip(),
            answer=(row.get(answer) or "").strip(),
            choices=tuple(row["choices"]) if row.get("choices") else None,
            right=row.get("right"),
            phrase=row.get("phrase"),
            image=row.get(image),
            before=before.get(one, ()),
        )
        for one, row in rows.items()
    }


def _before(table: TableReader, key: str, rows: list[dict[str, Any]]) -> dict[str, tuple[tuple[str, str], ...]]:
    """The earlier turns of each row that belongs to a dialogue."""
    talks = sorted({row["talk"] for row in rows if row["talk"] is not None})
    found = table.to_arrow(["talk", "turn", "question", "answer"], _among("talk", talks)).to_pylist() if talks else []
    found.sort(key=lambda row: row["turn"])
    return {
        row[key]: tuple((one["question"], one["answer"]) for one in found
                        if one["talk"] == row["talk"] and one["turn"] < row["turn"])
        for row in rows if row["talk"] is not None
    }  # fmt: skip


def _among(column: str, values: Sequence[str]) -> pc.Expression:
    return pc.field(column).isin(pa.array(values, pa.string()))
