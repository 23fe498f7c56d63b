"""Rendering scenes: seeded, countable, and true to the relations."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image, ImageFilter

from mminstruct.microworld.catalogue import CANVAS, COLOURS, KINDS, SETTINGS, STYLES, TIMES, WEATHERS
from mminstruct.microworld.drawing.canvas import PALETTE
from mminstruct.microworld.drawing.layout import FACTORS, arrange, sprite, visible_shares
from mminstruct.microworld.drawing.render import Rendered, render
from mminstruct.microworld.drawing.things import DRAWINGS
from mminstruct.microworld.scene import Box, Group, Relation, Scene, draw_scene

Pair = tuple[Scene, Rendered]


@pytest.fixture(scope="module")
def drawn() -> list[Pair]:
    return [(scene, render(scene)) for scene in (draw_scene(index, seed=11) for index in range(160))]


def _related(pairs: Iterable[Pair], name: str) -> list[tuple[Relation, Pair]]:
    found = [(scene.relations[0], (scene, picture)) for scene, picture in pairs if scene.relations]
    return [(relation, pair) for relation, pair in found if relation.name == name]


def _middle(box: Box) -> float:
    return (box.x0 + box.x1) / 2


def _alone(group: Group, **changes: str) -> Scene:
    fields = {
        "setting": "park",
        "time": "midday",
        "weather": "sunny",
        "style": "flat",
        "place": "Maple Park",
        **changes,
    }
    return Scene(seed=0, index=0, groups=(group,), relations=(), **fields)


def test_a_picture_has_the_promised_shape(drawn: list[Pair]) -> None:
    for scene, picture in drawn:
        assert picture.image.size == (CANVAS, CANVAS)
        assert picture.image.mode == "RGB"
        assert picture.masks.shape == (CANVAS, CANVAS)
        assert picture.masks.dtype == np.uint8
        assert [len(boxes) for boxes in picture.boxes] == [group.count for group in scene.groups]
        assert [picture.owners.count(k) for k in range(len(scene.groups))] == [g.count for g in scene.groups]


def test_the_same_scene_gives_the_same_pixels_in_another_process() -> None:
    code = (
        "import hashlib; from mminstruct.microworld.drawing.render import render; "
        "from mminstruct.microworld.scene import draw_scene; "
        "print([hashlib.sha256(render(draw_scene(i, 2)).image.tobytes()).hexdigest() for i in range(6)])"
    )
    here = [hashlib.sha256(render(draw_scene(i, 2)).image.tobytes()).hexdigest() for i in range(6)]
    env = {**os.environ, "PYTHONHASHSEED": "77"}
    said = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout
    assert said.strip() == str(here)


def test_the_global_random_state_neither_matters_nor_changes() -> None:
    random.seed(1)
    first = render(draw_scene(4)).image.tobytes()
    state = random.getstate()
    assert render(draw_scene(4)).image.tobytes() == first
    assert random.getstate() == state


def test_every_box_lies_within_the_canvas_and_holds_its_mask(drawn: list[Pair]) -> None:
    for _, picture in drawn:
        boxes = [box for group in picture.boxes for box in group]
        for k, box in enumerate(boxes, 1):
            assert 0 <= box.x0 < box.x1 <= CANVAS
            assert 0 <= box.y0 < box.y1 <= CANVAS
            rows, columns = np.nonzero(picture.mask(k))
            assert rows.min() >= box.y0
            assert rows.max() < box.y1
            assert columns.min() >= box.x0
            assert columns.max() < box.x1


def test_the_group_map_follows_the_instances(drawn: list[Pair]) -> None:
    for _, picture in drawn[:20]:
        groups = picture.group_map()
        for k, owner in enumerate(picture.owners, 1):
            assert (groups[picture.mask(k)] == owner + 1).all()
        assert ((groups == 0) == (picture.masks == 0)).all()


def test_things_are_visible_enough_to_be_counted() -> None:
    least = []
    for index in range(120):
        scene = draw_scene(index, seed=12)
        rng = random.Random(index)
        sprites = [sprite(group, scene.style, 1.0, 0) for group in scene.groups]
        least.append(min(visible_shares(arrange(scene, sprites, rng))))
    assert min(least) >= 0.5
    assert sum(share < 0.6 for share in least) <= 3


def test_left_of_holds_for_every_pair_of_centres(drawn: list[Pair]) -> None:
    found = _related(drawn, "left of")
    assert len(found) > 20
    for relation, (_, picture) in found:
        rightmost = max(_middle(box) for box in picture.boxes[relation.subject])
        assert rightmost < min(_middle(box) for box in picture.boxes[relation.target])


def test_what_is_on_something_stands_within_its_width_and_above_its_foot(drawn: list[Pair]) -> None:
    found = _related(drawn, "on")
    assert len(found) > 8
    for relation, (_, picture) in found:
        target = picture.boxes[relation.target][0]
        for box in picture.boxes[relation.subject]:
            assert target.x0 <= _middle(box) <= target.x1
            assert target.y0 - 2 <= box.y1 <= target.y0 + 0.85 * (target.y1 - target.y0)
            assert box.y0 < target.y1


def test_what_is_under_something_lies_below_its_middle_and_within_its_width() -> None:
    pairs = [(scene, render(scene)) for scene in (draw_scene(i, 13) for i in range(500)) if _has(scene, "under")]
    assert len(pairs) > 10
    for relation, (_, picture) in _related(pairs, "under"):
        target, box = picture.boxes[relation.target][0], picture.boxes[relation.subject][0]
        assert target.x0 < _middle(box) < target.x1
        assert box.y0 > target.y0 + 0.3 * (target.y1 - target.y0)
        assert box.y1 >= target.y1 - 4


def test_what_is_behind_something_is_partly_hidden_and_mostly_seen() -> None:
    for index in range(300):
        scene = draw_scene(index, seed=14)
        if not _has(scene, "behind"):
            continue
        relation = scene.relations[0]
        sprites = [sprite(group, scene.style, 1.0, 0) for group in scene.groups]
        placed = arrange(scene, sprites, random.Random(index))
        for this in (p for p in placed if p.group == relation.subject):
            front = next(p for p in placed if p.group == relation.target)
            assert front.depth > this.depth
            assert 0.03 < 1 - visible_shares([this, front])[0] < 0.5


def _has(scene: Scene, name: str) -> bool:
    return any(relation.name == name for relation in scene.relations)


def test_sizes_differ_clearly() -> None:
    for kind in KINDS:
        heights = [sprite(Group(kind, "red", size, 1, None, "OPEN"), "flat", 1.0, 0).size[1] for size in FACTORS]
        for smaller, larger in pairwise(heights):
            assert larger > 1.35 * smaller, kind


def test_every_kind_is_drawn_and_every_action_changes_it() -> None:
    assert set(DRAWINGS) == set(KINDS)
    for kind in KINDS.values():
        word = "OPEN" if kind.name == "sign" else None
        looks = set()
        for action in (None, *kind.actions):
            scene = _alone(Group(kind.name, kind.colours[0], "medium", 1, action, word))
            looks.add(render(scene).image.tobytes())
        assert len(looks) == 1 + len(kind.actions), kind.name


def test_the_colour_named_is_a_large_part_of_what_is_seen() -> None:
    for kind in KINDS.values():
        for colour in kind.colours_at("hard"):
            thing = sprite(Group(kind.name, colour, "large", 1, None, "OPEN"), "flat", 1.0, 0)
            pixels = np.asarray(thing.image)[thing.mask][:, :3].astype(int)
            distances = {name: np.abs(pixels - rgb).sum(axis=1) for name, rgb in PALETTE.items()}
            assert np.mean(distances[colour] < 120) > 0.1, (kind.name, colour)


def test_all_colours_differ_clearly() -> None:
    for a in COLOURS:
        for b in COLOURS:
            apart = sum(abs(x - y) for x, y in zip(PALETTE[a], PALETTE[b], strict=True))
            assert a == b or apart > 100, (a, b)


@pytest.mark.parametrize("style", STYLES)
def test_time_of_day_and_weather_show_in_every_style(style: str) -> None:
    group = Group("dog", "brown", "medium", 1)
    looks = {
        render(_alone(group, style=style, time=time, weather=weather)).image.tobytes()
        for time in TIMES
        for weather in WEATHERS
    }
    assert len(looks) == len(TIMES) * len(WEATHERS)


def test_night_is_darker_than_day() -> None:
    group = Group("dog", "brown", "small", 1)
    for setting in (s.name for s in SETTINGS.values() if not s.indoor):
        day, night = (
            np.asarray(render(_alone(group, setting=setting, time=time)).image).mean() for time in ("midday", "night")
        )
        assert night < 0.75 * day, setting


def test_a_word_on_a_sign_changes_the_picture_and_stays_within_the_board() -> None:
    first, second = (render(_alone(Group("sign", "blue", "small", 1, None, word))) for word in ("STOP", "HOTEL"))
    assert first.boxes == second.boxes
    assert (first.masks == second.masks).all()
    inside = first.masks > 0
    different = (np.asarray(first.image) != np.asarray(second.image)).any(axis=2)
    assert different[inside].mean() > 0.05
    assert not different[~inside].any()


def test_a_mask_has_the_shape_of_the_thing_and_not_of_its_box() -> None:
    red, blue = (render(_alone(Group("ball", colour, "large", 2))) for colour in ("red", "blue"))
    assert (red.masks == blue.masks).all()
    for k, box in enumerate(red.boxes[0], 1):
        assert red.mask(k).sum() / ((box.x1 - box.x0) * (box.y1 - box.y0)) == pytest.approx(np.pi / 4, abs=0.04)
    changed = (np.asarray(red.image) != np.asarray(blue.image)).any(axis=2)
    near = np.asarray(Image.fromarray((red.masks > 0).astype(np.uint8) * 255).filter(ImageFilter.MaxFilter(3))) > 0
    assert not changed[~near].any()
    assert changed[red.masks > 0].mean() > 0.5
