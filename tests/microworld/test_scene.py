"""The sampler of scenes: seeded, sensible and balanced."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from mminstruct.microworld.catalogue import (
    COLOURS_AT,
    KINDS,
    KINDS_AT,
    RELATIONS,
    SETTINGS,
    STYLES,
    TIMES,
    WEATHERS,
    WORDS,
)
from mminstruct.microworld.scene import Scene, draw_scene

EXPECTED = ("desk", "photo", "River Office", [(1, "blue", "book"), (4, "green", "cactus"), (3, "blue", "scissors")])
"""Setting, style, place and groups of scene 0 of world 0: published worlds must stay the same."""


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [draw_scene(index, seed=3) for index in range(4000)]


def test_the_world_has_at_least_the_documented_variety() -> None:
    assert len(SETTINGS) >= 12
    assert len(KINDS) >= 30
    assert len(COLOURS_AT["easy"]) == 10
    assert len(STYLES) >= 3
    assert set(RELATIONS) == {"left of", "on", "under", "behind"}


def test_the_same_seed_and_index_give_the_same_scene_and_others_another() -> None:
    assert draw_scene(17, seed=5) == draw_scene(17, seed=5)
    assert len({json.dumps(draw_scene(index, seed=seed).to_dict()) for seed in range(5) for index in range(50)}) == 250


def test_a_known_scene_stays_as_it_is() -> None:
    scene = draw_scene(0, seed=0)
    assert (scene.setting, scene.style, scene.place) == EXPECTED[:3]
    assert [(group.count, group.colour, group.kind) for group in scene.groups] == EXPECTED[3]


def test_groups_keep_to_what_their_setting_and_kind_allow(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert 1 <= len(scene.groups) <= 4
        assert len({group.kind for group in scene.groups}) == len(scene.groups)
        assert sum(group.count for group in scene.groups) <= 10
        for group in scene.groups:
            kind = KINDS[group.kind]
            assert group.kind in SETTINGS[scene.setting].kinds
            assert group.colour in kind.colours
            assert group.size in ("small", "medium", "large")
            assert 1 <= group.count <= kind.most
            assert group.action is None or group.action in kind.actions
            assert (group.word in WORDS) == (group.kind == "sign")


def test_only_the_outdoors_has_a_sky(scenes: list[Scene]) -> None:
    for scene in scenes:
        if SETTINGS[scene.setting].indoor:
            assert scene.time is None
            assert scene.weather is None
        else:
            assert scene.time in TIMES
            assert scene.weather in WEATHERS or (scene.time == "night" and scene.weather is None)


def test_relations_join_two_different_groups_that_can_be_drawn_so(scenes: list[Scene]) -> None:
    for scene in scenes:
        for relation in scene.relations:
            subject, target = scene.groups[relation.subject], scene.groups[relation.target]
            assert relation.subject != relation.target
            if relation.name != "left of":
                assert target.count == 1
                assert "flying" not in (subject.action, target.action) or relation.name == "under"
            if relation.name == "under":
                assert (subject.size, target.size) == ("small", "large")


def test_every_relation_is_frequent_enough_to_be_learnt(scenes: list[Scene]) -> None:
    counts = Counter(relation.name for scene in scenes for relation in scene.relations)
    shares = {name: counts[name] / counts.total() for name in RELATIONS}
    assert 0.12 <= shares["on"] <= 0.22
    assert 0.05 <= shares["under"] <= 0.11
    assert shares["behind"] > 0.15
    assert shares["left of"] > 0.3


def test_which_things_a_left_of_relation_joins_follows_from_the_picture(scenes: list[Scene]) -> None:
    order = list(KINDS)
    first_is_left = []
    for scene in scenes:
        assert bool(scene.relations) == (len(scene.groups) > 1)
        for relation in scene.relations:
            if relation.name == "left of":
                pair = [scene.groups[at].kind for at in (relation.subject, relation.target)]
                first_two = sorted((group.kind for group in scene.groups), key=order.index)[:2]
                assert sorted(pair, key=order.index) == first_two
                first_is_left.append(pair == first_two)
    assert 0.45 < sum(first_is_left) / len(first_is_left) < 0.55


def test_every_kind_action_colour_and_word_occurs(scenes: list[Scene]) -> None:
    groups = [group for scene in scenes for group in scene.groups]
    assert {group.kind for group in groups} == set(KINDS_AT["easy"])
    assert {group.colour for group in groups} == set(COLOURS_AT["easy"])
    assert {group.word for group in groups} == {*WORDS, None}
    assert {(group.kind, group.action) for group in groups} >= {
        (name, action) for name in KINDS_AT["easy"] for action in KINDS[name].actions
    }
    assert {group.count for group in groups} == {1, 2, 3, 4, 5, 6}
