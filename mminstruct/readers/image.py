"""The one place where pixels are decoded: upright, RGB, sRGB, first frame, capped in size, free of metadata.

``normalise`` makes what is kept of an image; ``load`` gives the pixels alone, for all other code. Both
decode by the same steps under ``Rules``: ingest's own, ``GIVEN`` for pictures that users bring, ``EVALUATION`` for
those that must be recognised whatever happened to them.

What is found of damage inside an image. PNG: all of it, its chunks carry checksums. JPEG: warnings of libjpeg, which
Pillow does not pass on, are errors under strict rules, and so are runs of zeros that no encoder writes. On two
photographs of 640 x 427, saved at qualities 75 to 95 and damaged at random places, that found all holes of 64 zeros
coded by the usual tables and 7 to 8 of 10 coded otherwise, 9 of 10 of 512 bytes, 19 of 20 of 4096, 6 to 9 of 10 cuts of
100 bytes, but single flipped bits only 2 to 3 times of 10: most of those decode to a picture like any other. GIF, WebP,
BMP, TIFF and AVIF carry no marks: damage shows where the decoder stumbles. A digest in the sidecar finds everything
(``Ingest.checksum``).
"""

from __future__ import annotations

import contextlib
import functools
import io
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import simplejpeg  # type: ignore[import-untyped]
from PIL import ExifTags, Image, UnidentifiedImageError

from mminstruct.readers.colour import conversion, flatten, profile_of
from mminstruct.readers.container import BadImage, check, sniff, zeroed
from mminstruct.stage import note

_QUALITY = 95
_COLOURS = 256
"""Drawings with no more colours stay lossless."""
_TURNED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation to what sets it upright."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What passes, and how large it is kept."""

    formats: tuple[str, ...] = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
    pixels: int = 50_000_000
    """Most pixels of an original; checked in its header, before anything is decoded."""
    longest: int = 1024
    """Longest side as kept, pixels; larger ones are scaled down, smaller ones left."""
    shortest: int = 28
    """Least side of an original, pixels: what the smallest patch of common VLMs needs."""
    aspect: float = 10.0
    """Most of longer to shorter side."""
    strict: bool = True
    """Whether an image that a decoder merely warns of is dropped."""
    whole: bool = True
    """Whether an image that ends early, or whose structure is broken, is dropped; else what is there of it is read."""


GIVEN = Rules(formats=(*Rules().formats, "TIFF", "AVIF"), shortest=1, aspect=math.inf, strict=False)
"""For pictures that users bring to a model, a benchmark or a training set."""
EVALUATION = Rules(
    formats=(
        *GIVEN.formats, "JPEG2000", "ICO", "PPM", "PSD", "TGA", "PCX", "DDS", "SGI", "SUN", "QOI", "ICNS", "DIB"
    ),
    pixels=178_956_970, shortest=1, aspect=math.inf, strict=False, whole=False,
)  # fmt: skip
"""For evaluation images, which are compared and never kept: all formats that are decoded in this process (EPS and PDF
call another program), up to the size where the decoder itself stops, and damaged ones too."""
_UNMARKED = ("TGA", "PCX", "DDS", "SGI", "SUN", "QOI", "ICNS", "DIB")
"""Formats that ``sniff`` does not know: the decoders themselves recognise them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """An image as kept; sizes in pixels."""

    image: bytes
    width: int
    height: int
    original_width: int
    original_height: int
    format: str
    frames: int
    phash: int


def normalise(data: bytes, rules: Rules) -> Picture:
    """The picture in *data*.

    A JPEG that is already RGB, sRGB, upright and small enough keeps its coded pixels bit for bit; drawings of up to 256
    colours become PNG; all else becomes a JPEG of quality 95.

    Raises:
        BadImage: for any reason not to keep it; never another exception but MemoryError.
    """
    seen = decode(data, rules, rules.longest, count=True)
    plane = _tiny(seen.rgb)
    if float(np.ptp(plane)) < 2:
        raise BadImage("img_blank", f"one colour, {seen.rgb.getpixel((0, 0))}")
    lossless = seen.untouched and seen.format in ("PNG", "GIF", "BMP")
    return Picture(
        image=encode(seen.rgb, lossless) if seen.kept is None else seen.kept,
        width=seen.rgb.width, height=seen.rgb.height, original_width=seen.width, original_height=seen.height,
        format=seen.format, frames=seen.frames, phash=_phash(plane),
    )  # fmt: skip


def load(data: bytes, rules: Rules = GIVEN, longest: int | None = None) -> Image.Image:
    """The pixels of *data*: RGB, upright, sRGB, transparency over white; with *longest*, scaled down to that side.

    Raises:
        BadImage: where *rules* refuse it or no decoder reads it; never another exception but MemoryError.
    """
    return decode(data, rules, longest).rgb


def phashes(rgb: Image.Image) -> tuple[int, int] | None:
    """The perceptual hash that ``normalise`` gives of these pixels, and of their mirror image; None for one colour."""
    plane = _tiny(rgb)
    return (_phash(plane), _phash(plane[:, ::-1])) if float(np.ptp(plane)) >= 2 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """Pixels, and what is known of the file that they come from."""

    rgb: Image.Image
    format: str
    frames: int
    width: int
    height: int
    untouched: bool
    """Whether the pixels were neither turned nor scaled."""
    kept: bytes | None
    """The JPEG itself, without metadata, where its pixels are what they should be."""


@contextlib.contextmanager
def _faults() -> Iterator[None]:
    """Whatever goes wrong is a ``BadImage``."""
    try:
        yield
    except (BadImage, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise BadImage("img_too_large", str(error)) from error
    except Exception as error:  # decoders raise anything: SyntaxError, struct.error, KeyError, RecursionError ...
        said = re.sub(r"0x[0-9a-f]{6,}", "0x", f"{type(error).__name__}: {error}")  # no addresses of objects
        if "truncated" in said.lower() or isinstance(error, EOFError):
            raise BadImage("img_truncated", said) from error
        raise BadImage("img_meta_bomb" if "MAX_TEXT" in said else "img_corrupt", said) from error


def decode(data: bytes, rules: Rules, longest: int | None, count: bool = False) -> Decoded:
    """The pixels of *data*, scaled down to *longest* pixels a side, if any; with *count*, frames are counted, too.

    Raises:
        BadImage: for any reason; never another exception but MemoryError.
    """
    with _faults():
        return _decode(data, rules, longest, count)


def _decode(data: bytes, rules: Rules, longest: int | None, count: bool) -> Decoded:
    if not data:
        raise BadImage("img_empty", "0 bytes")
    known = sniff(data)
    unmarked = [format for format in _UNMARKED if format in rules.formats]
    if known is None and not unmarked:
        raise BadImage("img_not_image", f"begins with {data[:16]!r}")
    if known is not None and known not in rules.formats:
        raise BadImage("img_format", f"{known}; allowed are {', '.join(rules.formats)}")
    bare = data
    try:
        bare = check(data, known or "")
    except BadImage as fault:
        if rules.whole or fault.reason == "img_slow":
            raise
        if known == "JPEG":
            note("image_damaged")
    try:
        opened = Image.open(io.BytesIO(data), formats=[known] if known else unmarked)
    except UnidentifiedImageError as error:
        if known is None:
            raise BadImage("img_not_image", f"begins with {data[:16]!r}") from error
        raise BadImage("img_corrupt", f"no decoder makes sense of this {known}") from error
    with opened:
        return _upright(opened, data, bare, known or str(opened.format), rules, longest, count)


def _upright(
    opened: Image.Image, data: bytes, bare: bytes, format: str, rules: Rules, longest: int | None, count: bool
) -> Decoded:
    width, height = opened.size
    _check_size(width, height, rules)
    frames = int(getattr(opened, "n_frames", 1)) if count else 1
    scale = min(1.0, (longest or math.inf) / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if format == "JPEG":
        decoded = _decode_jpeg(opened, bare, size if scale <= 0.5 else (0, 0), rules)
    else:
        decoded = _load(opened, rules)
    orientation = _orientation(opened)  # after the pixels: TIFFs are turned by their decoder, in a PNG it may come last
    transform = conversion(profile_of(opened, data, format), decoded.mode)
    untouched = scale == 1 and orientation == 1
    kept = bare if format == "JPEG" and untouched and decoded.mode == "RGB" and transform is None else None
    rgb = flatten(decoded, transform)
    if scale < 1:
        rgb = rgb.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)
    if orientation != 1:
        rgb = rgb.transpose(_TURNED[orientation])
    return Decoded(
        rgb=rgb, format=format, frames=frames, width=width, height=height, untouched=untouched, kept=kept
    )  # fmt: skip


def _check_size(width: int, height: int, rules: Rules) -> None:
    if width * height > rules.pixels:
        raise BadImage("img_too_large", f"{width} x {height} pixels; at most {rules.pixels} in all")
    if min(width, height) < rules.shortest:
        raise BadImage("img_too_small", f"{width} x {height} pixels; each side at least {rules.shortest}")
    if max(width, height) > rules.aspect * min(width, height):
        raise BadImage("img_aspect", f"{width} x {height} pixels; sides at most {rules.aspect:g} to 1")


def _orientation(opened: Image.Image) -> int:
    """1 to 8; 1 where there is none, or none that makes sense."""
    try:
        value = opened.getexif().get(ExifTags.Base.Orientation, 1)
    except MemoryError:
        raise
    except Exception:  # broken EXIF is no reason to lose an image
        note("exif_bad")
        return 1
    return value if value in _TURNED else 1


def _decode_jpeg(opened: Image.Image, bare: bytes, least: tuple[int, int], rules: Rules) -> Image.Image:
    """Pixels of at least the size *least*, decoded straight to a fraction of its size where that is enough."""
    if rules.strict and (hole := zeroed(bare)) >= 0:
        raise BadImage("img_corrupt", f"zeros in its coded pixels, from byte {hole} without its metadata")
    space = {"RGB": "RGB", "L": "GRAY"}.get(opened.mode)
    try:
        if space is not None:
            pixels = simplejpeg.decode_jpeg(bare, space, min_width=least[0], min_height=least[1], strict=rules.strict)
            return Image.fromarray(pixels if space == "RGB" else pixels[:, :, 0])
        simplejpeg.decode_jpeg(bare, "CMYK", min_width=1, min_height=1, strict=rules.strict)  # for its warnings
    except ValueError as error:
        if rules.whole:
            raise BadImage("img_corrupt", str(error)) from error
    opened.draft(opened.mode, least if least[0] else opened.size)  # Pillow knows which CMYK is stored inverted
    return _load(opened, rules)


def _load(opened: Image.Image, rules: Rules) -> Image.Image:
    """*opened* with its pixels; where the rules let damage pass, with those that were there before it ended."""
    try:
        opened.load()
    except OSError:
        if rules.whole or opened._im is None:
            raise
        note("image_damaged")
        opened.tile = []  # type: ignore[attr-defined]  # nothing more to decode
    return opened


def encode(rgb: Image.Image, lossless: bool) -> bytes:
    buffer = io.BytesIO()
    if lossless and rgb.getcolors(_COLOURS) is not None:
        rgb.save(buffer, "PNG")
    else:
        rgb.save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()


def _tiny(rgb: Image.Image) -> np.ndarray:
    """Grey values, 32 x 32; of colours that are equally grey, those of the band that varies most."""
    grey = rgb.convert("L").resize((32, 32), Image.Resampling.LANCZOS, reducing_gap=2.0)
    if np.ptp(np.asarray(grey)) >= 2:
        return np.asarray(grey, np.float32)
    bands = np.asarray(rgb.resize((32, 32), Image.Resampling.LANCZOS, reducing_gap=2.0), np.float32)
    widest: np.ndarray = bands[:, :, int(np.ptp(bands, axis=(0, 1)).argmax())]
    return widest


def _phash(grey: np.ndarray) -> int:
    """64 bits: which of the 8 x 8 lowest DCT coefficients lie above their median, row by row, first bit highest.

    Two pictures are near-duplicates at a Hamming distance of about 6 and less; the bits are those of
    ``imagehash.phash`` but for rounding.
    """
    cosines = _cosines()
    low = cosines @ grey @ cosines.T
    return int.from_bytes(np.packbits(low > np.median(low)).tobytes(), "big")


@functools.cache
def _cosines() -> np.ndarray:
    """The first 8 rows of the DCT-II matrix of 32 points."""
    rows, points = np.arange(8)[:, None], np.arange(32)[None, :]
    return np.cos(np.pi * rows * (2 * points + 1) / 64).astype(np.float32)
