"""Sheets and files of decisions, as `mminstruct review` and its pages write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mminstruct.reviewing.sheet import DECISIONS, FILE, Row, Sheet, Sheets, dump, sheet_id
from mminstruct.reviewing.shown import shown

Line = dict[str, Any]


def sheets(people: dict[str, list[Row]], what: str = "turns", rank: int = 0, run: str = "r") -> Sheets:
    """Sheets with the given rows, by person."""
    made = {person: Sheet(sheet_id(run, what, person, tuple(rows)), tuple(rows)) for person, rows in people.items()}
    return Sheets(
        what=what, run=run, table="review", digest="d", seed=0, rows=len(next(iter(made.values())).rows), overlap=1.0,
        order="chance", where=[], rank=rank, sheets=made,
    )  # fmt: skip


def row(pair: str, question: str = "What is it?", answer: str = "A cat.", **more: Any) -> Row:
    choices = more.pop("choices", None)
    return Row(pair, shown(question, choices, answer), **more)


def line(of: Sheets, person: str, place: int, decision: str = "accept", **change: Any) -> Line:
    """The line of one decision."""
    mine = of.sheets[person]
    plain: Line = dict.fromkeys(("rating", "reason", "question", "answer", "choices", "right", "axis"))
    return {
        "sheet": mine.sheet, "person": person, "id": mine.rows[place].id, "shown": mine.rows[place].shown, **plain,
        "decision": decision, "seconds": 2.5, "at": f"2026-11-26T14:{place // 60:02d}:{place % 60:02d}.000Z",
        "page": "0123456789abcdef", "place": place, **change,
    }  # fmt: skip


def text(lines: list[Line]) -> bytes:
    return "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in lines).encode()


def lay(folder: Path, of: Sheets, files: dict[str, list[Line] | bytes]) -> Path:
    """Write ``sheet.json`` and, into its folder of decisions, *files* by name without ending; returns that folder."""
    here = folder / DECISIONS
    here.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_bytes(dump(of))
    for name, said in files.items():
        (here / f"{name}.jsonl").write_bytes(said if isinstance(said, bytes) else text(said))
    return here
