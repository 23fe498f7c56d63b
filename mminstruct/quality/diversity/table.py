"""A comparison as a table for a terminal, and as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import PurePath

from mminstruct.bench.intervals import Estimate
from mminstruct.quality.diversity.compare import PARTS, Comparison
from mminstruct.terminal import one_line


def as_json(found: Comparison) -> str:
    """The fields of the comparison; of each set the number of its texts instead of the texts."""
    sets = []
    for one in found.sets:
        fields = asdict(one)
        fields["set"]["texts"] = len(one.set.texts)
        sets.append(fields)
    return json.dumps({**asdict(found), "sets": sets}, indent=1)


def as_text(found: Comparison) -> str:
    """The table, for a terminal or a page in Markdown's fences: a column for each set, the run first."""
    sets = found.sets
    names = [one_line(PurePath(one.set.name).name) for one in sets]
    names = [name if names.count(name) == 1 else one_line(one.set.name) for name, one in zip(names, sets, strict=True)]
    rows = [
        ["", *names],
        ["distinct texts", *(f"{len(one.set.texts)} of {one.set.entries}" for one in sets)],
        ["also in the run", "", *(str(one.shared) for one in sets[1:])],
    ]
    for name in sets[0].measures:
        rows.append([name, *(_cell(one.measures[name]) + _sign(one.differences.get(name)) for one in sets)])
    if found.embedder is not None:
        rows.append(["share near the run", "", *(_cell(one.near_run) for one in sets[1:])])
        rows.append(["run's share near it", "", *(_cell(one.run_near) for one in sets[1:])])
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    short = "" if found.n == found.asked else f" ({found.asked} were asked for: each set needs one more than a part)"
    lines += ["", f"Each number is the mean of {PARTS} parts of {found.n} texts{short}, with its 95 % interval."]
    lines.append("+ and -: above or below the run; the 95 % interval of the difference excludes zero.")
    if found.embedder is None:
        lines.append(
            "No embedder, so no distances, no Vendi score and no coverage: the run has no table embed, or --embedder is"
            " none; --embedder NAME takes a model of texts."
        )
    else:
        lines.append(
            f"Embedder {found.embedder}. Share near the run: of the set's texts, those with one of {found.n} texts of"
            " the run as near as the nearest 5 % of the set's own pairs. Run's share near it: the other way round."
        )
    for name, one in zip(names, sets, strict=True):
        lines += [f"{name}: {count} entries without a text, {why}" for why, count in one.set.unused.items()]
        if one.used < len(one.set.texts):
            lines.append(f"{name}: {one.used} of its texts were drawn and measured")
    return "\n".join(lines)


def _cell(one: Estimate | None) -> str:
    if one is None or one.value is None:
        return "none"
    return _number(one.value) if one.low is None else f"{_number(one.value)} [{_number(one.low)}, {_number(one.high)}]"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}" if abs(value) < 100 else f"{value:.0f}"


def _sign(difference: Estimate | None) -> str:
    if difference is None or difference.low is None or difference.high is None:
        return ""
    return " +" if difference.low > 0 else " -" if difference.high < 0 else ""
