"""What a stage made of a few rows, for people who write prompts: on a terminal, and as a page with pictures.

Several variants of the stage are shown side by side, row by row.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mminstruct.report.page import picture, render
from mminstruct.report.samples import texts
from mminstruct.store.reader import RunReader, TableReader, encoded, picture_column

MOST = 100
"""Rows of a variant that are shown."""
_WIDE = 100
"""Columns of a terminal line."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One call of a model."""

    messages: list[tuple[str, str]]
    """(role, text) of each turn; an image is written as ``(image)``."""
    reply: str
    finish: str


@dataclass(slots=True)
class Row:
    """One row that the stage kept or dropped."""

    id: str
    given: dict[str, str] = field(default_factory=dict)
    """What it was made from: texts of the rows that it names, by column."""
    texts: dict[str, str] = field(default_factory=dict)
    """What the stage wrote, by column."""
    dropped: str = ""
    """Reason and detail, if it was dropped."""
    picture: str | None = None
    """A data URI."""


@dataclass(slots=True)
class Shown:
    """One variant of a stage."""

    words: list[str]
    """Of the command."""
    rows: list[Row]
    more: int
    """Rows that are not shown."""
    exchanges: list[Exchange]


def shown(url: str, stage: str, words: Sequence[str], exchanges: list[Exchange]) -> Shown:
    """The rows of table *stage* in the run at *url*, kept and dropped, in the order of their ids."""
    run = RunReader(url)
    table = run[stage]
    own = table.tagged("id")[0]
    known, pictures = _known(run, stage), _pictures(run)
    parents = [name for name in table.tagged("id", "parent") if name != own or name in known]
    rows = [
        Row(
            str(row[own]),
            _given(row, parents, known),
            _texts(row, table),
            picture=pictures.get(row.get("image_id", "")),
        )
        for row in table.to_arrow(columns=[*dict.fromkeys([own, *parents, *table.tagged("text")])]).to_pylist()
    ]
    for drop in table.dropped():
        said = f"{drop['reason']}: {drop['detail']}" if drop["detail"] else drop["reason"]
        of = known.get(own, {}).get(drop["id"], {})
        rows.append(Row(drop["id"], dict(of), dropped=said, picture=pictures.get(drop["id"])))
    rows.sort(key=lambda row: row.id)
    return Shown(list(words), rows[:MOST], max(0, len(rows) - MOST), exchanges)


def _texts(row: Mapping[str, Any], table: TableReader) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in table.tagged("text"):
        value = row[name]
        if isinstance(value, list) and value and isinstance(value[0], dict):  # turns of a conversation
            value = ["  ".join(f"{key}: {item}" for key, item in turn.items() if item) for turn in value]
        found |= texts({name: value}, [name])
    return found


def _known(run: RunReader, stage: str) -> dict[str, dict[str, dict[str, str]]]:
    """Id column -> id -> the texts of that row in the tables before *stage*; of equal columns the last table's."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    for table in run.values():
        if table.name == stage:
            break
        for own in table.tagged("id")[:1]:
            mine = [name for name in table.tagged("text") if name not in table.lists("from")]
            for row in table.to_arrow(columns=[own, *mine]).to_pylist() if mine else ():
                found.setdefault(own, {}).setdefault(row[own], {}).update(texts(row, mine))
    return found


def _given(row: Mapping[str, Any], parents: Sequence[str], known: Mapping[str, Any]) -> dict[str, str]:
    """The last text of each row that *row* names: the description of its image, its instruction."""
    found: dict[str, str] = {}
    for name in parents:
        of = known.get(name, {}).get(row[name], {})
        found |= dict(list(of.items())[-1:])
    return found


def _pictures(run: RunReader) -> dict[str, str | None]:
    root = next((table for table in run.values() if picture_column(table)), None)
    if root is None:
        return {}
    own, column = root.tagged("id")[0], picture_column(root)
    rows = root.to_arrow(columns=[own, str(column)]).to_pylist()
    return {row[own]: picture(encoded(row[column])) for row in rows[:MOST]}


def plain(content: Any) -> str:
    """A turn's content as text."""
    parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
    return "\n".join(part["text"] if part["type"] == "text" else "(image)" for part in parts)


def names(variants: Sequence[Shown]) -> list[str]:
    """A name for each variant: the words that only it has."""
    common = set.intersection(*(set(one.words) for one in variants))
    return [" ".join(word for word in one.words if word not in common) for one in variants]


def page(stage: str, variants: Sequence[Shown]) -> str:
    """The page: rows of all variants side by side, then every prompt and reply."""
    ids = sorted({row.id for one in variants for row in one.rows})
    by_id = [{row.id: row for row in one.rows} for one in variants]
    table = [[rows.get(id_) for rows in by_id] for id_ in ids]
    return render("previews.html", title=f"Preview of {stage}", names=names(variants), rows=table, variants=variants)


def as_text(variants: Sequence[Shown]) -> str:
    """Rows of each variant, and the first prompt as it was sent."""
    lines: list[str] = []
    for name, one in zip(names(variants), variants, strict=True):
        lines += [f"== {name}"] if name else []
        for row in one.rows:
            lines += ["", row.id]
            lines += [_wrapped(f"({key}) {text}") for key, text in row.given.items()]
            lines += [_wrapped(f"{key}: {text}") for key, text in row.texts.items()]
            lines += [_wrapped(f"dropped, {row.dropped}")] if row.dropped else []
        lines += [f"... and {one.more} more rows"] if one.more else []
        kept = sum(not row.dropped for row in one.rows)
        lines += ["", f"{kept} rows kept, {len(one.rows) - kept} dropped; {len(one.exchanges)} calls of a model"]
        for exchange in one.exchanges[:1]:
            lines += ["", "The first prompt as it was sent, and the reply:"]
            lines += [f"  ## {role}\n{textwrap.indent(text, '  ')}" for role, text in exchange.messages]
            lines += [f"  ({exchange.finish}) {exchange.reply}"]
    return "\n".join(lines).strip("\n")


def _wrapped(text: str) -> str:
    first, *rest = text.split("\n")
    lines = [textwrap.fill(first, _WIDE, initial_indent="  ", subsequent_indent="    ")]
    lines += [textwrap.fill(line, _WIDE, initial_indent="    ", subsequent_indent="    ") for line in rest]
    return "\n".join(lines)
