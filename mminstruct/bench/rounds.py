"""Effect of earlier turns on the answers to the same questions, of each contestant and between two contestants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from mminstruct.bench.forms import asked_form, collapsed, kept, right
from mminstruct.bench.intervals import LEVEL, Estimate, difference, mean, rate
from mminstruct.bench.verdicts import Row, sums
from mminstruct.text import words

SHARES = ("form", "collapse", "accuracy")
"""Measures that are shares: of answers in the form that was asked for, of open questions with an answer of at most
three words, of answers that agree with their reference. The other measures are means: ``words``, ``grade:JUDGE``."""
Values = dict[str, dict[str, float]]
"""Measures of one contestant's answers, by question."""
Pair = tuple[Values, Values]
"""After a history, and without."""


@dataclass(frozen=True, slots=True)
class Effect:
    """One measure of the same questions without and with earlier turns."""

    fresh: Estimate
    after: Estimate
    change: Estimate
    """after - fresh, paired by question."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a history does to a contestant."""

    contestant: str
    history: str
    questions: int
    """Questions answered both ways."""
    measures: dict[str, Effect]


@dataclass(frozen=True, slots=True)
class Difference:
    """What a history does to one contestant more than to another."""

    a: str
    b: str
    history: str
    questions: int
    """Questions that both answered both ways."""
    measures: dict[str, Estimate]
    """Change of a minus change of b, paired by question. An interval without 0 is evidence that they differ."""


@dataclass(frozen=True, slots=True)
class Rounds:
    """Both are empty without answers after a history."""

    changes: list[Change]
    differences: list[Difference]


def rounds(
    answers: Sequence[Row], questions: Mapping[str, Row], grades: Mapping[str, Sequence[Row]], level: float = LEVEL
) -> Rounds:
    """Changes by contestant and history, and differences between contestants. The cluster is the image.

    Args:
        answers: ``question_id``, ``contestant`` (NAME or NAME@HISTORY) and ``answer``, which may be None.
        questions: ``question``, ``kind``, ``reference`` and ``image_id`` by id. Questions without an image are clusters
            of their own.
        grades: By judge: ``question_id``, ``contestant`` and ``score``, which may be None.
        level: Confidence level of the intervals.
    """
    values: dict[str, Values] = {}
    forms = {name: asked_form(question["question"], question["kind"]) for name, question in questions.items()}
    for row in answers:
        if row["answer"] is not None:
            name = row["question_id"]
            measured = _measured(forms[name], row["answer"], questions[name]["reference"])
            values.setdefault(row["contestant"], {})[name] = measured
    for judge, graded in grades.items():
        for row in graded:
            if row["score"] is not None:
                values[row["contestant"]][row["question_id"]][f"grade:{judge}"] = row["score"]
    clusters = {name: question["image_id"] or name for name, question in questions.items()}
    changed: dict[str, dict[str, Pair]] = {}
    changes, differences = [], []
    for label in sorted(name for name in values if "@" in name):
        contestant, _, history = label.partition("@")
        pair = values[label], values.get(contestant, {})
        if both := _both(*pair):
            changed.setdefault(history, {})[contestant] = pair
            measures = {}
            for name in _names(both):
                after, fresh, change = (
                    _estimate(name, pair, signs, both, clusters, level) for signs in ((1, 0), (0, 1), (1, -1))
                )
                measures[name] = Effect(fresh, after, change)
            changes.append(Change(contestant, history, len(both), measures))
    for history, pairs in sorted(changed.items()):
        for a, b in combinations(sorted(pairs), 2):
            four = (*pairs[a], *pairs[b])
            if both := _both(*four):
                found = {name: _estimate(name, four, (1, -1, -1, 1), both, clusters, level) for name in _names(both)}
                differences.append(Difference(a, b, history, len(both), found))
    return Rounds(changes, differences)


def _measured(form: str, answer: str, reference: str | None) -> dict[str, float]:
    found = {
        "words": len(words(answer)),
        "form": kept(form, answer),
        "collapse": collapsed(form, answer),
        "accuracy": right(form, answer, reference),
    }
    return {name: float(value) for name, value in found.items() if value is not None}


def _both(*those: Values) -> dict[str, set[str]]:
    """Measures that all of *those* have, by question that all of them have."""
    shared = [question for question in those[0] if all(question in values for values in those)]
    return {question: set.intersection(*(set(values[question]) for values in those)) for question in sorted(shared)}


def _names(both: Mapping[str, set[str]]) -> list[str]:
    """Measures of any question, in the order in which they are shown."""
    found = set().union(*both.values())
    return [name for name in ("words", *SHARES) if name in found] + sorted(found - {"words", *SHARES})


def _estimate(
    name: str, those: Sequence[Values], signs: tuple[int, ...], both: Mapping[str, set[str]],
    clusters: Mapping[str, str], level: float,
) -> Estimate:  # fmt: skip
    """The mean of a measure's sum over *those*, each with its sign (0: left out), for questions where all have it."""
    there = [question for question, names in both.items() if name in names]
    most = signs.count(1)

    def parts(question: str) -> tuple[float, ...]:
        total = sum(sign * values[question][name] for sign, values in zip(signs, those, strict=True) if sign)
        return max(total, 0) / most, max(-total, 0) / most, 1.0

    up_G, down_G, n_G = sums(there, clusters.__getitem__, parts).reshape(-1, 3).T
    if name not in SHARES:
        return mean(up_G - down_G, n_G, level).scaled(most, 0)
    return (difference(up_G, down_G, n_G, level) if -1 in signs else rate(up_G, n_G, level)).scaled(most, 0)
