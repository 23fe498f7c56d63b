from __future__ import annotations

import itertools
import random
from collections import Counter
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mminstruct import schemas
from mminstruct.recipes import COCO_SETS
from mminstruct.stages.merge import ORDERS, OVERFLOWS, PHRASES, Merge, _alike
from mminstruct.text.question import Question
from tests.stages.doubles import turn
from tests.world import coco

Row = dict[str, Any]


def merged(stage: Merge, turns: list[Row], splits: dict[str, str] | None = None) -> list[Row]:
    """Rows of the table for selected turns; their split is train unless given."""
    stage.check()
    select = [
        {name: row[name] for name in ("pair_id", "image_id", "instruction_id", "kind", "domain")}
        | {"split": (splits or {}).get(row["image_id"], "train")}
        for row in turns
    ]
    more = turn("i9+left", "Dropped by select?", "Yes")
    made = stage.load()(
        select=pa.Table.from_pylist(select, schema=schemas.SELECT),
        review=pa.Table.from_pylist([*turns, more], schema=schemas.REVIEW),
    )
    assert made.table.schema == schemas.MERGE
    assert made.drops == []
    return list(made.table.to_pylist())


def talks(rows: list[Row]) -> dict[str, list[str]]:
    """Pairs of each conversation in their order."""
    found: dict[str, list[str]] = {}
    for row in sorted(rows, key=lambda row: row["place"]):
        found.setdefault(row["talk_id"], []).append(row["pair_id"])
    return found


def test_by_default_every_pair_is_a_conversation_of_its_own_in_the_order_of_select() -> None:
    turns = [turn("i2+t1", "How many are there?", "Two."), turn("i1+t1"), turn("i2+t2")]
    rows = merged(Merge(), turns)
    assert [row["pair_id"] for row in rows] == [row["talk_id"] for row in rows] == ["i2+t1", "i1+t1", "i2+t2"]
    assert {row["place"] for row in rows} == {0}
    assert rows[0]["words"] == 5


def test_pairs_of_one_image_become_one_conversation_up_to_the_limit() -> None:
    turns = [turn(f"i{n % 2}+t{n}") for n in range(14)]
    found = talks(merged(Merge(turns=5), turns))
    assert sorted(len(pairs) for pairs in found.values()) == [2, 2, 5, 5]
    assert all(len({pair.split("+")[0] for pair in pairs}) == 1 for pairs in found.values())


def test_a_dialogue_written_as_one_stays_whole_and_in_its_order() -> None:
    turns = [turn(f"i1+d{n}", talk="d", turn=n) for n in range(4)] + [turn(f"i1+t{n}") for n in range(5)]
    for seed in range(5):
        found = talks(merged(Merge(turns=3, seed=seed), turns[::-1]))
        (talk,) = [pairs for pairs in found.values() if "i1+d0" in pairs]
        assert talk == [f"i1+d{n}" for n in range(4)]


def test_the_seed_decides_the_order_and_an_image_of_one_pair_keeps_its_id() -> None:
    turns = [turn(f"i1+t{n}") for n in range(8)] + [turn("i2+t0")]
    orders = {tuple(next(iter(talks(merged(Merge(turns=9, seed=seed), turns)).values()))) for seed in range(4)}
    assert len(orders) == 4
    assert "i2+t0" in talks(merged(Merge(turns=9), turns))


TURNS = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 30), st.none() | st.integers(0, 2)), max_size=30,
    unique_by=lambda one: one[:2],
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(TURNS, st.integers(1, 7), st.integers(0, 1000))
def test_every_pair_lands_exactly_once_and_the_order_of_rows_changes_no_conversation(
    given: list[tuple[int, int, int | None]], most: int, seed: int
) -> None:
    turns = [
        turn(f"i{image}+t{n}", talk=None if talk is None else f"{image}.{talk}", turn=None if talk is None else n)
        for image, n, talk in given
    ]
    splits = {f"i{image}": "test" if image == 3 else "train" for image in range(5)}
    rows = merged(Merge(turns=most), turns, splits)
    assert sorted(row["pair_id"] for row in rows) == sorted(row["pair_id"] for row in turns)
    found = talks(rows)
    for talk, pairs in found.items():
        mine = [row for row in rows if row["talk_id"] == talk]
        assert sorted(row["place"] for row in mine) == list(range(len(mine)))
        assert len({(row["image_id"], row["split"]) for row in mine}) == 1
        dialogues = {row["talk"] for row in turns if row["pair_id"] in pairs}
        assert len(pairs) <= most or (len(dialogues) == 1 and dialogues != {None})
    random.Random(seed).shuffle(turns)
    assert talks(merged(Merge(turns=most), turns, splits)) == found


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="turns=0"):
        Merge(turns=0).check()


CAREFUL: Row = {"turns": 12, "tokens": 1400, "jaccard": 0.8}


def chosen(stage: Merge, turns: list[Row], support: dict[str, float] | None = None) -> tuple[list[Row], dict[str, str]]:
    """Rows, and the reason of each dropped pair."""
    stage.check()
    select = [{name: row[name] for name in schemas.SELECT.names if name in row} | {"split": "train"} for row in turns]
    known = [{"pair_id": row["pair_id"], "support": (support or {}).get(row["pair_id"])} for row in turns]
    made = stage.load()(
        select=pa.Table.from_pylist(select, schema=schemas.SELECT),
        review=pa.Table.from_pylist(turns, schema=schemas.REVIEW),
        template=pa.table({name: [row[name] for row in known] for name in ("pair_id", "support")}),
    )
    assert made.table.schema == schemas.MERGE
    drops = {drop.id: drop.reason for drop in made.drops}
    rows = list(made.table.to_pylist())
    assert sorted([row["pair_id"] for row in rows] + list(drops)) == sorted(row["pair_id"] for row in turns)
    return rows, drops


def short(pair: str, question: str = "What is it?", answer: str = "Cat", **change: Any) -> Row:
    return turn(pair, question, answer, **{"kind": "short", "origin": "vqa", "phrase": "Short phrase.", **change})


def test_of_questions_that_ask_the_same_with_the_same_answer_the_one_with_most_support_stays() -> None:
    turns = [
        short("i1+a", "How many dogs are there?", "two"),
        short("i1+b", "How many dogs do you see in the picture?", "2", kind="number", origin="tallyqa"),
        short("i1+c", "What is the number of dogs?", "Two. One sits.", kind="explained", origin="vqa_e"),
        short("i2+d", "How many dogs are there?", "two"),
    ]
    support = {"i1+a": 0.4, "i1+b": 0.9, "i1+c": 0.6}
    assert chosen(Merge(**CAREFUL), turns, support)[1] == {"i1+a": "dup_question", "i1+c": "dup_question"}
    assert chosen(Merge(**{**CAREFUL, "jaccard": None}), turns, support)[1] == {}


@pytest.mark.parametrize(
    ("support", "weights", "gone"),
    [
        ({"i1+a": 0.9, "i1+b": 0.4}, {}, {"i1+b"}),
        ({"i1+a": 0.9, "i1+b": 0.5}, {}, {"i1+a", "i1+b"}),
        ({"i1+a": 0.9, "i1+b": 0.5}, {"okvqa": 0.9}, {"i1+b"}),
        ({"i1+a": 1.0}, {}, {"i1+b"}),  # one whose support is unknown counts as 0.5
        ({}, {}, {"i1+a", "i1+b"}),
    ],
)
def test_of_contradicting_answers_one_stays_only_with_twice_the_support(
    support: dict[str, float], weights: dict[str, float], gone: set[str]
) -> None:
    turns = [
        short("i1+a", "Is the cat asleep?", "Yes"),
        short("i1+b", "Is a cat asleep in this photo?", "No", origin="okvqa"),
        short("i1+c", "Is the dog asleep?", "No"),
    ]
    rows, drops = chosen(Merge(**CAREFUL, weights=weights), turns, support)
    assert drops == dict.fromkeys(gone, "contradiction")
    assert "i1+c" in {row["pair_id"] for row in rows}


def test_a_choice_contradicts_by_its_text_and_descriptions_never_do() -> None:
    said = {"kind": "choice_explained", "choices": ["dog", "a cat"], "right": 1}
    captions = [short(f"i1+{n}", "Describe it.", f"A cat {n}.", kind="caption", phrase=None) for n in range(3)]
    turns = [short("i1+a", answer="cat"), short("i1+b", answer="B. It has whiskers.", **said), *captions]
    assert list(chosen(Merge(**CAREFUL), turns)[1].values()) == ["dup_question"]
    turns[0]["answer"] = "dog"
    assert chosen(Merge(**CAREFUL), turns)[1] == {"i1+a": "contradiction", "i1+b": "contradiction"}


@pytest.mark.parametrize(("one", "other"), [("St. Louis", "St. Paul"), ("Dr. Pepper", "Dr. Thunder"), ("A", "The")])
def test_answers_that_begin_alike_are_not_the_same(one: str, other: str) -> None:
    turns = [short("i1+a", "What does it say?", one), short("i1+b", "What does this say?", other)]
    assert set(chosen(Merge(**CAREFUL), turns)[1].values()) == {"contradiction"}


WORDS = st.lists(st.sampled_from(["cat", "dog", "red", "tall", "not", "on", "two", "park"]), max_size=7).map(" ".join)


@settings(max_examples=200)
@given(
    st.lists(st.tuples(st.sampled_from(["Is", "What colour is", "Where is"]), WORDS), max_size=25), st.floats(0.3, 1)
)
def test_questions_join_the_first_one_before_them_that_asks_the_same(
    found: list[tuple[str, str]], share: float
) -> None:
    rows = [short(f"i1+{number}", f"{head} {rest}?") for number, (head, rest) in enumerate(found)]
    groups: list[list[Row]] = []
    for row in rows:
        near = [
            some for some in groups if Question.of(some[0]["question"]).near(Question.of(row["question"]), share)
        ]  # fmt: skip
        near[0].append(row) if near else groups.append([row])
    assert _alike(rows, share) == groups


def test_an_image_with_very_many_questions_needs_few_comparisons(monkeypatch: pytest.MonkeyPatch) -> None:
    compared, near = [], Question.near
    monkeypatch.setattr(Question, "near", lambda *some: compared.append(1) or near(*some))
    rows = [short(f"i1+{number}", f"What is the number {number} of the {number % 7}?") for number in range(5000)]
    assert len(_alike(rows, 0.8)) == 5000
    assert len(compared) < 50_000  # 12,500,000 if each were compared with all others


def test_an_image_has_no_more_pairs_of_a_set_than_allowed_and_those_with_most_support_stay() -> None:
    turns = [short(f"i{image}+{n}", f"Is thing {n} red?") for image in range(2) for n in range(5)]
    turns += [short("i1+x", "Is it big?", origin="okvqa")]
    stage = Merge(**CAREFUL, per_origin={"vqa": 2})
    _, drops = chosen(stage, turns, {row["pair_id"]: int(row["pair_id"][-1]) / 10 for row in turns[:10]})
    assert drops == {f"i{image}+{n}": "quota_origin" for image in range(2) for n in range(3)}


def test_formats_are_spread_so_that_no_two_neighbours_have_the_same() -> None:
    turns = [short(f"i1+s{n}") for n in range(6)]
    turns += [short(f"i1+n{n}", kind="number") for n in range(4)]
    turns += [short("i1+c", kind="caption"), short("i1+p", kind="paragraph")]
    formats = {row["pair_id"]: row["kind"] for row in turns}
    for seed in range(20):
        (talk,) = talks(chosen(Merge(turns=12, seed=seed), turns)[0]).values()
        assert all(formats[one] != formats[two] for one, two in itertools.pairwise(talk))
    grouped, by_set = (
        next(iter(talks(chosen(Merge(turns=12, order=order), turns)[0]).values())) for order in ("grouped", "source")
    )
    assert [kind for kind, _ in itertools.groupby(formats[pair] for pair in grouped)] == sorted(set(formats.values()))
    assert sorted(by_set) == sorted(grouped)


def test_a_format_of_which_there_is_too_much_fills_a_conversation_of_its_own_at_the_end() -> None:
    turns = [short(f"i1+s{n}") for n in range(9)] + [short(f"i1+n{n}", kind="number") for n in range(2)]
    rows, _ = chosen(Merge(turns=12), turns)
    assert sorted(["".join(pair[3] for pair in pairs) for pairs in talks(rows).values()]) == ["snsns", "ssssss"]


def test_what_does_not_fit_begins_another_conversation_or_is_dropped() -> None:
    turns = [
        short(f"i1+{n}", "word " * 60, "word " * 37 + "end.") for n in range(5)
    ]  # 100 words, 140 tokens with phrase
    rows, drops = chosen(Merge(turns=12, tokens=300), turns)
    assert sorted(len(pairs) for pairs in talks(rows).values()) == [1, 2, 2]
    assert drops == {}
    rows, drops = chosen(Merge(turns=3, overflow="drop"), turns)
    assert [len(pairs) for pairs in talks(rows).values()] == [3]
    assert list(drops.values()) == ["over_turns", "over_turns"]
    assert set(chosen(Merge(turns=3, tokens=139), turns)[1].values()) == {"over_tokens"}


def test_a_pair_that_is_too_long_takes_no_place_of_its_set() -> None:
    pairs = [short("i1+long", "How?", "word " * 300), short("i1+fits", "Why?", "So.")]
    rows, drops = chosen(Merge(turns=12, tokens=100, per_origin={"vqa": 1}), pairs, {"i1+long": 1.0, "i1+fits": 0.4})
    assert [row["pair_id"] for row in rows] == ["i1+fits"]
    assert drops == {"i1+long": "over_tokens"}


@pytest.mark.parametrize(("phrases", "shown"), [("every", 6), ("first", 3), ("never", 0)])
def test_a_phrase_is_shown_every_time_the_first_time_or_never(phrases: str, shown: int) -> None:
    turns = [short(f"i1+{n}", phrase=f"Phrase {n % 3}.") for n in range(6)]
    rows, _ = chosen(Merge(turns=6, phrases=phrases), turns)
    said = {row["pair_id"]: row["phrase"] for row in turns}
    assert sum(row["phrased"] for row in rows) == shown
    assert [row["words"] for row in rows] == [6 if row["phrased"] else 4 for row in rows]
    first = [said[row["pair_id"]] for row in sorted(rows, key=lambda row: row["place"]) if row["phrased"]]
    assert phrases != "first" or len(set(first)) == 3


MIXTURE = st.lists(
    st.tuples(
        st.integers(0, 2), st.sampled_from(["short", "number", "caption", "explained"]), st.sampled_from(["vqa", "vg_qa"]),
        st.sampled_from(["Is it red?", "Is the cat red?", "How many cats?", "How many cats are there?"]),
        st.sampled_from(["Yes", "No", "2", "two", "word " * 30]), st.none() | st.floats(0, 1), st.none() | st.integers(0, 1),
    ),
    max_size=25,
)  # fmt: skip


@settings(max_examples=60)
@given(
    found=MIXTURE, turns=st.integers(2, 5), overflow=st.sampled_from(OVERFLOWS), order=st.sampled_from(ORDERS),
    phrases=st.sampled_from(PHRASES), rng=st.randoms(use_true_random=False),
)  # fmt: skip
def test_no_pair_is_lost_and_limits_hold_and_the_order_of_rows_changes_nothing(
    found: list[tuple[Any, ...]], turns: int, overflow: str, order: str, phrases: str, rng: random.Random
) -> None:
    rows, support = [], {}
    for number, (image, kind, origin, question, answer, share, talk) in enumerate(found):
        pair = f"i{image}+{number}"
        support[pair] = share
        dialogue = {"talk": None} if talk is None else {"talk": f"{image}.{talk}", "turn": number}
        rows.append(short(pair, question, answer, kind=kind, origin=origin, **dialogue))
    stage = Merge(
        turns=turns, tokens=60, jaccard=0.8, per_origin={"vqa": 2}, overflow=overflow, order=order, phrases=phrases
    )
    made, drops = chosen(stage, rows, support)
    of = {row["pair_id"]: row for row in rows}
    assert set(drops.values()) <= {"dup_question", "contradiction", "quota_origin", "over_turns", "over_tokens"}
    assert overflow == "drop" or not any(of[pair]["talk"] for pair in drops)
    for talk, pairs in talks(made).items():
        words = sum(row["words"] for row in made if row["talk_id"] == talk)
        whole = {of[pair]["talk"] for pair in pairs}
        assert (len(pairs) <= turns and words * 1.4 <= 60) or (len(whole) == 1 and None not in whole)
    per_image = Counter(row["image_id"] for row in made if of[row["pair_id"]]["talk"] is None
                        and of[row["pair_id"]]["origin"] == "vqa")  # fmt: skip
    assert all(count <= 2 for count in per_image.values())
    rng.shuffle(rows)
    again = chosen(stage, rows, support)
    assert (talks(again[0]), again[1]) == (talks(made), drops)


def test_settings_that_cannot_work_are_refused_by_their_keys() -> None:
    stage = Merge(tokens=0, jaccard=2, margin=0.5, order="up", overflow="cut", phrases="often", weights={"a": 0.0})
    with pytest.raises(ValueError, match="tokens=0") as error:
        stage.check()
    for key in ("jaccard=2", "margin=0.5", "order=up: take mixed", "overflow=cut", "phrases=often", r"weights.a=0.0"):
        assert key in str(error.value)


def test_limits_of_a_set_that_nobody_knows_are_refused() -> None:
    made = coco("x")
    assert set(made.merge.per_origin) == set(COCO_SETS)
    made.check()
    made.merge.per_origin["vqqa"] = 3
    with pytest.raises(ValueError, match=r"merge\.per_origin\.vqqa: no annotation set .* has coco_captions, paragraph"):
        made.check()
