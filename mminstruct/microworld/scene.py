"""Scenes: the ground truth from which pictures and texts are generated.

A scene has a setting, a time of day, a weather, a style and one to four groups of things.
It is a function of ``(seed, index)``: the same pair gives the same scene on every machine.
The design follows ShapeWorld (Kuhnle & Copestake 2017) and CLEVR (Johnson et al. 2017).
"""

from __future__ import annotations

import dataclasses
import random
from dataclasses import dataclass

from mminstruct.microworld.catalogue import KINDS, NAMES, SETTINGS, SIZES, STYLES, TIMES, WEATHERS, WORDS, Setting


@dataclass(frozen=True, slots=True)
class Box:
    """Bounding box of one thing, pixels of the canvas, ``x0 < x1`` and ``y0 < y1``."""

    x0: int
    y0: int
    x1: int
    y1: int


@dataclass(frozen=True, slots=True)
class Group:
    """One or more identical things: ``three small red apples``."""

    kind: str
    colour: str
    size: str
    count: int
    action: str | None = None
    word: str | None = None
    """The word on a sign, in capitals; None for other kinds."""

    @property
    def category(self) -> str:
        return KINDS[self.kind].category


@dataclass(frozen=True, slots=True)
class Relation:
    """``groups[subject]`` is *name* ``groups[target]``."""

    subject: int
    name: str
    target: int


@dataclass(frozen=True, slots=True)
class Scene:
    """The complete ground truth of one picture."""

    seed: int
    index: int
    setting: str
    time: str | None
    """None indoors."""
    weather: str | None
    """None indoors, and at night unless it rains or snows."""
    style: str
    place: str
    """Proper name of the place (``Maple Beach``). Only alt-text can contain it; the picture never shows it."""
    groups: tuple[Group, ...]
    relations: tuple[Relation, ...]

    def to_dict(self) -> dict[str, object]:
        return dataclasses.asdict(self)


_INERT = ("food", "object", "tool")
_PERCHES = ("house", "tower", "tree", "sign", "car", "truck", "bus", "horse", "cow", "boat", "table", "chair")
_SEATS = ("table", "chair", "sofa")
_RELATION_WEIGHTS = {"on": 4, "under": 2, "left of": 10, "behind": 6, None: 8}
"""Weights of the relations, None for a scene without one. ``left of`` holds for many pairs at once. It is therefore
stated for the first two kinds in the order of ``KINDS``, and for every scene with several kinds that has no other
relation, so that a model can tell from the picture which relation the text states."""
_AREAS = {"building": 3000, "plant": 2000, "sign": 2000, "furniture": 1800, "vehicle": 1600, "animal": 1300,
          "person": 1200}  # fmt: skip
"""Approximate area of a small thing in square pixels; 800 for other categories."""
_MAX_AREA = 22_000
"""Largest total area of all things in square pixels; beyond it, people can no longer count them."""
_OFF_GROUND = ("flying", "swimming", "sailing")


def draw_scene(index: int, seed: int = 0) -> Scene:
    """Sample scene *index* of world *seed*.

    ``random.Random`` hashes a string seed with SHA-512, which is stable across Python versions.
    """
    rng = random.Random(f"mminstruct scene {seed}/{index}")
    setting = SETTINGS[rng.choice(tuple(SETTINGS))]
    time, weather = _sky(rng, setting)
    relation = rng.choices(tuple(_RELATION_WEIGHTS), tuple(_RELATION_WEIGHTS.values()))[0]
    pairs = [(s, t) for s in setting.kinds for t in setting.kinds if relation and _fits(relation, s, t)]
    number = rng.choices((1, 2, 3, 4), (1, 4, 4, 2))[0]
    chosen: list[str] = list(rng.choice(pairs)) if pairs else []
    rest = [kind for kind in setting.kinds if kind not in chosen]
    chosen += rng.sample(rest, max(0, number - len(chosen)))
    if (relation == "left of" or not pairs) and len(chosen) > 1:  # the picture shows which two
        relation, pairs = "left of", [(chosen[0], chosen[1])]
        chosen.sort(key=list(KINDS).index)
        chosen[:2] = rng.sample(chosen[:2], 2)
    groups = _sample_groups(rng, setting, chosen)
    if pairs and relation:
        groups[:2] = _adjust(rng, relation, groups[0], groups[1])
    groups = _shrink(groups, keep=2 if pairs and relation in ("on", "under") else 0)
    order = rng.sample(range(len(groups)), len(groups))
    return Scene(
        seed=seed,
        index=index,
        setting=setting.name,
        time=time,
        weather=weather,
        style=rng.choice(STYLES),
        place=f"{rng.choice(NAMES)} {setting.proper}",
        groups=tuple(groups[i] for i in order),
        relations=(Relation(order.index(0), relation, order.index(1)),) if pairs and relation else (),
    )


def _sky(rng: random.Random, setting: Setting) -> tuple[str | None, str | None]:
    """Sample a time of day and a weather that are plausible in *setting*."""
    if setting.indoor:
        return None, None
    time = rng.choice(TIMES)
    weather = rng.choice(WEATHERS)
    if setting.name == "snow field" and (weather == "rainy" or rng.random() < 0.4):
        weather = "snowy"
    if (setting.name == "desert" and weather in ("snowy", "rainy")) or (setting.name == "beach" and weather == "snowy"):
        weather = "sunny"
    return time, None if time == "night" and weather not in ("rainy", "snowy") else weather


def _fits(relation: str, subject: str, target: str) -> bool:
    """Whether *relation* between *subject* and *target* is plausible in a picture."""
    kind = KINDS[subject]
    if subject == target:
        return False
    if relation == "on":
        if subject == "bird":
            return target in _PERCHES
        if subject == "cat":
            return target in (*_SEATS, "car", "boat", "house", "truck")
        if kind.category == "person":
            return target in ("chair", "sofa", "horse", "boat")
        light = kind.category in _INERT and subject not in ("kite", "umbrella", "ladder", "broom", "pizza")
        if target == "book":
            return subject in ("cup", "apple", "clock", "scissors", "hammer", "cactus", "lamp")
        return target in _SEATS and (light or subject in ("lamp", "fish", "pizza", "dog", "rabbit"))
    if relation == "under":
        low = subject in ("cat", "dog", "rabbit", "duck", "bird", "ball", "book", "backpack", "cup", "apple", "flower")
        if target in ("table", "chair"):
            return low and subject != "flower"
        if target in ("tree", "umbrella"):
            return low or kind.category == "person"
        return target == "balloon" and (kind.category == "person" or low)
    if relation == "behind":
        return subject not in ("sign", "kite", "balloon", "boat") and target not in ("kite", "balloon", "boat", "fish")
    return True


def _sample_groups(rng: random.Random, setting: Setting, kinds: list[str]) -> list[Group]:
    """Sample one group per kind, ten things at most: more cannot be told apart on 256 pixels."""
    budget = 10
    groups: list[Group] = []
    for name in kinds:
        kind = KINDS[name]
        most = max(1, min(kind.most, budget - (len(kinds) - len(groups) - 1)))
        count = min(most, rng.choices((1, 2, 3, 4, 5, 6), (8, 5, 4, 3, 2, 2))[0])
        size = rng.choice(SIZES if count <= 2 else SIZES[:2] if count <= 4 else SIZES[:1])
        actions = () if name == "fish" and setting.name == "market" else kind.actions
        action = rng.choice(actions) if actions and rng.random() < 0.6 else None
        word = rng.choice(WORDS) if name == "sign" else None
        groups.append(Group(name, rng.choice(kind.colours), size, count, action, word))
        budget -= count
    return groups


def _adjust(rng: random.Random, relation: str, subject: Group, target: Group) -> list[Group]:
    """Adjust counts, sizes and actions so that the relation can be drawn and seen."""
    if relation == "left of":
        return [subject, target]
    target = dataclasses.replace(target, count=1, action=None if target.action in _OFF_GROUND else target.action)
    if subject.action in _OFF_GROUND:
        subject = dataclasses.replace(subject, action=None)
    if relation == "behind":
        return [dataclasses.replace(subject, count=min(2, subject.count)), target]
    if relation == "under":
        if subject.action not in (None, "sitting", "sleeping", "reading"):
            subject = dataclasses.replace(subject, action=None)
        action = "flying" if target.kind == "balloon" else target.action
        return [
            dataclasses.replace(subject, size="small", count=1),
            dataclasses.replace(target, size="large", action=action),
        ]
    if subject.category == "person":
        subject = dataclasses.replace(subject, action=rng.choice(("sitting", "reading")))
    elif subject.action not in (None, "singing", "sleeping", "glowing"):
        subject = dataclasses.replace(subject, action=None)
    if target.action in ("sleeping", "running"):
        target = dataclasses.replace(target, action=None)
    several = target.kind in ("table", "sofa") and subject.category in _INERT
    size = rng.choice(SIZES[:2]) if target.kind in (*_SEATS, "boat", "horse") else "small"
    count = min(subject.count, 3 if size == "small" else 2) if several else 1
    larger = "large" if count > 1 or target.kind == "book" else rng.choice(SIZES[SIZES.index(size) + 1 :])
    return [dataclasses.replace(subject, count=count, size=size), dataclasses.replace(target, size=larger)]


def _shrink(groups: list[Group], keep: int) -> list[Group]:
    """Shrink the groups with the largest areas until the picture is not crowded; the first *keep* stay unchanged."""
    groups = list(groups)
    areas = [_AREAS.get(group.category, 800) * group.count for group in groups]
    factors = dict(zip(SIZES, (1.0, 2.56, 5.76), strict=True))
    while sum(area * factors[g.size] for area, g in zip(areas, groups, strict=True)) > _MAX_AREA:
        able = [i for i in range(keep, len(groups)) if groups[i].size != "small"]
        if not able:
            break
        worst = max(able, key=lambda i: areas[i] * factors[groups[i].size])
        groups[worst] = dataclasses.replace(groups[worst], size=SIZES[SIZES.index(groups[worst].size) - 1])
    return groups
