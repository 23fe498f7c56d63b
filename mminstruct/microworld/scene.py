"""Scenes: the ground truth from which pictures and texts are generated.

A scene has a setting, a time of day, a weather, a style and groups of things: one to four on level ``easy``, two to
six on ``hard``. It is a function of ``(seed, index, level)``, the same on every machine.
The design follows ShapeWorld (Kuhnle & Copestake 2017) and CLEVR (Johnson et al. 2017).
"""

from __future__ import annotations

import dataclasses
import functools
import random
from dataclasses import dataclass

from mminstruct.microworld.catalogue import (
    GROUPS_AT,
    KINDS,
    LEVELS,
    NAMES,
    SETTINGS,
    SETTINGS_AT,
    STYLES,
    TIMES,
    WEATHERS,
    WORDS,
    Setting,
)


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
    level: str = "easy"

    def to_dict(self) -> dict[str, object]:
        """All fields. The level is left out if it is ``easy``: files of scenes that had no level stay as they are."""
        fields = dataclasses.asdict(self)
        return {name: value for name, value in fields.items() if name != "level" or value != "easy"}


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
_MAX_AREA = {"easy": 22_000, "hard": 30_000}
"""Largest total area of all things in square pixels; beyond it, people can no longer count them."""
_MOST_THINGS = {"easy": 10, "hard": 13}
"""Without a second sign. More cannot be told apart on 256 pixels."""
_SIZES = ("small", "medium", "large")
_FACTORS = {"tiny": 0.4, "small": 1.0, "medium": 2.56, "large": 5.76, "huge": 10.9}
"""Area of a thing relative to that of a small one."""
_LADDER = tuple(_FACTORS)
_SIMILAR = (
    ("blue", "navy"), ("blue", "turquoise"), ("green", "turquoise"), ("black", "navy"), ("black", "grey"),
    ("white", "grey"), ("white", "beige"), ("yellow", "beige"), ("brown", "beige"), ("red", "orange"),
    ("yellow", "orange"), ("brown", "orange"), ("red", "pink"), ("purple", "pink"), ("purple", "navy"),
    ("brown", "red"), ("brown", "black"), ("blue", "purple"),
)  # fmt: skip
"""Pairs of colours that are easily confused."""
_TINY = ("animal", "food", "vehicle", "furniture", "object", "building", "plant")
_HUGE = ("animal", "food", "object", "tool")
"""Categories whose things can be of these sizes on ``hard``."""
_SECOND_SIGN = 0.6
"""Share of ``hard`` scenes with a sign and two other kinds, or more, that get a second sign."""
_OFF_GROUND = ("flying", "swimming", "sailing")


def draw_scene(index: int, seed: int = 0, level: str = "easy") -> Scene:
    """Sample scene *index* of world *seed* on *level*.

    ``random.Random`` hashes a string seed with SHA-512, which is stable across Python versions.

    Raises:
        ValueError: If *level* is unknown.
    """
    if level not in LEVELS:
        raise ValueError(f"unknown level {level!r}: choose one of {', '.join(LEVELS)}")
    hard = level == "hard"
    rng = random.Random(f"mminstruct {'hard ' if hard else ''}scene {seed}/{index}")
    setting = SETTINGS[rng.choice(SETTINGS_AT[level])]
    kinds = setting.kinds_at(level)
    time, weather = _sky(rng, setting)
    relation = rng.choices(tuple(_RELATION_WEIGHTS), tuple(_RELATION_WEIGHTS.values()))[0]
    pairs = _pairs(kinds, relation)
    number = rng.choices((2, 3, 4, 5, 6), (1, 3, 4, 4, 3))[0] if hard else rng.choices((1, 2, 3, 4), (1, 4, 4, 2))[0]
    chosen: list[str] = list(rng.choice(pairs)) if pairs else []
    rest = [kind for kind in kinds if kind not in chosen]
    chosen += rng.sample(rest, max(0, number - len(chosen)))
    if (relation == "left of" or not pairs) and len(chosen) > 1:  # the picture shows which two
        relation, pairs = "left of", ((chosen[0], chosen[1]),)
        chosen.sort(key=list(KINDS).index)
        chosen[:2] = rng.sample(chosen[:2], 2)
    groups = _sample_groups(rng, setting, chosen, level)
    if hard:
        groups = _vary(rng, groups)
    if pairs and relation:
        groups[:2] = _adjust(rng, relation, groups[0], groups[1])
    if hard and len(groups) > 2 and "sign" in chosen[2:] and rng.random() < _SECOND_SIGN:
        groups = _second_sign(rng, groups)
    groups = _shrink(groups, 2 if pairs and relation in ("on", "under") else 0, _MAX_AREA[level])
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
        level=level,
    )


@functools.cache
def _pairs(kinds: tuple[str, ...], relation: str | None) -> tuple[tuple[str, str], ...]:
    """Pairs of *kinds* that *relation* suits; none for None."""
    return tuple((s, t) for s in kinds for t in kinds if relation and _fits(relation, s, t))


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
        light = kind.category in _INERT and subject not in ("kite", "umbrella", "ladder", "broom", "pizza", "shovel")
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


def _sample_groups(rng: random.Random, setting: Setting, kinds: list[str], level: str) -> list[Group]:
    """Sample one group per kind."""
    budget = _MOST_THINGS[level]
    groups: list[Group] = []
    for name in kinds:
        kind = KINDS[name]
        most = max(1, min(kind.most, budget - (len(kinds) - len(groups) - 1)))
        count = min(most, rng.choices((1, 2, 3, 4, 5, 6), (8, 5, 4, 3, 2, 2))[0])
        size = rng.choice(_SIZES if count <= 2 else _SIZES[:2] if count <= 4 else _SIZES[:1])
        actions = () if name == "fish" and setting.name == "market" else kind.actions
        action = rng.choice(actions) if actions and rng.random() < 0.6 else None
        word = rng.choice(WORDS) if name == "sign" else None
        groups.append(Group(name, rng.choice(kind.colours_at(level)), size, count, action, word))
        budget -= count
    return groups


def _vary(rng: random.Random, groups: list[Group]) -> list[Group]:
    """Make *groups* hard: half of the colours are similar to one before, and things can be tiny or huge.

    Tiny things do nothing, since nobody could see it. A sign is never tiny: nobody could read it.
    """
    done: list[Group] = []
    for group in groups:
        used = {one.colour for one in done}
        near = [c for c in KINDS[group.kind].colours_at("hard") if any(_similar(c, other) for other in used)]
        if near and rng.random() < 0.5:
            group = dataclasses.replace(group, colour=rng.choice(near))
        chance = rng.random()
        if chance < 0.2 and group.category in _TINY:
            group = dataclasses.replace(group, size="tiny", action=None)
        elif chance > 0.7 and group.category in _HUGE and group.count == 1 and all(g.size != "huge" for g in done):
            group = dataclasses.replace(group, size="huge")
        done.append(group)
    return done


def _similar(one: str, other: str) -> bool:
    return (one, other) in _SIMILAR or (other, one) in _SIMILAR


def _second_sign(rng: random.Random, groups: list[Group]) -> list[Group]:
    """*groups* with another sign, of a clearly different colour and with another word, which replaces a sixth group."""
    first = next(group for group in groups if group.kind == "sign")
    if len(groups) == GROUPS_AT["hard"]:
        groups = [*groups[:2], first, *[group for group in groups[2:] if group is not first][:-1]]
    colours = [
        colour for colour in KINDS["sign"].colours_at("hard")
        if colour != first.colour and not _similar(colour, first.colour)
    ]  # fmt: skip
    word = rng.choice([word for word in WORDS if word != first.word])
    return [*groups, dataclasses.replace(first, colour=rng.choice(colours), word=word)]


def _adjust(rng: random.Random, relation: str, subject: Group, target: Group) -> list[Group]:
    """Adjust counts, sizes and actions so that the relation can be drawn and seen."""
    if relation == "left of":
        return [subject, target]
    target = dataclasses.replace(target, count=1, action=None if target.action in _OFF_GROUND else target.action)
    if subject.action in _OFF_GROUND:
        subject = dataclasses.replace(subject, action=None)
    if relation == "behind":
        subject = dataclasses.replace(subject, count=min(2, subject.count))
        if "huge" in (subject.size, target.size) or "tiny" in (subject.size, target.size):
            return [dataclasses.replace(subject, size="medium"), dataclasses.replace(target, size="medium")]
        return [subject, target]
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
    size = rng.choice(_SIZES[:2]) if target.kind in (*_SEATS, "boat", "horse") else "small"
    count = min(subject.count, 3 if size == "small" else 2) if several else 1
    larger = "large" if count > 1 or target.kind == "book" else rng.choice(_SIZES[_SIZES.index(size) + 1 :])
    return [dataclasses.replace(subject, count=count, size=size), dataclasses.replace(target, size=larger)]


def _shrink(groups: list[Group], keep: int, most: int) -> list[Group]:
    """Shrink the groups with the largest areas until all have at most *most* square pixels; the first *keep* stay."""
    groups = list(groups)
    areas = [_AREAS.get(group.category, 800) * group.count for group in groups]
    while sum(area * _FACTORS[g.size] for area, g in zip(areas, groups, strict=True)) > most:
        able = [i for i in range(keep, len(groups)) if groups[i].size not in ("tiny", "small")]
        if not able:
            break
        worst = max(able, key=lambda i: areas[i] * _FACTORS[groups[i].size])
        groups[worst] = dataclasses.replace(groups[worst], size=_LADDER[_LADDER.index(groups[worst].size) - 1])
    return groups
