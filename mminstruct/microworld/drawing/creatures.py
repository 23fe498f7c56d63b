"""Drawings of animals and people, facing right, in drawing units with the ground at the lower edge."""

from __future__ import annotations

from collections.abc import Callable

from mminstruct.microworld.drawing.canvas import INK, LEAF, PALETTE, PAPER, RGB, STEEL, Pen, Tint, blend

Head = Callable[[Pen, Tint, float, float, bool], None]
SKINS: tuple[RGB, ...] = ((246, 206, 172), (226, 172, 128), (176, 118, 78), (120, 78, 52))
HAIRS: tuple[RGB, ...] = ((92, 56, 28), (40, 30, 28), (50, 34, 28), (30, 24, 24))
_SHOE: RGB = (60, 44, 40)
_SPEED: RGB = (245, 245, 250)


def _eye(p: Pen, c: Tint, x: float, y: float, asleep: bool, size: float = 3.2) -> None:
    if asleep:
        p.arc(x - 5, y - 5, x + 5, y + 3, 20, 160, c.ink, 2)
    else:
        p.dot(x, y, size, c.ink)


def _speed(p: Pen, x: float, *ys: float) -> None:
    """Draw motion lines behind something that moves to the right."""
    for y in ys:
        p.line(INK, 4.5, x, y, x + 12, y)
        p.line(_SPEED, 2.5, x, y, x + 12, y)


def _bowl(p: Pen, x: float) -> None:
    p.oval(x - 15, 80, x + 15, 92, (150, 96, 44))
    p.poly((70, 130, 220), x - 17, 86, x + 17, 86, x + 12, 98, x - 12, 98)


def _dog_head(p: Pen, c: Tint, x: float, y: float, asleep: bool) -> None:
    p.disc(x, y, 15, c.main)
    p.oval(x + 2, y - 3, x + 23, y + 13, c.light)
    p.dot(x + 20, y + 1, 4, INK)
    p.oval(x - 17, y - 14, x - 3, y + 18, c.dark)
    _eye(p, c, x + 5, y - 5, asleep)
    if not asleep:
        p.oval(x + 8, y + 10, x + 16, y + 21, (240, 90, 110))


def _cat_head(p: Pen, c: Tint, x: float, y: float, asleep: bool) -> None:
    for side in (-1, 1):
        p.poly(c.main, x + side * 17, y - 4, x + side * 15, y - 27, x + side * 2, y - 13)
        p.poly((245, 150, 165), x + side * 13, y - 10, x + side * 12.5, y - 20, x + side * 7, y - 13)
    p.oval(x - 18, y - 16, x + 18, y + 15, c.main)
    for side in (-1, 1):
        _eye(p, c, x + side * 7, y - 3, asleep, 3.6)
        p.line(c.ink, 1.4, x + side * 8, y + 5, x + side * 23, y + 2)
        p.line(c.ink, 1.4, x + side * 8, y + 8, x + side * 22, y + 10)
    p.poly((240, 110, 130), x - 3.5, y + 3, x + 3.5, y + 3, x, y + 7)


def _rabbit_head(p: Pen, c: Tint, x: float, y: float, asleep: bool) -> None:
    for shift in (-9, 2):
        p.oval(x + shift - 5, y - 46, x + shift + 6, y - 6, c.main)
        p.oval(x + shift - 2, y - 40, x + shift + 3, y - 12, (246, 160, 175))
    p.oval(x - 16, y - 14, x + 16, y + 13, c.main)
    _eye(p, c, x + 5, y - 3, asleep, 3.4)
    p.dot(x + 15, y + 2, 3, (240, 110, 130))
    p.rect(x + 9, y + 8, x + 14, y + 14, PAPER)


def _cow_head(p: Pen, c: Tint, x: float, y: float, asleep: bool) -> None:
    p.limb((230, 220, 190), 4, x - 6, y - 12, x - 9, y - 23)
    p.limb((230, 220, 190), 4, x + 5, y - 12, x + 9, y - 23)
    p.oval(x - 22, y - 14, x - 6, y - 5, c.dark)
    p.oval(x - 12, y - 15, x + 14, y + 15, c.main)
    p.oval(x - 4, y + 3, x + 21, y + 20, (246, 176, 180))
    p.dot(x + 13, y + 9, 2, INK)
    _eye(p, c, x + 4, y - 5, asleep, 3)


def _horse_head(p: Pen, c: Tint, x: float, y: float, asleep: bool) -> None:
    p.poly(c.main, x - 6, y - 10, x - 3, y - 24, x + 3, y - 10)
    p.poly(c.main, x - 11, y - 8, x + 4, y - 12, x + 25, y + 8, x + 23, y + 18, x + 12, y + 17, x - 8, y + 12)
    p.dot(x + 21, y + 10, 2, c.ink)
    _eye(p, c, x + 4, y - 2, asleep, 3)


def _four_legged(
    p: Pen, c: Tint, pose: str | None, body: tuple[float, float, float, float], leg: float, head: Head,
    heads: tuple[tuple[float, float], tuple[float, float], tuple[float, float]], neck: float,
) -> None:  # fmt: skip
    """Draw an animal on a sheet of 130 by 100; *heads* holds head positions for standing, eating and sleeping."""
    x0, y0, x1, y1 = body
    width, asleep = x1 - x0, pose == "sleeping"
    drop = 97 - y1 if asleep else 0
    hx, hy = heads[{"eating": 1, "sleeping": 2}.get(pose or "", 0)]
    steps = ((-26, -12), (-8, -3), (12, -3), (26, -14)) if pose == "running" else ((0, 0),) * 4
    for k, (share, (dx, dy)) in enumerate(zip((0.14, 0.3, 0.72, 0.88), (steps[i] for i in (0, 1, 2, 3)), strict=True)):
        if not asleep:
            x = x0 + share * width
            p.limb(c.dark if k in (1, 2) else c.main, leg, x, y1 - 8, x + dx, 97 - leg / 2 + dy)
    if asleep:
        p.limb(c.dark, leg, x1 - 12, 93, x1 + 8, 94)
    p.rect(x0, y0 + drop, x1, y1 + drop, c.main, min(width, y1 - y0) * 0.48)
    p.limb(c.main, neck, x1 - neck * 0.75, y0 + drop + neck * 0.6, hx - 2, hy + 4)
    if pose == "eating" and head in (_cow_head, _horse_head):
        for shift in (-10, -3, 4, 11):
            p.poly(LEAF, hx + 10 + shift - 5, 98, hx + 10 + shift, 78, hx + 10 + shift + 5, 98)
    elif pose == "eating":
        _bowl(p, hx + 12)
    head(p, c, hx, hy, asleep)
    if asleep:
        p.zzz(hx + 2, hy - (54 if head is _rabbit_head else 34))
    if pose == "running":
        _speed(p, 1, y0 + 6, y0 + 18, y0 + 30)


def dog(p: Pen, c: Tint, pose: str | None, word: str, variant: int) -> None:
    tail = (28, 80, 10, 92, 2, 92) if pose == "sleeping" else (30, 46, 20, 30, 16, 18)
    p.limb(c.main, 8, *tail)
    _four_legged(p, c, pose, (22, 40, 92, 70), 10, _dog_head, ((98, 32), (98, 68), (98, 76)), 17)
    if pose != "sleeping":
        p.line(PALETTE["red"] if c.main != PALETTE["red"] else INK, 4, 82, 40, 92, 50)


def cat(p: Pen, c: Tint, pose: str | None, word: str, variant: int) -> None:
    tail = (30, 88, 12, 92, 6, 80) if pose == "sleeping" else (30, 54, 14, 44, 12, 24, 22, 14)
    p.limb(c.main, 7, *tail)
    _four_legged(p, c, pose, (24, 44, 88, 72), 9, _cat_head, ((92, 36), (92, 68), (90, 78)), 16)
    if pose != "sleeping":
        for x in (40, 52, 64):
            p.line(c.dark, 3, x, 45, x, 57)


def rabbit(p: Pen, c: Tint, pose: str | None, word: str, variant: int) -> None:
    p.disc(26, 78 if pose != "sleeping" else 84, 9, PAPER if c.main != PALETTE["white"] else c.dark)
    _four_legged(p, c, pose, (26, 46, 82, 88), 10, _rabbit_head, ((86, 52), (88, 74), (88, 80)), 18)
    p.oval(30, 62, 58, 96, c.main)
    p.arc(32, 64, 58, 96, 200, 330, c.dark, 2.5)
    p.limb(c.main, 9, 44, 94, 60, 94)


def cow(p: Pen, c: Tint, pose: str | None, word: str, variant: int) -> None:
    drop = 27 if pose == "sleeping" else 0
    p.limb(c.dark, 4, 20, 36 + drop, 10, 50 + drop, 10, 62 + drop)
    p.oval(48, 58, 66, 76, (246, 176, 180)) if not drop else None
    _four_legged(p, c, pose, (16, 28, 92, 70), 11, _cow_head, ((104, 30), (102, 70), (104, 68)), 18)
    spot = PALETTE["black"] if c.main == PALETTE["white"] else PALETTE["white"]
    for x0, y0, x1, y1 in ((28, 32, 48, 50), (56, 40, 76, 62), (34, 54, 48, 66)):
        p.oval(x0, y0 + drop, x1, y1 + drop, spot)


def horse(p: Pen, c: Tint, pose: str | None, word: str, variant: int) -> None:
    mane = INK if c.main == PALETTE["brown"] else (120, 84, 50) if c.main == PALETTE["white"] else c.light
    p.limb(mane, 8, 20, 44, 8, 56 if pose != "running" else 44, 4, 74 if pose != "running" else 46)
    hx, hy = (96, 68) if pose == "eating" else (96, 20)
    _four_legged(p, c, pose, (16, 38, 84, 66), 8, _horse_head, ((96, 20), (96, 68), (96, 20)), 17)
    p.limb(mane, 7, hx - 10, hy - 10, hx - 16, hy + (2 if pose == "eating" else 6), 70, 42)


def sheep(p: Pen, c: Tint, pose: str | None, word: str, variant: int) -> None:
    drop = 25 if pose == "sleeping" else 0
    _four_legged(p, c, pose, (22, 34, 88, 70), 8, _sheep_head, ((100, 36), (100, 72), (102, 74)), 15)
    for x, y in ((28, 44), (44, 36), (62, 36), (78, 42), (28, 62), (46, 68), (66, 68), (82, 60)):
        p.disc(x, y + drop, 12, c.main)
    p.rect(26, 38 + drop, 84, 68 + drop, c.main, 14)
    for x, y in ((38, 46), (56, 44), (72, 52), (46, 60), (64, 62)):
        p.arc(x - 7, y - 5 + drop, x + 7, y + 7 + drop, 180, 330, c.dark, 3)


def _sheep_head(p: Pen, c: Tint, x: float, y: float, asleep: bool) -> None:
    face: RGB = (58, 50, 52) if c.main != PALETTE["black"] else (214, 204, 196)
    p.oval(x - 18, y - 6, x - 4, y + 3, face)
    p.oval(x - 10, y - 13, x + 13, y + 17, face)
    p.disc(x - 2, y - 13, 9, c.main)
    light: RGB = (245, 245, 235) if c.main != PALETTE["black"] else INK
    if asleep:
        p.arc(x - 1, y - 5, x + 8, y + 3, 20, 160, light, 2)
    else:
        p.dot(x + 4, y - 2, 3, light)


def _fox_head(p: Pen, c: Tint, x: float, y: float, asleep: bool) -> None:
    for shift in (-12, 2):
        p.poly(c.main, x + shift, y - 8, x + shift + 4, y - 28, x + shift + 12, y - 8)
        p.poly(INK, x + shift + 2, y - 17, x + shift + 4, y - 28, x + shift + 8, y - 17)
    p.poly(c.main, x - 16, y - 6, x + 6, y - 14, x + 32, y + 9, x + 8, y + 15, x - 10, y + 12)
    p.poly((255, 250, 240), x - 2, y + 13, x + 30, y + 9, x + 8, y + 3)
    p.dot(x + 30, y + 8, 4, INK)
    _eye(p, c, x + 7, y - 3, asleep)


def fox(p: Pen, c: Tint, pose: str | None, word: str, variant: int) -> None:
    tip: RGB = (255, 250, 240) if c.main != PALETTE["white"] else (120, 110, 110)
    y = 86 if pose == "sleeping" else 44
    p.limb(c.main, 17, 30, y + 4, 16, y - 2, 10, y - 14)
    p.disc(9, y - 22, 9, tip)
    _four_legged(p, c, pose, (26, 42, 88, 66), 8, _fox_head, ((94, 34), (94, 70), (92, 78)), 15)


def turtle(p: Pen, c: Tint, pose: str | None, word: str, variant: int) -> None:
    skin: RGB = (150, 176, 92) if c.main != PALETTE["green"] else (200, 190, 120)
    for x in (30, 74):
        p.rect(x, 62, x + 17, 86, skin, 6)
    p.poly(skin, 16, 66, 2, 74, 18, 76)
    p.limb(skin, 13, 88, 64, 104, 46)
    p.disc(108, 40, 13, skin)
    p.dot(112, 37, 3, INK)
    p.pie(12, 10, 98, 124, 180, 360, c.main)
    p.rect(10, 62, 100, 71, c.dark, 4)
    p.poly(c.dark, 42, 26, 66, 26, 72, 46, 54, 56, 36, 46)
    for x0, y0, x1, y1 in ((36, 46, 20, 56), (72, 46, 90, 56), (42, 26, 34, 18), (66, 26, 76, 20)):
        p.line(c.dark, 4, x0, y0, x1, y1)


def bird(p: Pen, c: Tint, pose: str | None, word: str, variant: int) -> None:
    beak = PALETTE["orange"] if c.main not in (PALETTE["orange"], PALETTE["yellow"]) else PALETTE["red"]
    lift = 12 if pose == "flying" else 0
    if pose == "flying":
        p.poly(c.dark, 52, 54, 34, 6, 66, 18, 74, 50)
    else:
        p.limb(beak, 3, 50, 78, 48, 97, 58, 97)
        p.limb(beak, 3, 60, 78, 60, 97, 70, 97)
    p.poly(c.dark, 30, 62 - lift, 2, 52 - lift, 4, 72 - lift, 30, 76 - lift)
    p.oval(22, 42, 82, 82 - lift / 2, c.main)
    p.disc(82, 40, 17, c.main)
    if pose == "singing":
        p.poly(beak, 95, 34, 114, 26, 98, 40)
        p.poly(beak, 95, 44, 113, 50, 97, 38)
        for x, y in ((106, 4), (122, 14)):
            p.dot(x, y + 13, 4.5, INK)
            p.line(INK, 2.5, x + 4, y + 13, x + 4, y, x + 10, y + 5)
    else:
        p.poly(beak, 96, 34, 116, 41, 96, 48)
    p.dot(86, 36, 3.6, c.ink)
    if pose == "flying":
        p.poly(c.light, 40, 58, 6, 16, 44, 22, 70, 56)
    else:
        p.poly(c.dark, 30, 54, 64, 52, 60, 68, 40, 74, 16, 70)


def fish(p: Pen, c: Tint, pose: str | None, word: str, variant: int) -> None:
    p.poly(c.dark, 30, 50, 2, 26, 8, 50, 2, 76)
    p.poly(c.dark, 48, 34, 66, 14, 84, 34)
    p.oval(20, 26, 108, 76, c.main)
    p.poly(c.light, 60, 50, 44, 64, 66, 66)
    for x in (54, 68):
        p.arc(x - 10, 34, x + 10, 68, 300, 60, c.dark, 3)
    p.disc(90, 44, 6.5, PALETTE["white"])
    p.dot(92, 44, 3.4, INK)
    p.arc(92, 50, 108, 64, 90, 190, c.ink, 2.5)
    if pose == "swimming":
        for x, y, r in ((114, 34, 5), (120, 18, 4), (112, 6, 3)):
            p.disc(x, y, r, (225, 245, 255))


def duck(p: Pen, c: Tint, pose: str | None, word: str, variant: int) -> None:
    beak = PALETTE["orange"] if c.main != PALETTE["orange"] else PALETTE["red"]
    low = 14 if pose in ("swimming", "sleeping") else 0
    if not low:
        p.limb(beak, 4, 48, 78, 48, 96, 58, 97)
        p.limb(beak, 4, 62, 78, 62, 96, 72, 97)
    p.poly(c.main, 8, 44 + low, 46, 50 + low, 30, 72 + low)
    p.oval(14, 44 + low, 88, 84 + low, c.main)
    p.limb(c.main, 15, 78, 58 + low, 82, 30 + low)
    p.poly(beak, 94, 20 + low, 118, 26 + low, 116, 33 + low, 94, 34 + low)
    p.disc(84, 24 + low, 17, c.main)
    _eye(p, c, 89, 20 + low, pose == "sleeping")
    p.oval(28, 52 + low, 66, 74 + low, c.dark)
    if pose == "sleeping":
        p.zzz(96, 26, (40, 60, 160))


def _person(p: Pen, c: Tint, pose: str | None, who: str, variant: int) -> None:
    """Draw a person in clothes of colour *c* on a sheet of 92 by 130; a child has a large head and short legs."""
    skin, hair = SKINS[variant % (2 if c.main in (PALETTE["brown"], PALETTE["black"]) else 4)], HAIRS[variant // 4 % 4]
    child, sits = who == "child", pose == "sitting"
    hip, neck, r = (92, 62, 17) if child else (84, 42, 13)
    drop = 118 - hip if sits else 0
    hip, neck = hip + drop, neck + drop
    top = neck - r - 1
    plain = c.main not in (PALETTE["blue"], PALETTE["navy"])
    trousers = skin if who == "woman" else (70, 84, 120) if plain else (92, 92, 100)
    width = 14 if who == "man" else 12
    spread = 20 if pose == "walking" else 14 if pose == "playing" else 7
    legs = [(40, hip, 78, hip + 2, 80, 118)] if sits else [(36, hip, 40 - spread, 124), (44, hip, 40 + spread, 124)]
    for leg in legs:
        p.limb(trousers, 9, *leg)
        p.limb(_SHOE, 8, leg[-2] - 1, leg[-1] + (1 if not sits else 3), leg[-2] + 6, leg[-1] + (1 if not sits else 3))
    if who == "woman":
        p.rect(25, top - r - 2, 55, neck + 16, hair, 13)
    behind: tuple[float, ...] = (40 - width, neck + 6, 22, hip - 2)
    if pose == "walking":
        behind = (40 - width, neck + 6, 14, neck + 34)
    elif pose == "playing":
        behind = (40 - width, neck + 8, 12, neck - 16)
    elif pose == "reading":
        behind = (40 - width, neck + 6, 26, neck + 30, 48, neck + 28)
    p.limb(skin, 8, *behind)
    if who == "woman":
        if sits:
            p.poly(c.main, 30, neck + 2, 50, neck + 2, 70, hip - 5, 68, hip + 7, 24, hip + 7)
        else:
            p.poly(c.main, 31, neck + 2, 49, neck + 2, 62, hip + 18, 18, hip + 18)
        p.line(c.dark, 4, 31, neck + 26, 49, neck + 26)
    else:
        p.rect(40 - width, neck + 1, 40 + width, hip + 5, c.main, 6)
        p.line(c.dark, 3, 40, neck + 4, 40, hip)
    p.disc(40, top, r, skin)
    if who == "man":
        p.pie(40 - r - 1, top - r - 2, 40 + r + 1, top + r - 2, 170, 350, hair)
        p.line(hair, 4, 36, top + 7, 50, top + 7)
    elif who == "woman":
        p.pie(40 - r - 1, top - r - 2, 40 + r + 1, top + r, 180, 330, hair)
    else:
        p.pie(40 - r - 1, top - r - 2, 40 + r + 1, top + r - 2, 180, 360, c.dark)
        p.limb(c.dark, 5, 44, top - 2, 40 + r + 7, top - 2)
    p.dot(45, top + 1, 2, INK)
    p.dot(36, top + 1, 2, INK)
    if child or who == "woman":
        p.arc(34, top - 1, 48, top + r - 5, 20, 150, (190, 40, 60), 2)
    front = {
        "waving": (40 + width, neck + 7, 66, neck - 4, 68, neck - 26), "walking": (40 + width, neck + 6, 66, neck + 32),
        "playing": (40 + width, neck + 8, 70, neck - 16), "reading": (40 + width, neck + 6, 58, neck + 28),
    }.get(pose or "", (40 + width, neck + 6, 58, hip - 2))  # fmt: skip
    p.limb(blend(skin, (0, 0, 0), 0.06), 8, *front)
    if pose == "waving":
        p.disc(68, neck - 29, 6, skin)
        p.arc(72, neck - 44, 88, neck - 20, 290, 70, INK, 2.5)
        p.arc(48, neck - 44, 64, neck - 20, 110, 250, INK, 2.5)
    if pose == "reading":
        cover = PALETTE["red"] if c.main != PALETTE["red"] else PALETTE["blue"]
        p.poly(cover, 26, neck + 14, 52, neck + 20, 78, neck + 14, 78, neck + 36, 52, neck + 42, 26, neck + 36)
        p.poly(PAPER, 30, neck + 12, 51, neck + 17, 51, neck + 37, 30, neck + 32)
        p.poly(PAPER, 74, neck + 12, 53, neck + 17, 53, neck + 37, 74, neck + 32)
        for y in (20, 26):
            p.line(STEEL, 1.5, 34, neck + y, 47, neck + y + 3)
            p.line(STEEL, 1.5, 57, neck + y + 3, 70, neck + y)
    if pose == "playing":
        for x, y, colour in ((74, 106, "yellow"), (66, 118, "blue"), (78, 118, "red")):
            p.rect(x, y, x + 11, y + 11, PALETTE[colour])


def man(p: Pen, c: Tint, pose: str | None, word: str, variant: int) -> None:
    _person(p, c, pose, "man", variant)


def woman(p: Pen, c: Tint, pose: str | None, word: str, variant: int) -> None:
    _person(p, c, pose, "woman", variant)


def child(p: Pen, c: Tint, pose: str | None, word: str, variant: int) -> None:
    _person(p, c, pose, "child", variant)
