"""Places the things of a scene so that its relation holds and everything can be counted."""

from __future__ import annotations

import dataclasses
import random
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from mminstruct.microworld.catalogue import CANVAS
from mminstruct.microworld.drawing.canvas import FINE, HORIZON, Pen, tint
from mminstruct.microworld.drawing.things import DRAWINGS
from mminstruct.microworld.scene import Group, Scene

FACTORS = {"tiny": 0.6, "small": 1.0, "medium": 1.6, "large": 2.4, "huge": 3.6}
"""Scale factors relative to a small thing."""
_MARGIN = 3
_LEAST_VISIBLE = 0.6
"""Share of a thing that must stay visible so that people can count it."""
_OF_SIGN = 0.3
"""On ``hard``, a third of a thing may be hidden, but that much less of a sign."""
_OVERLAP = 0.45
"""On ``hard``, share of the box of the thing behind that another box covers where a thing is put before or behind."""
_ATTEMPTS = 10
_NOT_MIRRORED = ("sleeping", "parked", "singing")
"""Actions drawn with a letter or a note, which must not be mirrored."""

_OPAQUE = [0] * 128 + [255] * 128

Mask = np.ndarray[tuple[int, int], np.dtype[np.bool_]]


@dataclass(frozen=True, slots=True, eq=False)
class Sprite:
    """A drawn thing, cropped to its bounding box."""

    image: Image.Image
    """RGBA."""
    mask: Mask
    top: tuple[int, int, int] | None
    """Surface on which other things can stand: left, right and y, in sprite pixels."""

    @property
    def size(self) -> tuple[int, int]:
        return self.image.width, self.image.height

    def mirrored(self) -> Sprite:
        width = self.image.width
        top = (width - self.top[1], width - self.top[0], self.top[2]) if self.top else None
        return Sprite(ImageOps.mirror(self.image), self.mask[:, ::-1], top)


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """A placed instance: upper left corner of its sprite, and depth (greater is nearer)."""

    group: int
    sprite: Sprite
    x: int
    y: int
    depth: float
    grounded: bool
    """Whether it casts a shadow on the ground."""

    @property
    def box(self) -> tuple[int, int, int, int]:
        return self.x, self.y, self.x + self.sprite.size[0], self.y + self.sprite.size[1]


def sprite(group: Group, style: str, scale: float, variant: int) -> Sprite:
    """Draw one thing of *group*; *scale* varies its size, *variant* (0 to 15) selects a person's skin and hair."""
    drawing = DRAWINGS[group.kind]
    factor = drawing.scale * FACTORS[group.size] * scale
    pen = Pen(drawing.width, drawing.height, factor, style)
    drawing.draw(pen, tint(group.colour), group.action, group.word or "", variant)
    image = pen.sheet.reduce(FINE)
    x0, y0, x1, y1 = image.getchannel("A").point(_OPAQUE).getbbox() or (0, 0, 1, 1)
    image = image.crop((x0, y0, x1, y1))
    top = None
    if drawing.top:
        left, right, level = (round(v * factor) for v in drawing.top)
        top = (left - x0, right - x0, level - y0)
    return Sprite(image, np.asarray(image.getchannel("A")) > 127, top)


def arrange(scene: Scene, sprites: list[Sprite], rng: random.Random) -> list[Placed]:
    """Place every instance of every group.

    Returns:
        Instances in the order of the groups, from the attempt in which the most hidden instance is most visible.
    """
    best: list[Placed] = []
    best_seen = -1.0
    hard = scene.level == "hard"
    enough = _LEAST_VISIBLE + (0.06 if hard else 0.12)
    if any(relation.name == "behind" for relation in scene.relations):  # it hides on purpose
        enough = _LEAST_VISIBLE + (-0.02 if hard else -0.1)
    for attempt in range(_ATTEMPTS):
        placed = _Attempt(scene, sprites, rng, crowded=hard and attempt < _ATTEMPTS // 2).run()
        shares = visible_shares(placed)
        if hard:  # a sign can be read only if nothing hides it
            shares = [share - _OF_SIGN * (scene.groups[thing.group].kind == "sign")
                      for share, thing in zip(shares, placed, strict=True)]  # fmt: skip
        seen = min(shares)
        if seen > best_seen:
            best, best_seen = placed, seen
        if seen >= enough:
            break
    return best


def visible_shares(placed: list[Placed]) -> list[float]:
    """The share of each instance that no nearer instance hides, 0 to 1."""
    shares = []
    for this in placed:
        free = this.sprite.mask.copy()
        x0, y0, x1, y1 = this.box
        for other in placed:
            if other.depth <= this.depth or other is this:
                continue
            a0, b0, a1, b1 = other.box
            left, right, upper, lower = max(x0, a0), min(x1, a1), max(y0, b0), min(y1, b1)
            if left < right and upper < lower:
                hides = other.sprite.mask[upper - b0 : lower - b0, left - a0 : right - a0]
                free[upper - y0 : lower - y0, left - x0 : right - x0] &= ~hides
        shares.append(float(free.sum()) / max(1, int(this.sprite.mask.sum())))
    return shares


def _cost(
    others: list[tuple[tuple[int, int, int, int], float, float]], x0: int, y0: int, width: int, height: int
) -> float:
    """What it costs to put a thing of *width* by *height* at (*x0*, *y0*)."""
    cost, x1, y1 = 0.0, x0 + width, y0 + height
    for (a0, b0, a1, b1), price, weight in others:
        if x0 < a1 and a0 < x1 and y0 < b1 and b0 < y1:
            shared = (min(x1, a1) - max(x0, a0)) * (min(y1, b1) - max(y0, b0))
            back = (a1 - a0) * (b1 - b0) if b1 < y1 else width * height
            cost += price + shared / back * weight
    return cost


class _Attempt:
    """One attempt to place everything."""

    def __init__(self, scene: Scene, sprites: list[Sprite], rng: random.Random, crowded: bool) -> None:
        self.scene, self.sprites, self.rng, self.crowded = scene, sprites, rng, crowded
        self.mirrors: dict[int, Sprite] = {}
        self.placed: list[Placed] = []

    def run(self) -> list[Placed]:
        groups = self.scene.groups
        spans = [(0.0, float(CANVAS))] * len(groups)
        done: set[int] = set()
        for relation in self.scene.relations:
            subject, target = relation.subject, relation.target
            if relation.name == "left of":
                split = self._split(subject, target)
                spans[subject], spans[target] = (0.0, split - 3), (split + 3, float(CANVAS))
            elif relation.name == "on":
                self._on(subject, target)
                done |= {subject, target}
            elif relation.name == "under":
                self._under(subject, target)
                done |= {subject, target}
            elif relation.name == "behind":
                self._behind(subject, target)
                done |= {subject, target}
        areas = [s.size[0] * s.size[1] for s in self.sprites]
        for index in sorted(range(len(groups)), key=lambda i: -areas[i]):
            if index not in done:
                for _ in range(groups[index].count):
                    self._free(index, spans[index])
        return sorted(self.placed, key=lambda p: p.group)

    def _put(self, group: int, sprite: Sprite, x: float, base: float, depth: float | None = None) -> Placed:
        """Place a sprite with the middle of its lower edge at (*x*, *base*), or as near as the canvas allows."""
        width, height = sprite.size
        left = min(max(_MARGIN, int(x - width / 2)), CANVAS - _MARGIN - width)
        upper = min(max(_MARGIN, int(base) - height), CANVAS - _MARGIN - height)
        grounded = self.scene.groups[group].action not in ("flying", "swimming", "sailing")
        thing = Placed(group, sprite, left, upper, float(upper + height) if depth is None else depth, grounded)
        self.placed.append(thing)
        return thing

    def _turned(self, group: int) -> Sprite:
        its = self.scene.groups[group]
        if its.kind == "sign" or its.action in _NOT_MIRRORED or self.rng.random() < 0.5:
            return self.sprites[group]
        if group not in self.mirrors:
            self.mirrors[group] = self.sprites[group].mirrored()
        return self.mirrors[group]

    def _rows(self, group: int) -> tuple[float, float]:
        """Highest and lowest row for the lower edge of a thing of the group."""
        its, height = self.scene.groups[group], self.sprites[group].size[1]
        if its.action == "flying":
            return height + 4, max(height + 8, HORIZON + 6)
        if its.action in ("swimming", "sailing") and self.scene.setting in ("beach", "harbour", "lake"):
            return max(height + 4, HORIZON + 8), max(height + 8, HORIZON + 36)
        lowest = 234 if self.scene.setting == "desk" else 250
        return min(max(height + 6, HORIZON + 34 if height < 60 else HORIZON + 44), lowest - 4), lowest

    def _split(self, subject: int, target: int) -> float:
        """A column that separates the subjects' centres from the targets', so that each side suits their areas."""
        (ws, hs), (wt, ht) = self.sprites[subject].size, self.sprites[target].size
        bulk_s = ws * hs * self.scene.groups[subject].count
        bulk_t = wt * ht * self.scene.groups[target].count
        low, high = ws / 2 + 14, CANVAS - wt / 2 - 14
        share = bulk_s / (bulk_s + bulk_t)
        return low + (high - low) * min(0.85, max(0.15, share + self.rng.uniform(-0.12, 0.12)))

    def _free(self, group: int, span: tuple[float, float]) -> None:
        """Place one thing where it overlaps others least, its centre within *span*.

        In a crowded attempt, half of the things are put before or behind another one.
        """
        wanted = 0.0
        if self.crowded and self.placed and not self._apart(group) and self.rng.random() < 0.5:
            wanted = self.rng.uniform(0.2, _OVERLAP)
        sprite = self._turned(group)
        width, height = sprite.size
        low = max(width / 2 + _MARGIN, span[0])
        high = max(low, min(CANVAS - width / 2 - _MARGIN, span[1]))
        top, bottom = self._rows(group)
        best, least = (low, bottom), float("inf")
        others = self._others(group)
        for _ in range(28):
            x, base = self.rng.uniform(low, high), self.rng.uniform(top, bottom)
            cost = _cost(others, int(x - width / 2), int(base) - height, width, height)
            if wanted:
                cost = abs(cost - wanted)
            if cost < least:
                best, least = (x, base), cost
            if cost <= wanted / 8:
                break
        self._put(group, sprite, *best)

    def _apart(self, group: int) -> bool:
        """Whether the group must be fully visible and cover no other: its word is read, or its things are tiny."""
        return self.scene.groups[group].kind == "sign" or self.scene.groups[group].size == "tiny"

    def _others(self, group: int) -> list[tuple[tuple[int, int, int, int], float, float]]:
        """Of each placed thing: its box, the price of any overlap with it, and that of an overlap by its share."""
        found = []
        for other in self.placed:
            same = other.group == group
            free = not self.crowded or not (same or self._apart(other.group))
            found.append((other.box, 0.0 if free else 2.0, 2.0 if same else 1.0))
        return found

    def _on(self, subject: int, target: int) -> None:
        """Place the subjects on the target's upper surface."""
        sprite, count = self.sprites[target], self.scene.groups[subject].count
        rider = self.sprites[subject]
        top, bottom = self._rows(target)
        need = rider.size[1] + sprite.size[1] - (sprite.top or (0, 0, 0))[2] + 4
        turned = self._turned(target)
        x = self.rng.uniform(turned.size[0] / 2 + 12, CANVAS - turned.size[0] / 2 - 12)
        base = self._put(target, turned, x, self.rng.uniform(min(bottom, max(top, need)), bottom))
        left, right, level = turned.top or (0, turned.size[0], 0)
        for k in range(count):
            rider = self._turned(subject)
            jitter = self.rng.uniform(-0.1, 0.1) / count
            x = base.x + left + (right - left) * ((k + 0.5) / count + jitter)
            thing = self._put(subject, rider, x, base.y + level + 2, base.depth + 0.1 + k / 100)
            self.placed[-1] = dataclasses.replace(thing, grounded=False)

    def _under(self, subject: int, target: int) -> None:
        """Place the subject below the target: between legs, beside a trunk, or on the ground below a balloon."""
        kind, turned = self.scene.groups[target].kind, self._turned(target)
        low = self._turned(subject)
        width = turned.size[0]
        top, bottom = self._rows(target)
        over = self._put(target, turned, self.rng.uniform(width / 2 + 8, CANVAS - width / 2 - 8),
                         self.rng.uniform(top, bottom))  # fmt: skip
        x0, _, x1, y1 = over.box
        if kind == "balloon":
            x = self.rng.uniform(x0 + width * 0.3, x1 - width * 0.3)
            rows = self._rows(subject)
            self._put(subject, low, x, self.rng.uniform(max(rows[0], y1 + low.size[1] + 6), 250))
        elif kind in ("tree", "umbrella"):
            side = self.rng.choice((-1, 1))
            self._put(subject, low, (x0 + x1) / 2 + side * (low.size[0] / 2 + width * 0.06), y1 + 1, over.depth + 0.1)
        else:
            shift = 0.06 if turned is not self.sprites[target] else -0.06
            x = (x0 + x1) / 2 + (width * -shift if kind == "chair" else self.rng.uniform(-0.15, 0.15) * width)
            self._put(subject, low, x, y1 - 1, over.depth + 0.1)

    def _behind(self, subject: int, target: int) -> None:
        """Place the target so that it hides a part of each subject, less than half."""
        front, count = self._turned(target), self.scene.groups[subject].count
        width = front.size[0]
        reach = max(self.sprites[subject].size[0] * 0.6, 6.0) + width / 2
        middle = CANVAS / 2 if 2 * reach > CANVAS - 8 else self.rng.uniform(reach, CANVAS - reach)
        top, bottom = self._rows(target)
        shadowed = self._put(target, front, middle, self.rng.uniform(max(top, min(bottom, 190)), bottom))
        sides = self.rng.sample((-1, 1), 2)[:count]
        for side in sides:
            back = self._turned(subject)
            choices = []
            for share in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.75, 0.9):
                for rise in (5, 12, 22):
                    x = shadowed.x + width / 2 + side * ((width + back.size[0]) / 2 - share * min(width, back.size[0]))
                    thing = self._put(subject, back, x, shadowed.box[3] - rise)
                    self.placed.pop()
                    hidden = 1 - visible_shares([thing, shadowed])[0]
                    choices.append((abs(hidden - 0.3) + self.rng.uniform(0, 0.05), rise, thing))
            self.placed.append(min(choices, key=lambda c: c[:2])[2])
