from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from mminstruct import schemas
from mminstruct.models.model import Reply
from mminstruct.prompts import Message
from mminstruct.stage import StageOutput, pair_id
from mminstruct.stages.exemplify import Exemplify
from mminstruct.unit import UNIT, Unit
from tests.stages.doubles import Scripted, dataset, prompt_text, said

BANK = {"t0": "Write a poem.", "t1": "Write a song.", "t2": "Write a price."}
PAIRS = [(f"i{k}", name) for k in range(30) for name in ("t0", "t1")]


def run(
    model: Scripted, pairs: list[tuple[str, str]] = PAIRS, lost: tuple[str, ...] = (), pieces: int = 1, **fields: Any
) -> StageOutput:
    stage = Exemplify(**{"model": model, "prompt": prompt_text("exemplify"), **fields})
    stage.check()
    summarize = pa.table({"instruction_id": list(BANK), "instruction": list(BANK.values())})
    rows = [{"pair_id": pair_id(*pair), "image_id": pair[0], "instruction_id": pair[1]} for pair in pairs]
    match = pa.Table.from_pylist(
        rows, schema=pa.schema([(name, pa.string()) for name in ("pair_id", "image_id", "instruction_id")])
    )
    images = [f"i{k}" for k in range(30) if f"i{k}" not in lost]
    fuse = pa.table({"image_id": images, "description": [f"Picture {image}." for image in images]})
    return stage.load(
        summarize=dataset(summarize), match=dataset(match, pieces), fuse=dataset(fuse, pieces)
    )()  # fmt: skip


def test_each_instruction_gets_so_many_answers_for_images_that_it_was_matched_with() -> None:
    model = Scripted()
    made = run(model, per_instruction=3)
    assert made.table.schema == schemas.EXEMPLIFY
    rows = made.table.to_pylist()
    assert [row["instruction_id"] for row in rows] == ["t0"] * 3 + ["t1"] * 3
    assert len({row["pair_id"] for row in rows}) == 6
    for row, messages in zip(rows, model.chatter.asked, strict=True):
        assert row["pair_id"] == pair_id(row["image_id"], row["instruction_id"])
        assert row["description"] == f"Picture {row['image_id']}."
        assert f"Instruction: {BANK[row['instruction_id']]}\n\nImage: {row['description']}\n" in said(messages)
    assert {row["image_id"] for row in rows[:3]} != {row["image_id"] for row in rows[3:]}


def test_an_instruction_that_no_image_took_leaves() -> None:
    assert [(drop.id, drop.reason) for drop in run(Scripted()).drops] == [("t2", "no_match")]


def test_the_choice_depends_neither_on_order_nor_on_parts() -> None:
    first = run(Scripted()).table
    assert run(Scripted(), pairs=PAIRS[::-1], pieces=7).table.equals(first)
    assert not run(Scripted(), seed=1).table.equals(first)


def test_images_without_a_description_are_passed_over() -> None:
    lost = tuple(run(Scripted()).table["image_id"].to_pylist()[:2])
    made = run(Scripted(), lost=lost)
    assert made.table.num_rows == 6
    assert not set(lost) & set(made.table["image_id"].to_pylist())
    none = run(Scripted(), pairs=[("i0", "t0")], lost=("i0",))
    assert [(drop.id, drop.reason) for drop in none.drops] == [
        ("t0", "no_description"),
        ("t1", "no_match"),
        ("t2", "no_match"),
    ]


BAD = [
    (Reply("A poem that", "length"), "exemplar_truncated"),
    (Reply("Answer:", "stop"), "exemplar_empty"),
    (Reply("I'm sorry, I cannot see it.", "stop"), "exemplar_refusal"),
    (Reply("La la la la la la la.", "stop"), "exemplar_repetition"),
    (Reply("", "error", error="boom"), "model_error"),
]


@pytest.mark.parametrize(("reply", "reason"), BAD)
def test_a_bad_exemplar_is_noted_and_its_instruction_stays_with_the_others(reply: Reply, reason: str) -> None:
    bad = run(Scripted()).table["image_id"][0].as_py()

    def script(messages: list[Message], seed: int) -> Reply | str:
        return reply if f"Picture {bad}." in said(messages) and BANK["t0"] in said(messages) else "Answer: Roses."

    unit = Unit("exemplify", "all")
    token = UNIT.set(unit)
    try:
        made = run(Scripted(script=script))
    finally:
        UNIT.reset(token)
    assert made.table["instruction_id"].to_pylist() == ["t0"] * 2 + ["t1"] * 3
    assert set(made.table["answer"].to_pylist()) == {"Roses."}
    assert [drop.id for drop in made.drops] == ["t2"]
    assert unit.notes == {reason: 1}


@pytest.mark.parametrize(("reply", "reason"), BAD)
def test_an_instruction_with_no_good_exemplar_leaves_and_says_why(reply: Reply, reason: str) -> None:
    made = run(Scripted(script=lambda messages, seed: reply if BANK["t1"] in said(messages) else "Roses."))
    assert set(made.table["instruction_id"].to_pylist()) == {"t0"}
    drops = {drop.id: drop for drop in made.drops}
    assert set(drops) == {"t1", "t2"}
    assert len(made.drops) == 2
    assert drops["t1"].reason == "exemplar_failed"
    assert str(drops["t1"].detail).startswith(reason)


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(ValueError, match="per_instruction"):
        run(Scripted(), per_instruction=0)
