"""Effect of earlier turns on the answers to the same questions, of each contestant and between two contestants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from mminstruct.bench.forms import asked_form, collapsed, kept, right
from mminstruct.bench.intervals import LEVEL, Estimate, mean, rate
from mminstruct.bench.verdicts import Row, sums
from mminstruct.text import words

SHARES = ("form", "collapse", "accuracy")
"""Measures that are shares: of answers in the form that was asked for, of open questions with an answer of at most
three words, of answers that agree with their reference. The other measures are means: ``words``, ``grade:JUDGE``."""
Values = dict[str, dict[str, float]]
"""Measures of one contestant's answers, by question."""


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
    fallen: dict[str, dict[str, Values]] = {}
    changes, differences = [], []
    for label in sorted(name for name in values if "@" in name):
        contestant, _, history = label.partition("@")
        fresh, after = values.get(contestant, {}), values[label]
        if both := sorted(fresh.keys() & after.keys()):
            change = fallen.setdefault(history, {})[contestant] = _minus(after, fresh)
            measures = {
                name: Effect(*(
                    _estimate({q: one[q] for q in change if name in change[q]}, name, clusters, times, level)
                    for one, times in ((fresh, 0), (after, 0), (change, 1))
                ))
                for name in _names(change)
            }  # fmt: skip
            changes.append(Change(contestant, history, len(both), measures))
    for history, by_name in sorted(fallen.items()):
        for a, b in combinations(sorted(by_name), 2):
            if more := _minus(by_name[a], by_name[b]):
                measured = {name: _estimate(more, name, clusters, 2, level) for name in _names(more)}
                differences.append(Difference(a, b, history, len(more), measured))
    return Rounds(changes, differences)


def _measured(form: str, answer: str, reference: str | None) -> dict[str, float]:
    found = {
        "words": len(words(answer)),
        "form": kept(form, answer),
        "collapse": collapsed(form, answer),
        "accuracy": right(form, answer, reference),
    }
    return {name: float(value) for name, value in found.items() if value is not None}


def _minus(those: Values, others: Values) -> Values:
    """Differences of the measures that both have, by question."""
    return {
        question: {name: mine[name] - others[question][name] for name in mine if name in others[question]}
        for question, mine in those.items()
        if question in others
    }


def _names(values: Values) -> list[str]:
    """Measures that any question has, in the order in which they are shown."""
    found = {name for measures in values.values() for name in measures}
    return [name for name in ("words", *SHARES) if name in found] + sorted(found - {"words", *SHARES})


def _estimate(values: Values, name: str, clusters: Mapping[str, str], signs: int, level: float) -> Estimate:
    """The mean of a measure; *signs* is 0 for a level, 1 for a change, 2 for a difference of changes.

    A share has Wilson's interval. Its changes, between -1 and 1, and their differences, between -2 and 2, have it after
    they are mapped to 0 to 1, like the bias of a judge: an interval has a width even if no answer changed.
    """
    there = [(question, measures[name]) for question, measures in values.items() if name in measures]
    low, width = (-signs, max(1, 2 * signs)) if name in SHARES else (0, 1)
    total = sums(there, lambda one: clusters[one[0]], lambda one: ((one[1] - low) / width, 1.0)).reshape(-1, 2)
    interval = rate if name in SHARES else mean
    return interval(total[:, 0], total[:, 1], level).scaled(width, low)
