"""The settings, drawn without sky and countable things."""

from __future__ import annotations

import random
from collections.abc import Callable

from mminstruct.microworld.drawing import rooms
from mminstruct.microworld.drawing.canvas import HORIZON, RGB, Brush, blend, specks

_WHITE: RGB = (250, 250, 250)
GROUNDS: dict[str, RGB] = {
    "beach": (240, 214, 150), "street": (112, 114, 120), "forest": (96, 120, 62), "snow field": (232, 240, 250),
    "market": (206, 184, 158), "park": (124, 196, 92), "farm": (172, 128, 78), "harbour": (176, 146, 112),
    "desert": (234, 186, 104), "garden": (138, 206, 96), "hilltop": (120, 178, 84), "kitchen": (226, 220, 206),
    "living room": (196, 148, 96), "desk": (184, 128, 76), "workshop": (168, 168, 166), "classroom": (214, 178, 126),
    "lake": (134, 178, 96), "playground": (222, 178, 128), "airport": (150, 154, 158), "bathroom": (216, 226, 232),
}  # fmt: skip
"""Ground colour by setting."""


def _grass(b: Brush, ground: RGB, rng: random.Random, number: int = 40) -> None:
    dark = blend(ground, (20, 70, 20), 0.4)
    for _ in range(number):
        x, y = rng.randrange(256), rng.randrange(HORIZON + 12, 252)
        b.line(dark, 1, x, y, x - 2, y - 5)
        b.line(dark, 1, x, y, x + 2, y - 5)


def _sea(b: Brush, top: float, bottom: float, rng: random.Random) -> None:
    b.rect(0, top, 256, bottom, (40, 128, 190))
    for _ in range(16):
        x, y = rng.randrange(-10, 250), rng.uniform(top + 3, bottom - 4)
        b.line((150, 208, 236), 1.2, x, y, x + 6, y - 2, x + 12, y, x + 18, y - 2)


def _beach(b: Brush, ground: RGB, rng: random.Random) -> None:
    _sea(b, 90, 136, rng)
    points = [v for x in range(0, 272, 16) for v in (x, 134 + (4 if x % 32 else 0))]
    b.poly((236, 246, 250), *points, 256, 144, 0, 144)
    points = [v for x in range(0, 272, 16) for v in (x, 140 + (4 if x % 32 else 0))]
    b.poly(ground, *points, 256, 256, 0, 256)
    specks(b, rng, blend(ground, (150, 110, 50), 0.5), 60, 150)
    for _ in range(3):
        x, y = rng.randrange(10, 240), rng.randrange(156, 250)
        b.poly((255, 160, 140), x, y, x + 5, y - 7, x + 10, y)


def _street(b: Brush, ground: RGB, rng: random.Random) -> None:
    x = -6
    while x < 256:
        width, top = rng.randrange(30, 52), rng.randrange(22, 66)
        wall = rng.choice(((150, 156, 170), (168, 160, 158), (134, 146, 162), (178, 170, 160)))
        b.rect(x, top, x + width, 116, wall, blend(wall, (0, 0, 0), 0.3))
        for wy in range(top + 6, 104, 13):
            for wx in range(x + 5, x + width - 6, 10):
                b.rect(wx, wy, wx + 5, wy + 7, (246, 222, 130) if rng.random() < 0.3 else (206, 220, 232))
        x += width
    b.rect(0, 114, 256, 140, (196, 194, 190))
    for x in range(0, 256, 22):
        b.line((170, 168, 164), 1, x, 114, x - 6, 140)
    b.rect(0, 139, 256, 143, (150, 148, 146))
    for x in range(-10, 256, 44):
        b.poly((240, 236, 220), x, 196, x + 24, 196, x + 20, 202, x - 4, 202)


def _forest(b: Brush, ground: RGB, rng: random.Random) -> None:
    b.rect(0, 62, 256, 116, (52, 88, 52))
    greens = ((44, 96, 50), (58, 112, 58), (36, 78, 44))
    for k in range(16):
        x, y = k * 18 - 24, 38 + rng.randrange(16)
        b.oval(x, y, x + 44, y + 40, greens[k % 3])
    for k in range(11):
        x = k * 25 + rng.randrange(-6, 8)
        w, y = rng.randrange(5, 10), rng.randrange(110, 126)
        bark = rng.choice(((84, 60, 42), (70, 50, 36), (96, 70, 50)))
        b.poly(bark, x, 66, x + w, 66, x + w + 2, y, x - 2, y)
    for k in range(14):
        x, y = k * 20 - 14 + rng.randrange(6), 56 + rng.randrange(12)
        b.oval(x, y, x + 32, y + 18, greens[(k + 1) % 3])
    for x in range(-10, 256, 18):
        b.oval(x, 102, x + 28, 124, (62, 104, 52))
    b.rect(0, 116, 256, 256, ground)
    _grass(b, ground, rng, 30)
    specks(b, rng, (150, 106, 50), 40, 126)


def _snow_field(b: Brush, ground: RGB, rng: random.Random) -> None:
    for x, top, half in ((40, 34, 84), (130, 50, 70), (214, 28, 90)):
        x += rng.randrange(-14, 14)
        b.poly((140, 158, 186), x - half, 112, x, top, x + half, 112)
        b.poly(_WHITE, x - half * 0.34, top + 27, x, top, x + half * 0.34, top + 27, x + 8, top + 20, x - 6, top + 28)
    b.rect(0, 104, 256, 256, ground)
    for y in (128, 160, 200, 236):
        x = rng.randrange(-60, 120)
        b.oval(x, y, x + 170, y + 26, blend(ground, (160, 190, 226), 0.3))
        b.oval(x + 4, y + 5, x + 180, y + 34, ground)


def _market(b: Brush, ground: RGB, rng: random.Random) -> None:
    b.rect(0, 58, 256, 122, (180, 164, 150))
    for stall, (first, second) in enumerate(
        (((210, 50, 50), _WHITE), ((40, 120, 190), _WHITE), ((50, 150, 80), _WHITE))
    ):
        x0 = stall * 88 - 6
        b.rect(x0 + 3, 68, x0 + 77, 122, (120, 92, 70))
        for k in range(8):
            x = x0 - 2 + k * 10.5
            b.poly(second if k % 2 else first, x + 3, 50, x + 11, 50, x + 10.5, 72, x, 72)
            b.oval(x, 67, x + 10.5, 78, second if k % 2 else first)
        b.rect(x0, 92, x0 + 80, 98, (206, 160, 100))
        b.rect(x0, 98, x0 + 80, 126, (166, 118, 70))
        for k in range(3):
            b.rect(x0 + 6 + k * 25, 102, x0 + 25 + k * 25, 122, (190, 144, 90), (120, 84, 50))
        b.rect(x0, 72, x0 + 4, 126, (96, 72, 54))
    b.rect(0, 126, 256, 256, ground)
    for y, shift in ((142, 0), (160, 16), (180, 4), (204, 20), (230, 8)):
        b.line(blend(ground, (110, 90, 70), 0.35), 1, 0, y, 256, y)
        for x in range(shift, 256, 40):
            b.line(blend(ground, (110, 90, 70), 0.35), 1, x, y, x - 3, y + 18)


def _park(b: Brush, ground: RGB, rng: random.Random) -> None:
    for x in range(-20, 260, 30):
        b.oval(x, 84, x + 50, 126, (86, 150, 76))
    b.rect(0, 104, 256, 256, ground)
    b.poly((222, 204, 168), 96, 256, 200, 256, 156, 150, 190, 104, 176, 104, 128, 150)
    b.oval(10, 116, 88, 138, (92, 170, 216))
    b.oval(22, 121, 62, 127, (150, 206, 236))
    for y in (104, 112):
        b.rect(196, y, 244, y + 5, (140, 90, 50))
    for x in (202, 234):
        b.rect(x, 104, x + 4, 126, (70, 70, 76))
    _grass(b, ground, rng)


def _farm(b: Brush, ground: RGB, rng: random.Random) -> None:
    b.oval(-60, 86, 200, 150, (140, 180, 84))
    b.oval(120, 90, 330, 150, (160, 190, 92))
    x = rng.choice((14, 168))
    b.rect(x + 8, 66, x + 66, 108, (170, 44, 40))
    b.poly((110, 36, 36), x + 2, 68, x + 16, 48, x + 37, 38, x + 58, 48, x + 72, 68)
    b.rect(x + 26, 82, x + 48, 108, (236, 226, 210))
    b.line((170, 44, 40), 2, x + 26, 82, x + 48, 108)
    b.line((170, 44, 40), 2, x + 48, 82, x + 26, 108)
    b.rect(0, 122, 256, 256, ground)
    for k in range(-9, 24):
        b.line(blend(ground, (90, 60, 30), 0.5), 2, 90 + k * 9, 124, -110 + k * 36, 256)
    b.rect(0, 108, 256, 123, (140, 180, 84))
    for y in (104, 113):
        b.rect(0, y, 256, y + 3, (238, 228, 206))
    for x in range(4, 256, 28):
        b.rect(x, 98, x + 4, 124, (238, 228, 206))


def _harbour(b: Brush, ground: RGB, rng: random.Random) -> None:
    x = rng.choice((20, 150))
    for y0, x0, x1 in ((30, x, x + 6), (30, x + 44, x + 50)):
        b.poly((196, 120, 60), x0, 92, x0 + 2, y0, x1 - 2, y0, x1, 92)
    b.rect(x - 20, 26, x + 84, 33, (196, 120, 60))
    b.line((90, 90, 96), 1, x + 72, 33, x + 72, 60)
    for k in range(7):
        fill = rng.choice(((190, 70, 60), (70, 120, 170), (220, 170, 70), (90, 150, 100)))
        b.rect(k * 24 - 30 + x, 76 - 12 * (k % 2), k * 24 - 8 + x, 92, fill, (60, 60, 66))
    _sea(b, 90, 146, rng)
    b.rect(0, 144, 256, 256, ground)
    for k in range(-12, 26):
        b.line(blend(ground, (80, 56, 40), 0.5), 1, 100 + k * 10, 146, -40 + k * 26, 256)
    b.rect(0, 142, 256, 148, (120, 92, 66))
    for x in (24, 108, 192):
        b.rect(x, 130, x + 10, 150, (70, 62, 58))
        b.oval(x - 2, 126, x + 12, 134, (96, 86, 80))


def _desert(b: Brush, ground: RGB, rng: random.Random) -> None:
    x = rng.randrange(10, 150)
    b.poly((196, 112, 70), x, 108, x + 10, 62, x + 56, 62, x + 70, 108)
    b.poly((214, 132, 84), x + 84, 108, x + 90, 76, x + 112, 76, x + 120, 108)
    b.oval(-80, 88, 150, 170, (226, 176, 96))
    b.oval(100, 92, 340, 170, (238, 192, 112))
    b.rect(0, 122, 256, 256, ground)
    for y in (138, 156, 178, 204, 232):
        x = rng.randrange(-40, 60)
        for k in range(3):
            x0 = x + k * 96
            b.line(blend(ground, (170, 116, 50), 0.5), 1.5, x0, y, x0 + 16, y - 5, x0 + 34, y - 4, x0 + 56, y + 2)


def _garden(b: Brush, ground: RGB, rng: random.Random) -> None:
    for x in range(-14, 256, 22):
        b.oval(x, 72, x + 34, 118, (60, 124, 62))
    b.rect(0, 94, 256, 120, (60, 124, 62))
    for x in range(2, 256, 16):
        b.poly(_WHITE, x, 124, x, 94, x + 5, 88, x + 10, 94, x + 10, 124)
    for y in (99, 112):
        b.rect(0, y, 256, y + 4, (236, 236, 236))
    b.rect(0, 124, 256, 256, ground)
    b.rect(0, 124, 256, 136, (124, 84, 54))
    for x in range(6, 256, 18):
        b.oval(x, 122, x + 10, 132, (88, 160, 70))
    for k in range(5):
        b.oval(106 + k * 7, 146 + k * 22, 150 + k * 9, 158 + k * 23, (188, 186, 178))
    _grass(b, ground, rng, 26)


def _hilltop(b: Brush, ground: RGB, rng: random.Random) -> None:
    for k, fill in enumerate(((150, 178, 206), (128, 168, 172), (116, 168, 130))):
        for x in range(-60 - 30 * k, 256, 110):
            b.oval(x, 74 + 14 * k, x + 170, 190, fill)
    b.oval(-110, 112, 366, 420, ground)
    b.poly((212, 192, 150), 120, 256, 170, 256, 140, 170, 152, 114, 144, 114, 126, 170)
    _grass(b, ground, rng, 36)


def _lake(b: Brush, ground: RGB, rng: random.Random) -> None:
    for x in range(-30, 260, 34):
        top = 58 + rng.randrange(22)
        b.poly((58, 104, 74), x, 98, x + 24, top, x + 48, 98)
    b.oval(-60, 74, 120, 118, (104, 150, 96))
    b.oval(140, 70, 330, 118, (96, 142, 92))
    _sea(b, 94, 140, rng)
    b.poly(ground, 0, 132, 60, 140, 130, 134, 200, 141, 256, 133, 256, 256, 0, 256)
    x = rng.choice((18, 190))
    b.rect(x, 118, x + 46, 124, (140, 100, 62))
    for post in (x + 2, x + 20, x + 38):
        b.rect(post, 122, post + 4, 140, (104, 72, 44))
    for _ in range(9):
        x, y = rng.randrange(0, 250), rng.randrange(128, 140)
        b.line((70, 110, 50), 1.5, x, y, x + 1, y - 14)
        b.oval(x - 1, y - 20, x + 3, y - 12, (116, 80, 50))
    _grass(b, ground, rng, 34)


def _playground(b: Brush, ground: RGB, rng: random.Random) -> None:
    for x in range(-20, 260, 30):
        b.oval(x, 76, x + 50, 126, (98, 160, 84))
    b.rect(0, 106, 256, 124, (128, 190, 96))
    b.rect(0, 124, 256, 256, ground)
    x = rng.choice((16, 130))
    for x0, x1 in ((x, x + 12), (x + 98, x + 86)):
        b.line((90, 110, 150), 4, x0, 128, x1, 50)
    b.line((90, 110, 150), 4, x + 10, 50, x + 88, 50)
    for seat in (x + 30, x + 60):
        b.line((120, 120, 126), 1.5, seat, 50, seat, 104)
        b.line((120, 120, 126), 1.5, seat + 12, 50, seat + 12, 104)
        b.rect(seat - 2, 103, seat + 14, 107, (110, 70, 50))
    x = 150 if x == 16 else 20
    b.rect(x, 58, x + 26, 62, (200, 150, 70))
    for y in range(68, 124, 10):
        b.line((120, 120, 126), 2, x, y, x + 8, y)
    b.line((120, 120, 126), 2.5, x, 58, x, 128)
    b.line((120, 120, 126), 2.5, x + 8, 58, x + 8, 128)
    b.poly((214, 160, 80), x + 26, 58, x + 34, 58, x + 90, 122, x + 90, 130, x + 78, 128, x + 26, 68)
    specks(b, rng, blend(ground, (140, 90, 50), 0.5), 70, 132)


def _airport(b: Brush, ground: RGB, rng: random.Random) -> None:
    b.rect(0, 92, 256, 112, (140, 176, 110))
    x = rng.choice((0, 96))
    b.rect(x, 60, x + 160, 102, (206, 210, 216), (130, 136, 146))
    b.poly((160, 168, 180), x, 60, x + 20, 52, x + 140, 52, x + 160, 60)
    for k in range(9):
        b.rect(x + 8 + k * 17, 70, x + 20 + k * 17, 88, (110, 150, 186))
    far = 200 if x == 0 else 40
    b.rect(far, 44, far + 10, 102, (190, 194, 200))
    b.poly((110, 150, 186), far - 10, 30, far + 20, 30, far + 14, 46, far - 4, 46)
    b.rect(0, 110, 256, 256, ground)
    b.poly((104, 108, 114), 90, 112, 166, 112, 268, 256, -12, 256)
    for y, w in ((118, 3), (134, 4), (156, 6), (186, 8), (224, 11)):
        b.poly((244, 244, 236), 128 - w / 2, y, 128 + w / 2, y, 128 + w * 0.7, y + w * 2.2, 128 - w * 0.7, y + w * 2.2)
    for x0, x1 in ((86, -24), (170, 280)):
        b.line((236, 196, 70), 2, x0, 112, x1, 256)


PLACES: dict[str, Callable[[Brush, RGB, random.Random], None]] = {
    "beach": _beach, "street": _street, "forest": _forest, "snow field": _snow_field, "market": _market, "park": _park,
    "farm": _farm, "harbour": _harbour, "desert": _desert, "garden": _garden, "hilltop": _hilltop,
    "kitchen": rooms.kitchen, "living room": rooms.living_room, "desk": rooms.desk,
    "workshop": rooms.workshop, "classroom": rooms.classroom,
    "lake": _lake, "playground": _playground, "airport": _airport, "bathroom": rooms.bathroom,
}  # fmt: skip
"""Drawing function by setting; it draws below and in front of the sky."""
