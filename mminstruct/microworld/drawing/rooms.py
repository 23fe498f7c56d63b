"""Rooms: the indoor settings, drawn without countable things."""

from __future__ import annotations

import random

from mminstruct.microworld.drawing.canvas import RGB, Brush, blend, specks

_WHITE: RGB = (250, 250, 250)


def _floor(b: Brush, wall: RGB, ground: RGB, y: float, skirting: RGB) -> None:
    b.rect(0, 0, 256, y, wall)
    b.rect(0, y, 256, 256, ground)
    b.rect(0, y - 5, 256, y, skirting)


def _window(b: Brush, x: float, y: float) -> None:
    b.rect(x, y, x + 48, y + 46, _WHITE)
    b.rect(x + 4, y + 4, x + 44, y + 42, (170, 216, 246))
    b.rect(x + 22, y + 4, x + 26, y + 42, _WHITE)
    b.rect(x + 4, y + 21, x + 44, y + 25, _WHITE)


def kitchen(b: Brush, ground: RGB, rng: random.Random) -> None:
    _floor(b, (208, 232, 226), ground, 126, (150, 160, 158))
    for x in range(0, 256, 14):
        b.line((184, 212, 206), 1, x, 30, x, 90)
    for y in range(30, 90, 12):
        b.line((184, 212, 206), 1, 0, y, 256, y)
    for x in range(0, 176, 44):
        b.rect(x, 0, x + 42, 32, (236, 204, 158), (170, 130, 90))
        b.oval(x + 34, 22, x + 38, 26, (110, 90, 70))
        b.rect(x, 86, x + 42, 126, (236, 204, 158), (170, 130, 90))
        b.oval(x + 34, 96, x + 38, 100, (110, 90, 70))
    b.rect(0, 80, 178, 87, (128, 112, 104))
    b.rect(88, 86, 130, 126, (70, 74, 82))
    b.rect(94, 98, 124, 118, (40, 42, 48))
    for x in (94, 104, 114, 122):
        b.oval(x - 2, 89, x + 2, 93, (220, 220, 220))
    b.rect(190, 14, 246, 128, (226, 232, 238), (150, 158, 168))
    b.line((150, 158, 168), 1.5, 190, 54, 246, 54)
    b.rect(195, 34, 198, 48, (130, 138, 148))
    b.rect(195, 60, 198, 84, (130, 138, 148))
    for row, y in enumerate((126, 146, 172, 206, 246)):
        for k in range(-1, 9):
            if (k + row) % 2:
                b.rect(k * 34, y, k * 34 + 34, y + (20, 26, 34, 40, 10)[row], blend(ground, (150, 130, 110), 0.3))


def living_room(b: Brush, ground: RGB, rng: random.Random) -> None:
    wall: RGB = rng.choice(((238, 220, 196), (206, 220, 226), (226, 210, 222)))
    _floor(b, wall, ground, 124, _WHITE)
    for x in range(0, 256, 18):
        b.line(blend(wall, (150, 130, 120), 0.18), 3, x, 0, x, 118)
    _window(b, 30, 20)
    b.poly((196, 90, 80), 22, 14, 40, 14, 30, 74, 22, 74)
    b.poly((196, 90, 80), 68, 14, 86, 14, 86, 74, 78, 74)
    b.rect(140, 22, 196, 62, (150, 104, 60))
    b.rect(145, 27, 191, 57, (190, 220, 236))
    b.poly((110, 150, 110), 145, 57, 162, 36, 176, 50, 184, 42, 191, 57)
    for y in (140, 160, 184, 212, 242):
        b.line(blend(ground, (90, 56, 30), 0.35), 1, 0, y, 256, y)
    b.oval(36, 168, 222, 246, (178, 92, 92))
    b.oval(50, 175, 208, 239, (226, 190, 160))


def desk(b: Brush, ground: RGB, rng: random.Random) -> None:
    b.rect(0, 0, 256, 256, (216, 222, 230))
    b.rect(20, 12, 116, 72, (196, 150, 96), (120, 84, 50))
    for k in range(5):
        x, y = 28 + k * 17 + rng.randrange(3), 20 + rng.randrange(22)
        b.rect(x, y, x + 14, y + 16, rng.choice(((255, 240, 130), (255, 190, 200), (190, 230, 255), _WHITE)))
        b.oval(x + 5, y - 1, x + 9, y + 3, (210, 40, 40))
    b.rect(146, 10, 240, 70, _WHITE, (150, 160, 170))
    for y in range(14, 70, 7):
        b.rect(148, y, 238, y + 4, (190, 212, 230))
    b.rect(0, 108, 256, 236, ground)
    for y in (120, 140, 166, 196, 222):
        b.line(blend(ground, (110, 66, 30), 0.35), 1, 0, y, 90, y + 2, 180, y - 2, 256, y)
    b.rect(0, 236, 256, 244, blend(ground, (60, 30, 10), 0.35))
    b.rect(0, 244, 256, 256, blend(ground, (60, 30, 10), 0.55))
    for x in (50, 190):
        b.rect(x, 247, x + 26, 251, (220, 200, 160))
    b.poly(_WHITE, 96, 122, 144, 118, 152, 146, 102, 150)
    for y in (126, 132, 138):
        b.line((170, 176, 190), 1, 104, y + 1, 140, y - 2)


def workshop(b: Brush, ground: RGB, rng: random.Random) -> None:
    _floor(b, (150, 128, 104), ground, 126, (90, 80, 72))
    b.rect(16, 14, 240, 74, (206, 172, 124), (110, 84, 56))
    for x in range(22, 240, 10):
        for y in range(20, 72, 10):
            b.oval(x, y, x + 1.6, y + 1.6, (150, 118, 80))
    dark: RGB = (84, 88, 98)
    for x in (36, 62):
        b.line(dark, 5, x, 30, x, 60)
        b.oval(x - 8, 20, x + 8, 36, dark)
        b.rect(x - 3, 18, x + 3, 28, (206, 172, 124))
    b.poly((176, 182, 190), 96, 32, 150, 40, 150, 44, 96, 58)
    b.oval(82, 30, 104, 60, (150, 80, 40))
    b.oval(88, 38, 98, 52, (206, 172, 124))
    for x in (178, 196, 214):
        b.rect(x, 22, x + 6, 40, (200, 60, 50))
        b.rect(x + 2, 40, x + 4, 62, dark)
    b.rect(0, 84, 256, 94, (170, 110, 60))
    b.rect(0, 94, 256, 126, (120, 76, 44))
    for x in (10, 92, 174):
        b.rect(x, 98, x + 70, 122, (140, 92, 54), (84, 54, 30))
        b.rect(x + 26, 108, x + 44, 112, (210, 200, 180))
    specks(b, rng, (226, 190, 130), 60, 132)


def classroom(b: Brush, ground: RGB, rng: random.Random) -> None:
    _floor(b, (246, 234, 204), ground, 124, (170, 140, 100))
    b.rect(40, 14, 216, 92, (150, 104, 60))
    b.rect(46, 20, 210, 86, (38, 92, 70))
    b.text(56, 24, rng.choice(("ABC", "abc")), 26, (236, 240, 232))
    b.text(122, 24, rng.choice(("1+2=3", "2+2=4", "3+1=4")), 24, (236, 240, 232))
    b.line((220, 228, 220), 1.5, 60, 64, 110, 64)
    b.line((220, 228, 220), 1.5, 60, 74, 96, 74)
    b.poly((38, 92, 70), 140, 78, 160, 56, 180, 78)
    b.line((250, 220, 120), 1.5, 140, 78, 160, 58, 180, 78, 140, 78)
    b.rect(46, 90, 210, 95, (190, 140, 90))
    b.rect(6, 24, 32, 62, (180, 214, 240), (120, 120, 120))
    b.oval(10, 32, 28, 52, (90, 160, 90))
    b.rect(224, 24, 250, 62, (255, 250, 240), (120, 120, 120))
    for y, fill in ((28, (220, 70, 60)), (38, (70, 130, 210)), (48, (240, 190, 60))):
        b.rect(228, y, 246, y + 6, fill)
    for y in (140, 160, 184, 212, 242):
        b.line(blend(ground, (110, 76, 40), 0.35), 1, 0, y, 256, y)


def bathroom(b: Brush, ground: RGB, rng: random.Random) -> None:
    wall: RGB = rng.choice(((206, 226, 232), (228, 220, 206), (214, 230, 214)))
    _floor(b, wall, ground, 122, _WHITE)
    for x in range(0, 256, 20):
        b.line(blend(wall, (130, 150, 160), 0.25), 1, x, 0, x, 117)
    for y in range(14, 117, 20):
        b.line(blend(wall, (130, 150, 160), 0.25), 1, 0, y, 256, y)
    b.oval(30, 12, 78, 66, (150, 120, 90))
    b.oval(34, 16, 74, 62, (214, 234, 244))
    b.line(_WHITE, 3, 42, 48, 60, 26)
    b.rect(24, 78, 84, 88, _WHITE, (150, 158, 166))
    b.poly((226, 230, 234), 40, 88, 68, 88, 62, 122, 46, 122)
    b.rect(51, 68, 57, 78, (160, 168, 176))
    b.rect(128, 84, 240, 122, _WHITE, (150, 158, 166))
    b.rect(122, 80, 246, 88, (236, 240, 242), (150, 158, 166))
    b.rect(222, 58, 227, 82, (160, 168, 176))
    b.rect(210, 56, 227, 61, (160, 168, 176))
    b.line((170, 176, 184), 2, 130, 16, 246, 16)
    curtain: RGB = rng.choice(((110, 170, 200), (220, 130, 120), (140, 180, 120)))
    for x in range(128, 172, 11):
        b.rect(x, 16, x + 11, 86, curtain if x % 2 else blend(curtain, _WHITE, 0.3))
    for row, y in enumerate((122, 140, 164, 194, 230)):
        for k in range(-1, 9):
            if (k + row) % 2:
                b.rect(k * 34, y, k * 34 + 34, y + (18, 24, 30, 36, 26)[row], blend(ground, (96, 120, 140), 0.25))
