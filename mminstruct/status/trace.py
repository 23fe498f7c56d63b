"""Follows an id through all tables of a run, up to where it was dropped and why.

Column tags (``schemas.TAGS``) say which columns hold ids, names and long values, so any recipe can be traced.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mminstruct.store import deletion
from mminstruct.store.reader import RunReader, TableReader
from mminstruct.terminal import one_line

_MOST = 20
"""Maximum number of rows shown per table; an instruction may have a million pairs."""


@dataclass
class Trace:
    """The path of one id through a run. ``print(trace)`` shows it as text."""

    id: str
    kind: str
    """Name of the id's column: pair_id, image_id, instruction_id, question_id. If only a drop has the id, the dropping
    stage's name for it (member: a file of a shard that was never ingested)."""
    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Rows by table, in the order of the recipe; at most 20 per table, without large columns."""
    left: list[dict[str, Any]] = field(default_factory=list)
    """Where it was dropped: table, unit, id, reason, detail."""
    prompts: dict[str, str] = field(default_factory=dict)
    """Prompt of each table in ``rows``."""

    def __str__(self) -> str:
        return as_text(self)


@dataclass(frozen=True)
class Family:
    """An id and its related ids, as column name -> values."""

    kind: str
    id: str
    above: dict[str, set[str]]
    """Ids that its rows were made from: a pair's image and instruction; an instruction's entry in the bank."""
    below: dict[str, set[str]]
    """Ids that were made from it: an image's pairs."""

    order: tuple[str, ...] = ()
    """Kinds of ids; the one whose table comes last in the recipe is first."""

    def column(self, table: TableReader) -> str | None:
        """The column that connects *table* with the id; None if there is none.

        It is the id's own column; else the column of the table's own ids; else that of the related id which the recipe
        makes last (of a pair's image and instruction, the instruction). Members of a group are selected only by their
        own ids: other ids lead to the row that represents the group.
        """
        if self.kind in table.tagged(*_IDS):
            return self.kind
        if table.tagged("member"):
            return None
        here = table.tagged("id") or table.tagged("parent")
        return next((kind for kind in self.order if kind in here and self.values(kind)), None)

    def values(self, kind: str) -> set[str]:
        """Values of *kind* that belong to the id."""
        own = {self.id} if kind == self.kind else set()
        return own | self.above.get(kind, set()) | self.below.get(kind, set())

    def filter(self, table: TableReader) -> pc.Expression | None:
        """Selects the rows of *table* that belong to the id; None if there are none."""
        column = self.column(table)
        return None if column is None else pc.field(column).isin(sorted(self.values(column)))


_IDS = ("id", "parent", "member")
"""Tags of id columns; the name of a column is the kind of its ids."""


def trace(run: RunReader | str, wanted: str) -> Trace:
    """Follow *wanted* through a run, or the run at a URL.

    Args:
        wanted: A full id, at least its first 4 hex digits, or the name of a member of a shard.

    Raises:
        FileNotFoundError: there is no run.
        LookupError: no table and no drop has the id, or several ids match.
    """
    run = RunReader(run) if isinstance(run, str) else run
    kind, id_ = identify(
        run, wanted, ({"table": name, **row} for name, table in run.items() for row in table.dropped())
    )
    found, places = Trace(id=id_, kind=kind), Places(run)
    relatives = family(run, kind, id_, places)
    for name, table in run.items():
        column, selected = relatives.column(table), relatives.filter(table)
        if column is None or selected is None:
            continue
        heavy = table.tagged("heavy")
        columns = [column for column in table.schema.names if column not in heavy]
        only = places.parts(name, column, relatives.values(column))
        rows = table.dataset(only).scanner(columns=columns, filter=selected).head(_MOST).to_pylist()
        if rows:
            found.rows[name] = rows
            found.prompts |= _prompts(name, table.manifest["config"])
    # show an image's pairs; from another id, a million rows may have been made
    made = set().union(*relatives.below.values()) if kind in _source_ids(run) else set()
    found.left = [row for name in run for row in places.dropped(name, {id_} | made)]
    gone = deletion.deleted(run.store)
    for one in sorted({id_}.union(made, *relatives.above.values()) & set(gone)):
        found.left.append(
            {"table": "delete", "unit": one, "id": one, "reason": gone[one].reason, "detail": gone[one].time}
        )
    return found


def identify(run: RunReader, wanted: str, dropped: Iterable[Mapping[str, Any]] = ()) -> tuple[str, str]:
    """Kind and full id of *wanted*, which is given as in ``trace``.

    Args:
        dropped: All dropped rows, with their tables; read only if no table has the id.

    Raises:
        LookupError: no id matches, or several do.
    """
    hits: set[tuple[str, str]] = set()
    places = Places(run)
    if re.fullmatch(r"[0-9a-f]{4,16}", wanted):
        for table in run.values():
            for kind in table.tagged(*_IDS):
                if places.before(table.name, kind) is None:  # else its ids are found there
                    hits |= {(kind, one) for one in _values(table, kind, pc.starts_with(pc.field(kind), wanted))}
        hits = {hit for hit in hits if hit[1] == wanted} or hits  # prefer 1000 to 10000
    if not hits:  # ids of external data may have any form
        for table in run.values():
            for kind in table.tagged("id"):
                hits |= {(kind, one) for one in _values(table, kind, pc.field(kind) == wanted)}
    if not hits:
        for table in run.values():
            for name in table.tagged("name"):
                for kind in table.tagged("id"):
                    hits |= {(kind, one) for one in _values(table, kind, pc.field(name) == wanted)}
    if not hits:
        hits = {
            (run[row["table"]].manifest.get("row_key") or "member", wanted) for row in dropped if row["id"] == wanted
        }
    kinds = list(dict.fromkeys(kind for table in run.values() for kind in table.tagged(*_IDS)))
    if not hits:
        raise LookupError(
            f"{wanted}: no table of this run has this id, and no dropped row; give an id ({', '.join(kinds)}),"
            " its first 4 digits, or a member's name as found in its shard"
        )
    if len({value for _, value in hits}) == 1:  # a dialogue of one question has the question's id: use the first kind
        return min(hits, key=lambda hit: kinds.index(hit[0]) if hit[0] in kinds else len(kinds))
    some = ", ".join(f"{value} ({kind})" for kind, value in sorted(hits)[:3])
    raise LookupError(f"{wanted} fits {len(hits)} ids: take one of them, or more of its digits: {some}")


def family(run: RunReader, kind: str, id_: str, places: Places | None = None) -> Family:
    """The related ids of an id, found in every table that has both id columns."""
    places = places or Places(run)
    above, below, made = defaultdict[str, set[str]](set), defaultdict[str, set[str]](set), dict[str, int]()
    for table in run.values():
        if kind in table.tagged("member"):
            above[kind] |= _leaders(run, kind, table, id_)
    same = sorted({id_} | above[kind])
    for place, table in enumerate(run.values()):
        own, parents = table.tagged("id"), table.tagged("parent")
        made |= {one: place for one in own if one not in made}
        for parent in parents if kind in own else []:
            above[parent] |= _values(table, parent, pc.field(kind) == id_, places.parts(table.name, kind, {id_}))
        for child in own:
            if kind in parents:
                only = places.parts(table.name, kind, same)
                below[child] |= _values(table, child, pc.field(kind).isin(same), only)
            for column in table.lists(kind):
                below[child] |= _holding(table, child, column, kind, same)
    return Family(kind, id_, dict(above), dict(below), tuple(sorted(made, key=lambda one: -made[one])))


def _leaders(run: RunReader, kind: str, members: TableReader, id_: str) -> set[str]:
    """Ids of the rows that represent the groups of a member."""
    found: set[str] = set()
    for group in members.tagged("group"):
        groups = sorted(_values(members, group, pc.field(kind) == id_))
        for table in run.values() if groups else ():
            if kind in table.tagged("id") and group in table.tagged("group"):
                found |= _values(table, kind, pc.field(group).isin(groups))
    return found


def _holding(table: TableReader, own: str, column: str, kind: str, ids: list[str]) -> set[str]:
    """Own ids of the rows whose list in *column* contains one of *ids*."""
    found: set[str] = set()
    for batch in table.dataset().to_batches(columns=[own, column]):
        held = pc.struct_field(pc.list_flatten(batch[column]), kind)
        rows = pc.list_parent_indices(batch[column]).filter(pc.is_in(held, value_set=pa.array(ids, held.type)))
        found.update(batch[own].take(rows).to_pylist())
    return found


def _values(table: TableReader, column: str, selected: pc.Expression, only: frozenset[str] | None = None) -> set[Any]:
    """Distinct values of a column in the selected rows, of the parts *only*."""
    found = table.dataset(only).to_table(columns=[column], filter=selected)[column]
    return set(pc.unique(found).to_pylist()) - {None}


class Places:
    """Which parts of a table can have some ids, so that the others need not be read.

    A unit that reads one part keeps or drops exactly the rows of that part (``work.py`` checks their ids), under the
    part's key. So an id that is in few parts of one table is in the units of these keys in the next one.
    """

    def __init__(self, run: RunReader) -> None:
        self.run = run
        self._found: dict[tuple[str, str, frozenset[str]], frozenset[str]] = {}

    def before(self, name: str, kind: str) -> str | None:
        """The table in which a unit's part has all ids of *kind* that the unit's rows in table *name* can have.

        It is the input whose rows the stage takes, if *kind* identifies these rows, or is a parent of them in both: a
        row keeps its parents. None if there is no such table.
        """
        table = self.run[name]
        first, key = self._first(name)
        if first is None or key not in table.tagged(*_IDS):
            return None
        whole = kind == key or (key in self.run[first].tagged("id") and kind in table.tagged("parent"))
        return first if whole and kind in self.run[first].tagged(*(_IDS if kind == key else ("parent",))) else None

    def _first(self, name: str) -> tuple[str | None, str]:
        """The input whose rows a unit takes from one part, and their id's column; None if it reads the whole table."""
        facts = self.run[name].manifest
        first, key = next(iter(facts["inputs"]), None), facts.get("row_key")
        if first is None or first != facts.get("primary") or first not in self.run:
            return None, ""
        return (str(first), str(key)) if key in self.run[str(first)].schema.names else (None, "")

    def parts(self, name: str, kind: str, ids: Collection[str]) -> frozenset[str] | None:
        """Keys of the parts of a table that can have one of *ids*; None for all."""
        first = self.before(name, kind)
        if first is None:
            return None
        receipts, units = self.run[name].receipts(), sorted(self._holding(first, kind, frozenset(ids)))
        return frozenset(part.part for unit in units if unit in receipts for part in receipts[unit].parts)

    def _holding(self, name: str, kind: str, ids: frozenset[str]) -> frozenset[str]:
        """Keys of the parts of a table that have one of *ids*."""
        if (name, kind, ids) not in self._found:
            rows = self.run[name].dataset(self.parts(name, kind, ids))
            files = rows.to_table(columns=["__filename"], filter=pc.field(kind).isin(sorted(ids)))["__filename"]
            keys = (file.rsplit("/", 1)[-1].rsplit(".", 2)[0] for file in pc.unique(files).to_pylist())
            self._found[name, kind, ids] = frozenset(keys)
        return self._found[name, kind, ids]

    def dropped(self, name: str, ids: set[str]) -> Iterator[dict[str, Any]]:
        """Rows with one of *ids* that were dropped at a table."""
        (first, key), table = self._first(name), self.run[name].table
        receipts = self.run[name].receipts()
        units = receipts.keys() if first is None else sorted(self._holding(first, key, frozenset(ids)))
        for unit in units:
            receipt = receipts.get(unit)
            for row in table.drops(receipt) if receipt is not None else ():
                if row["id"] in ids:
                    yield {"table": name, "unit": unit, **row}


def _source_ids(run: RunReader) -> set[str]:
    """Kinds of ids that come from sources."""
    return {kind for table in run.values() if not table.manifest["inputs"] for kind in table.tagged("id")}


def _prompts(where: str, config: Mapping[str, Any]) -> dict[str, str]:
    """A stage's prompt, and the prompts of its models: each judge of a benchmark has one."""
    names = {"prompt": where, "rubric": f"{where}.rubric"}
    found = {place: config[name] for name, place in names.items() if isinstance(config.get(name), str)}
    for some in config.values():
        for name, item in some.items() if isinstance(some, Mapping) else ():
            if isinstance(item, Mapping):
                found |= _prompts(f"{where}.{name}", item)
    return found


def as_json(found: Trace) -> str:
    return json.dumps(asdict(found), indent=1, ensure_ascii=False)


def as_text(found: Trace) -> str:
    """The rows of each table, its prompts, and where the id was dropped; texts are not truncated."""
    lines = [f"{found.kind} {found.id}"]
    for name, rows in found.rows.items():
        lines.append(f"{name}" + (f" ({len(rows)} rows)" if len(rows) > 1 else ""))
        for row in rows:
            shown = {key: value for key, value in row.items() if value is not None and value != found.id}
            # indent the later lines of a text, so that they do not look like fields
            lines += [f"    {key}: {value}".replace("\n", "\n        ") for key, value in shown.items()]
            lines.append("")
        lines.pop()
    for name, prompt in found.prompts.items():
        lines += [f"prompt of {name}", textwrap.indent(prompt, "    ").rstrip()]
    for row in found.left:
        detail = f" ({row['detail']})" if row["detail"] else ""
        lines.append(one_line(f"LEFT at {row['table']}, unit {row['unit']}: {row['reason']}{detail}"))
    return "\n".join(lines)
