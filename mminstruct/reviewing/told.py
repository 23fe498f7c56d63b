"""The report of `mminstruct agree` as text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict

from mminstruct.bench.intervals import Estimate
from mminstruct.reviewing.agreement import Agreement, Report, Result
from mminstruct.reviewing.ratings import GOOD, Ratings
from mminstruct.terminal import one_line


def as_json(report: Report) -> str:
    return json.dumps(asdict(report), indent=1, ensure_ascii=False)


def as_text(report: Report) -> str:
    """Counts, agreement, speed and ratings; each interval, in brackets, is of 95 %."""
    dropped = sum(report.dropped.values())
    lines = [f"{report.lines} lines: {report.lines - dropped} decisions, {dropped} dropped{_list(report.dropped)}"]
    lines += [f"  {one_line(bad)}" for bad in report.bad]
    for result in report.results:
        lines += ["", *_result(result)]
    return "\n".join(lines)


def _result(one: Result) -> Iterable[str]:
    yield one.what
    if one.came_to:
        yield f"  rows{_list(one.came_to)}"
    if one.reasons:
        yield f"  rejections{_list(one.reasons)}"
    if one.not_votes:
        yield f"  decisions that are no votes{_list(one.not_votes)}"
    if one.changed_since:
        yield f"  {one.changed_since} decisions are about texts that the run has changed since; no build applies them"
    if one.other_run:
        yield f"  {one.other_run} decisions are about rows that this run does not have"
    for each in one.agreement:
        yield from _agreement(each)
    speed = one.speed
    if speed.seconds is not None and speed.rows_a_minute is not None:
        kept = "" if speed.minutes_a_kept_row is None else f", {speed.minutes_a_kept_row:.2f} minutes a kept row"
        edited = f", {_rate(one.edited)} edited" if one.came_to else ""
        yield f"  speed: median {speed.seconds:.1f} s a decision, {speed.rows_a_minute:.0f} rows a minute{kept}{edited}"
    if one.ratings is not None:
        yield from _ratings(one.ratings)
    if one.models:
        yield "  ratings by models, AUC of rows accepted or edited against rejected"
    for axis, value in one.models.items():
        yield f"    {axis}: {_number(value)} over {value.n} rows"


def _agreement(one: Agreement) -> Iterable[str]:
    on = f" on {one.axis}" if one.axis else ""
    weights = "ordinal" if one.axis else "nominal"
    yield f"  agreement{on}: {one.rows} rows, {one.shared} of them by two or more people"
    if one.shared:
        yield f"    alpha ({weights}) {_number(one.alpha)}; equal {_rate(one.raw)} of pairs of decisions"
    for names, value in one.kappa.items():
        yield f"    kappa of {names}{' (quadratic)' if one.axis else ''} {_number(value)} over {value.n} rows"
    if one.again.n:
        yield f"    with themselves {_rate(one.again)} of {one.again.n} hidden repeats"
    for person in one.people:
        seconds = "" if person.seconds is None else f", median {person.seconds:.1f} s"
        again = f", {_rate(person.again)} of {person.again.n} repeats alike" if person.again.n else ""
        said = f"{person.decisions} decisions{_list(person.said)}, {person.skipped} skipped"
        yield f"    {person.name}: {said}{seconds}{again}"


def _ratings(one: Ratings) -> Iterable[str]:
    for axis in one.axes:
        means = ", ".join(f"{name} {_number(value)}" for name, value in axis.means.items())
        yield f"  {axis.axis}, mean of 1 to 5: {means}"
        for name, value in axis.differences.items():
            yield f"    run minus {name} {_number(value)}"
        for kind, value in axis.kinds.items():
            yield f"    {kind}: {_number(value)} over {value.n} ratings"
    if one.rho is not None and one.auc is not None:
        rho = f"rho {_number(one.rho)} over {one.rho.n} pairs"
        yield f"  similarity and rating: {rho}; AUC of rating >= {GOOD} {_number(one.auc)}"
    for worst in one.worst:
        similarity = "" if worst.similarity is None else f", similarity {worst.similarity:.3f}"
        yield f"    {worst.id}: rating {worst.rating:.1f}{similarity}: {one_line(worst.text)[:80]}"


def _number(value: Estimate) -> str:
    return _shown(value, "{:.2f}", 1.0)


def _rate(value: Estimate) -> str:
    return _shown(value, "{:.0f} %", 100.0)


def _shown(value: Estimate, form: str, factor: float) -> str:
    if value.value is None:
        return "unknown"
    if value.low is None or value.high is None:
        return form.format(factor * value.value)
    low, high = (form.format(factor * one).removesuffix(" %") for one in (value.low, value.high))
    return f"{form.format(factor * value.value)} [{low}, {high}]"


def _list(counts: Mapping[str, int]) -> str:
    return ": " + ", ".join(f"{count} {name}" for name, count in counts.items()) if counts else ""
