"""Renders a scene: the picture, bounding boxes and instance masks.

The same scene gives the same pixels on every machine: random numbers come from ``random.Random`` seeded with a string,
shapes from Pillow at integer coordinates, and the noise of the photo style from integer arithmetic.
"""

from __future__ import annotations

import functools
import random
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from mminstruct.microworld.catalogue import CANVAS
from mminstruct.microworld.drawing.backdrops import backdrop
from mminstruct.microworld.drawing.layout import Placed, Sprite, arrange, sprite
from mminstruct.microworld.scene import Box, Scene

_HALO = 2
"""Width in pixels of the band that separates a thing from its background."""
_STRENGTHS = {style: [a * share // 255 for a in range(256)] for style, share in
              (("flat", 190), ("outlined", 255), ("photo", 130))}  # fmt: skip
"""Opacity of the halo by style, for every opacity of the thing."""

Bytes = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]


@dataclass(frozen=True, slots=True, eq=False)
class Rendered:
    """A picture and its ground truth; instances are numbered from 1 in the order of the groups."""

    image: Image.Image
    """RGB, ``CANVAS`` by ``CANVAS``."""
    boxes: tuple[tuple[Box, ...], ...]
    """Boxes of all instances by group, hidden parts included."""
    masks: Bytes
    """Rows by columns: 0 for the backdrop, k where instance k is visible."""
    owners: tuple[int, ...]
    """``owners[k - 1]`` is the group of instance k."""

    def mask(self, instance: int) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """Visible pixels of one instance, numbered from 1."""
        return np.equal(self.masks, instance)

    def group_map(self) -> Bytes:
        """Rows by columns: 0 for the backdrop, g + 1 where group g is visible."""
        return np.array((0, *(owner + 1 for owner in self.owners)), dtype=np.uint8)[self.masks]


def render(scene: Scene) -> Rendered:
    """Render *scene*; takes a few milliseconds."""
    rng = random.Random(f"mminstruct picture {scene.seed}/{scene.index}")
    image = backdrop(scene.setting, scene.time, scene.weather, rng)
    sprites = [sprite(group, scene.style, rng.uniform(0.95, 1.05), rng.randrange(16)) for group in scene.groups]
    placed = arrange(scene, sprites, rng)
    masks = np.zeros((CANVAS, CANVAS), dtype=np.uint8)
    _ground(image, scene, placed)
    halos: dict[int, Image.Image] = {}
    for number, thing in sorted(enumerate(placed, 1), key=lambda pair: pair[1].depth):
        x0, y0, x1, y1 = thing.box
        if id(thing.sprite) not in halos:
            halos[id(thing.sprite)] = _finish(thing.sprite, scene)
        drawn = halos[id(thing.sprite)]
        image.paste(drawn, (x0 - _HALO, y0 - _HALO), drawn)
        masks[y0:y1, x0:x1][thing.sprite.mask] = number
    _air(image, scene, rng)
    if scene.style == "photo":
        image = _photo(image, rng, scene.level)
    boxes: list[list[Box]] = [[] for _ in scene.groups]
    for thing in placed:
        boxes[thing.group].append(Box(*thing.box))
    return Rendered(image, tuple(tuple(group) for group in boxes), masks, tuple(thing.group for thing in placed))


def _finish(thing: Sprite, scene: Scene) -> Image.Image:
    """Add a halo to a sprite, light at night and otherwise dark, and shading in the photo style."""
    image = thing.image
    if scene.style == "photo":
        light = _gradient(image.height)
        pixels = np.asarray(image).astype(np.int32)
        pixels[..., :3] = np.minimum(255, pixels[..., :3] * light[:, None, None] >> 8)
        image = Image.fromarray(pixels.astype(np.uint8), "RGBA")
    night = scene.time == "night"
    image = ImageOps.expand(image, _HALO, (0, 0, 0, 0))
    wide = image.getchannel("A").filter(ImageFilter.MaxFilter(5 if scene.style == "outlined" else 3))
    halo = Image.new("RGBA", image.size, (226, 230, 244, 0) if night else (26, 22, 30, 0))
    halo.putalpha(wide.point(_STRENGTHS[scene.style]))
    return Image.alpha_composite(halo, image)


@functools.cache
def _gradient(height: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
    """Light from above: brightness by row in units of 1/256, bright to dark."""
    return np.array([286 - 66 * row // max(1, height) for row in range(height)], dtype=np.int32)


def _ground(image: Image.Image, scene: Scene, placed: list[Placed]) -> None:
    """Draw shadows below standing things and water below swimming or sailing things."""
    draw = ImageDraw.Draw(image, "RGBA")
    for thing in placed:
        x0, y0, x1, y1 = thing.box
        action = scene.groups[thing.group].action
        if action in ("swimming", "sailing"):
            fish = scene.groups[thing.group].kind == "fish"
            edge = (x1 - x0) // 6
            box = (x0 - edge, y0 - 6 if fish else y1 - 8 - (y1 - y0) // 8, x1 + edge, y1 + 8)
            night = scene.time == "night"
            draw.ellipse(box, (30, 62, 132) if night else (64, 150, 214))
            inner = (box[0] + 8, (box[1] + box[3]) // 2, box[2] - 8, box[3] - 3)
            if inner[0] < inner[2] and inner[1] < inner[3]:
                draw.arc(inner, 20, 160, (190, 226, 246), 1)
        elif thing.grounded:
            flat = max(3, (x1 - x0) // 14)
            draw.ellipse((x0, y1 - flat, x1, y1 + flat), (10, 10, 30, 70))


def _air(image: Image.Image, scene: Scene, rng: random.Random) -> None:
    """Draw rain, snow or fog in front of everything."""
    draw = ImageDraw.Draw(image, "RGBA")
    if scene.weather == "rainy":
        for _ in range(90):
            x, y, length = rng.randrange(-10, CANVAS), rng.randrange(-10, CANVAS), rng.randrange(7, 13)
            draw.line((x, y, x - length // 3, y + length), (206, 226, 250, 150), 1)
        for _ in range(10):
            x, y = rng.randrange(CANVAS), rng.randrange(140, CANVAS)
            draw.arc((x, y, x + 14, y + 5), 0, 360, (220, 234, 250, 150), 1)
    elif scene.weather == "snowy":
        for _ in range(110):
            x, y, r = rng.randrange(CANVAS), rng.randrange(CANVAS), rng.choice((1, 1, 1.5, 2))
            draw.ellipse((x - r, y - r, x + r, y + r), (255, 255, 255, 230))
    elif scene.weather == "foggy":
        for _ in range(5):
            x, y = rng.randrange(-90, 160), rng.randrange(70, 230)
            draw.ellipse((x, y, x + 190, y + 30), (238, 240, 242, 64))


@functools.cache
def _grain() -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
    """Sensor noise, about -16 to 16, of twice the canvas's side: each picture uses another part of it."""
    side = 2 * CANVAS
    raw = np.frombuffer(random.Random("mminstruct grain").randbytes(2 * side * side), dtype=np.uint8)
    halves = raw.reshape(2, side, side).astype(np.int16)
    return np.asarray((halves[0] + halves[1] - 255) // 15, dtype=np.int16)


@functools.cache
def _vignette() -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
    """Vignette: brightness by pixel in units of 1/256, 256 in the centre and 180 in the corners."""
    axis = (np.arange(CANVAS, dtype=np.int32) * 2 - CANVAS + 1) ** 2
    return (256 - 76 * (axis[:, None] + axis[None, :]) // (2 * (CANVAS - 1) ** 2))[..., None]


def _photo(image: Image.Image, rng: random.Random, level: str) -> Image.Image:
    """Apply blur, vignette and noise; on ``hard``, blur and noise vary between half and 1.7 times the usual."""
    blur, noise = (0.7, 8) if level == "easy" else (rng.uniform(0.35, 1.15), rng.randint(4, 14))
    pixels = np.asarray(image.filter(ImageFilter.GaussianBlur(blur))).astype(np.int32)
    x, y = rng.randrange(CANVAS), rng.randrange(CANVAS)
    grain = _grain()[y : y + CANVAS, x : x + CANVAS, None]
    pixels = (pixels * _vignette() >> 8) + (grain * noise >> 3)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8), "RGB")
