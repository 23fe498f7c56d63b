"""Lines of decisions, as the pages of people save them, each checked against the sheet that it belongs to."""

from __future__ import annotations

import json
import math
import re
import string
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, TypeGuard

from mminstruct.errors import InputError
from mminstruct.readers.text import BLANK, BadRow, Unreadable, lines
from mminstruct.readers.values import parse
from mminstruct.reviewing.sheet import Sheet, Sheets
from mminstruct.reviewing.words import AXES, DECISIONS, REASONS
from mminstruct.stage import Drop, content_id
from mminstruct.text import one_line, repair, words
from mminstruct.text.leaks import broken, special_token

Row = dict[str, Any]
"""A row of the table decide."""

IDS = {
    "turns": "pair_id", "answers": "pair_id", "match": "pair_id", "instructions": "instruction_id",
    "captions": "image_id",
}  # fmt: skip
"""What is on a sheet -> the column of the ids on it."""
VOTED = tuple(name for name in IDS if IDS[name] == "pair_id" and name not in AXES)
"""Sheets whose decisions are about a question and its answer."""
_EDITED = ("question", "answer", "choices", "right")
_LONGEST = 86_400.0
"""Seconds: a longer time for one decision is no measurement."""
_SHORT = 3
"""Words of an answer that may be the text of a sign ("Access denied") and no server's error message."""


class _Fault(InputError):
    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason)
        self.drop = reason, repair(one_line(detail))[:200]


def read(file: Any, name: str, sheets: Sheets) -> list[Row | Drop]:
    """A row or a drop for each line that is not blank, in order. The id of a drop is ``NAME:LINE``.

    Reasons: ``not_utf8`` (in no encoding), ``not_json``, ``cut_line`` (the last line, which has no end), ``no_id`` (no
    id or no person), ``unknown_sheet``, ``not_on_sheet``, ``bad_decision``, ``bad_rating``, ``edit_unsound``, and
    ``superseded`` (a later line of the file is about the same place of the sheet).

    Args:
        file: binary, read from its present position.
        name: of the file, for ids and messages.
        sheets: the sheets that were handed out.
    """
    known = {one.sheet: (person, one) for person, one in sheets.sheets.items()}
    found: list[Row | Drop] = []
    last: dict[tuple[Any, ...], tuple[int, int]] = {}
    for number, text in _texts(file, name):
        try:
            row = _row(_json(text), known, sheets)
        except _Fault as fault:
            found.append(Drop(f"{name}:{number}", *fault.drop))
            continue
        key = row["sheet"], row["place"], row["axis"]
        if key in last:
            index, line = last[key]
            found[index] = Drop(f"{name}:{line}", "superseded", f"by line {number}")
        last[key] = len(found), number
        found.append(row)
    return found


def _texts(file: Any, name: str) -> Iterator[tuple[int, str | BadRow]]:
    """Lines that are not blank, with their number; the end of a file that is cut counts as a line."""
    number = 0
    try:
        for line in lines(file, name):
            if isinstance(line, BadRow):
                number = line.line
                yield number, line
            else:
                number = line[0]
                if line[1].strip(BLANK):
                    yield line
    except Unreadable as error:  # UTF-16 that ends within a character
        yield number + 1, BadRow(number + 1, str(error))


def _json(text: str | BadRow) -> Mapping[str, Any]:
    if isinstance(text, BadRow):
        cut = "is no whole" in text.said
        raise _Fault("cut_line" if cut else "not_json" if text.said.startswith("longer") else "not_utf8", text.said)
    try:
        value = parse(text, "it")
    except Unreadable as error:
        raise _Fault("not_json" if text.endswith("\n") else "cut_line", str(error)) from None
    if not isinstance(value, dict):
        raise _Fault("not_json", f"it is a JSON {type(value).__name__}, should be an object")
    return value


def _row(line: Mapping[str, Any], known: Mapping[str, tuple[str, Sheet]], sheets: Sheets) -> Row:
    id_, person = (_text(line.get(name)) for name in ("id", "person"))
    if not id_ or not person:
        raise _Fault("no_id", f"it has no {'person' if id_ else 'id'}")
    sheet = _text(line.get("sheet"))
    owner, rows = known.get(sheet, ("", None))
    if rows is None:
        raise _Fault("unknown_sheet", f"sheet {sheet!r} is not in the sheet.json beside this file")
    if owner != person:
        raise _Fault("unknown_sheet", f"sheet {sheet} is for {owner}, not for {person}")
    place = line.get("place")
    if not _whole(place) or not 0 <= place < len(rows.rows) or rows.rows[place].id != id_:
        raise _Fault("not_on_sheet", f"{id_} is not at place {place!r} of sheet {sheet}")
    if (shown := _text(line.get("shown"))) != rows.rows[place].shown:
        raise _Fault("not_on_sheet", f"another text was shown at place {place}: {shown!r}")
    plain = {name: value for name, value in line.items() if name != "at"}
    return {
        "decision_id": content_id(json.dumps(plain, sort_keys=True, ensure_ascii=False)), IDS[sheets.what]: id_,
        "sheet": sheet, "what": sheets.what, "person": person, "place": place, "shown": shown, "rank": sheets.rank,
        **dict.fromkeys(("reason", *_EDITED)), **_rating(line, sheets.what), **_decision(line, sheets.what),
        "seconds": _seconds(line.get("seconds")), "at": _time(line.get("at")),
    }  # fmt: skip


def _decision(line: Mapping[str, Any], what: str) -> Row:
    """The decision with its reason or the edited texts."""
    decision = line.get("decision")
    known = [one for one in DECISIONS if one == "skip" or (one == "rate") == (what in AXES)]
    if decision not in known:
        raise _Fault("bad_decision", f"decision {decision!r} is none of {', '.join(known)}")
    if decision == "edit":
        return {"decision": decision, **_edit(line)}
    reason = line.get("reason")
    if decision == "reject" and reason is not None and not (isinstance(reason, str) and reason in REASONS):
        raise _Fault("bad_decision", f"reason {reason!r} is none of {', '.join(REASONS)}")
    return {"decision": decision, "reason": reason if decision == "reject" else None}


def _rating(line: Mapping[str, Any], what: str) -> Row:
    axis, rating = line.get("axis"), line.get("rating")
    if axis not in (list(AXES[what]) if what in AXES else [None]):
        raise _Fault("bad_rating", f"axis {axis!r} does not belong to sheets of {what}")
    if rating is None and line.get("decision") != "rate":
        return {"axis": axis, "rating": None}
    if not _whole(rating) or not 1 <= rating <= 5:
        raise _Fault("bad_rating", f"rating {rating!r} is no whole number from 1 to 5")
    if line.get("decision") != "rate":
        raise _Fault("bad_rating", f"rating {rating} with decision {line.get('decision')!r}, not rate")
    return {"axis": axis, "rating": rating}


def _edit(line: Mapping[str, Any]) -> Row:
    """The texts as they stand after the edit."""
    told: tuple[Any, ...] = tuple(line.get(name) for name in _EDITED[:3])
    question, answer, choices = told
    texts = [question, answer, *(choices if isinstance(choices, list) else [])]
    if not all(isinstance(one, str) for one in texts) or not isinstance(choices, list | None):
        raise _Fault("edit_unsound", "question, answer and choices must be texts")
    edit = {
        "question": repair(question), "answer": repair(answer), "right": line.get("right"),
        "choices": None if choices is None else [one_line(repair(one)) for one in choices],
    }  # fmt: skip
    if said := unsound(edit):
        raise _Fault("edit_unsound", said)
    return edit


def unsound(turn: Mapping[str, Any]) -> str | None:
    """Why the texts of *turn*, which a person wrote, cannot be learned; None if they can.

    A question may be empty: that of a caption is.
    """
    question, answer, choices, right = (turn[name] for name in _EDITED)
    if not answer:
        return "the answer is empty"
    if token := next(filter(None, map(special_token, (question, answer, *(choices or ())))), None):
        return f"it has the token {token!r}"
    found = broken(answer, question)
    if found and (found[0] != "error_text" or len(words(answer)) > _SHORT):
        return f"the answer has {found[0]}: {found[1]!r}"
    if choices is None:
        return None if right is None else "a right choice, but no choices"
    if not 2 <= len(choices) <= len(string.ascii_uppercase) or len({one.casefold() for one in choices} - {""}) < len(
        choices
    ):
        return "the choices are too few or too many, or one is empty or there twice"
    return None if _whole(right) and 0 <= right < len(choices) else f"right {right!r} is no place of a choice"


def mislettered(turn: Mapping[str, Any]) -> bool:
    """Whether the answer does not begin with the letter of the right choice."""
    letter = string.ascii_uppercase[turn["right"]]
    return re.match(rf"{letter}\b", turn["answer"].lstrip()) is None


def _text(value: Any) -> str:
    return value.strip()[:200] if isinstance(value, str) else ""


def _whole(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _seconds(value: Any) -> float | None:
    """*value*, or None if it cannot be a time that a person took."""
    usable = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _LONGEST
    return float(value) if usable and math.isfinite(value) else None


def _time(value: Any) -> str | None:
    """An ISO 8601 time in UTC with milliseconds, so that times can be compared as texts."""
    try:
        when = datetime.fromisoformat(value)
        if when.tzinfo is None:  # a local time of an unknown place
            return None
        when = when.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return None
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")
