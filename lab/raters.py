"""Planted raters: people of known noise who fill rating sheets of a run on the microworld, and what `agree` finds.

A rater gives the rating that the truth calls for, or with a known probability one of the four others, each as often.
What infinitely many such raters would give for the same rows is known, so it can be compared with what was found.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mminstruct.bench.coefficients import ORDINAL, alpha, auc, spearman
from mminstruct.bench.intervals import Array, Estimate, bootstrap, estimate
from mminstruct.microworld.families import classify
from mminstruct.microworld.families.looking import LOOKING
from mminstruct.microworld.oracle import judge_pair
from mminstruct.quality.truth import Truth
from mminstruct.reviewing import sheet
from mminstruct.reviewing.agreement import Result, agree
from mminstruct.reviewing.rows import Item, column, pool
from mminstruct.reviewing.sheet import DECISIONS
from mminstruct.reviewing.write import questions, write
from mminstruct.store.reader import RunReader

WRONG = {"ana": 0.1, "bo": 0.2}
"""Probability of another rating than the true one, by rater."""
DRAWS = 20
"""How often the raters' errors are drawn, to count how many of the intervals hold the planted values."""
_LOOKING = {family.name for family in LOOKING}
_LEVELS = np.arange(1.0, 6)


@dataclass(frozen=True, slots=True)
class Check:
    """A planted value, and what was found of it."""

    axis: str
    measure: str
    planted: float
    found: Estimate

    @property
    def covered(self) -> bool:
        """Whether the interval has the planted value."""
        low, high = self.found.low, self.found.high
        return low is not None and high is not None and low - 1e-9 <= self.planted <= high + 1e-9


@dataclass(frozen=True, slots=True)
class Rated:
    """Sheets of one kind that planted raters filled."""

    result: Result
    """Of the first draw of errors."""
    checks: list[Check]
    """Of the first draw."""
    covered: int
    """Intervals of all draws that hold the planted value."""
    of: int
    rho: Estimate | None = None
    """Of matches: rank correlation of similarity and truth, over the rows that were rated."""
    auc: Estimate | None = None
    """Of matches: probability that a pair that truly fits has the higher similarity."""
    right: float = 0.0
    """Share of the run's matches on the sheets that truly fit."""


def rated(url: str, folder: Path, what: str, rows: int, known: Truth, draws: int = DRAWS) -> Rated:
    """Write sheets of the run at *url* into *folder*, let the raters fill them, and measure their ratings.

    Args:
        what: match or instructions.
        rows: Places on each sheet.
        known: Truth of the run's images.
        draws: How often errors are drawn.
    """
    write(url, str(folder), list(WRONG), what=what, rows=rows, overlap=1.0)
    of = sheet.read(str(folder))
    origin = {row.id: row.origin for one in of.sheets.values() for row in one.rows}
    items = pool(RunReader(url), what, more=questions()).items(sorted(origin))
    true = {id_: dict(_truth(what, item, known)) for id_, item in items.items()}
    results = [_result(url, folder, of, true, draw) for draw in range(draws)]
    found = [list(_checks(result, true, origin)) for result in results]
    every = [one for some in found for one in some]
    measured = Rated(results[0], found[0], sum(one.covered for one in every), len(every))
    if what != "match":
        return measured
    similar = column(RunReader(url), what, "similarity", sorted(items))
    ids = sorted(id_ for id_ in similar if origin[id_] == "run")
    x_G = np.array([similar[id_] for id_ in ids], float)
    y_G = np.array([true[id_]["fits"] == 5 for id_ in ids], float)
    rho, area = (_weighted(one(x_G, y_G), len(ids)) for one in (spearman, auc))
    return replace(measured, rho=rho, auc=area, right=float(y_G.mean()))


def _result(url: str, folder: Path, of: sheet.Sheets, true: Mapping[str, Mapping[str, int]], draw: int) -> Result:
    """What `agree` finds in the files of one draw."""
    here = folder / f"{DECISIONS}-{draw}"
    here.mkdir()
    for person, mine in of.sheets.items():
        lines = (json.dumps(line) + "\n" for line in _filled(person, mine, true, draw))
        (here / f"{person}.jsonl").write_text("".join(lines), encoding="utf-8")
    (result,) = agree(url, [str(here)], resamples=1000).results
    return result


def _truth(what: str, item: Item, known: Truth) -> Iterator[tuple[str, int]]:
    """The true rating on each axis.

    A match is 5 if the instruction applies to the scene, else 1. Short questions, and the families of the microworld
    that are about looking, need the image entirely (5), other families partly (3). A question is common (1), a family
    unusual (4). A family is useful (5), a question somewhat (4 if it is of a family, else 2).
    """
    if what == "match":
        assert item.image is not None
        yield "fits", 5 if judge_pair(item.question, known[item.image].scene) else 1
        return
    family, short = classify(item.question), item.question.endswith("?")
    yield "grounded", 5 if short or family in _LOOKING else 3
    yield "new", 1 if short else 4 if family else 3
    yield "useful", 5 if family and not short else 4 if family else 2


def _filled(
    person: str, mine: sheet.Sheet, true: Mapping[str, Mapping[str, int]], draw: int
) -> Iterator[dict[str, object]]:
    """A line for each place and axis, as the page writes it."""
    plain = dict.fromkeys(("reason", "question", "answer", "choices", "right"))
    for place, row in enumerate(mine.rows):
        for axis, rating in true[row.id].items():
            dice = random.Random(f"{person} {mine.sheet} {place} {axis} {draw}")
            if dice.random() < WRONG[person]:
                rating = dice.choice([one for one in range(1, 6) if one != rating])
            yield {
                "sheet": mine.sheet, "person": person, "place": place, "id": row.id, "shown": row.shown,
                "decision": "rate", "axis": axis, "rating": rating, **plain, "seconds": None,
                "at": f"2026-01-01T{place // 3600:02d}:{place // 60 % 60:02d}:{place % 60:02d}.000Z", "page": "planted",
            }  # fmt: skip


def _chance(wrong: float) -> Array:
    """Probability of each rating (columns), by the true one (rows)."""
    return np.asarray((1 - wrong) * np.eye(5) + wrong / 4 * (1 - np.eye(5)))


def _checks(result: Result, true: Mapping[str, Mapping[str, int]], origin: Mapping[str, str]) -> Iterator[Check]:
    """What infinitely many such raters would give for these rows, beside what was found."""
    ana, bo = (_chance(wrong) for wrong in WRONG.values())
    axes = result.ratings.axes if result.ratings is not None else []
    for one, means in zip(result.agreement, axes, strict=True):
        axis = str(one.axis)
        place = {id_: ratings[axis] - 1 for id_, ratings in true.items()}
        count_5 = np.bincount(list(place.values()), minlength=5)
        table = np.einsum("t,ta,tb->ab", count_5, ana, bo)
        yield Check(axis, "alpha", float(alpha((table + table.T).reshape(-1) * 1e6, ORDINAL)[0]), one.alpha)
        expected = {id_: float((ana[at] + bo[at]) @ _LEVELS) / 2 for id_, at in place.items()}
        planted = {name: np.mean([expected[id_] for id_ in true if origin[id_] == name]) for name in means.means}
        for name, found in means.means.items():
            yield Check(axis, f"mean of {name}", float(planted[name]), found)
        for name, found in means.differences.items():
            yield Check(axis, f"run minus {name}", float(planted["run"] - planted[name]), found)


def _weighted(statistic: Callable[[Array], Array], rows: int) -> Estimate:
    """A rank statistic with its interval, by the bootstrap over rows."""
    value, low, high = bootstrap(statistic, np.eye(rows), resamples=2000)
    return estimate(value[0], low[0], high[0], rows)


def table(found: Rated) -> str:
    """Planted and found values as Markdown."""
    lines = ["| axis | measure | planted | found | 95 % interval | holds it |", "|---|---|---|---|---|---|"]
    for one in found.checks:
        value, interval = _cells(one.found)
        held = "yes" if one.covered else "**no**"
        lines.append(f"| {one.axis} | {one.measure} | {one.planted:.2f} | {value} | {interval} | {held} |")
    return "\n".join(lines)


def ranks(found: Mapping[str, Rated]) -> str:
    """Similarity against ratings and against the truth as Markdown, by the name of each set of matches."""
    lines = ["| matches | truly fit | measure | by rating | 95 % interval | by truth | 95 % interval |",
             "|---|---|---|---|---|---|---|"]  # fmt: skip
    for name, one in found.items():
        ratings = one.result.ratings
        assert ratings is not None
        for measure, rated_, true in (("rho", ratings.rho, one.rho), ("AUC", ratings.auc, one.auc)):
            cells = " | ".join((*_cells(rated_), *_cells(true)))
            lines.append(f"| {name} | {one.right:.0%} | {measure} | {cells} |")
    return "\n".join(lines)


def _cells(one: Estimate | None) -> tuple[str, str]:
    if one is None or one.value is None:
        return "not defined", ""
    return f"{one.value:.2f}", "" if one.low is None or one.high is None else f"{one.low:.2f} to {one.high:.2f}"
