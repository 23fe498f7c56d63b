"""A benchmark's result from its tables: questions, contestants, comparisons and the reliability of each judge."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict
from itertools import combinations
from statistics import median
from typing import Any

from mminstruct.bench.agreement import agreement
from mminstruct.bench.rounds import SHARES, rounds
from mminstruct.bench.statistics import scores, summarize
from mminstruct.store.reader import RunReader

_UNEVEN = 1.5
_PAIRS = 12
"""Pairs that the terminal shows for each judge."""
MEASURES = {"form": "form kept", "collapse": "collapsed"}
"""Names of measures of ``bench.rounds`` for readers, where they differ."""


class BenchRun:
    """The tables of a benchmark, which may be unfinished."""

    def __init__(self, run: str) -> None:
        self.run = RunReader(run)
        if "pick" not in self.run:
            raise FileNotFoundError(f"{run} has no table pick: it is not the folder of a benchmark")
        self.questions = {row["question_id"]: row for row in self.rows("pick", "image")}
        self.answers = self.rows("respond", "earlier")
        self._verdicts = self.rows("judge")
        self._words = {(row["question_id"], row["contestant"]): row["words"] for row in self.answers}

    def config(self, table: str) -> dict[str, Any]:
        """Configuration of the stage that writes a table; empty if the table does not exist."""
        return dict(self.run[table].manifest["config"]) if table in self.run else {}

    def rows(self, name: str, *without: str) -> list[dict[str, Any]]:
        """Rows of a table, except the columns *without*; empty if the table does not exist."""
        if name not in self.run:
            return []
        columns = [column for column in self.run[name].schema.names if column not in without]
        return list(self.run[name].to_arrow(columns).to_pylist())

    @property
    def judges(self) -> list[str]:
        return sorted({row["judge"] for row in self._verdicts})

    def verdicts(self, judge: str) -> list[dict[str, Any]]:
        """One judge's verdicts on pairs, as input for ``bench.statistics``; lengths are in words."""
        return [
            row
            | self._asked(row)
            | {f"length_{side}": self._words.get((row["question_id"], row[side]), 0) for side in "ab"}
            for row in self._verdicts
            if row["judge"] == judge and row["b"] is not None
        ]

    def grades(self, judge: str) -> list[dict[str, Any]]:
        """One judge's grades, as input for ``bench.statistics.scores``."""
        return [
            row | self._asked(row) | {"contestant": row["a"], "score": row["grade"]}
            for row in self._verdicts
            if row["judge"] == judge and row["b"] is None
        ]

    def _asked(self, row: dict[str, Any]) -> dict[str, Any]:
        question = self.questions[row["question_id"]]
        return {"kind": question["kind"], "instruction_id": question["instruction_id"]}


def result(run: str) -> dict[str, Any]:
    """The whole result as plain JSON, with null instead of NaN.

    Raises:
        FileNotFoundError: *run* is not the folder of a benchmark.
    """
    tables = BenchRun(run)
    scored = tables.config("score")
    how: dict[str, Any] = {"cluster": scored.get("cluster", "question_id"), "level": scored.get("level", 0.95)}
    truth = scored.get("truth")
    known = tables.verdicts(truth) if truth else None
    jurors = tables.config("judge").get("judges", {})
    judges = {}
    for name in tables.judges:
        rows = tables.verdicts(name)
        saw = Counter(row["saw"] for row in rows + tables.grades(name))
        juror = jurors.get(name, {})
        judges[name] = {
            "model": juror.get("name"),
            "revision": juror.get("revision"),
            "saw": dict(sorted(saw.items())),
            "pairs": asdict(summarize(rows, known if name != truth else None, **how)) if rows else None,
            "grades": [asdict(score) for score in scores(tables.grades(name), **how)],
        }
    found = {
        "run": run,
        "questions": len(tables.questions),
        "kinds": dict(sorted(Counter(row["kind"] for row in tables.questions.values()).items())),
        "contestants": _contestants(tables),
        "judges": judges,
        "truth": truth,
        "agreement": [
            {"judges": [one, two]} | asdict(agreement(tables.verdicts(one), tables.verdicts(two), **how))
            for one, two in combinations([name for name in tables.judges if judges[name]["pairs"]], 2)
        ],
        "rounds": asdict(
            rounds(tables.answers, tables.questions, {name: tables.grades(name) for name in judges}, how["level"])
        ),
    }
    found["warnings"] = _warnings(found)
    return dict(_plain(found))


def _contestants(tables: BenchRun) -> dict[str, dict[str, Any]]:
    config = tables.config("respond").get("contestants", {})
    found = {}
    for name in sorted({row["contestant"] for row in tables.answers}):
        rows = [row for row in tables.answers if row["contestant"] == name]
        said = [row for row in rows if row["answer"] is not None]
        who = config.get(name.partition("@")[0], {})
        history = name.partition("@")[2]
        tokens = [row["tokens"] for row in said if row["tokens"] is not None]
        found[name] = {
            "model": who.get("name") or None,
            "revision": who.get("revision"),
            "given": (who.get("after") or {}).get(history) if history else who.get("answers"),
            "answers": len(said),
            "faults": dict(sorted(Counter(row["fault"] for row in rows if row["fault"]).items())),
            "words": median([row["words"] for row in said]) if said else None,
            "most_words": max((row["words"] for row in said), default=None),
            "tokens": median(tokens) if tokens else None,
            "truncated": sum(row["finish"] == "length" for row in said),
            "unended": sum(not row["ends"] for row in said),
        }
    return found


def _warnings(found: dict[str, Any]) -> list[str]:
    """What may make the numbers misleading."""
    told = []
    for name, judge in found["judges"].items():
        blind = {what: count for what, count in judge["saw"].items() if what in ("caption", "nothing")}
        if blind:
            told.append(
                f"{name} did not see the image in {sum(blind.values())} of {sum(judge['saw'].values())} verdicts"
                f" ({', '.join(f'{what}: {count}' for what, count in blind.items())})"
            )
        pairs = judge["pairs"]
        if pairs and pairs["unparsed"]:
            told.append(f"{name}: {pairs['unparsed']} of {pairs['verdicts']} verdicts could not be parsed")
        told += [f"{name} {fault}" for fault in _faults(pairs)] if pairs else []
    for name, one in found["contestants"].items():
        if one["faults"]:
            told.append(f"{name} has no answer to {sum(one['faults'].values())} questions ({_counted(one['faults'])})")
        if one["given"] and one["unended"]:
            told.append(f"{name}: {one['unended']} of {one['answers']} given answers end in the middle of a sentence")
        if one["truncated"]:
            told.append(f"{name}: {one['truncated']} of {one['answers']} answers were cut at the common token limit")
    lengths = {name: one["words"] for name, one in found["contestants"].items() if one["words"] and "@" not in name}
    if lengths and max(lengths.values()) > _UNEVEN * min(lengths.values()) and any(
        one["given"] for one in found["contestants"].values()
    ):  # fmt: skip
        told.append(f"given answers did not have the same length limit; median words: {_counted(lengths)}")
    return told


def _faults(pairs: dict[str, Any]) -> list[str]:
    """Biases of a judge whose confidence interval excludes 0."""
    told, bias, length = [], pairs["position"]["bias"], pairs["length"] or {}
    if bias["low"] is not None and not bias["low"] <= 0 <= bias["high"]:
        place = "first" if bias["value"] > 0 else "second"
        told.append(f"favours the answer shown {place}: first over second {_estimate(bias, '{:+.0%}')}")
    slope = length.get("slope_given_truth")
    if slope and slope["low"] is not None and not slope["low"] <= 0 <= slope["high"]:
        which = "longer" if slope["value"] > 0 else "shorter"
        told.append(
            f"favours the {which} of two equally true answers: log-odds per doubling {_estimate(slope, '{:+.2f}')}"
        )
    return told


def _counted(counts: dict[str, Any]) -> str:
    return ", ".join(f"{name} {count:g}" for name, count in counts.items())


def _plain(value: Any) -> Any:
    """*value* with None for NaN and infinities, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def as_text(found: dict[str, Any]) -> str:
    """The result for a terminal: contestants, comparisons, judge biases and warnings."""
    lines = [f"{found['questions']} questions: {_counted(found['kinds'])}", ""]
    lines += _columns(
        ["contestant", "answers", "words", "cut", "unended", "faults"],
        [
            [name, one["answers"], one["words"], one["truncated"], one["unended"], _counted(one["faults"]) or "none"]
            for name, one in found["contestants"].items()
        ],
    )
    for name, judge in found["judges"].items():
        lines += [
            "",
            f"judge {name}: {judge['model']} ({judge['revision'] or 'no revision'}); saw {_counted(judge['saw'])}",
        ]
        lines += _pairs(judge["pairs"]) if judge["pairs"] else []
        if judge["grades"]:
            rows = [[one["contestant"], _estimate(one["mean"], "{:.2f}"), one["unparsed"]] for one in judge["grades"]]
            lines += _columns(["grade of", "mean, 1 to 10", "unparsed"], rows)
    lines += _rounds(found["rounds"])
    for both in found["agreement"]:
        names = " and ".join(both["judges"])
        lines += [
            "",
            f"{names} agree on {_estimate(both['verdicts'])} of verdicts; kappa {_estimate(both['kappa'], '{:.2f}')}",
        ]
    return "\n".join([*lines, "", *(f"Note: {line}" for line in found["warnings"])]).rstrip()


def _rounds(found: dict[str, Any]) -> list[str]:
    changes, differences = rounds_rows(found)
    lines = ["", *_columns(["contestant", "history", "measure", "n", "alone", "after it", "change"], changes)]
    if differences:
        lines += ["", *_columns(["change of", "history", "measure", "n", "difference of changes"], differences)]
    return lines if changes else []


def rounds_rows(found: dict[str, Any]) -> tuple[list[list[Any]], list[list[Any]]]:
    """Rows of the tables of changes and of differences, from the result's ``rounds``."""
    changes = [
        [one["contestant"], one["history"], MEASURES.get(name, name), each["change"]["n"],
         *(shown(name, each[what], signed=what == "change") for what in ("fresh", "after", "change"))]
        for one in found["changes"] for name, each in one["measures"].items()
    ]  # fmt: skip
    differences = [
        [f"{one['a']} - {one['b']}", one["history"], MEASURES.get(name, name), each["n"],
         shown(name, each, signed=True)]
        for one in found["differences"] for name, each in one["measures"].items()
    ]  # fmt: skip
    return changes, differences


def shown(measure: str, estimate: dict[str, Any], *, signed: bool) -> str:
    """An ``Estimate`` of a measure of ``bench.rounds``: shares in percent, others with one or two decimals."""
    form = ".0%" if measure in SHARES else ".1f" if measure == "words" else ".2f"
    return _estimate(estimate, f"{{:{'+' if signed else ''}{form}}}")


def _pairs(pairs: dict[str, Any]) -> list[str]:
    both, rows, lines = pairs["position"], [], []
    for pair in pairs["pairs"]:
        kinds = pair["kinds"].items() if len(pairs["pairs"]) == 1 and len(pair["kinds"]) > 1 else ()
        for kind, one in [("all", pair["all"]), *kinds]:
            rows.append(
                [
                    f"{one['a']} : {one['b']}", kind, one["questions"], f"{one['win']}/{one['tie']}/{one['lose']}",
                    one["undecided"], _estimate(one["win_rate"]), _estimate(one["win_rate_decisive"]),
                ]
            )  # fmt: skip
    if len(pairs["ranking"]) > 2:
        ranks = [
            [one["rank"], one["contestant"], _estimate(one["strength"], "{:+.2f}"), f"{one['best']} to {one['worst']}"]
            for one in sorted(pairs["ranking"], key=lambda one: one["rank"])
        ]
        lines += [*_columns(["rank", "contestant", "Bradley-Terry", "may be"], ranks), ""]
    lines += _columns(["a : b", "kind", "n", "win/tie/lose", "undecided", "win rate", "without ties"], rows[:_PAIRS])
    if len(rows) > _PAIRS:
        lines.append(f"... and {len(rows) - _PAIRS} more pairs, by kind, too: mminstruct report RUN")
    lines += [
        "",
        f"same verdict in both orders {_estimate(both['consistent'])}; winner changes with the order"
        f" {_estimate(both['reversed'])}; first shown over second {_estimate(both['bias'], '{:+.0%}')}",
    ]
    if pairs["length"]:
        length = pairs["length"]
        lines.append(
            f"the longer answer wins {_estimate(length['longer'])}; log-odds per doubling"
            f" {_estimate(length['slope'], '{:+.2f}')}"
        )
    if pairs["truth"]:
        lines.append(f"accuracy against the truth: {_estimate(pairs['truth']['verdicts'])} of verdicts")
    return lines


def _estimate(one: dict[str, Any], form: str = "{:.0%}") -> str:
    if one["value"] is None:
        return "-"
    low, high = (form.format(one[end]) if one[end] is not None else "?" for end in ("low", "high"))
    return f"{form.format(one['value'])} [{low}, {high}]"


def _columns(head: list[str], rows: list[list[Any]]) -> list[str]:
    cells = [head, *([str("-" if cell is None else cell) for cell in row] for row in rows)]
    widths = [max(len(row[place]) for row in cells) for place in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
