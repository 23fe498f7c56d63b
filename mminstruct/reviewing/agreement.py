"""`mminstruct agree RUN FILE...`: how far people agree with each other and with themselves, and how fast they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, pairwise
from typing import Any

import numpy as np

from mminstruct.bench.coefficients import NOMINAL, ORDINAL, alpha, coincidences, kappa
from mminstruct.bench.intervals import Array, Estimate, bootstrap, estimate, rate
from mminstruct.reviewing import rated, ratings
from mminstruct.reviewing.folder import find
from mminstruct.reviewing.lines import Row
from mminstruct.reviewing.ratings import Ratings
from mminstruct.reviewing.rows import Item, texts
from mminstruct.reviewing.shown import shown
from mminstruct.reviewing.votes import verdict, votes
from mminstruct.reviewing.words import AXES
from mminstruct.stage import Drop
from mminstruct.store.reader import MissingTable, RunReader

_WORDS = {"accept": 0, "edit": 1, "reject": 2}
_KEPT = {"accepted": True, "edited": True, "rejected": False}
"""What votes come to -> whether people keep the row."""
_LEVELS = {value: value - 1 for value in range(1, 6)}


@dataclass(frozen=True, slots=True)
class Person:
    """One person's part; *name* is the handle on the sheet."""

    name: str
    decisions: int
    skipped: int
    said: dict[str, int]
    """Decisions or ratings, and how often."""
    seconds: float | None
    """Median of a decision."""
    again: Estimate
    """Share of hidden repeats with the same decision or rating."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement of people over the rows of one kind of sheet, on one axis where rows are rated.

    All intervals are of 95 % over rows. An adjudicator's decisions are not compared with those of annotators.
    """

    axis: str | None
    rows: int
    """Distinct rows with a decision that is no skip."""
    shared: int
    """Of these, rows that two or more people decided on."""
    alpha: Estimate
    """Krippendorff's alpha: nominal for decisions, ordinal for ratings."""
    raw: Estimate
    """Share of the pairs of decisions on one row that are equal."""
    kappa: dict[str, Estimate]
    """Cohen's kappa of two people (quadratic weights for ratings), by their names: ``ana, bo``."""
    again: Estimate
    """Share of hidden repeats with the same decision or rating, over all people."""
    people: list[Person]


@dataclass(frozen=True, slots=True)
class Speed:
    """How long people took."""

    seconds: float | None
    """Median of a decision; on sheets with several axes, of one rating."""
    rows_a_minute: float | None
    minutes_a_kept_row: float | None
    """All time over rows that were accepted or edited; None where rows are rated."""


@dataclass(frozen=True, slots=True)
class Result:
    """All about one kind of sheet."""

    what: str
    came_to: dict[str, int]
    """Rows by what the votes on them come to, ``reviewing.votes.verdict``; empty where rows are rated."""
    reasons: dict[str, int]
    """Of rejections, by decision."""
    edited: Estimate
    """Share of edits among decisions."""
    changed_since: int
    """Decisions about a text that the run has no more; they count for agreement, and no build applies them."""
    other_run: int
    """Decisions about rows that the run does not have."""
    not_votes: dict[str, int]
    """Decisions that are no votes of their own: superseded, repeated, twice_signed."""
    speed: Speed
    agreement: list[Agreement]
    ratings: Ratings | None = None
    models: dict[str, Estimate] = field(default_factory=dict)
    """Of turns, where the run has the table ``rate``: how well ratings by models tell kept rows from rejected ones."""


@dataclass(frozen=True, slots=True)
class Report:
    """What files of decisions say."""

    lines: int
    dropped: dict[str, int]
    """Lines that are no decisions, by reason (``reviewing/lines.py``)."""
    bad: list[str]
    """The first of these lines: name, line, reason, detail."""
    results: list[Result] = field(default_factory=list)


def agree(url: str, paths: Sequence[str], *, resamples: int = 2000) -> Report:
    """Read files of decisions about the run at *url*, and compare people. Writes nothing.

    Args:
        paths: Files or folders, as ``recipe.decide.path`` takes them.
        resamples: Bootstrap resamples.

    Raises:
        FileNotFoundError: there is no run.
        ValueError: as for ``reviewing.folder.find``.
    """
    run = RunReader(url)
    rows: list[Row] = []
    drops: list[Drop] = []
    origins: dict[str, str] = {}
    for one in find(paths).decisions.values():
        for made in one.read():
            drops.append(made) if isinstance(made, Drop) else rows.append(_whole(made))
        for sheet in one.sheets.sheets.values():
            origins |= {place.id: place.origin for place in sheet.rows}
    order = {what: n for n, what in enumerate(dict.fromkeys(["turns", "answers", "captions", *AXES]))}
    kinds = sorted({row["what"] for row in rows}, key=lambda what: order[what])
    return Report(
        lines=len(rows) + len(drops),
        dropped=dict(sorted(Counter(drop.reason for drop in drops).items())),
        bad=[f"{drop.id}: {drop.reason}: {drop.detail}" for drop in drops if drop.reason != "superseded"][:10],
        results=[
            _result(run, what, [row for row in rows if row["what"] == what], origins, resamples) for what in kinds
        ],
    )


def _whole(row: Row) -> Row:
    """*row* with all columns that votes need, and its id under one name."""
    id_ = next(row[name] for name in ("pair_id", "instruction_id", "image_id") if name in row)
    return {**dict.fromkeys(("reason", "question", "answer", "choices", "right")), **row, "id": id_}


def _result(run: RunReader, what: str, rows: list[Row], origins: Mapping[str, str], resamples: int) -> Result:
    items = _items(run, what, {row["id"] for row in rows if origins[row["id"]] == "run"})
    now = {id_: shown(item.question, item.choices, item.answer) for id_, item in items.items()}
    there = [row for row in rows if origins[row["id"]] == "run"]
    notes: Counter[str] = Counter()
    kept: Counter[str] = Counter()
    wanted: dict[str, bool] = {}
    by_axis: dict[str | None, list[list[Row]]] = {}
    for some in _grouped(rows, lambda row: (row["id"], row["shown"], row["axis"] or "")).values():
        ballots, found = votes(some)
        notes += found
        by_axis.setdefault(some[0]["axis"], []).append([row for row in ballots if row["decision"] != "skip"])
        if what not in AXES:
            word = verdict(ballots).decision
            kept[word] += 1
            if word in _KEPT and now.get(some[0]["id"]) == some[0]["shown"]:  # models rated the text of the run
                wanted[some[0]["id"]] = _KEPT[word]
    once = list(_latest(rows, "sheet", "place", "axis").values())
    told = [row for row in once if row["decision"] != "skip"]
    good = kept["accepted"] + kept["edited"]
    axes = list(AXES.get(what, {None: ()}))
    return Result(
        what=what, came_to=dict(kept.most_common()),
        reasons=dict(Counter(row["reason"] or "none" for row in told if row["decision"] == "reject").most_common()),
        edited=_share(told, lambda row: row["decision"] == "edit", lambda row: row["id"]),
        changed_since=sum(row["id"] in now and now[row["id"]] != row["shown"] for row in there),
        other_run=sum(row["id"] not in now for row in there), not_votes=dict(notes),
        speed=_speed(once, None if what in AXES else good),
        agreement=[_agreement(axis, by_axis.get(axis, []), once, resamples) for axis in axes],
        ratings=ratings.measured(run, what, by_axis, origins, items, resamples) if what in AXES else None,
        models=rated.against_people(run, wanted, resamples) if what == "turns" else {},
    )  # fmt: skip


def _items(run: RunReader, what: str, ids: set[str]) -> dict[str, Item]:
    try:
        return texts(run, what, sorted(ids))
    except MissingTable:  # a run of another recipe, which has none of the rows
        return {}


def _agreement(axis: str | None, ballots: Sequence[Sequence[Row]], rows: Sequence[Row], resamples: int) -> Agreement:
    """Agreement over *ballots*, the votes on each row; *rows* are all decisions, one a place."""
    place: Mapping[Any, int] = _WORDS if axis is None else _LEVELS
    size, ordinal = len(place), axis is not None
    plain = [{row["person"]: place[_value(row)] for row in some if row["rank"] == 0} for some in ballots]
    shared = [said for said in plain if len(said) > 1]
    sums_GK = np.array([coincidences(list(said.values()), size) for said in shared]).reshape(-1, size * size)
    raw = np.array([[sum(a == b for a, b in pairs), len(pairs)] for said in shared
                    if (pairs := list(combinations(said.values(), 2)))], float).reshape(-1, 2)  # fmt: skip
    people = sorted({row["person"] for row in rows})
    mine = [row for row in rows if row["axis"] == axis]
    repeats = _repeats(mine)
    return Agreement(
        axis=axis, rows=sum(map(bool, plain)), shared=len(shared),
        alpha=_estimate(lambda sums: alpha(sums, ORDINAL if ordinal else NOMINAL), sums_GK, resamples),
        raw=rate(raw[:, 0], raw[:, 1]),
        kappa={f"{one}, {two}": found for one, two in combinations(people, 2)
               if (found := _kappa(one, two, shared, size, ordinal, resamples)).n},
        again=_share(repeats, _same, lambda pair: pair[0]["id"]),
        people=[_person(name, [row for row in mine if row["person"] == name], repeats) for name in people],
    )  # fmt: skip


def _kappa(
    one: str, two: str, shared: Sequence[Mapping[str, int]], size: int, quadratic: bool, resamples: int
) -> Estimate:
    cells = [size * said[one] + said[two] for said in shared if one in said and two in said]
    table_GK = np.eye(size * size)[np.array(cells, int)]
    return _estimate(lambda sums: kappa(sums, quadratic=quadratic), table_GK, resamples)


def _estimate(statistic: Callable[[Array], Array], sums_GK: Array, resamples: int) -> Estimate:
    if not len(sums_GK):
        return Estimate(None, None, None, 0)
    value, low, high = bootstrap(statistic, sums_GK, resamples=resamples)
    return estimate(value[0], low[0], high[0], len(sums_GK))


def _repeats(rows: Sequence[Row]) -> list[tuple[Row, Row]]:
    """Decisions of one person about one row at two places of a sheet."""
    told = [row for row in rows if row["decision"] != "skip"]
    found = []
    for some in _grouped(told, lambda row: (row["sheet"], row["id"])).values():
        found += list(pairwise(sorted(some, key=lambda row: int(row["place"]))))
    return found


def _same(pair: tuple[Row, Row]) -> bool:
    return bool(_value(pair[0]) == _value(pair[1]))


def _value(row: Row) -> Any:
    return row["rating"] if row["decision"] == "rate" else row["decision"]


def _person(name: str, rows: Sequence[Row], repeats: Sequence[tuple[Row, Row]]) -> Person:
    said = Counter(str(_value(row)) for row in rows if row["decision"] != "skip")
    return Person(
        name=name, decisions=len(rows), skipped=sum(row["decision"] == "skip" for row in rows),
        said=dict(sorted(said.items())), seconds=_median(row["seconds"] for row in rows),
        again=_share([pair for pair in repeats if pair[0]["person"] == name], _same, lambda pair: pair[0]["id"]),
    )  # fmt: skip


def _speed(rows: Sequence[Row], kept: int | None) -> Speed:
    timed = [row for row in rows if row["seconds"] is not None]
    minutes = sum(row["seconds"] for row in timed) / 60
    seen = len({(row["sheet"], row["place"]) for row in timed})
    return Speed(
        _median(row["seconds"] for row in timed), seen / minutes if minutes else None, minutes / kept if kept else None
    )


def _median(values: Iterable[float | None]) -> float | None:
    some = [value for value in values if value is not None]
    return float(np.median(some)) if some else None


def _share(rows: Sequence[Any], of: Callable[[Any], bool], cluster: Callable[[Any], str]) -> Estimate:
    """Share of *rows*, with an interval over clusters."""
    sums = [(sum(map(of, some)), len(some)) for some in _grouped(rows, cluster).values()]
    sums_G2 = np.array(sums, float).reshape(-1, 2)
    return rate(sums_G2[:, 0], sums_G2[:, 1])


def _latest(rows: Iterable[Row], *columns: str) -> dict[Any, Row]:
    """The last decision of each group, in the order of the groups: a sheet may have been saved several times."""
    groups = _grouped(rows, lambda row: tuple(row[name] or 0 for name in columns))
    return {key: max(some, key=lambda row: (row["at"] or "", row["decision_id"])) for key, some in groups.items()}


def _grouped(rows: Iterable[Any], key: Callable[[Any], Any]) -> dict[Any, list[Any]]:
    """Rows by key, sorted, so that the order of files changes no interval."""
    groups: dict[Any, list[Any]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return dict(sorted(groups.items()))
