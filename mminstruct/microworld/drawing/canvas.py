"""Drawing tools: ``Pen`` draws things in drawing units, ``Brush`` draws backdrops in canvas pixels.

Each thing is drawn on its own transparent sheet at ``FINE`` times its size and then reduced. The alpha channel of the
sheet is the exact mask of the thing.
"""

from __future__ import annotations

import functools
import random
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

RGB = tuple[int, int, int]
FINE = 2
"""Supersampling factor: sheet pixels per picture pixel, along each axis."""

PALETTE: dict[str, RGB] = {
    "red": (218, 34, 38), "orange": (255, 138, 8), "yellow": (255, 222, 40), "green": (30, 158, 58),
    "blue": (36, 92, 224), "purple": (134, 44, 186), "pink": (255, 128, 192), "brown": (134, 78, 34),
    "white": (250, 250, 250), "black": (36, 36, 40), "grey": (142, 146, 154), "turquoise": (22, 196, 190),
    "beige": (222, 196, 146), "navy": (24, 40, 130),
}  # fmt: skip
"""RGB values of all colours."""
HORIZON = 100
"""Row where the ground begins, in canvas pixels."""

INK: RGB = (34, 28, 34)
WOOD: RGB = (168, 112, 62)
STEEL: RGB = (172, 180, 190)
GLASS: RGB = (186, 224, 246)
PAPER: RGB = (252, 250, 240)
LEAF: RGB = (52, 140, 56)


@dataclass(frozen=True, slots=True)
class Tint:
    """A colour and its shades, which keep the parts of a drawing distinguishable."""

    main: RGB
    dark: RGB
    light: RGB
    ink: RGB
    """For fine details such as eyes: dark on light things, light on dark ones."""


def blend(first: RGB, second: RGB, share: float) -> RGB:
    """Mix two colours; *share* is the proportion of the second, 0 to 1."""
    a, b = round(256 * (1 - share)), 256 - round(256 * (1 - share))
    return (
        (first[0] * a + second[0] * b) >> 8,
        (first[1] * a + second[1] * b) >> 8,
        (first[2] * a + second[2] * b) >> 8,
    )


@functools.cache
def tint(colour: str) -> Tint:
    """The shades of a colour of the palette."""
    main = PALETTE[colour]
    if colour == "black":
        return Tint(main, (74, 74, 82), (112, 112, 122), (245, 245, 235))
    if colour == "white":
        return Tint(main, (196, 201, 212), (255, 255, 255), INK)
    if colour == "navy":
        return Tint(main, (54, 72, 156), (98, 118, 196), (245, 245, 235))
    return Tint(main, blend(main, (20, 10, 30), 0.32), blend(main, (255, 255, 255), 0.45), INK)


@functools.cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own embedded font, the same on every machine."""
    return ImageFont.load_default(size=size)


class Pen:
    """Draws on one transparent sheet; all lengths are in drawing units."""

    def __init__(self, width: float, height: float, scale: float, style: str) -> None:
        self.scale = scale * FINE
        self.sheet = Image.new("RGBA", (self._px(width) + 1, self._px(height) + 1), (0, 0, 0, 0))
        self._draw = ImageDraw.Draw(self.sheet)
        self._edge = FINE if style == "outlined" else 0

    def _px(self, value: float) -> int:
        return int(value * self.scale + 0.5)

    def _points(self, xy: tuple[float, ...]) -> list[tuple[int, int]]:
        return [(self._px(x), self._px(y)) for x, y in zip(xy[::2], xy[1::2], strict=True)]

    def oval(self, x0: float, y0: float, x1: float, y1: float, fill: RGB) -> None:
        box = (self._px(x0), self._px(y0), max(self._px(x1), self._px(x0)), max(self._px(y1), self._px(y0)))
        self._draw.ellipse(box, fill, INK if self._edge else None, self._edge)

    def disc(self, x: float, y: float, radius: float, fill: RGB) -> None:
        self.oval(x - radius, y - radius, x + radius, y + radius, fill)

    def dot(self, x: float, y: float, radius: float, fill: RGB) -> None:
        """A disc without an outline, for eyes and other details; its radius is at least one sheet pixel."""
        r = max(self._px(radius), 1)
        cx, cy = self._px(x), self._px(y)
        self._draw.ellipse((cx - r, cy - r, cx + r, cy + r), fill)

    def rect(self, x0: float, y0: float, x1: float, y1: float, fill: RGB, radius: float = 0) -> None:
        box = (self._px(x0), self._px(y0), max(self._px(x1), self._px(x0)), max(self._px(y1), self._px(y0)))
        edge = INK if self._edge else None
        if radius:
            self._draw.rounded_rectangle(box, self._px(radius), fill, edge, self._edge)
        else:
            self._draw.rectangle(box, fill, edge, self._edge)

    def poly(self, fill: RGB, *xy: float) -> None:
        points = self._points(xy)
        self._draw.polygon(points, fill)
        if self._edge:
            self._draw.line([*points, points[0], points[1]], INK, self._edge, joint="curve")

    def limb(self, fill: RGB, width: float, *xy: float) -> None:
        """A thick line with round ends."""
        if self._edge:
            self._stroke(INK, self._px(width) + 2 * self._edge, self._points(xy))
        self._stroke(fill, max(self._px(width), FINE), self._points(xy))

    def line(self, fill: RGB, width: float, *xy: float) -> None:
        """A line without an outline, for details; never thinner than a pixel of the picture."""
        self._stroke(fill, max(self._px(width), FINE), self._points(xy))

    def _stroke(self, fill: RGB, width: int, points: list[tuple[int, int]]) -> None:
        self._draw.line(points, fill, width, joint="curve")
        if width > 3:
            r = (width - 1) // 2
            for x, y in (points[0], points[-1]):
                self._draw.ellipse((x - r, y - r, x + r, y + r), fill)

    def arc(
        self, x0: float, y0: float, x1: float, y1: float, start: float, end: float, fill: RGB, width: float
    ) -> None:
        """Part of an ellipse's edge; angles in degrees, clockwise from three o'clock."""
        box = (self._px(x0), self._px(y0), self._px(x1), self._px(y1))
        self._draw.arc(box, start, end, fill, max(self._px(width), FINE))

    def pie(self, x0: float, y0: float, x1: float, y1: float, start: float, end: float, fill: RGB) -> None:
        box = (self._px(x0), self._px(y0), self._px(x1), self._px(y1))
        self._draw.pieslice(box, start, end, fill, INK if self._edge else None, self._edge)

    def word(self, x: float, y: float, text: str, width: float, height: float, fill: RGB) -> None:
        """Bold letters centred on a point, as large as the given width and height allow."""
        size = max(6, self._px(height))
        while size > 6 and font(size).getlength(text) * 1.08 > self._px(width):
            size -= 1
        at = (self._px(x), self._px(y))
        self._draw.text(at, text, fill, font(size), anchor="mm", stroke_width=max(1, size // 22), stroke_fill=fill)

    def zzz(self, x: float, y: float, fill: RGB = (40, 60, 160)) -> None:
        """Two Zs, the symbol of sleep, rising to the right."""
        for step, size in enumerate((9, 13)):
            a, b = x + step * 13, y - step * 17
            for colour, width in (((255, 255, 255), 7), (fill, 3.5)):
                self.line(colour, width, a, b, a + size, b, a, b + size, a + size, b + size)


class Brush:
    """Draws on a backdrop in canvas pixels, tinted by the light."""

    def __init__(self, image: Image.Image, light: RGB = (0, 0, 0), share: float = 0.0) -> None:
        """Every colour is mixed with *share* of *light*, 0 to 1."""
        self._draw = ImageDraw.Draw(image)
        self._light, self._share = light, share

    def _lit(self, fill: RGB) -> RGB:
        return blend(fill, self._light, self._share) if self._share else fill

    def rect(self, x0: float, y0: float, x1: float, y1: float, fill: RGB, edge: RGB | None = None) -> None:
        box = tuple(int(v * FINE) for v in (x0, y0, x1, y1))
        self._draw.rectangle(box, self._lit(fill), self._lit(edge) if edge else None, FINE)

    def oval(self, x0: float, y0: float, x1: float, y1: float, fill: RGB) -> None:
        self._draw.ellipse(tuple(int(v * FINE) for v in (x0, y0, x1, y1)), self._lit(fill))

    def poly(self, fill: RGB, *xy: float) -> None:
        self._draw.polygon([int(v * FINE) for v in xy], self._lit(fill))

    def line(self, fill: RGB, width: float, *xy: float) -> None:
        self._draw.line([int(v * FINE) for v in xy], self._lit(fill), max(1, int(width * FINE)))

    def text(self, x: float, y: float, text: str, size: int, fill: RGB) -> None:
        self._draw.text((int(x * FINE), int(y * FINE)), text, self._lit(fill), font(size * FINE))


def specks(b: Brush, rng: random.Random, fill: RGB, number: int, top: float = HORIZON + 6) -> None:
    """Draw specks of sand, leaves or dust on the ground."""
    for _ in range(number):
        x, y = rng.randrange(256), rng.randrange(int(top), 256)
        b.oval(x, y, x + 2, y + 1.4, fill)
