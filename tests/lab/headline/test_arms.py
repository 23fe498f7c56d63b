from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from lab.headline import arms
from lab.headline.arms import ARMS, Arm, Pair
from lab.headline.scenes import HELD, KINDS, LEARNED, NEVER, Words, base_rows, exam, kind_of, texts
from lab.teach.words import train_tokenizer
from mminstruct.microworld.families import FAMILIES, classify
from mminstruct.microworld.language import facts_of
from mminstruct.microworld.scene import draw_scene
from mminstruct.stage import content_id

SEEN = 10


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Words:
    path = tmp_path_factory.mktemp("words") / "tokenizer.json"
    train_tokenizer(texts(30), path)
    return Words(path, SEEN)


def pairs(number: int, name: str = "") -> list[Pair]:
    return [Pair(n, f"Write {name} about {n}.", f"It is {n}. " * (1 + n % 7), "tweet", n % 9 > 0,
                 None if n % 5 == 0 else f"It is not {n}.") for n in range(number)]  # fmt: skip


SETS = {name: pairs(60, name) for name in arms.NAMES}
GAINS = [float(n % 10) for n in range(60)]


def test_the_families_of_no_set_were_chosen_by_their_digests() -> None:
    order = sorted(FAMILIES, key=lambda name: content_id("headline", name))
    assert tuple(order[:4]) == NEVER
    assert tuple(order[4:12]) == HELD


def test_the_exam_asks_in_wordings_that_no_lesson_has_and_of_families_by_their_kind(words: Words) -> None:
    asked = exam(12)
    assert [one.kind for one in asked] == list(KINDS) * 12
    tests = {text for family in FAMILIES.values() for text in family.wordings_train}
    for one in asked:
        assert (one.expected is None) == (one.kind != "short")
        if one.expected is None:
            assert classify(one.text) == one.family
            assert kind_of(str(one.family)) == one.kind
            assert FAMILIES[str(one.family)].applies(facts_of(one.scene, place=True))
            assert one.text not in tests


def test_the_base_learns_no_instruction_of_the_families_it_must_not_know(words: Words) -> None:
    asked: set[str] = set()
    for index in range(25):
        told, answered, text = base_rows(draw_scene(index, 500), words)
        for ids, at in (told, answered, text):
            assert len(ids) <= words.length
            assert max(at) < len(ids) - 1
        assert told[0][1 : 1 + SEEN] == answered[0][1 : 1 + SEEN] == [3] * SEEN
        assert 3 not in text[0]
        lines = words.inner.decode([one for one in text[0] if one > 2]).split("\n")
        asked |= {str(classify(line)) for line in lines[1:2]}
    assert not asked & set(NEVER)
    assert asked & set(HELD)


def test_only_answers_are_learned_and_they_read_as_they_were_written(words: Words) -> None:
    turns = [("What is it?", "a cat"), ("Say more.", "Two\nlines.")]
    ids, at = words.row(turns)
    learned = [ids[place + 1] for place in at]
    ends = [n for n, one in enumerate(learned) if one == 1]
    assert words.said(learned[: ends[0]]) == "a cat"
    assert words.said(learned[ends[0] :]) == "Two\nlines."
    assert ids[: at[0] + 1] == words.prompt("What is it?")
    assert words.row(turns, most=3) == words.row(turns[:1])
    with pytest.raises(ValueError, match="too long"):
        words.row([("Why?", "because " * 200)])


def test_sets_are_cut_to_one_size_and_rows_that_do_not_fit_are_left_out(words: Words, tmp_path: Path) -> None:
    for name, number in zip(arms.NAMES, (20, 30, 25), strict=True):
        rows = [asdict(pair) for pair in pairs(number, name)]
        rows[0]["said"] = "very long " * 300
        rows[1]["wrong"] = "very long " * 300
        (tmp_path / f"{name}.json").write_text(json.dumps(rows))
    found = arms.read(tmp_path, words)
    assert {len(some) for some in found.values()} == {18}
    assert all(
        "very long" not in text for some in found.values() for pair in some for text in (pair.said, str(pair.wrong))
    )


def test_wrong_answers_are_planted_in_equal_rows_and_dropped_rows_are_equally_many() -> None:
    shown = {name: arms.shown(arm, SETS, GAINS, seed=3) for name, arm in ARMS.items()}
    assert {name: len(rows) for name, rows in shown.items()} == {
        name: 0 if arm.set is None else 42 if arm.drop else 60 for name, arm in ARMS.items()
    }
    wrong = {name: {pair.scene for pair, planted in rows if planted} for name, rows in shown.items()}
    assert (len(wrong["set"]), len(wrong["wrong10"]), len(wrong["wrong30"])) == (0, 6, 18)
    assert wrong["wrong10"] < wrong["wrong30"] < wrong["wrong50"]
    assert wrong["thinned"] < wrong["wrong30"]
    assert all(pair.wrong is not None for rows in shown.values() for pair, planted in rows if planted)
    bad = {name: sum(planted or not pair.right for pair, planted in rows) for name, rows in shown.items()}
    assert bad["rated"] < 0.6 * bad["thinned"]
    least = sorted(pair.scene % 10 for pair, _ in shown["seen"])
    assert least[0] == 3
    assert shown["wrong30"] == arms.shown(ARMS["wrong30"], SETS, GAINS, seed=3)
    assert shown["wrong30"] != arms.shown(ARMS["wrong30"], SETS, GAINS, seed=4)


def test_more_wrong_answers_than_there_are_is_an_error() -> None:
    with pytest.raises(ValueError, match="only 48 of 60 rows have a wrong answer"):
        arms.shown(Arm("", wrong=0.9), SETS, GAINS, seed=0)


@pytest.mark.parametrize("name", ["vqa", "set", "rated"])
def test_every_arm_learns_equally_many_tokens(name: str, words: Words) -> None:
    share = arms.due(SETS, words)
    rows = arms.coded(arms.shown(ARMS[name], SETS, GAINS, seed=0), words)
    ids, at, scene, facts = arms.plan(rows, 30, 8, share, 40, words, seed=0)
    assert ids.shape == (30, 8, words.length)
    assert at.shape == (30, 8, LEARNED)
    assert facts["learned"] == (at >= 0).sum() == pytest.approx(30 * 8 * share, rel=0.01)
    assert facts["learned_of_set"] == (at[scene < 0] >= 0).sum()
    own = 0 if name == "vqa" else 3
    assert ((scene < 0).sum(1) == own).all()
    assert scene.max() < 40
    if own:
        first = [-1 - n for n in scene[scene < 0][: len(rows)].tolist()]
        assert len(set(first)) == len(first)  # each row once before any comes again
    again = arms.plan(rows, 30, 8, share, 40, words, seed=0)
    assert np.array_equal(ids, again[0])
