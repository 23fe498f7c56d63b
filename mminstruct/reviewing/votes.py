"""What people decided about one row: one vote a person, and what the votes come to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from mminstruct.reviewing.lines import Row

DISPUTED = ("drop", "keep", "first")
"""What becomes of a row that people disagree on: it is dropped, kept as it is, or the first decision counts."""


def votes(rows: Iterable[Row], shown: str | None = None) -> tuple[list[Row], Counter[str]]:
    """The votes of *rows*, which are decisions about one row of the run, from any number of files in any order.

    Args:
        rows: Rows of the table decide with the same id and axis.
        shown: Digest of the row as it is now; None: decisions about any text count.

    Returns:
        One decision for each person and rank, skips included, and the number of decisions that are not votes:
        ``changed_since`` (the text was another), ``superseded`` (a later or equal decision about the same place of a
        sheet is in another file), ``repeated`` (a hidden repeat), ``twice_signed`` (a person decided in two ways, and
        it is unknown which was later, or it was on two sheets; none of them counts).
    """
    notes: Counter[str] = Counter()
    fits: list[Row] = []
    for row in rows:
        if shown is None or row["shown"] == shown:
            fits.append(row)
        else:
            notes["changed_since"] += 1
    found = []
    for _, mine in _groups(fits, "person", "rank"):
        of_sheets = []
        for _, sheet in _groups(mine, "sheet"):
            answered = [last for _, place in _groups(sheet, "place") if (last := _last(place, notes)) is not None]
            answered.sort(key=lambda row: (row["decision"] == "skip", row["place"]))
            notes["repeated"] += max(0, len(answered) - 1)
            of_sheets += answered[:1]
        told = [row for row in of_sheets if row["decision"] != "skip"] or of_sheets[:1]
        notes["superseded"] += len(of_sheets) - len(told)
        if len({_word(row) for row in told}) > 1:
            notes["twice_signed"] += len(told)
            continue
        notes["superseded"] += max(0, len(told) - 1)
        found += sorted(told, key=_when)[-1:]
    return found, +notes


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the votes on a row come to."""

    decision: str
    """unseen, accepted, edited, rejected or disputed."""
    people: int
    """Voters."""
    edit: Row | None = None
    detail: str = ""
    """Of a rejection or a dispute."""


def verdict(ballots: Sequence[Row], disputed: str = "drop") -> Verdict:
    """The rule: adjudicators overrule annotators; otherwise all must agree, and all edits must be alike.

    Acceptance and equal edits agree: the edit counts.

    Args:
        ballots: Votes on one row.
        disputed: One of ``DISPUTED``; ``first`` also decides between edits.
    """
    told = [row for row in ballots if row["decision"] != "skip"]
    people = len({row["person"] for row in told})
    highest = max((row["rank"] for row in told), default=0)
    told = [row for row in told if row["rank"] == highest]
    said = {row["decision"] for row in told}
    edits = {_word(row): row for row in sorted(told, key=_when) if row["decision"] == "edit"}
    if not told:
        return Verdict("unseen", 0)
    if (said > {"reject"} or len(edits) > 1) and disputed == "first":
        return verdict(sorted(told, key=_when)[:1])
    if said == {"reject"}:
        reasons = Counter(row["reason"] or "no reason" for row in told)
        return Verdict("rejected", people, detail=", ".join(_counted(reasons)))
    if "reject" in said or len(edits) > 1:
        kinds = Counter(row["decision"] for row in told)
        more = " in different words" if len(edits) > 1 else ""
        return Verdict("disputed", people, detail=", ".join(_counted(kinds)) + more)
    return Verdict("edited" if edits else "accepted", people, next(iter(edits.values()), None))


def _last(rows: Sequence[Row], notes: Counter[str]) -> Row | None:
    """The decision that counts of those about one place of a sheet, each from another file; None if none does."""
    ordered = sorted(rows, key=_when)
    last = ordered[-1]
    unclear = [row for row in ordered if _word(row) != _word(last) and (row["at"] or "") >= (last["at"] or "")]
    if unclear:
        notes["twice_signed"] += len(ordered)
        return None
    notes["superseded"] += len(ordered) - 1
    return last


def _groups(rows: Iterable[Row], *columns: str) -> list[tuple[Any, list[Row]]]:
    def key(row: Row) -> tuple[Any, ...]:
        return tuple(row[name] for name in columns)

    return [(value, list(some)) for value, some in groupby(sorted(rows, key=key), key)]


def _when(row: Row) -> tuple[str, str]:
    """Order in time; the digest breaks ties."""
    return row["at"] or "", row["decision_id"]


def _word(row: Row) -> tuple[Any, ...]:
    """What was said: two votes with the same word agree."""
    edit = (row["question"], row["answer"], tuple(row["choices"] or ()), row["right"])
    return row["decision"], row["rating"], edit if row["decision"] == "edit" else None


def _counted(counts: Mapping[str, int]) -> list[str]:
    return [f"{count} x {name}" if count > 1 else name for name, count in sorted(counts.items())]
