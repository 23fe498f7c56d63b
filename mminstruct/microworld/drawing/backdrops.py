"""Backdrops: the setting, time of day and weather, without countable things."""

from __future__ import annotations

import random

from PIL import Image

from mminstruct.microworld.catalogue import CANVAS, SETTINGS
from mminstruct.microworld.drawing.canvas import FINE, HORIZON, RGB, Brush, blend
from mminstruct.microworld.drawing.places import GROUNDS, PLACES

_SIDE = CANVAS * FINE
_WHITE: RGB = (250, 250, 250)
_SKIES: dict[str, tuple[RGB, RGB]] = {
    "morning": ((132, 190, 240), (255, 226, 170)), "midday": ((56, 148, 240), (172, 220, 252)),
    "evening": ((96, 62, 140), (255, 136, 60)), "night": ((10, 14, 46), (34, 44, 96)),
}  # fmt: skip
_GREYS: dict[str, tuple[RGB, float]] = {
    "cloudy": ((178, 186, 196), 0.36), "rainy": ((104, 114, 130), 0.52), "snowy": ((196, 204, 216), 0.42),
    "foggy": ((214, 218, 222), 0.5),
}  # fmt: skip

_LIGHTS: dict[str, tuple[RGB, float]] = {
    "night": ((18, 26, 78), 0.46), "evening": ((196, 84, 60), 0.26), "dull": ((110, 116, 128), 0.16),
}  # fmt: skip
"""Colour of the light on the ground and its strength (0 to 1), by time of day; ``dull`` under a grey sky."""


def backdrop(setting: str, time: str | None, weather: str | None, rng: random.Random) -> Image.Image:
    """Draw the backdrop of a scene.

    Returns:
        RGB image of ``CANVAS`` by ``CANVAS`` pixels.
    """
    ground = GROUNDS[setting]
    if weather == "snowy":
        ground = blend(ground, (236, 242, 250), 0.55)
    light, share = _LIGHTS.get(time or "", _LIGHTS["dull"] if weather in _GREYS else ((0, 0, 0), 0.0))
    image = Image.new("RGB", (_SIDE, _SIDE))
    if not SETTINGS[setting].indoor:
        _sky(Brush(image), time or "midday", weather, rng)
    brush = Brush(image, light, share)
    if setting != "hilltop":
        brush.rect(0, HORIZON + 4, CANVAS, CANVAS, ground)
    PLACES[setting](brush, ground, rng)
    if weather == "foggy":
        image = Image.blend(image, Image.new("RGB", image.size, (222, 225, 228)), 0.45)
    return image.reduce(FINE)


def _sky(b: Brush, time: str, weather: str | None, rng: random.Random) -> None:
    top, bottom = _SKIES[time]
    if weather in _GREYS:
        grey, share = _GREYS[weather]
        if time == "night":
            grey, share = blend(grey, (0, 0, 0), 0.7), 0.4
        top, bottom = blend(top, grey, share), blend(bottom, grey, share)
    for y in range(0, HORIZON + 4, 2):
        b.rect(0, y, CANVAS, y + 2, blend(top, bottom, y / (HORIZON + 4)))
    if time == "night":
        if weather is None:
            for _ in range(34):
                x, y = rng.randrange(256), rng.randrange(84)
                r = rng.choice((0.7, 1, 1.6))
                b.oval(x - r, y - r, x + r, y + r, (255, 252, 220))
        x = rng.randrange(30, 216)
        b.oval(x, 12, x + 34, 46, (250, 244, 206))
        b.oval(x + 12, 8, x + 42, 40, blend(top, bottom, 0.25))
    elif weather in ("sunny", "foggy"):
        x = {"morning": rng.randrange(20, 70), "midday": rng.randrange(90, 160)}.get(time, rng.randrange(180, 230))
        y, r = {"morning": (40, 16), "midday": (24, 17)}.get(time, (56, 22))
        sun: RGB = (255, 110, 50) if time == "evening" else (255, 232, 80)
        if weather == "foggy":
            b.oval(x - r, y - r, x + r, y + r, (255, 255, 236))
        else:
            for dx, dy in ((0, 10), (7, 7), (10, 0), (7, -7), (0, -10), (-7, -7), (-10, 0), (-7, 7)):
                b.line(sun, 2.5, x + dx * r / 8, y + dy * r / 8, x + dx * r / 5.6, y + dy * r / 5.6)
            b.oval(x - r, y - r, x + r, y + r, sun)
    clouds = {"cloudy": 6, "rainy": 6, "snowy": 4}.get(weather or "", 0)
    puff: RGB = {"rainy": (92, 100, 116), "snowy": (222, 228, 236)}.get(weather or "", (238, 240, 244))
    if time == "night":
        puff = blend(puff, (20, 24, 60), 0.6)
    for k in range(clouds):
        x, y = k * 46 - 16 + rng.randrange(20), rng.randrange(4, 40)
        for dx, dy, w, h in ((0, 8, 36, 20), (14, 0, 32, 26), (32, 8, 34, 20)):
            b.oval(x + dx, y + dy, x + dx + w, y + dy + h, puff)
        b.line(blend(puff, (90, 100, 120), 0.3), 1.5, x + 8, y + 28, x + 56, y + 28)
