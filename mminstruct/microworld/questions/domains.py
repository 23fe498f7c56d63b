"""The domains that can be judged: what they say, how their pictures look, and which of them a scene suits."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from mminstruct.microworld.catalogue import SETTINGS
from mminstruct.microworld.scene import Scene


@dataclass(frozen=True)
class Topic:
    """A domain without its templates. ``conf/domains.yaml`` has the same texts."""

    says: str
    looks: tuple[str, ...]
    """Descriptions of its pictures, for CLIP."""
    fits: Callable[[Scene], bool]
    """Whether a scene gives much to ask in this domain."""
    needs: tuple[str, ...] = ()


def _has(*categories: str) -> Callable[[Scene], bool]:
    return lambda scene: any(group.category in categories for group in scene.groups)


def _related(*names: str) -> Callable[[Scene], bool]:
    return lambda scene: any(relation.name in names for relation in scene.relations)


def _total(scene: Scene) -> int:
    return sum(group.count for group in scene.groups)


DOMAINS: dict[str, Topic] = {
    "image_style": Topic(
        "how the picture is made: technique, light and colours",
        ("a drawing with dark outlines", "outlined shapes like in a colouring book", "a line drawing"),
        lambda scene: scene.style == "outlined",
    ),
    "image_scene": Topic(
        "the place, the time of day and the weather",
        ("a wide view of a place outdoors with few things", "a landscape with one or two things",
         "an outdoor place with much free space"),
        lambda scene: not SETTINGS[scene.setting].indoor and _total(scene) <= 3,
    ),
    "image_description": Topic(
        "what can be seen and what is going on",
        ("a picture with many different things", "a busy scene with four kinds of things", "a crowded view"),
        lambda scene: len(scene.groups) >= 4,
    ),
    "object_localization": Topic(
        "where a thing is in the picture",
        ("one thing on the left and another on the right", "things side by side", "two things next to each other"),
        _related("left of"), ("two_things",),
    ),
    "attribute_recognition": Topic(
        "colour, size and action of things",
        ("a single thing with a clear colour", "one large colourful thing", "a close look at one kind of thing"),
        lambda scene: len(scene.groups) == 1 or any(g.size == "large" and g.category != "person" for g in scene.groups),
    ),
    "ocr": Topic(
        "words that can be read",
        ("a sign with a word on it", "letters that can be read", "a board with writing"),
        _has("sign"), ("words",),
    ),
    "object_relation": Topic(
        "how two things are related: on, under, hiding",
        ("a thing that stands on another thing", "something on top of something", "a thing that carries another"),
        _related("on"), ("two_things",),
    ),
    "spatial_relationship": Topic(
        "positions of things relative to each other",
        ("a thing half hidden behind another thing", "something under something", "one thing in front of another"),
        _related("behind", "under"), ("two_things",),
    ),
    "image_comparison": Topic(
        "numbers and looks of things compared",
        ("two kinds of things to compare", "a few things of one kind and a few of another", "two groups of things"),
        lambda scene: len(scene.groups) == 2, ("two_things",),
    ),
    "numerical_calculation": Topic(
        "counts, sums and differences",
        ("many things that can be counted", "groups of several equal things", "six or more things in rows or groups"),
        lambda scene: len(scene.groups) > 1 and _total(scene) >= 6, ("number",),
    ),
    "commonsense_reasoning": Topic(
        "what people know about such a place: clothes, uses, reasons",
        ("a place in rain, snow or fog", "bad weather outdoors", "a dark place at night"),
        lambda scene: scene.time == "night" or scene.weather in ("rainy", "snowy", "foggy"),
    ),
    "landmark": Topic(
        "a place that has a name",
        ("a view with a tower or a house", "a building that visitors would look for", "a place with a tall building"),
        lambda scene: _has("building")(scene) and not SETTINGS[scene.setting].indoor, ("place",),
    ),
    "writing": Topic(
        "texts that could be written about the picture",
        ("people who do something", "a person in a scene like in a story", "a man, a woman or a child"),
        _has("person"),
    ),
    "species_recognition": Topic(
        "animals and what is known about them",
        ("an animal", "a picture of dogs, cats, birds or other animals", "animals outdoors or at home"),
        _has("animal"),
    ),
}  # fmt: skip
"""By name, in the order of the file."""


def fitting(scene: Scene) -> tuple[str, ...]:
    """Names of the domains that *scene* suits, at least one."""
    return tuple(name for name, topic in DOMAINS.items() if topic.fits(scene)) or ("image_description",)


def looks(scene: Scene, rng: random.Random) -> str:
    """A text for CLIP of a domain that *scene* suits."""
    return rng.choice(DOMAINS[rng.choice(fitting(scene))].looks)
