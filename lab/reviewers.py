"""Planted reviewers: two people with a known share of errors who review all rows of a run on the microworld."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mminstruct.microworld.oracle import judge_answer, judge_pair
from mminstruct.quality.measure import Measure
from mminstruct.quality.measures import answers, domains
from mminstruct.quality.run import JudgedRun
from mminstruct.quality.truth import Truth
from mminstruct.reviewing import sheet
from mminstruct.reviewing.agreement import agree
from mminstruct.reviewing.choose import TooFewRows
from mminstruct.reviewing.rows import Item, pool
from mminstruct.reviewing.sheet import DECISIONS
from mminstruct.reviewing.write import write
from mminstruct.store.reader import RunReader

WRONG = {"ana": 0.1, "bo": 0.1}
"""Probability of the other decision than the right one, by reviewer."""


def reviewed(url: str, folder: Path, known: Truth, build: Callable[[Sequence[str]], None]) -> dict[str, str]:
    """Let the reviewers decide about every row of the run at *url*, build a run with their decisions, compare both.

    Args:
        folder: For the sheets and the new run.
        known: Truth of the run's images.
        build: Runs `mminstruct` with these arguments, and those of the first build.

    Returns:
        ``before`` and ``after``: share of rows right in every respect, with interval and n; ``alpha``.
    """
    items = pool(RunReader(url), "turns")
    ids = sorted(id_ for some in items.groups.values() for id_ in some)
    places = len(ids) * 20 // 19  # of which 5 % repeat a row
    while True:
        try:
            write(url, str(folder / "sheets"), list(WRONG), rows=places, overlap=1.0)
        except TooFewRows:
            places -= 1
        else:
            break
    right = _right(JudgedRun(url, known), items.items(ids))
    of = sheet.read(str(folder / "sheets"))
    decisions = folder / "sheets" / DECISIONS
    decisions.mkdir()
    for person, mine in of.sheets.items():
        lines = [json.dumps(_line(person, mine, place, right[row.id])) for place, row in enumerate(mine.rows)]
        (decisions / f"{person}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (result,) = agree(url, [str(decisions)], resamples=1000).results
    build([f"out={folder / 'reviewed'}", f"base={url}", f"recipe.decide.path={decisions}"])
    found = {}
    for name, run in (("before", url), ("after", str(folder / "reviewed"))):
        measure = _whole(JudgedRun(run, known))
        found[name] = f"{measure.value:.3f} | {measure.interval} | {measure.n}"
    (one,) = result.agreement
    return found | {"reviewers_alpha": f"{one.alpha.value:.2f} [{one.alpha.low:.2f}, {one.alpha.high:.2f}]"}


def _whole(run: JudgedRun) -> Measure:
    """Share of rows right in every respect."""
    return domains.whole(run)[0] if "ask" in run.manifests else answers.whole(run)[0]


def _right(run: JudgedRun, items: Mapping[str, Item]) -> dict[str, bool]:
    """Whether each row is right by the truth of its scene; a row that the truth cannot judge counts as right."""
    if "ask" in run.manifests:
        rows = domains.turned(run, "review", frozenset(items))
        found = {one.row["pair_id"]: one.by_scene for one in rows}
        return {key: not (one := found[key]).known or (one.right and one.unique) for key in items}
    right = {}
    for key, item in items.items():
        assert item.image is not None
        scene = run.truth[item.image].scene
        right[key] = judge_pair(item.question, scene) and judge_answer(item.answer, item.question, scene).ok
    return right


def _line(person: str, mine: sheet.Sheet, place: int, right: bool) -> dict[str, object]:
    """The line of one place, as the page writes it."""
    row = mine.rows[place]
    if random.Random(f"{person} {mine.sheet} {row.id}").random() < WRONG[person]:
        right = not right
    return {
        "sheet": mine.sheet, "person": person, "place": place, "id": row.id, "shown": row.shown,
        "decision": "accept" if right else "reject", "reason": None if right else "wrong_answer",
        **dict.fromkeys(("axis", "rating", "question", "answer", "choices", "right", "seconds", "at")),
        "page": "planted",
    }  # fmt: skip
