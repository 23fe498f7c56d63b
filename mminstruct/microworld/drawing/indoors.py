"""Drawings of food, furniture, tools and small objects, in drawing units with the ground at the lower edge."""

from __future__ import annotations

import math

from mminstruct.microworld.drawing.canvas import INK, LEAF, PALETTE, PAPER, RGB, STEEL, WOOD, Pen, Tint, blend

_WHITE = PALETTE["white"]
_SUN: RGB = (255, 236, 120)


def _leaf(p: Pen, x: float, y: float) -> None:
    p.limb((110, 70, 36), 5, x, y + 16, x + 4, y)
    p.poly(LEAF, x + 5, y + 6, x + 16, y - 6, x + 34, y - 2, x + 22, y + 9)


def apple(p: Pen, c: Tint, pose: str | None, word: str, variant: int) -> None:
    p.oval(6, 22, 62, 100, c.main)
    p.oval(38, 22, 94, 100, c.main)
    p.dot(50, 60, 30, c.main)
    p.oval(18, 36, 32, 60, c.light)
    _leaf(p, 50, 10)


def banana(p: Pen, c: Tint, pose: str | None, word: str, variant: int) -> None:
    p.poly(c.main, 10, 12, 22, 8, 30, 34, 52, 52, 80, 54, 108, 40, 114, 50, 100, 72, 72, 84, 44, 80, 20, 58)
    p.line(c.dark, 4, 22, 32, 38, 60, 66, 70, 100, 60)
    p.poly((96, 70, 30), 8, 14, 11, 0, 20, 0, 23, 10)
    p.poly((96, 70, 30), 107, 40, 116, 38, 117, 50, 113, 52)


def cake(p: Pen, c: Tint, pose: str | None, word: str, variant: int) -> None:
    for x in (32, 50, 68):
        p.rect(x - 3, 18, x + 3, 42, (110, 200, 240))
        p.oval(x - 4, 4, x + 4, 18, PALETTE["orange"])
    p.rect(8, 42, 92, 88, c.main, 6)
    p.rect(8, 64, 92, 72, PAPER if c.main != _WHITE else PALETTE["pink"])
    for x in range(8, 92, 14):
        p.pie(x, 34, x + 14, 60, 0, 180, PAPER if c.main != _WHITE else PALETTE["pink"])
    p.rect(8, 40, 92, 47, PAPER if c.main != _WHITE else PALETTE["pink"])
    p.oval(0, 82, 100, 98, STEEL)
    p.rect(9, 78, 91, 90, c.dark, 5)


def pizza(p: Pen, c: Tint, pose: str | None, word: str, variant: int) -> None:
    p.oval(2, 8, 98, 98, (198, 132, 62))
    p.oval(10, 16, 90, 90, c.main)
    topping: RGB = (176, 24, 24) if c.main != PALETTE["red"] else (255, 224, 120)
    for x, y in ((34, 34), (64, 32), (24, 58), (50, 54), (74, 58), (40, 76), (64, 78)):
        p.dot(x, y, 7, topping)
    for x, y in ((48, 26), (36, 48), (62, 46), (54, 68)):
        p.dot(x, y, 3.5, LEAF)
    for k in range(4):
        dx, dy = round(46 * math.cos(k * math.pi / 4 + 0.4)), round(42 * math.sin(k * math.pi / 4 + 0.4))
        p.line(blend(c.main, (120, 60, 20), 0.6), 2, 50 - dx, 53 - dy, 50 + dx, 53 + dy)


def carrot(p: Pen, c: Tint, pose: str | None, word: str, variant: int) -> None:
    for x, y in ((64, 4), (84, 8), (96, 26), (80, 0)):
        p.limb(LEAF, 8, 70, 30, x, y)
    p.poly(c.main, 56, 22, 68, 20, 80, 32, 79, 46, 8, 99, 2, 94)
    for x, y in ((58, 42), (44, 60), (28, 78)):
        p.line(c.dark, 3, x - 5, y - 9, x + 6, y + 2)


def bread(p: Pen, c: Tint, pose: str | None, word: str, variant: int) -> None:
    crust = (150, 92, 40) if c.main != PALETTE["brown"] else c.main
    p.rect(6, 30, 114, 80, crust, 22)
    p.rect(10, 40, 110, 80, blend(c.main, (235, 190, 120), 0.12), 14)
    for x in (28, 54, 80):
        p.limb((250, 226, 176), 7, x, 64, x + 14, 38)


def chair(p: Pen, c: Tint, pose: str | None, word: str, variant: int) -> None:
    p.rect(12, 2, 22, 98, c.main)
    p.rect(58, 60, 66, 98, c.main)
    p.rect(28, 62, 34, 92, c.dark)
    p.rect(15, 6, 21, 56, c.dark)
    for y in (10, 26, 42):
        p.rect(12, y, 22, y + 9, c.light)
    p.rect(12, 54, 68, 65, c.main, 3)


def table(p: Pen, c: Tint, pose: str | None, word: str, variant: int) -> None:
    for x, fill in ((22, c.dark), (90, c.dark), (6, c.main), (106, c.main)):
        p.rect(x, 26, x + 8, 72 if fill is c.main else 66, fill)
    p.poly(c.light, 12, 8, 108, 8, 119, 22, 1, 22)
    p.rect(1, 21, 119, 30, c.main)


def sofa(p: Pen, c: Tint, pose: str | None, word: str, variant: int) -> None:
    for x in (16, 104):
        p.rect(x, 62, x + 8, 73, WOOD)
    p.rect(12, 4, 116, 52, c.main, 10)
    p.line(c.dark, 3, 64, 8, 64, 38)
    p.rect(14, 36, 114, 54, c.light, 5)
    p.rect(10, 46, 118, 66, c.main, 4)
    p.rect(2, 24, 20, 66, c.main, 8)
    p.rect(108, 24, 126, 66, c.main, 8)


def lamp(p: Pen, c: Tint, pose: str | None, word: str, variant: int) -> None:
    if pose == "glowing":
        for x0, y0, x1, y1 in ((10, 52, 0, 62), (80, 52, 90, 62), (45, 54, 45, 70), (26, 54, 20, 68), (64, 54, 70, 68),
                               (10, 24, 0, 20), (80, 24, 90, 20)):  # fmt: skip
            p.line((220, 150, 0), 6, x0, y0, x1, y1)
            p.line((255, 232, 60), 3.5, x0, y0, x1, y1)
    p.rect(42, 46, 48, 92, STEEL)
    p.oval(24, 86, 66, 99, (120, 122, 132))
    if pose == "glowing":
        p.oval(32, 36, 58, 56, (255, 244, 140))
    p.poly(c.main, 30, 4, 60, 4, 78, 46, 12, 46)
    p.line(c.light, 4, 34, 10, 24, 40)


def hammer(p: Pen, c: Tint, pose: str | None, word: str, variant: int) -> None:
    p.limb(c.main, 13, 14, 90, 62, 38)
    p.poly((120, 126, 138), 34, 22, 54, 2, 88, 34, 68, 56)
    p.poly((120, 126, 138), 34, 22, 50, 6, 30, 2, 22, 14)
    p.poly(STEEL, 70, 58, 92, 36, 98, 42, 76, 64)


def scissors(p: Pen, c: Tint, pose: str | None, word: str, variant: int) -> None:
    p.poly(STEEL, 44, 60, 68, 2, 72, 12, 58, 62)
    p.poly((200, 206, 214), 56, 60, 32, 2, 28, 12, 42, 62)
    for x0 in (10, 52):
        p.oval(x0, 58, x0 + 38, 99, c.main)
    for x0 in (19, 61):
        p.oval(x0, 67, x0 + 20, 90, (250, 250, 250))
    p.disc(50, 54, 5, (110, 116, 126))


def ladder(p: Pen, c: Tint, pose: str | None, word: str, variant: int) -> None:
    for y in range(16, 118, 17):
        p.rect(14, y, 48, y + 6, c.dark)
    p.limb(c.main, 7, 16, 4, 10, 116)
    p.limb(c.main, 7, 46, 4, 52, 116)


def broom(p: Pen, c: Tint, pose: str | None, word: str, variant: int) -> None:
    p.limb(WOOD if c.main != PALETTE["brown"] else (214, 170, 110), 6, 66, 4, 34, 74)
    p.poly(c.main, 26, 66, 46, 76, 50, 116, 2, 108)
    for x, y in ((14, 106), (26, 109), (38, 111)):
        p.line(c.dark, 2.5, 32, 78, x, y)
    p.limb(c.dark, 6, 24, 68, 47, 78)


def book(p: Pen, c: Tint, pose: str | None, word: str, variant: int) -> None:
    p.poly(c.dark, 2, 44, 18, 6, 18, 20, 4, 62)
    p.poly(PAPER, 4, 46, 92, 46, 92, 60, 6, 60)
    p.poly(PAPER, 92, 46, 116, 8, 116, 22, 92, 60)
    for y in (50, 55):
        p.line((190, 186, 170), 1.5, 6, y, 91, y, 115, y - 38)
    p.poly(c.main, 18, 2, 118, 2, 94, 46, 2, 46)
    p.poly(c.dark, 2, 58, 94, 58, 118, 18, 118, 25, 95, 65, 4, 65)
    p.line(c.light, 5, 38, 16, 88, 16)
    p.line(c.light, 5, 32, 27, 68, 27)


def cup(p: Pen, c: Tint, pose: str | None, word: str, variant: int) -> None:
    p.arc(60, 44, 98, 82, 0, 360, INK, 13)
    p.arc(62, 46, 96, 80, 0, 360, c.main, 9)
    p.rect(10, 30, 76, 96, c.main, 10)
    p.rect(10, 30, 76, 60, c.main)
    p.oval(10, 20, 76, 42, c.light)
    p.oval(16, 24, 70, 39, (96, 56, 28))
    for x in (30, 50):
        p.line((150, 150, 160), 4, x, 16, x + 5, 9, x, 2)


def ball(p: Pen, c: Tint, pose: str | None, word: str, variant: int) -> None:
    p.disc(50, 50, 48, c.main)
    stripe = _WHITE if c.main != _WHITE else PALETTE["red"]
    p.arc(-40, 4, 34, 96, 300, 60, stripe, 9)
    p.arc(66, 4, 140, 96, 120, 240, stripe, 9)
    p.line(stripe, 8, 50, 4, 50, 96)
    p.dot(32, 26, 7, c.light)


def kite(p: Pen, c: Tint, pose: str | None, word: str, variant: int) -> None:
    p.line(INK, 2.5, 46, 78, 40, 92, 52, 104, 40, 116, 50, 126)
    for x, y in ((45, 92), (48, 108)):
        p.poly(c.light, x - 11, y - 6, x - 11, y + 6, x, y, x + 11, y + 6, x + 11, y - 6, x, y)
    p.poly(c.main, 46, 2, 84, 36, 46, 82, 8, 36)
    p.poly(c.light, 46, 2, 84, 36, 46, 36)
    p.poly(c.light, 8, 36, 46, 82, 46, 36)
    p.line(INK, 2.5, 46, 2, 46, 82)
    p.line(INK, 2.5, 8, 36, 84, 36)


def umbrella(p: Pen, c: Tint, pose: str | None, word: str, variant: int) -> None:
    p.rect(57, 4, 62, 108, (96, 70, 50))
    p.arc(57, 98, 76, 116, 0, 180, (96, 70, 50), 6)
    p.pie(4, 10, 116, 100, 180, 360, c.main)
    p.pie(36, 10, 84, 100, 180, 360, c.light if c.main != _WHITE else c.dark)
    p.pie(52, 10, 68, 100, 180, 360, c.main)


def backpack(p: Pen, c: Tint, pose: str | None, word: str, variant: int) -> None:
    p.arc(34, 0, 66, 30, 180, 360, INK, 7)
    p.rect(2, 50, 18, 88, c.dark, 6)
    p.rect(82, 50, 98, 88, c.dark, 6)
    p.rect(12, 14, 88, 98, c.main, 22)
    p.rect(24, 54, 76, 90, c.dark, 8)
    p.line(_SUN, 4, 28, 64, 72, 64)
    p.line(c.dark, 3, 24, 40, 76, 40)
    p.dot(50, 66, 4, _SUN)


def clock(p: Pen, c: Tint, pose: str | None, word: str, variant: int) -> None:
    for x in (28, 72):
        p.disc(x, 16, 11, c.dark)
        p.limb(c.dark, 7, x, 86, x + (x - 50) * 0.4, 97)
    p.disc(50, 54, 42, c.main)
    p.disc(50, 54, 32, PAPER)
    for k in range(12):
        across, down = 27 * math.cos(k * math.pi / 6), 27 * math.sin(k * math.pi / 6)
        p.dot(50 + round(across, 3), 54 + round(down, 3), 2, INK)
    p.line(INK, 5, 50, 54, 50, 34)
    p.line(INK, 5, 50, 54, 64, 62)


def laptop(p: Pen, c: Tint, pose: str | None, word: str, variant: int) -> None:
    p.rect(16, 2, 104, 62, c.main, 5)
    p.rect(22, 8, 98, 56, (70, 160, 220))
    p.line(_WHITE, 4, 30, 20, 66, 20)
    p.line(_WHITE, 4, 30, 32, 84, 32)
    p.line(_WHITE, 4, 30, 44, 56, 44)
    p.poly(c.dark if c.main != _WHITE else c.main, 16, 62, 104, 62, 119, 80, 1, 80)
    for y in (67, 73):
        p.line(STEEL if c.main != _WHITE else (120, 126, 136), 2.5, 24, y, 96, y)


def pear(p: Pen, c: Tint, pose: str | None, word: str, variant: int) -> None:
    p.poly(c.main, 38, 24, 62, 24, 84, 64, 16, 64)
    p.oval(34, 14, 66, 52, c.main)
    p.oval(10, 44, 90, 102, c.main)
    p.dot(50, 58, 22, c.main)
    p.oval(24, 60, 38, 84, c.light)
    p.limb((110, 70, 36), 5, 50, 18, 56, 2)
    p.poly(LEAF, 56, 10, 72, 2, 84, 10, 68, 16)


def tomato(p: Pen, c: Tint, pose: str | None, word: str, variant: int) -> None:
    p.oval(4, 20, 96, 98, c.main)
    p.oval(20, 40, 34, 60, c.light)
    for x, y in ((18, 22), (30, 38), (50, 44), (70, 38), (82, 22)):
        p.poly(LEAF, 40, 20, 60, 20, x, y)
    p.limb(LEAF, 7, 50, 22, 54, 6)


def stool(p: Pen, c: Tint, pose: str | None, word: str, variant: int) -> None:
    p.limb(c.main, 8, 30, 24, 16, 92)
    p.limb(c.main, 8, 70, 24, 84, 92)
    p.limb(c.dark, 7, 50, 24, 50, 84)
    p.rect(20, 60, 80, 67, c.dark)
    p.oval(10, 4, 90, 32, c.main)
    p.oval(16, 6, 84, 22, c.light)


def shovel(p: Pen, c: Tint, pose: str | None, word: str, variant: int) -> None:
    p.limb(WOOD if c.main != PALETTE["brown"] else (214, 170, 110), 7, 34, 14, 34, 74)
    p.limb(c.main, 8, 18, 8, 50, 8)
    p.poly(c.main, 12, 70, 56, 70, 56, 96, 34, 118, 12, 96)
    p.line(c.light, 4, 22, 76, 22, 96)
    p.rect(28, 62, 40, 76, c.dark)


def bucket(p: Pen, c: Tint, pose: str | None, word: str, variant: int) -> None:
    p.arc(14, 2, 86, 66, 180, 360, INK, 6)
    p.poly(c.main, 8, 34, 92, 34, 78, 98, 22, 98)
    p.oval(6, 24, 94, 44, c.light)
    p.oval(14, 28, 86, 41, c.dark)
    p.line(c.dark, 4, 15, 62, 85, 62)


def vase(p: Pen, c: Tint, pose: str | None, word: str, variant: int) -> None:
    p.poly(c.main, 28, 8, 56, 8, 54, 40, 30, 40)
    p.oval(10, 32, 74, 94, c.main)
    p.rect(26, 86, 58, 100, c.dark)
    p.oval(22, 2, 62, 16, c.light)
    p.oval(29, 5, 55, 13, INK)
    for y in (56, 66):
        p.line(c.light if c.main != _WHITE else c.dark, 4, 15, y, 69, y)
