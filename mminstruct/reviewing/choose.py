"""Who sees which rows, in which order: shared rows, own rows and hidden repeats, all chosen by digests."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from mminstruct.errors import ConfigurationError
from mminstruct.stage import content_id

REPEATS = 0.05
"""Share of a sheet's places that repeat a row of the same sheet, to measure how far a person agrees with themselves."""


class TooFewRows(ConfigurationError):
    """The run has fewer rows than the sheets need; the message gives the number of rows that is possible."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Sheets of *rows* places for each person.

    Raises:
        ValueError: a value is out of its range.
    """

    people: tuple[str, ...]
    rows: int = 300
    """Places on a sheet, repeats included."""
    overlap: float = 0.2
    """Share of a sheet's distinct rows that all people see, 0 to 1; the others are on one sheet only."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.rows < 1:
            raise ValueError(f"--rows {self.rows}: take 1 or more")
        if not 0 <= self.overlap <= 1:
            raise ValueError(f"--overlap {self.overlap}: take a share from 0 to 1")

    @property
    def repeats(self) -> int:
        """Places of a sheet that repeat a row."""
        return round(self.rows * REPEATS) if self.rows > 1 else 0

    @property
    def distinct(self) -> int:
        """Distinct rows of a sheet."""
        return self.rows - self.repeats

    def needs(self, shares: Sequence[float]) -> list[tuple[int, int]]:
        """For groups with these *shares* of each sheet: rows that all people see, and rows of each person.

        The numbers of all groups add up to ``distinct``.
        """
        edges, whole = [(0, 0)], 0.0
        for share in shares:
            whole += share
            places = round(self.distinct * whole)
            edges.append((shared := round(places * self.overlap), places - shared))
        return [(high[0] - low[0], high[1] - low[1]) for low, high in pairwise(edges)]

    def wanted(self, shares: Sequence[float]) -> list[int]:
        """Rows of each group on all sheets together."""
        return [shared + own * len(self.people) for shared, own in self.needs(shares)]


def sheets(plan: Plan, groups: Mapping[str, Sequence[str]], shares: Mapping[str, float], doubt: bool) -> Sheets:
    """Ids of each person's places, in order.

    Args:
        plan: Sizes of the sheets.
        groups: Ids by group, in the order in which they are taken: ``by_chance`` or by doubt.
        shares: Each group's share of a sheet; the sum is 1.
        doubt: Whether a sheet keeps the order of the groups; else its order is by chance, another one for each person.

    Raises:
        TooFewRows: a group has fewer rows than its share of all sheets.
    """
    people = sorted(plan.people)  # so that the order of names changes nothing
    mine: dict[str, list[str]] = {person: [] for person in people}
    parts = [shares[group] for group in groups]
    if not _enough(plan, groups, parts):
        raise TooFewRows(_too_few(plan, groups, shares))
    for ids, (shared, own) in zip(groups.values(), plan.needs(parts), strict=True):
        taken = list(ids[: shared + own * len(people)])
        everyone = set(heapq.nsmallest(shared, taken, key=lambda one: content_id(str(plan.seed), "shared", one)))
        single = [one for one in taken if one not in everyone]
        for place, person in enumerate(people):
            part = {*everyone, *single[place :: len(people)]}
            mine[person] += [one for one in taken if one in part]
    if not doubt:
        mine = {person: by_chance(ids, plan.seed, person) for person, ids in mine.items()}
    return {person: _repeated(ids, plan, person) for person, ids in mine.items()}


def fitting(plan: Plan, groups: Mapping[str, Sequence[str]], shares: Mapping[str, float]) -> Plan | None:
    """*plan* with as many rows as there are, at most its own number; None if there are too few for one row."""
    parts = [shares[group] for group in groups]
    sizes = (replace(plan, rows=rows) for rows in range(plan.rows, 0, -1))
    return next((one for one in sizes if _enough(one, groups, parts)), None)


Sheets = dict[str, list[str]]
"""Ids of the places of each person's sheet."""


def by_chance(ids: Sequence[str], seed: int, *words: str) -> list[str]:
    """*ids* in an order that looks random and depends only on the ids, the seed and *words*."""
    return sorted(ids, key=lambda one: content_id(str(seed), "review", *words, one))


def by_strata(values: Mapping[str, float], seed: int, strata: int = 5) -> list[str]:
    """Ids in an order of which every beginning has equally many of each fifth of the *values*, by chance within it."""
    ordered = sorted(values, key=lambda one: (values[one], one))
    cut = [ordered[len(ordered) * n // strata : len(ordered) * (n + 1) // strata] for n in range(strata)]
    rank = {one: (place, n) for n, some in enumerate(cut) for place, one in enumerate(by_chance(some, seed, "strata"))}
    return sorted(ordered, key=lambda one: rank[one])


def _enough(plan: Plan, groups: Mapping[str, Sequence[str]], parts: Sequence[float]) -> bool:
    return all(len(ids) >= wanted for ids, wanted in zip(groups.values(), plan.wanted(parts), strict=True))


def _too_few(plan: Plan, groups: Mapping[str, Sequence[str]], shares: Mapping[str, float]) -> str:
    parts = [shares[group] for group in groups]
    there = ", ".join(f"{len(ids)} of {wanted} rows" + ("" if group == "run" else f" ({group})")
                      for (group, ids), wanted in zip(groups.items(), plan.wanted(parts), strict=True)
                      if len(ids) < wanted)  # fmt: skip
    fits = fitting(plan, groups, shares)
    people = f"{len(plan.people)} {'person' if len(plan.people) == 1 else 'people'}"
    advice = f"take --rows {fits.rows} or fewer, or more overlap" if fits else "no sheet can be made"
    return f"too few rows for {plan.rows} on each sheet of {people} at overlap {plan.overlap:g}: {there}; {advice}"


def _repeated(ids: list[str], plan: Plan, person: str) -> list[str]:
    """*ids* with repeats: rows of the first half, each again half a sheet later."""
    if not plan.repeats or not ids:
        return ids
    half = (len(ids) + 1) // 2
    again = set(by_chance(ids[:half], plan.seed, person, "again")[: plan.repeats])
    places = []
    for place, one in enumerate(ids):
        places.append((place, 0, one))
        if one in again:
            places.append((place + half, 1, one))
    return [one for _, _, one in sorted(places)]
