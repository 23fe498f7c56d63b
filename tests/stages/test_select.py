from __future__ import annotations

import io
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
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
from mminstruct.holdout import Holdout, choice
from mminstruct.readers.image import load, phashes
from mminstruct.stage import StageOutput
from mminstruct.stages import select
from mminstruct.stages.select import Select
from mminstruct.unit import UNIT, WORKER_GROUP, Unit

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
    kinds: dict[Pair, tuple[str, str]] | None = None,
    decisions: dict[Pair, str] | None = None,
    ratings: dict[Pair, int | None] | None = None,
) -> dict[str, StageOutput]:
    """Select from pairs by part; answers and hashes differ unless given.

    Args:
        kinds: Kind and domain of a pair, if they are not MM-Instruct's.
        ratings: Relevance of the pairs as models rate it; None: the recipe has no ratings.
    """
    folder.mkdir()
    stage.check()
    for key, pairs in parts.items():
        rows = []
        for pair in pairs:
            image, text = pair
            kind, domain = (kinds or {}).get(pair, ("instruction", ""))
            rows.append({
                "pair_id": f"{image}+{text}", "image_id": image, "instruction_id": text, "kind": kind, "domain": domain,
                "question": (instructions or {}).get(text, f"Do {text}."), "origin": "answer", "decision": (decisions or {}).get(pair, "unseen"),
                "answer": (answers or {}).get(pair, told(pair)), "people": 0,
            })  # fmt: skip
        pq.write_table(pa.Table.from_pylist(rows, schema=schemas.REVIEW), folder / f"{key}.0123abcd.parquet")
    rng = random.Random(5)
    images = sorted({image for pairs in parts.values() for image, _ in pairs})
    made_up = {image: rng.getrandbits(64) for image in images}
    transform = stage.load(
        review=ds.dataset(sorted(str(path) for path in folder.iterdir()), schema=schemas.REVIEW),
        ingest=ds.dataset(
            pa.table(
                {
                    "image_id": pa.array(images, pa.string()),
                    "phash": pa.array([(hashes or {}).get(i, made_up[i]) for i in images], pa.uint64()),
                }
            )
        ),
        **rated(ratings),
    )
    return dict(transform())


def rated(ratings: dict[Pair, int | None] | None) -> dict[str, ds.Dataset]:
    """The table ``rate``, where there is one."""
    if ratings is None:
        return {}
    rows = [
        {"pair_id": "+".join(pair), "image_id": pair[0], "relevance": rating, "replies": []}
        for pair, rating in ratings.items()
    ]
    return {"rate": ds.dataset(pa.Table.from_pylist(rows, schema=schemas.RATE))}


def reasons(made: dict[str, StageOutput]) -> dict[str, str]:
    return {drop.id: drop.reason for one in made.values() for drop in one.drops}


def rows(made: dict[str, StageOutput]) -> list[dict[str, Any]]:
    return [row for one in made.values() for row in one.table.to_pylist()]


KEEP_ALL: dict[str, Any] = {"phash_bits": None, "jaccard": None, "holdout": Holdout(count=0)}
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
    made = run(tmp_path / "run", Select(**{**KEEP_ALL, "phash_bits": 1}), parts, hashes=hashes)
    assert reasons(made) == {"i2+t1": "dup_image", "i2+t3": "dup_image"}
    assert made["a-0000"].drops[0].detail == "near i1"


def test_like_answers_to_one_instruction_leave_and_to_another_stay(tmp_path: Path) -> None:
    text = told("same", 60)
    changed = text.replace(text.split()[30], "otter", 1)
    answers = {("i1", "t1"): text, ("i2", "t1"): changed, ("i3", "t2"): text, ("i4", "t1"): told("other", 60)}
    made = run(tmp_path / "run", Select(**{**KEEP_ALL, "jaccard": 0.8}), {"a-0000": list(answers)}, answers=answers)
    assert reasons(made) == {"i2+t1": "dup_answer"}


class Threads:
    """A worker group of threads."""

    address = "127.0.0.1"

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, work: Callable[..., Any], shares: list[tuple[Any, ...]]) -> list[Any]:
        assert len(shares) == self.size
        with ThreadPoolExecutor(self.size) as pool:
            return list(pool.map(lambda share: work(*share), shares))


@contextmanager
def lend(size: int) -> Iterator[Threads]:
    yield Threads(size)


def test_the_choices_are_the_same_however_the_work_is_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(7)
    pairs = sorted({(f"i{rng.randrange(200):03d}", f"t{rng.randrange(12):02d}") for _ in range(900)})
    kinds = {pair: (("instruction", "long", "judgement")[int(pair[1][1:]) % 3], "sea") for pair in pairs}
    answers = {}
    for pair in pairs:
        text = told(rng.randrange(9), 40)
        answers[pair] = rng.choice(["Yes", "No", "Yes"]) if kinds[pair][0] == "judgement" else text
        if rng.random() < 0.5:
            answers[pair] = answers[pair].replace("stone", "otter", rng.randrange(3))
    hashes = {f"i{n:03d}": (n // 3) << 40 | rng.choice([0, 1, 3]) for n in range(0, 200, 2)}
    told_apart: dict[str, Any] = {"answers": answers, "hashes": hashes, "kinds": kinds}
    stage = Select(per_instruction=60, holdout=Holdout(count=1))
    parts = {"a-0000": pairs[::2], "b-0000": pairs[1::2]}
    whole = run(tmp_path / "whole", stage, parts, **told_apart)
    assert {"dup_image", "dup_answer", "balance_answer", "held_out"} <= set(reasons(whole).values())
    for name, size in (("_PARTITION", 5), ("_TEXTS", 7), ("_SHARE", 3), ("_BLOCK", 11)):
        monkeypatch.setattr(select, name, size)
    monkeypatch.setattr(choice, "_LOOKED_UP", 13)
    assert run(tmp_path / "small", stage, parts, **told_apart) == whole
    token = WORKER_GROUP.set(lend)
    try:
        stage.ranks = 3
        assert run(tmp_path / "group", stage, parts, **told_apart) == whole
    finally:
        WORKER_GROUP.reset(token)
    other = run(
        tmp_path / "one", Select(per_instruction=60, holdout=Holdout(count=1)), {"c": pairs[::-1]}, **told_apart
    )
    assert reasons(other) == reasons(whole)
    with pytest.raises(ValueError, match=r"select\.ranks=3: this engine has one process"):
        run(tmp_path / "alone", stage, parts, **told_apart)


def test_a_pair_in_two_shards_counts_once_in_the_balance(tmp_path: Path) -> None:
    pairs = [(f"i{n}", "t") for n in range(6)]
    answers = {pair: "No" if pair[0] in ("i0", "i1") else "Yes" for pair in pairs}
    parts = {"a-0000": pairs, "b-0000": pairs[:2]}
    made = run(tmp_path / "run", Select(**KEEP_ALL), parts, answers, kinds=dict.fromkeys(pairs, ("judgement", "")))
    assert Counter(answers[row["image_id"], row["instruction_id"]] for row in rows(made)) == {"Yes": 2, "No": 2}


def test_short_answers_may_be_alike(tmp_path: Path) -> None:
    answers = {("i1", "t1"): "Two dogs.", ("i2", "t1"): "Two dogs."}
    assert (
        len(
            rows(
                run(
                    tmp_path / "run", Select(**{**KEEP_ALL, "jaccard": 0.8}), {"a-0000": list(answers)}, answers=answers
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


def test_what_people_kept_stays_first_at_quotas_in_the_balance_and_among_like_answers(tmp_path: Path) -> None:
    pairs = [(f"i{n}", "t") for n in range(6)]
    decisions = dict(zip(pairs, ("unseen", "disputed", "accepted", "unseen", "edited", "accepted"), strict=True))

    def left(name: str, stage: Select, **more: Any) -> set[str]:
        made = run(tmp_path / name, stage, {"a-0000": pairs}, decisions=decisions, **more)
        return {row["image_id"] for row in rows(made)}

    assert left("quota", Select(**KEEP_ALL, per_instruction=3)) == {"i2", "i4", "i5"}
    assert left("four", Select(**KEEP_ALL, per_instruction=5)) == {"i0", "i2", "i3", "i4", "i5"}
    other = Select(**KEEP_ALL, per_instruction=3, prefer=["disputed", "unseen"])
    assert left("other", other) == {"i0", "i1", "i3"}
    same = dict.fromkeys(pairs, told("same", 60))
    assert left("alike", Select(**{**KEEP_ALL, "jaccard": 0.8}), answers=same) == {"i4"}
    yes = {pair: "No." if pair[0] in ("i0", "i1") else "Yes." for pair in pairs}
    judged = dict.fromkeys(pairs, ("judgement", ""))
    assert left("balance", Select(**KEEP_ALL), answers=yes, kinds=judged) >= {"i0", "i1", "i4"}
    assert "i3" not in left("balanced", Select(**KEEP_ALL), answers=yes, kinds=judged)
    with pytest.raises(ValueError, match="prefer has liked: decisions are edited"):
        Select(prefer=["liked"]).check()


def test_a_test_row_shares_neither_image_nor_instruction_with_train(tmp_path: Path) -> None:
    rng = random.Random(3)
    pairs = sorted({(f"i{rng.randrange(300):03d}", f"t{rng.randrange(40):02d}") for _ in range(900)})
    made = run(tmp_path / "run", Select(phash_bits=None, jaccard=None), {"a-0000": pairs[::2], "b-0000": pairs[1::2]})
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
        made = run(tmp_path / str(seed), Select(phash_bits=None, jaccard=None, seed=seed), GRID)
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
    stage = Select(phash_bits=None, jaccard=None, holdout=Holdout(images=wide, count=wanted))
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
        made = run(tmp_path / "run", Select(phash_bits=None, jaccard=None), {"a-0000": pairs})
    finally:
        UNIT.reset(token)
    assert [row["split"] for row in rows(made)] == ["train"] * 6
    assert unit.notes == {"held_out_fewer": 1}
    assert "0 of 1 instructions" in caplog.text
    assert "recipe.select.holdout.count=0" in caplog.text


MIXED = {
    (f"i{n:03d}", f"t{n % 10}{k}"): (kind, ("ponds", "lakes", "seas")[n % 3])
    for n in range(120)
    for k, kind in enumerate(("judgement", "choice", "long"))
}
"""Pairs of three kinds and three domains; each image has one question of each kind."""


def test_of_judgements_as_many_yes_as_no_stay_in_each_domain(tmp_path: Path) -> None:
    answers = {
        pair: "Yes" if n % 5 else "No" for n, (pair, (kind, _)) in enumerate(MIXED.items()) if kind == "judgement"
    }
    made = run(tmp_path / "run", Select(**KEEP_ALL), {"a-0000": list(MIXED)}, answers=answers, kinds=MIXED)
    left = Counter((row["domain"], answers[row["image_id"], row["instruction_id"]]) for row in rows(made)
                   if row["kind"] == "judgement")  # fmt: skip
    for domain in ("ponds", "lakes", "seas"):
        assert left[domain, "Yes"] == left[domain, "No"] > 0
    assert set(reasons(made).values()) == {"balance_answer"}
    assert all(MIXED[tuple(id_.split("+"))][0] == "judgement" for id_ in reasons(made))  # type: ignore[index]
    everything = run(tmp_path / "all", Select(**KEEP_ALL, balance=[]), {"a-0000": list(MIXED)}, answers, kinds=MIXED)
    assert not reasons(everything)


def test_letters_of_choices_are_balanced_where_that_is_asked_for(tmp_path: Path) -> None:
    answers = {
        pair: "AAAB"[n % 4] for n, pair in enumerate(pair for pair, (kind, _) in MIXED.items() if kind == "choice")
    }
    stage = Select(**KEEP_ALL, balance=["choice"])
    made = run(tmp_path / "run", stage, {"a-0000": list(MIXED)}, answers, kinds=MIXED)
    left = Counter(answers[row["image_id"], row["instruction_id"]] for row in rows(made) if row["kind"] == "choice")
    assert left["A"] == left["B"] > 0


def test_kinds_and_domains_have_quotas_of_their_own(tmp_path: Path) -> None:
    stage = Select(**KEEP_ALL, balance=[], per_kind={"long": 30, "choice": 7}, per_domain=40)
    made = run(tmp_path / "run", stage, {"a-0000": list(MIXED)}, kinds=MIXED)
    kinds, domains = (Counter(row[name] for row in rows(made)) for name in ("kind", "domain"))
    assert (kinds["choice"], kinds["long"]) <= (7, 30)
    assert max(domains.values()) <= 40
    assert set(reasons(made).values()) == {"quota_kind", "quota_domain"}


@pytest.mark.parametrize(("by", "names", "column"), [
    ("domain", ["seas"], "domain"), ("kind", ["long"], "kind"), ("image", [], "image_id"), ("kind", [], "kind"),
])  # fmt: skip
def test_whole_domains_kinds_or_images_are_held_out(tmp_path: Path, by: str, names: list[str], column: str) -> None:
    stage = Select(**{**KEEP_ALL, "holdout": Holdout(by=by, names=names)}, balance=[])
    made = run(tmp_path / "run", stage, {"a-0000": list(MIXED)}, kinds=MIXED)
    test, train = ([row for row in rows(made) if row["split"] == split] for split in ("test", "train"))
    if by == "kind":  # each image has all kinds: without a name, nothing would be left for train
        assert bool(test) == bool(names)
        assert bool(train) != bool(names)
    else:
        assert test
        assert train
        assert not set(reasons(made).values())
    assert not {row[column] for row in test} & {row[column] for row in train}
    assert not {row["image_id"] for row in test} & {row["image_id"] for row in train}
    if by == "image":
        assert len({row["image_id"] for row in test}) == 12  # a tenth
    if names:
        assert {row[column] for row in test} == set(names)


def test_named_instructions_are_held_out_whatever_they_cost(tmp_path: Path) -> None:
    stage = Select(**{**KEEP_ALL, "holdout": Holdout(names=["t03", "t04"], images=2)})
    made = run(tmp_path / "run", stage, GRID)
    test = [row for row in rows(made) if row["split"] == "test"]
    assert Counter(row["instruction_id"] for row in test) == {"t03": 2, "t04": 2}


def test_a_name_that_no_pair_has_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stage = Select(**{**KEEP_ALL, "holdout": Holdout(by="domain", names=["sees"])}, balance=[])
    made = run(tmp_path / "run", stage, {"a-0000": list(MIXED)}, kinds=MIXED)
    assert {row["split"] for row in rows(made)} == {"train"}
    assert "no pair has the domain sees; there is lakes, ponds, seas" in caplog.text


def test_answers_to_questions_asked_once_are_compared_within_an_image_and_a_kind(tmp_path: Path) -> None:
    text = told("same", 60)
    same = {
        ("i1", "q1"): ("long", ""),
        ("i1", "q2"): ("long", ""),
        ("i1", "q3"): ("paragraph", ""),
        ("i2", "q4"): ("long", ""),
    }
    stage = Select(**{**KEEP_ALL, "jaccard": 0.8})
    made = run(tmp_path / "run", stage, {"a-0000": list(same)}, dict.fromkeys(same, text), kinds=same)
    assert reasons(made) == {"i1+q2": "dup_answer"}
    bank = [("i1", "q1"), ("i1", "q2")]
    made = run(tmp_path / "bank", stage, {"a-0000": bank}, dict.fromkeys(bank, text))
    assert reasons(made) == {}  # these are two instructions of a bank


def test_nothing_to_select_from_is_no_fault(tmp_path: Path) -> None:
    assert [one.table.num_rows for one in run(tmp_path / "run", Select(), {"a-0000": []}).values()] == [0]


@pytest.mark.parametrize(
    "fields",
    [
        {"phash_bits": 40},
        {"jaccard": 0.0},
        {"balance": ["short"]},
        {"per_domain": -1},
        {"per_kind": {"short": -1}},
        {"holdout": Holdout(by="colour")},
        {"holdout": Holdout(count=-1)},
        {"eval_images": "nowhere"},
        {"eval_questions": "nowhere"},
        {"eval_unreadable": "skip"},
    ],
)
def test_settings_that_cannot_work_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(fields))):
        Select(**fields).check()


def test_a_pair_below_the_minimum_rating_or_without_one_is_dropped(tmp_path: Path) -> None:
    pairs = [("i1", "t1"), ("i2", "t1"), ("i3", "t1"), ("i4", "t1")]
    ratings = dict(zip(pairs, (5, 3, 2, None), strict=True))
    made = run(tmp_path / "run", Select(**KEEP_ALL, min_rating={"relevance": 3}), {"a": pairs}, ratings=ratings)
    assert reasons(made) == {"i3+t1": "low_rating", "i4+t1": "unrated"}
    assert not reasons(run(tmp_path / "all", Select(**KEEP_ALL), {"a": pairs}, ratings=ratings))


def test_of_pairs_with_the_same_decision_those_with_the_higher_mean_rating_stay_first_at_quotas(tmp_path: Path) -> None:
    pairs = [(f"i{n}", "t") for n in range(6)]
    ratings = dict(zip(pairs, (5, 4, None, 2, 1, 3), strict=True))
    accepted = {pairs[4]: "accepted"}

    def left(name: str, most: int, **more: Any) -> set[str]:
        made = run(tmp_path / name, Select(**KEEP_ALL, per_instruction=most), {"a": pairs}, **more)
        return {row["image_id"] for row in rows(made)}

    assert left("rated", 3, ratings=ratings) == {"i0", "i1", "i5"}
    assert left("both", 3, ratings=ratings, decisions=accepted) == {"i4", "i0", "i1"}
    assert left("unrated", 5, ratings=ratings) == {"i0", "i1", "i3", "i4", "i5"}
    same = dict.fromkeys(pairs, told("same", 60))
    made = run(tmp_path / "alike", Select(**{**KEEP_ALL, "jaccard": 0.8}), {"a": pairs}, ratings=ratings, answers=same)
    assert [row["image_id"] for row in rows(made)] == ["i0"]


def test_a_minimum_rating_without_ratings_or_on_an_unknown_axis_is_refused() -> None:
    with pytest.raises(ValueError, match=r"min_rating needs ratings: set recipe\.rate\.enable=true"):
        Select(min_rating={"relevance": 3}).wired({"rate": None}).check()
    with pytest.raises(ValueError, match="min_rating has beauty: take any of formatting, relevance"):
        Select(min_rating={"beauty": 3}).check()
