"""The level ``hard``: harder scenes, of which everything said can be read, answered, checked and seen."""

from __future__ import annotations

import io
import json
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mminstruct.microworld.annotated.descriptions import captions, paragraph
from mminstruct.microworld.annotated.questions import is_true, questions
from mminstruct.microworld.catalogue import (
    CANVAS,
    COLOURS,
    COLOURS_AT,
    GROUPS_AT,
    KINDS,
    KINDS_AT,
    LEVELS,
    SETTINGS,
    SETTINGS_AT,
    SIZES,
    STYLES,
    WORDS,
)
from mminstruct.microworld.claims import contradictions
from mminstruct.microworld.drawing.layout import arrange, sprite, visible_shares
from mminstruct.microworld.drawing.render import Rendered, render
from mminstruct.microworld.drawn import draw, quality
from mminstruct.microworld.families import FAMILIES, classify
from mminstruct.microworld.families.lore import CLUES, MEANINGS, TIPS
from mminstruct.microworld.language import (
    alt_text,
    caption,
    facts_of,
    fused,
    read_facts,
    short_questions,
)
from mminstruct.microworld.oracle import judge_answer, judge_caption, judge_fuse, statements
from mminstruct.microworld.scene import Group, Scene, draw_scene
from mminstruct.microworld.shards import scene_from, truth, write

INDICES = st.integers(0, 10**7)
TWO_SIGNS = Scene(
    0, 0, "street", "midday", "sunny", "flat", "Maple Street",
    (
        Group("sign", "red", "small", 1, None, "OPEN"), Group("dog", "brown", "tiny", 2),
        Group("sign", "blue", "small", 1, None, "TAXI"),
    ),
    (), "hard",
)  # fmt: skip


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [draw_scene(index, 3, "hard") for index in range(3000)]


@pytest.fixture(scope="module")
def pictures() -> list[tuple[Scene, Rendered]]:
    return [(scene, render(scene)) for scene in (draw_scene(index, 11, "hard") for index in range(120))]


def _sign_groups(scene: Scene) -> list[Group]:
    return [group for group in scene.groups if group.kind == "sign"]


def test_groups_keep_to_what_the_level_allows(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert 2 <= len(scene.groups) <= GROUPS_AT["hard"]
        assert sum(group.count for group in scene.groups) <= 14
        kinds = Counter(group.kind for group in scene.groups)
        assert all(count == 1 for kind, count in kinds.items() if kind != "sign")
        assert kinds["sign"] <= 2
        for group in scene.groups:
            kind = KINDS[group.kind]
            assert group.kind in SETTINGS[scene.setting].kinds_at("hard")
            assert group.colour in kind.colours_at("hard")
            assert 1 <= group.count <= kind.most
            assert group.action is None or (group.action in kind.actions and group.size != "tiny")
            assert (group.word in WORDS) == (group.kind == "sign")
            assert group.size != "huge" or group.count == 1


def test_everything_of_the_level_occurs(scenes: list[Scene]) -> None:
    groups = [group for scene in scenes for group in scene.groups]
    assert {group.kind for group in groups} == set(KINDS)
    assert {group.colour for group in groups} == set(COLOURS)
    assert {group.size for group in groups} == set(SIZES)
    assert {scene.setting for scene in scenes} == set(SETTINGS)
    for name, more in (("kinds", set(KINDS_AT["hard"]) - set(KINDS_AT["easy"])),
                       ("settings", set(SETTINGS_AT["hard"]) - set(SETTINGS_AT["easy"])),
                       ("colours", set(COLOURS_AT["hard"]) - set(COLOURS_AT["easy"]))):  # fmt: skip
        assert len(more) >= {"kinds": 8, "settings": 3, "colours": 3}[name]
    for size, share in (("tiny", 0.07), ("huge", 0.02)):
        assert sum(group.size == size for group in groups) > share * len(groups)
    assert sum(len(scene.groups) >= 5 for scene in scenes) > 0.4 * len(scenes)
    assert sum(len(_sign_groups(scene)) == 2 for scene in scenes) > 0.06 * len(scenes)


def test_an_easy_scene_has_nothing_of_the_hard_level_and_its_truth_does_not_name_the_level() -> None:
    for index in range(1500):
        scene = draw_scene(index, 3)
        assert "level" not in scene.to_dict()
        assert scene.setting in SETTINGS_AT["easy"]
        for group in scene.groups:
            assert group.kind in KINDS_AT["easy"]
            assert group.colour in COLOURS_AT["easy"]
            assert group.size in ("small", "medium", "large")


@pytest.mark.parametrize("level", LEVELS)
def test_the_truth_of_a_scene_is_read_back_with_its_level(level: str) -> None:
    for index in range(50):
        scene = draw_scene(index, 3, level)
        assert scene_from(json.loads(json.dumps(scene.to_dict()))) == scene


def test_an_unknown_level_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown level 'harder': choose one of easy, hard"):
        draw_scene(0, 0, "harder")
    with pytest.raises(ValueError, match="unknown level 'harder': choose one of easy, hard"):
        write("sa1b", tmp_path, images=1, level="harder")


def test_two_signs_differ_in_colour_and_word_and_are_in_no_relation(scenes: list[Scene]) -> None:
    for scene in scenes:
        if len(signs := _sign_groups(scene)) == 2:
            assert signs[0].colour != signs[1].colour
            assert signs[0].word != signs[1].word
            related = {scene.groups[at].kind for r in scene.relations for at in (r.subject, r.target)}
            assert "sign" not in related


@settings(max_examples=500, deadline=None)
@given(INDICES, st.booleans())
def test_a_hard_caption_can_be_read_back_to_exactly_the_facts_of_its_scene(index: int, varied: bool) -> None:
    scene = draw_scene(index, 17, "hard")
    said = caption(scene, random.Random(index) if varied else None)
    read, real = read_facts(said), facts_of(scene)
    assert read.things == real.things
    assert (read.settings, read.times, read.weathers) == (real.settings, real.times, real.weathers)
    assert (read.relations, read.words, read.places) == (real.relations, real.words, ())
    assert not contradictions(read, real)
    assert {(tally.precision, tally.recall) for tally in judge_caption(said, scene).values()} == {(1.0, 1.0)}


@settings(max_examples=100, deadline=None)
@given(INDICES)
def test_a_hard_description_keeps_every_fact_of_its_caption(index: int) -> None:
    scene, rng = draw_scene(index, 17, "hard"), random.Random(index)
    said, alt = caption(scene, rng), alt_text(scene, rng)
    assert judge_fuse(fused(scene, said, alt), said, alt, scene).ok


def test_captions_of_hard_scenes_stay_short(scenes: list[Scene]) -> None:
    assert max(len(caption(scene).split()) for scene in scenes) <= 75


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_that_applies_to_a_hard_scene_writes_answers_that_its_checks_accept(
    name: str, scenes: list[Scene]
) -> None:
    family, rng, met = FAMILIES[name], random.Random(name), 0
    for scene in scenes[:80]:
        facts = facts_of(scene, place=True)
        if not family.applies(facts):
            continue
        met += 1
        for style in range(len(family.styles)):
            asked = family.instruction(facts, rng, specific=True)
            answer = family.write(facts, rng, asked, style)
            assert classify(asked) == name, asked
            assert not contradictions(read_facts(asked), facts), asked
            for verdict in (family.verify(answer, facts), judge_answer(answer, asked, scene)):
                assert verdict.ok, (answer, verdict.problems)
            tally = statements(answer, facts, asked)
            assert tally.right == tally.said, answer
    assert met


def test_every_kind_and_word_has_its_lore() -> None:
    assert set(CLUES) == set(TIPS) == set(KINDS)
    assert set(MEANINGS) == set(WORDS)


@settings(max_examples=40, deadline=None)
@given(INDICES)
def test_everything_annotators_write_about_a_hard_scene_is_true(index: int) -> None:
    scene = draw_scene(index, 29, "hard")
    real, asked = facts_of(scene), questions(scene)
    assert len({question.key for question in asked}) == len(asked)
    for text in (*captions(scene), paragraph(scene), *(why for question in asked for why in question.why)):
        assert not contradictions(read_facts(text), real), text
    for question in asked:
        assert len(question.wrong) >= 4
        assert question.answer not in question.wrong
        for wording in question.wordings:
            assert is_true(scene, "short", wording, question.answer)
    assert len({text for text, _ in short_questions(scene)}) == len(short_questions(scene))


def test_each_of_two_signs_is_named_by_its_colour() -> None:
    said = caption(TWO_SIGNS)
    assert said.endswith(
        "It shows two tiny brown dogs, one small red sign and one small blue sign. "
        'The red sign says "OPEN". The blue sign says "TAXI".'
    )
    short = dict(short_questions(TWO_SIGNS))
    assert short["What does the red sign say?"] == "OPEN"
    assert short["What does the blue sign say?"] == "TAXI"
    assert short["How many signs are there?"] == "two"
    assert "What colour is the sign?" not in short
    for asked, word in (("Explain what the blue sign means.", "TAXI"), ("Explain what the red sign means.", "OPEN")):
        answer = FAMILIES["sign_explanation"].write(facts_of(TWO_SIGNS), random.Random(0), asked, 0)
        assert word in answer
        assert read_facts(answer).words == (word,)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('The red sign says "OPEN". Two signs.', None),
        ('A sign says "TAXI".', None),
        ('The red sign says "TAXI".', "word of sign is OPEN, not TAXI"),
        ('The blue sign reads "OPEN".', "word of sign is TAXI, not OPEN"),
        ("One sign.", "count of sign is 2, not 1"),
        ("A green sign.", "colour of sign"),
        ('The red sign says "ZOO".', "words: ZOO is not there"),
    ],
)
def test_a_false_claim_about_one_of_two_signs_is_found(text: str, problem: str | None) -> None:
    wrong = contradictions(read_facts(text), facts_of(TWO_SIGNS))
    assert (problem in " ".join(wrong)) if problem else not wrong


def test_things_hide_others_but_words_and_tiny_things_can_be_seen() -> None:
    shares: dict[str, list[float]] = {"any": [], "sign": [], "tiny": []}
    for index in range(700):
        scene, rng = draw_scene(index, 12, "hard"), random.Random(index)
        if index >= 120 and not _sign_groups(scene):
            continue
        placed = arrange(scene, [sprite(group, scene.style, 1.0, 0) for group in scene.groups], rng)
        for thing, share in zip(placed, visible_shares(placed), strict=True):
            group = scene.groups[thing.group]
            shares["sign" if group.kind == "sign" else "tiny" if group.size == "tiny" else "any"].append(share)
    assert min(shares["any"]) >= 0.55
    assert 0.1 < np.mean(np.array(shares["any"]) < 0.9) < 0.4
    assert np.quantile(shares["sign"], 0.02) > 0.95
    assert np.quantile(shares["tiny"], 0.05) > 0.9


def test_boxes_and_masks_of_hard_pictures_are_true(pictures: list[tuple[Scene, Rendered]]) -> None:
    for scene, picture in pictures:
        assert [len(boxes) for boxes in picture.boxes] == [group.count for group in scene.groups]
        for k, box in enumerate([box for group in picture.boxes for box in group], 1):
            assert 0 <= box.x0 < box.x1 <= CANVAS
            assert 0 <= box.y0 < box.y1 <= CANVAS
            rows, columns = np.nonzero(picture.mask(k))
            assert box.y0 <= rows.min()
            assert rows.max() < box.y1
            assert box.x0 <= columns.min()
            assert columns.max() < box.x1


def test_left_of_holds_for_the_centres_of_all_things(pictures: list[tuple[Scene, Rendered]]) -> None:
    met = 0
    for scene, picture in pictures:
        for relation in scene.relations:
            if relation.name == "left of":
                met += 1
                ends = (relation.subject, relation.target)
                left, right = ([box.x0 + box.x1 for box in picture.boxes[at]] for at in ends)
                assert max(left) < min(right), caption(scene)
    assert met > 30


def test_jpeg_quality_varies_only_for_hard_photographs() -> None:
    found: dict[str, set[int]] = {style: set() for style in STYLES}
    for index in range(60):
        scene = draw_scene(index, 1, "hard")
        found[scene.style].add(quality(scene))
        assert quality(draw_scene(index, 1)) == 92
    assert found["flat"] == found["outlined"] == {92}
    assert len(found["photo"]) > 10
    assert min(found["photo"]) >= 50
    one = next(iter(draw([0], 1, level="hard")))
    assert Image.open(io.BytesIO(one.jpeg), formats=["JPEG"]).size == one.rendered.image.size


@pytest.mark.parametrize("layout", ["sa1b", "datacomp", "coco"])
def test_a_hard_world_is_written_in_every_layout_with_its_truth(layout: str, tmp_path: Path) -> None:
    write(layout, tmp_path, images=6, seed=2, level="hard")  # type: ignore[arg-type]
    assert sorted(truth(tmp_path).values(), key=lambda scene: scene.index) == [
        draw_scene(index, 2, "hard") for index in range(6)
    ]
