"""The page of a benchmark: win rates with intervals, kinds of task, judge biases, verdicts side by side."""

from __future__ import annotations

from itertools import zip_longest
from typing import Any

from mminstruct.bench.result import MEASURES, BenchRun, result, rounds_rows
from mminstruct.bench.rounds import SHARES
from mminstruct.bench.verdicts import decide, grouped
from mminstruct.report import drawing
from mminstruct.report.page import picture, render
from mminstruct.store.tables import Store

SAMPLES = 24
_STYLES = {"a": "win", "tie": "tie", "conflict": "conflict", "b": "lose", "undecided": "undecided"}
_SAID = {"neither": "neither is better", "unparsed": "could not be parsed"}


def page(url: str, standard: list[dict[str, Any]]) -> str:
    """The page of the benchmark at *url*. *standard* holds the rows of the table ``standard``.

    Raises:
        FileNotFoundError: there is no benchmark.
    """
    found = result(url)
    tables = BenchRun(url)
    scored = tables.config("score")
    return render(
        "bench.html",
        title=f"Benchmark {url}",
        found=found,
        level=scored.get("level", 0.95),
        cluster="instruction" if scored.get("cluster") == "instruction_id" else "question",
        judges=[_judge(name, judge) for name, judge in found["judges"].items()],
        rounds=_rounds(found["rounds"]),
        samples=_samples(url, tables),
        standard=standard,
    )


def _judge(name: str, judge: dict[str, Any]) -> dict[str, Any]:
    drawn: dict[str, Any] = {"name": name, **judge, "heat": None, "matrix": None, "ranked": None, "graded": None}
    if judge["grades"]:
        rows = [(one["contestant"], one["mean"]) for one in judge["grades"]]
        drawn["graded"] = drawing.whiskers(rows, "Mean grades", low=1, high=10, zero=1, show="{:.2f}".format)
    if not judge["pairs"]:
        return drawn
    pairs = [(f"{pair['all']['a']} : {pair['all']['b']}", pair) for pair in judge["pairs"]["pairs"]]
    drawn["outcomes"] = drawing.stacked([(label, *_outcomes(pair["all"])) for label, pair in pairs], "Outcomes by pair")
    drawn["rates"] = drawing.whiskers(
        [(label, pair["all"]["win_rate"]) for label, pair in pairs],
        "Win rates with intervals", low=0, high=1, zero=0.5, show="{:.0%}".format,
    )  # fmt: skip
    kinds = sorted({kind for _, pair in pairs for kind in pair["kinds"]})
    if len(kinds) > 1:
        names = [label for label, _ in pairs]
        cells = [[pair["kinds"].get(kind, {}).get("win_rate") for kind in kinds] for _, pair in pairs]
        if len(kinds) > len(names):  # more rows than columns
            names, kinds, cells = kinds, names, [list(column) for column in zip(*cells, strict=True)]
        drawn["heat"] = drawing.heat(names, kinds, cells, "Win rate by kind of task")
    ranked = [one["contestant"] for one in sorted(judge["pairs"]["ranking"], key=lambda one: one["rank"])]
    if len(ranked) > 2:
        drawn["matrix"] = drawing.heat(
            ranked, ranked, _matrix(ranked, judge["pairs"]["pairs"]), "Win rate of row against column"
        )
    position = judge["pairs"]["position"]
    drawn["bias"] = drawing.whiskers(
        [("first shown over second", position["bias"])],
        "Position bias", low=-1, high=1, zero=0, show="{:+.0%}".format,
    )  # fmt: skip
    if len(judge["pairs"]["ranking"]) > 2:
        ranks = [(f"{one['rank']}. {one['contestant']}", one["strength"]) for one in judge["pairs"]["ranking"]]
        ends = [
            abs(value) for _, one in ranks for value in (one["low"], one["high"], one["value"]) if value is not None
        ]
        most = max([0.5, *ends])
        drawn["ranked"] = drawing.whiskers(
            ranks, "Bradley-Terry strengths", low=-most, high=most, zero=0, show="{:+.2f}".format
        )
    return drawn


def _matrix(names: list[str], pairs: list[dict[str, Any]]) -> list[list[dict[str, Any] | None]]:
    """Win rates of each contestant (rows) against each other (columns); None where they were not compared."""
    cells: dict[tuple[str, str], dict[str, Any]] = {}
    for pair in pairs:
        a, b, rate = pair["all"]["a"], pair["all"]["b"], pair["all"]["win_rate"]
        other = {end: None if rate[end] is None else 1 - rate[end] for end in ("value", "low", "high")}
        cells[a, b] = rate
        cells[b, a] = {**rate, "value": other["value"], "low": other["high"], "high": other["low"]}
    return [[cells.get((row, column)) for column in names] for row in names]


def _rounds(found: dict[str, Any]) -> dict[str, Any] | None:
    """Tables and charts of the effect of earlier turns; None without answers after a history."""
    if not found["changes"]:
        return None
    changes, differences = rounds_rows(found)
    charts = []
    for name in SHARES:
        bars = [
            (f"{one['contestant']}@{one['history']}", one["measures"][name]["change"])
            for one in found["changes"] if name in one["measures"]
        ]  # fmt: skip
        more = [
            (f"{one['a']} - {one['b']}, {one['history']}", one["measures"][name])
            for one in found["differences"] if name in one["measures"]
        ]  # fmt: skip
        if bars:
            title = MEASURES.get(name, name)
            drawn = [
                drawing.whiskers(rows, f"{what}: {title}", low=-most, high=most, zero=0, show="{:+.0%}".format)
                for what, rows, most in (("Changes", bars, 1), ("Differences of changes", more, 2)) if rows
            ]  # fmt: skip
            charts.append((title, drawn))
    return {"changes": changes, "differences": differences, "charts": charts}


def _outcomes(one: dict[str, Any]) -> tuple[list[drawing.Segment], str]:
    counts = {
        "a": one["win"],
        "tie": one["tie"] - one["conflict"],
        "conflict": one["conflict"],
        "b": one["lose"],
        "undecided": one["undecided"],
    }
    told = {"a": f"{one['a']} won", "b": f"{one['b']} won", "conflict": "winner changed with the order"}
    segments = [
        drawing.Segment(count, _STYLES[outcome], f"{count:,}: {told.get(outcome, outcome)}")
        for outcome, count in counts.items()
    ]
    return segments, f"{one['win']} / {one['tie']} / {one['lose']} of {one['questions']}"


def _samples(url: str, tables: BenchRun) -> list[dict[str, Any]]:
    """Questions, alternating over all outcomes of all judges, so that every outcome is shown."""
    answers = {(row["question_id"], row["contestant"]): row["answer"] for row in tables.answers}
    piles = []
    for judge in tables.judges:
        rows = tables.verdicts(judge)
        said = grouped(rows, lambda row: (row["question_id"], row["a"], row["b"]))
        for _, decisions in sorted(grouped(decide(rows), lambda one: one.outcome).items()):
            piles.append([(judge, one, said[one.question_id, one.a, one.b]) for one in decisions])
    woven = [item for layer in zip_longest(*piles) for item in layer if item is not None][:SAMPLES]
    images = _images(url, {one.question_id for _, one, _ in woven})
    samples = []
    for judge, one, verdicts in woven:
        question = tables.questions[one.question_id]
        outcomes = {
            "a": f"{one.a} is better",
            "b": f"{one.b} is better",
            "conflict": "the winner changed with the order, so a tie",
            "undecided": "undecided: a verdict is missing or could not be parsed",
        }
        samples.append(
            {key: question[key] for key in ("question_id", "kind", "question", "caption")}
            | {
                "picture": images.get(one.question_id),
                "judge": judge,
                "outcome": outcomes.get(one.outcome, "neither is better"),
                "sides": [{"contestant": who, "answer": answers.get((one.question_id, who))} for who in (one.a, one.b)],
                "verdicts": [
                    {
                        "first": row["b"] if row["order"] else row["a"],
                        "said": _SAID.get(row["verdict"]) or f"{row[row['verdict']]} is better",
                        "reason": row["reason"],
                    }
                    for row in sorted(verdicts, key=lambda row: row["order"])
                ],
            }
        )
    return samples


def _images(url: str, wanted: set[str]) -> dict[str, str | None]:
    """Pictures of the *wanted* questions; loads one part of the table at a time."""
    table = Store(url).table("pick")
    found = {}
    for part in table.parts().values():
        rows = table.load(part, ("question_id", "image"))
        for question, image in zip(rows["question_id"].to_pylist(), rows["image"], strict=True):
            if question in wanted:
                found[question] = picture(image.as_py())
    return found
