"""Drawings of vehicles, buildings, plants and signs, in drawing units with the ground at the lower edge."""

from __future__ import annotations

import math

from mminstruct.microworld.drawing.canvas import GLASS, INK, LEAF, PALETTE, RGB, STEEL, WOOD, Pen, Tint
from mminstruct.microworld.drawing.creatures import SKINS

_WHITE, _TYRE = PALETTE["white"], (44, 44, 50)
_SUN: RGB = (255, 236, 120)


def _wheel(p: Pen, x: float, y: float, r: float) -> None:
    p.disc(x, y, r, _TYRE)
    p.dot(x, y, r * 0.5, STEEL)


def _driver(p: Pen, x: float, y: float) -> None:
    p.pie(x - 10, y + 4, x + 10, y + 26, 180, 360, (60, 70, 110))
    p.dot(x, y, 7, SKINS[0])
    p.pie(x - 7, y - 8, x + 7, y + 6, 180, 360, (60, 36, 20))


def _traffic(p: Pen, pose: str | None, top: float, bottom: float) -> None:
    """Draw motion lines and exhaust, or a parking sign, to the left of a vehicle."""
    if pose == "driving":
        for y in (top, (top + bottom) / 2):
            p.line(INK, 5, 2, y, 20, y)
            p.line(_WHITE, 2.5, 2, y, 20, y)
        for x, r in ((18, 5), (8, 7)):
            p.disc(x, bottom, r, (205, 205, 210))
    elif pose == "parked":
        p.rect(9, top, 13, 97, STEEL)
        p.rect(0, top - 14, 23, top + 12, PALETTE["blue"])
        p.word(11.5, top - 1, "P", 22, 26, _WHITE)


def car(p: Pen, c: Tint, pose: str | None, word: str, variant: int) -> None:
    _traffic(p, pose, 46, 84)
    p.poly(c.main, 40, 56, 54, 28, 98, 28, 116, 56)
    p.poly(GLASS, 48, 54, 58, 34, 76, 34, 76, 54)
    p.poly(GLASS, 81, 54, 81, 34, 95, 34, 107, 54)
    if pose == "driving":
        _driver(p, 89, 44)
    p.rect(26, 54, 138, 86, c.main, 9)
    p.line(c.dark, 3, 78, 56, 78, 84)
    p.disc(134, 65, 5, _SUN)
    p.rect(26, 62, 32, 70, (230, 40, 40))
    _wheel(p, 52, 86, 13)
    _wheel(p, 112, 86, 13)


def bus(p: Pen, c: Tint, pose: str | None, word: str, variant: int) -> None:
    _traffic(p, pose, 34, 84)
    p.rect(26, 10, 148, 87, c.main, 7)
    for x in range(33, 110, 20):
        p.rect(x, 20, x + 16, 46, GLASS)
    p.rect(116, 20, 144, 50, GLASS)
    if pose == "driving":
        _driver(p, 131, 36)
    p.rect(26, 60, 148, 66, c.light)
    p.disc(144, 74, 4, _SUN)
    _wheel(p, 54, 87, 12)
    _wheel(p, 120, 87, 12)


def truck(p: Pen, c: Tint, pose: str | None, word: str, variant: int) -> None:
    _traffic(p, pose, 38, 84)
    p.rect(26, 14, 98, 80, c.main)
    for x in (44, 62, 80):
        p.line(c.dark, 3, x, 20, x, 74)
    p.line(c.dark, 3, 96, 14, 96, 78)
    p.poly(c.main, 102, 32, 126, 32, 140, 58, 140, 82, 102, 82)
    p.poly(GLASS, 107, 37, 123, 37, 132, 57, 107, 57)
    if pose == "driving":
        _driver(p, 117, 47)
    p.rect(26, 76, 142, 84, c.dark)
    p.disc(138, 72, 4, _SUN)
    for x in (46, 68, 122):
        _wheel(p, x, 86, 12)


def van(p: Pen, c: Tint, pose: str | None, word: str, variant: int) -> None:
    _traffic(p, pose, 40, 84)
    p.poly(c.main, 26, 26, 34, 18, 108, 18, 126, 46, 142, 56, 142, 84, 26, 84)
    p.poly(GLASS, 96, 24, 106, 24, 119, 46, 96, 46)
    p.rect(68, 24, 90, 44, GLASS)
    if pose == "driving":
        _driver(p, 104, 38)
    p.line(c.dark, 3, 64, 22, 64, 80)
    p.line(c.dark, 3, 93, 22, 93, 80)
    p.line(c.dark, 3, 32, 52, 60, 52)
    p.disc(138, 66, 5, _SUN)
    p.rect(26, 78, 144, 86, c.dark)
    _wheel(p, 52, 87, 12)
    _wheel(p, 118, 87, 12)


def bicycle(p: Pen, c: Tint, pose: str | None, word: str, variant: int) -> None:
    _traffic(p, pose, 42, 84)
    for x in (50, 112):
        p.arc(x - 25, 48, x + 25, 98, 0, 360, INK, 6)
        p.arc(x - 20, 53, x + 20, 93, 0, 360, STEEL, 2)
    p.limb(c.main, 6, 50, 73, 62, 42, 98, 42, 78, 73, 50, 73)
    p.limb(c.main, 6, 78, 73, 60, 36)
    p.limb(c.main, 6, 112, 73, 96, 34)
    p.limb(INK, 6, 50, 33, 70, 33)
    p.limb(INK, 5, 96, 34, 92, 24, 106, 22)
    p.disc(78, 74, 5, STEEL)


def boat(p: Pen, c: Tint, pose: str | None, word: str, variant: int) -> None:
    p.rect(56, 4, 61, 76, WOOD)
    p.poly(_WHITE if c.main != _WHITE else (236, 226, 200), 65, 8, 65, 66, 112, 66)
    p.poly(c.light if c.main != _WHITE else (250, 240, 214), 52, 18, 52, 66, 16, 66)
    p.poly(c.main, 2, 72, 124, 72, 102, 97, 24, 97)
    p.line(c.light, 5, 10, 79, 116, 79)
    if pose == "sailing":
        p.poly(PALETTE["red"], 58, 4, 58, 16, 38, 10)
        for x in (2, 44, 86):
            p.arc(x, 88, x + 40, 106, 190, 350, _WHITE, 4)


def balloon(p: Pen, c: Tint, pose: str | None, word: str, variant: int) -> None:
    p.line(INK, 2.5, 24, 66, 38, 92)
    p.line(INK, 2.5, 76, 66, 62, 92)
    p.poly(c.main, 8, 52, 92, 52, 64, 82, 36, 82)
    p.oval(4, 0, 96, 84, c.main)
    p.poly(c.main, 14, 60, 86, 60, 64, 84, 36, 84)
    p.oval(34, 2, 66, 80, c.light if c.main != _WHITE else (236, 120, 120))
    p.rect(36, 90, 64, 112, WOOD)
    p.line((110, 70, 34), 2.5, 36, 98, 64, 98)
    if pose == "flying":
        p.poly(PALETTE["orange"], 45, 90, 55, 90, 50, 80)


def house(p: Pen, c: Tint, pose: str | None, word: str, variant: int) -> None:
    roof: RGB = (150, 60, 48) if c.main not in (PALETTE["red"], PALETTE["brown"], PALETTE["orange"]) else (70, 72, 84)
    p.rect(84, 10, 98, 40, (120, 84, 74))
    p.rect(12, 50, 108, 108, c.main)
    p.poly(roof, 60, 4, 119, 54, 1, 54)
    p.rect(50, 72, 70, 108, (110, 70, 40))
    p.dot(66, 91, 2, _SUN)
    for x in (20, 78):
        p.rect(x, 64, x + 22, 86, GLASS)
        p.line(_WHITE, 2.5, x + 11, 66, x + 11, 85)
        p.line(_WHITE, 2.5, x + 2, 75, x + 20, 75)


def tower(p: Pen, c: Tint, pose: str | None, word: str, variant: int) -> None:
    p.poly(c.main, 14, 26, 66, 26, 72, 138, 8, 138)
    p.rect(6, 16, 74, 34, c.main)
    for x in (6, 22, 38, 54, 66):
        p.rect(x, 4, x + 8, 18, c.main)
    for y in (46, 74):
        p.rect(33, y, 47, y + 18, INK, 6)
    for x, y in ((18, 52), (54, 62), (20, 92), (58, 98), (16, 118)):
        p.line(c.dark, 3, x, y, x + 9, y)
    p.rect(29, 108, 51, 138, (96, 62, 36), 8)


def tent(p: Pen, c: Tint, pose: str | None, word: str, variant: int) -> None:
    p.poly(c.dark, 60, 6, 98, 2, 129, 84, 112, 88)
    p.poly(c.main, 60, 6, 112, 88, 2, 88)
    p.poly(INK, 60, 34, 78, 88, 42, 88)
    p.poly(c.light, 60, 34, 78, 88, 86, 82)
    p.limb((110, 80, 50), 3, 60, 2, 60, 12)


def windmill(p: Pen, c: Tint, pose: str | None, word: str, variant: int) -> None:
    p.poly(c.main, 40, 50, 72, 50, 84, 138, 28, 138)
    p.pie(38, 34, 74, 68, 180, 360, (120, 66, 52) if c.main != PALETTE["brown"] else (70, 72, 84))
    p.rect(48, 110, 64, 138, (96, 62, 36), 6)
    p.rect(50, 78, 62, 92, GLASS)
    for dx, dy in ((36, -34), (34, 36), (-36, 34), (-34, -36)):
        p.limb(INK, 4, 56, 50, 56 + dx * 1.3, 50 + dy * 1.3)
        p.poly((246, 238, 220), 56 + dx * 0.4, 50 + dy * 0.4, 56 + dx * 1.3, 50 + dy * 1.3,
               56 + dx * 1.3 - dy * 0.36, 50 + dy * 1.3 + dx * 0.36, 56 + dx * 0.4 - dy * 0.36,
               50 + dy * 0.4 + dx * 0.36)  # fmt: skip
    p.disc(56, 50, 6, INK)


def tree(p: Pen, c: Tint, pose: str | None, word: str, variant: int) -> None:
    p.poly((116, 74, 40), 44, 138, 47, 70, 57, 70, 60, 138)
    for x, y, r in ((26, 58, 24), (78, 58, 24), (34, 34, 24), (70, 34, 24), (52, 24, 22), (52, 62, 26)):
        p.disc(x, y, r, c.main)
    p.dot(52, 44, 26, c.main)
    for x, y in ((34, 30), (64, 22), (24, 58), (56, 52), (80, 50)):
        p.arc(x - 10, y - 8, x + 10, y + 8, 190, 320, c.dark, 4)


def flower(p: Pen, c: Tint, pose: str | None, word: str, variant: int) -> None:
    p.limb(LEAF, 7, 40, 50, 40, 98)
    p.poly(LEAF, 40, 88, 10, 66, 14, 82)
    p.poly(LEAF, 40, 88, 70, 66, 66, 82)
    for k in range(6):
        x, y = 40 + 21 * math.cos(k * math.pi / 3 + 0.5), 32 + 21 * math.sin(k * math.pi / 3 + 0.5)
        p.disc(round(x, 3), round(y, 3), 13, c.main)
    p.disc(40, 32, 12, PALETTE["yellow"] if c.main not in (PALETTE["yellow"], PALETTE["orange"]) else (110, 66, 30))


def cactus(p: Pen, c: Tint, pose: str | None, word: str, variant: int) -> None:
    p.limb(c.main, 16, 36, 66, 14, 66, 14, 42)
    p.limb(c.main, 16, 44, 54, 68, 54, 68, 32)
    p.rect(28, 6, 54, 84, c.main, 13)
    for x in (36, 46):
        p.line(c.dark, 2.5, x, 18, x, 78)
    p.disc(41, 8, 7, PALETTE["pink"])
    p.poly((196, 104, 60), 20, 78, 62, 78, 56, 106, 26, 106)
    p.rect(16, 74, 66, 84, (196, 104, 60))


def mushroom(p: Pen, c: Tint, pose: str | None, word: str, variant: int) -> None:
    p.rect(34, 50, 66, 98, (246, 236, 214) if c.main != PALETTE["beige"] else (250, 250, 250), 12)
    p.pie(4, 6, 96, 104, 180, 360, c.main)
    p.rect(4, 50, 96, 58, c.dark, 4)
    spot = _WHITE if c.main not in (_WHITE, PALETTE["beige"], PALETTE["grey"]) else (150, 84, 60)
    for x, y, r in ((28, 38, 7), (52, 22, 8), (74, 38, 7)):
        p.dot(x, y, r, spot)


def sign(p: Pen, c: Tint, pose: str | None, word: str, variant: int) -> None:
    p.rect(68, 50, 78, 98, (112, 90, 72))
    p.rect(1, 2, 145, 58, c.main, 8)
    letters = INK if c.main in (_WHITE, PALETTE["yellow"]) else _WHITE
    p.word(73, 30, word, 132, 48, letters)
