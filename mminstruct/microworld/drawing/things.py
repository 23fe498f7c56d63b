"""The registry of all drawings with their sizes.

Relative sizes are those of a picture book: an apple beside a house is drawn too large, so that it stays visible.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mminstruct.microworld.drawing import creatures, indoors, outdoors
from mminstruct.microworld.drawing.canvas import Pen, Tint

Draw = Callable[[Pen, Tint, str | None, str, int], None]


@dataclass(frozen=True, slots=True)
class Drawing:
    """How a kind is drawn. Width and height of the sheet are in drawing units."""

    width: float
    height: float
    small: float
    """Longest side of the sheet of a small thing, in picture pixels."""
    draw: Draw
    top: tuple[float, float, float] | None = None
    """Surface on which other things can stand: left, right and y, in drawing units."""

    @property
    def scale(self) -> float:
        """Picture pixels per drawing unit of a small thing."""
        return self.small / max(self.width, self.height)


DRAWINGS: dict[str, Drawing] = {
    "dog": Drawing(130, 100, 40, creatures.dog), "cat": Drawing(130, 100, 40, creatures.cat),
    "bird": Drawing(134, 100, 34, creatures.bird), "fish": Drawing(120, 84, 34, creatures.fish),
    "cow": Drawing(134, 100, 50, creatures.cow, (30, 80, 32)),
    "horse": Drawing(130, 100, 54, creatures.horse, (26, 62, 42)), "rabbit": Drawing(120, 100, 36, creatures.rabbit),
    "duck": Drawing(126, 100, 34, creatures.duck), "apple": Drawing(100, 102, 25, indoors.apple),
    "banana": Drawing(120, 86, 32, indoors.banana), "cake": Drawing(100, 100, 32, indoors.cake),
    "pizza": Drawing(100, 100, 34, indoors.pizza), "carrot": Drawing(102, 102, 30, indoors.carrot),
    "bread": Drawing(120, 84, 34, indoors.bread), "car": Drawing(142, 100, 52, outdoors.car, (56, 96, 30)),
    "bus": Drawing(150, 100, 60, outdoors.bus, (34, 140, 12)),
    "truck": Drawing(146, 100, 56, outdoors.truck, (32, 92, 16)), "bicycle": Drawing(140, 100, 50, outdoors.bicycle),
    "boat": Drawing(126, 100, 50, outdoors.boat, (66, 110, 74)), "balloon": Drawing(100, 114, 50, outdoors.balloon),
    "chair": Drawing(78, 100, 48, indoors.chair, (24, 66, 56)),
    "table": Drawing(120, 74, 58, indoors.table, (12, 108, 15)),
    "sofa": Drawing(128, 74, 60, indoors.sofa, (20, 108, 48)), "lamp": Drawing(90, 100, 40, indoors.lamp),
    "hammer": Drawing(100, 100, 30, indoors.hammer), "scissors": Drawing(100, 100, 30, indoors.scissors),
    "ladder": Drawing(62, 122, 50, indoors.ladder), "broom": Drawing(72, 120, 46, indoors.broom),
    "book": Drawing(120, 68, 36, indoors.book, (20, 94, 26)), "cup": Drawing(102, 98, 26, indoors.cup),
    "ball": Drawing(100, 100, 25, indoors.ball), "kite": Drawing(92, 128, 40, indoors.kite),
    "umbrella": Drawing(120, 118, 44, indoors.umbrella), "backpack": Drawing(100, 100, 30, indoors.backpack),
    "clock": Drawing(100, 100, 29, indoors.clock), "laptop": Drawing(120, 82, 36, indoors.laptop),
    "man": Drawing(92, 130, 56, creatures.man), "woman": Drawing(92, 130, 56, creatures.woman),
    "child": Drawing(92, 130, 45, creatures.child), "house": Drawing(120, 110, 56, outdoors.house, (50, 70, 6)),
    "tower": Drawing(80, 140, 60, outdoors.tower, (14, 66, 6)), "tent": Drawing(132, 90, 48, outdoors.tent),
    "tree": Drawing(104, 140, 56, outdoors.tree, (40, 64, 6)), "flower": Drawing(80, 100, 32, outdoors.flower),
    "cactus": Drawing(84, 108, 40, outdoors.cactus), "sign": Drawing(147, 100, 68, outdoors.sign, (10, 136, 3)),
    "sheep": Drawing(130, 100, 44, creatures.sheep), "fox": Drawing(130, 100, 42, creatures.fox),
    "turtle": Drawing(124, 88, 36, creatures.turtle), "pear": Drawing(100, 104, 27, indoors.pear),
    "tomato": Drawing(100, 100, 25, indoors.tomato), "van": Drawing(146, 100, 55, outdoors.van),
    "stool": Drawing(100, 98, 40, indoors.stool, (20, 80, 10)), "shovel": Drawing(68, 120, 44, indoors.shovel),
    "bucket": Drawing(100, 100, 30, indoors.bucket), "vase": Drawing(84, 102, 34, indoors.vase),
    "windmill": Drawing(112, 140, 60, outdoors.windmill), "mushroom": Drawing(100, 100, 30, outdoors.mushroom),
}  # fmt: skip
"""Drawings by name of the kind."""
