from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from lab import raters
from lab.answerers import Written, ordered
from lab.raters import WRONG, Check
from mminstruct.bench.intervals import Estimate
from mminstruct.microworld import shards
from mminstruct.microworld.families import applicable
from mminstruct.microworld.language import facts_of
from mminstruct.microworld.oracle import judge_answer
from mminstruct.quality.truth import read_truth
from mminstruct.reviewing.sheet import Row, Sheet


def test_a_planted_rater_errs_as_often_as_planted_and_in_every_direction() -> None:
    rows = tuple(Row(f"{n}", "shown") for n in range(4000))
    true = {row.id: {"fits": 1 + n % 5} for n, row in enumerate(rows)}
    for person, wrong in WRONG.items():
        lines = list(raters._filled(person, Sheet("s", rows), true, draw=0))
        said = Counter((true[str(line["id"])]["fits"], line["rating"]) for line in lines)
        found = np.array([[said[a, b] / 800 for b in range(1, 6)] for a in range(1, 6)])
        assert np.abs(found - raters._chance(wrong)).max() < 0.05
        assert len(lines) == len({line["at"] for line in lines}) == 4000
    assert [*raters._filled("ana", Sheet("s", rows), true, 0)] != [*raters._filled("ana", Sheet("s", rows), true, 1)]


@pytest.mark.parametrize(
    ("low", "high", "held"), [(0.4, 0.6, True), (0.5, 0.6, True), (0.51, 0.6, False), (None, None, False)]
)
def test_an_interval_holds_a_planted_value_only_if_it_has_ends(
    low: float | None, high: float | None, held: bool
) -> None:
    assert Check("fits", "alpha", 0.5, Estimate(0.5, low, high, 9)).covered is held


@pytest.mark.parametrize("wrong", [False, True])
def test_answers_from_the_truth_are_right_and_those_from_half_wrong_descriptions_mostly_not(
    tmp_path: Path, wrong: bool
) -> None:
    known = read_truth([shards.write("coco", tmp_path, 30, seed=77)])
    texts, pairs = {}, []
    for number, (image, one) in enumerate(sorted(known.items())):
        truth = facts_of(one.scene, place=True)
        family = applicable(truth)[number % 5]
        texts[f"t{number}"] = family.instruction(truth, random.Random(number))
        pairs.append({"pair_id": f"p{number}", "image_id": image, "instruction_id": f"t{number}"})
    bank = pa.table({"instruction_id": list(texts), "instruction": list(texts.values())})
    made = Written(folders=[str(tmp_path)], wrong=wrong).load(summarize=ds.dataset(bank))(
        match=pa.Table.from_pylist(pairs)
    )
    rows = made.table.to_pylist()
    assert len(rows) + len(made.drops) == 30
    right = sum(
        judge_answer(row["answer"], texts[row["instruction_id"]], known[row["image_id"]].scene).ok for row in rows
    )
    assert right < len(rows) / 2 if wrong else right == len(rows) > 20


def compared(*rates: tuple[str, str, float, float]) -> dict[str, Any]:
    pairs = [{"all": {"a": a, "b": b, "win_rate": {"low": low, "high": high}}} for a, b, low, high in rates]
    return {"judges": {"oracle": {"pairs": {"pairs": pairs}}}}


def test_an_order_is_found_only_if_every_interval_is_on_the_right_side() -> None:
    sure = [("half_wrong", "micro", 0.1, 0.2), ("half_wrong", "truth", 0.1, 0.2), ("truth", "micro", 0.6, 0.7)]
    assert ordered(compared(*sure), "oracle")
    assert not ordered(compared(*sure[:2], ("truth", "micro", 0.4, 0.7)), "oracle")
    assert not ordered(compared(*sure[:2], ("micro", "truth", 0.6, 0.7)), "oracle")
