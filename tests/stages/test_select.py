from __future__ import annotations

import io
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mminstruct import schemas
from mminstruct.readers.image import load, phashes
from mminstruct.stage import UNIT, Made, Unit
from mminstruct.stages.select import Select

Pair = tuple[str, str]  # image, instruction
WORDS = [
    "river",
    "stone",
    "lamp",
    "cloud",
    "paper",
    "engine",
    "violet",
    "harbour",
    "copper",
    "meadow",
    "winter",
    "ladder",
    "garden",
    "mirror",
    "salt",
    "canvas",
]


def told(seed: object, count: int = 30) -> str:
    return " ".join(random.Random(str(seed)).choices(WORDS, k=count)) + "."


def run(
    folder: Path,
    stage: Select,
    parts: dict[str, Sequence[Pair]],
    answers: dict[Pair, str] | None = None,
    hashes: dict[str, int] | None = None,
    instructions: dict[str, str] | None = None,
) -> dict[str, Made]:
    """Select from pairs by part; answers and hashes differ unless given."""
    folder.mkdir()
    stage.check()
    everyone = sorted({pair for pairs in parts.values() for pair in pairs})
    for key, pairs in parts.items():
        rows = [{"pair_id": f"{i}+{t}", "image_id": i, "instruction_id": t, "words": 30} for i, t in pairs]
        pq.write_table(pa.Table.from_pylist(rows, schema=schemas.FILTER), folder / f"{key}.0123abcd.parquet")
    rng = random.Random(5)
    images, bank = sorted({i for i, _ in everyone}), sorted({t for _, t in everyone})
    made_up = {image: rng.getrandbits(64) for image in images}
    transform = stage.load(
        filter=ds.dataset(sorted(str(path) for path in folder.iterdir()), schema=schemas.FILTER),
        answer=ds.dataset(
            pa.table(
                {
                    "pair_id": [f"{i}+{t}" for i, t in everyone],
                    "answer": [(answers or {}).get(pair, told(pair)) for pair in everyone],
                }
            )
        ),
        ingest=ds.dataset(
            pa.table(
                {
                    "image_id": pa.array(images, pa.string()),
                    "phash": pa.array([(hashes or {}).get(i, made_up[i]) for i in images], pa.uint64()),
                }
            )
        ),
        summarize=ds.dataset(
            pa.table({"instruction_id": bank, "instruction": [(instructions or {}).get(t, f"Do {t}.") for t in bank]})
        ),
    )
    return dict(transform())


def reasons(made: dict[str, Made]) -> dict[str, str]:
    return {drop.id: drop.reason for one in made.values() for drop in one.drops}


def rows(made: dict[str, Made]) -> list[dict[str, Any]]:
    return [row for one in made.values() for row in one.table.to_pylist()]


KEEP_ALL: dict[str, Any] = {"near": None, "similar": None, "holdout_instructions": 0}
GRID = {
    "a-0000": [(f"i{n:03d}", f"t{n % 20:02d}") for n in range(200)],
    "b-0000": [(f"j{n:03d}", f"t{n % 20:02d}") for n in range(200)],
}


def test_every_part_comes_back_with_its_own_key_even_where_nothing_is_left(tmp_path: Path) -> None:
    parts = {"a-0000": [("i1", "t1"), ("i2", "t1")], "a-0001": [], "b-0000": [("i3", "t2")]}
    made = run(tmp_path / "run", Select(**KEEP_ALL), parts)
    assert list(made) == ["a-0000", "a-0001", "b-0000"]
    assert [one.table.num_rows for one in made.values()] == [2, 0, 1]
    assert all(one.table.schema == schemas.SELECT for one in made.values())


def test_one_pair_from_two_shards_is_kept_once_and_noted(tmp_path: Path) -> None:
    unit = Unit(table="select", key="all")
    token = UNIT.set(unit)
    try:
        made = run(
            tmp_path / "run", Select(**KEEP_ALL), {"a-0000": [("i1", "t1")], "b-0000": [("i1", "t1"), ("i2", "t1")]}
        )
    finally:
        UNIT.reset(token)
    assert [row["pair_id"] for row in rows(made)] == ["i1+t1", "i2+t1"]
    assert unit.notes == {"duplicate_pairs": 1}
    assert not reasons(made)


def test_near_images_leave_only_the_one_with_the_smallest_id(tmp_path: Path) -> None:
    hashes = {"i2": 0b1111 << 20, "i1": 0b1101 << 20, "i3": 0b0001 << 20}  # i3 is two bits from i1, three from i2
    parts = {"a-0000": [("i2", "t1"), ("i1", "t2"), ("i2", "t3"), ("i3", "t4")]}
    made = run(tmp_path / "run", Select(**{**KEEP_ALL, "near": 1}), parts, hashes=hashes)
    assert reasons(made) == {"i2+t1": "dup_image", "i2+t3": "dup_image"}
    assert made["a-0000"].drops[0].detail == "near i1"


def test_like_answers_to_one_instruction_leave_and_to_another_stay(tmp_path: Path) -> None:
    text = told("same", 60)
    changed = text.replace(text.split()[30], "otter", 1)
    answers = {("i1", "t1"): text, ("i2", "t1"): changed, ("i3", "t2"): text, ("i4", "t1"): told("other", 60)}
    made = run(tmp_path / "run", Select(**{**KEEP_ALL, "similar": 0.8}), {"a-0000": list(answers)}, answers=answers)
    assert reasons(made) == {"i2+t1": "dup_answer"}


def test_short_answers_may_be_alike(tmp_path: Path) -> None:
    answers = {("i1", "t1"): "Two dogs.", ("i2", "t1"): "Two dogs."}
    assert (
        len(
            rows(
                run(
                    tmp_path / "run", Select(**{**KEEP_ALL, "similar": 0.8}), {"a-0000": list(answers)}, answers=answers
                )
            )
        )
        == 2
    )


def test_images_near_an_evaluation_image_leave_with_its_name(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8)
    image = Image.fromarray(pixels).resize((256, 256), Image.Resampling.BICUBIC)
    (tmp_path / "eval" / "deep").mkdir(parents=True)
    image.save(tmp_path / "eval" / "deep" / "bench.png")
    (tmp_path / "eval" / "readme.txt").write_text("not an image")
    smaller = io.BytesIO()
    image.resize((120, 120)).save(smaller, "JPEG", quality=70)
    found, mirrored = phashes(load(smaller.getvalue())) or (0, 0)
    stage = Select(**KEEP_ALL, eval_images=str(tmp_path / "eval"))
    made = run(
        tmp_path / "run",
        stage,
        {"a-0000": [("i1", "t1"), ("i2", "t1"), ("i3", "t1")]},
        hashes={"i1": found, "i3": mirrored},
    )
    assert reasons(made) == {"i1+t1": "eval_image", "i3+t1": "eval_image"}
    details = [str(drop.detail) for drop in made["a-0000"].drops]
    assert all(detail.startswith("deep/bench.png as it is") for detail in details)
    assert "mirrored" in details[1]


def test_pairs_that_share_words_with_an_evaluation_question_leave(tmp_path: Path) -> None:
    (tmp_path / "questions.txt").write_text(
        "How many red boats are moored beside the old stone harbour wall?\nWhat breed?\n"
    )
    stage = Select(**KEEP_ALL, eval_questions=str(tmp_path / "questions.txt"))
    answers = {("i1", "t1"): "I wonder how many RED boats are moored, beside the old bridge of the town."}
    instructions = {"t2": "What breed?", "t3": "What breeds are these?"}
    parts = {"a-0000": [("i1", "t1"), ("i2", "t1"), ("i3", "t2"), ("i4", "t3")]}
    made = run(tmp_path / "run", stage, parts, answers=answers, instructions=instructions)
    assert reasons(made) == {"i1+t1": "eval_question", "i3+t2": "eval_question"}


def test_quotas_keep_that_many_and_choose_by_content(tmp_path: Path) -> None:
    stage = Select(**KEEP_ALL, per_instruction=4)
    made = run(tmp_path / "run", stage, GRID)
    assert len(rows(made)) == 80
    assert set(reasons(made).values()) == {"quota_instruction"}
    backwards = {key: pairs[::-1] for key, pairs in reversed(GRID.items())}
    again = run(tmp_path / "again", stage, backwards)
    assert {row["pair_id"] for row in rows(made)} == {row["pair_id"] for row in rows(again)}
    twice = {"a-0000": [("i1", "t1"), ("i1", "t2"), ("i1", "t3")]}
    assert len(rows(run(tmp_path / "image", Select(**KEEP_ALL, per_image=1), twice))) == 1


def test_a_test_row_shares_neither_image_nor_instruction_with_train(tmp_path: Path) -> None:
    rng = random.Random(3)
    pairs = sorted({(f"i{rng.randrange(300):03d}", f"t{rng.randrange(40):02d}") for _ in range(900)})
    made = run(tmp_path / "run", Select(near=None, similar=None), {"a-0000": pairs[::2], "b-0000": pairs[1::2]})
    test = [row for row in rows(made) if row["split"] == "test"]
    train = [row for row in rows(made) if row["split"] == "train"]
    assert len({row["instruction_id"] for row in test}) == 4  # a tenth of 40, below the paper's 33
    assert len(test) == 12
    assert len({row["image_id"] for row in test}) == 12
    for column in ("image_id", "instruction_id"):
        assert not {row[column] for row in test} & {row[column] for row in train}
    assert set(reasons(made).values()) == {"held_out"}
    assert len(train) + len(test) + len(reasons(made)) == len(pairs)
    assert len(train) > 0.8 * len(pairs)


def test_another_seed_holds_out_other_instructions(tmp_path: Path) -> None:
    def held(seed: int) -> set[str]:
        made = run(tmp_path / str(seed), Select(near=None, similar=None, seed=seed), GRID)
        return {row["instruction_id"] for row in rows(made) if row["split"] == "test"}

    zero, one = held(0), held(1)
    assert len(zero) == 2
    assert zero != one


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 40), st.integers(1, 12), st.integers(1, 4), st.integers(0, 5), st.integers(0, 40))
def test_the_hold_out_never_takes_more_than_half_of_the_pairs(
    images: int, bank: int, each: int, wide: int, wanted: int
) -> None:
    grid = sorted({(f"i{n}", f"t{(n + m) % bank}") for n in range(images) for m in range(each)})
    stage = Select(near=None, similar=None, holdout_images=wide, holdout_instructions=wanted)
    with tempfile.TemporaryDirectory() as folder:
        made = run(Path(folder) / "run", stage, {"a-0000": grid})
    train = [row for row in rows(made) if row["split"] == "train"]
    test = [row for row in rows(made) if row["split"] == "test"]
    assert len(grid) - len(train) <= len(grid) / 2
    for column in ("image_id", "instruction_id"):
        assert not {row[column] for row in test} & {row[column] for row in train}


def test_three_images_are_all_trained_on_and_a_warning_names_the_field(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pairs = [(f"i{n}", f"t{m}") for n in range(3) for m in range(2)]
    unit = Unit(table="select", key="all")
    token = UNIT.set(unit)
    try:
        made = run(tmp_path / "run", Select(near=None, similar=None), {"a-0000": pairs})
    finally:
        UNIT.reset(token)
    assert [row["split"] for row in rows(made)] == ["train"] * 6
    assert unit.notes == {"held_out_fewer": 1}
    assert "0 of 1 instructions" in caplog.text
    assert "recipe.select.holdout_instructions=0" in caplog.text


def test_nothing_to_select_from_is_no_fault(tmp_path: Path) -> None:
    assert [one.table.num_rows for one in run(tmp_path / "run", Select(), {"a-0000": []}).values()] == [0]


@pytest.mark.parametrize(
    "fields",
    [
        {"near": 40},
        {"similar": 0.0},
        {"eval_images": "nowhere"},
        {"eval_questions": "nowhere"},
        {"eval_unreadable": "skip"},
    ],
)
def test_settings_that_cannot_work_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="select"):
        Select(**fields).check()
