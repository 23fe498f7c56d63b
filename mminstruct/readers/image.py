"""The only module that decodes pixels: upright, RGB, sRGB, first frame, limited in size, without metadata.

``normalise`` gives the image that is stored; ``load`` gives pixels to all other code. Both decode in the same steps
under ``Rules``: those of ingest, ``GIVEN`` for images that users supply, ``EVALUATION`` for evaluation images, which
must be recognised even if they are damaged.

How much damage inside an image is found. PNG: all, its chunks have checksums. JPEG: under strict rules warnings of
libjpeg, which Pillow does not report, are errors, and so are runs of zeros that no encoder writes. On two photographs
of 640 x 427, saved at qualities 75 to 95 and damaged at random places, that found all holes of 64 zeros in files with
the usual Huffman tables and 7 to 8 of 10 in others, 9 of 10 holes of 512 bytes, 19 of 20 of 4096, 6 to 9 of 10 cuts of
100 bytes, but only 2 to 3 of 10 single flipped bits: most of these decode to a normal image. GIF, WebP, BMP, TIFF and
AVIF have no checksums: only damage that stops the decoder is found. A digest in the sidecar finds all damage
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
from mminstruct.unit import note

_QUALITY = 95
_COLOURS = 256
"""Drawings with at most this many colours are stored lossless."""
_LARGE = 384
"""Least shorter side, pixels, of a kept JPEG of which an eighth is hashed: 48 grey values on that side. Of 349
photographs with shorter sides of 384 to 682, 286 hashes are those of all pixels, 62 differ by 2 bits, one by 4."""
_FAINT = 8
"""Grey levels from which an eighth decides that an image is not of one colour; below, all of its pixels do."""
_TURNED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> the operation that sets the image upright."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Which images pass, and how large they are stored."""

    formats: tuple[str, ...] = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
    pixels: int = 50_000_000
    """Most pixels of an original; checked in its header, before anything is decoded."""
    longest: int = 1024
    """Longest side of a stored image, pixels; larger images are scaled down, smaller ones are not changed."""
    shortest: int = 28
    """Least shorter side of an original, pixels: the patch size of common VLMs."""
    aspect: float = 10.0
    """Largest ratio of the longer to the shorter side."""
    strict: bool = True
    """Whether an image is dropped if the decoder only warns of it."""
    enough: int = 0
    """If not 0: a JPEG is decoded at 1/2, 1/4 or 1/8 as long as its shorter side keeps this many pixels."""
    whole: bool = True
    """Whether an image is dropped if it ends early or its structure is broken; else its intact part is read."""


GIVEN = Rules(formats=(*Rules().formats, "TIFF", "AVIF"), shortest=1, aspect=math.inf, strict=False)
"""For images that users supply to a model, a benchmark or a training set."""
EVALUATION = Rules(
    formats=(
        *GIVEN.formats, "JPEG2000", "ICO", "PPM", "PSD", "TGA", "PCX", "DDS", "SGI", "SUN", "QOI", "ICNS", "DIB"
    ),
    pixels=178_956_970, shortest=1, aspect=math.inf, strict=False, whole=False,
)  # fmt: skip
"""For evaluation images, which are compared and never stored: all formats that are decoded in this process (EPS and PDF
call another program), up to the size limit of the decoder, and damaged images too."""
_UNMARKED = ("TGA", "PCX", "DDS", "SGI", "SUN", "QOI", "ICNS", "DIB")
"""Formats that ``sniff`` does not know: their decoders recognise them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """An image as it is stored; sizes in pixels."""

    image: bytes
    width: int
    height: int
    original_width: int
    original_height: int
    format: str
    frames: int
    phash: int


def normalise(data: bytes, rules: Rules) -> Picture:
    """The image in *data* as it is stored.

    A JPEG that is already RGB, sRGB, upright and small enough keeps its coded pixels bit for bit; drawings of up to 256
    colours become PNG; all others become JPEG of quality 95.

    Raises:
        BadImage: *rules* refuse it or no decoder reads it. No other exception is raised, except MemoryError.
    """
    seen = decode(data, rules, rules.longest, count=True, eighth=True)
    pixels = seen.pixels
    plane = _tiny(pixels, seen.box)
    if seen.kept is not None and seen.box is not None and float(np.ptp(plane)) < _FAINT:
        pixels = load(seen.kept, rules)
        plane = _tiny(pixels)
    if float(np.ptp(plane)) < 2:
        raise BadImage("img_blank", f"one colour, {pixels.getpixel((0, 0))}")
    lossless = seen.untouched and seen.format in ("PNG", "GIF", "BMP")
    width, height = pixels.size if seen.kept is None else (seen.width, seen.height)
    return Picture(
        image=encode(pixels, lossless) if seen.kept is None else seen.kept,
        width=width, height=height, original_width=seen.width, original_height=seen.height,
        format=seen.format, frames=seen.frames, phash=_phash(plane),
    )  # fmt: skip


def load(data: bytes, rules: Rules = GIVEN, longest: int | None = None) -> Image.Image:
    """The pixels of *data*: RGB, upright, sRGB, transparency over white; with *longest*, scaled down to that side.

    Raises:
        BadImage: *rules* refuse it or no decoder reads it. No other exception is raised, except MemoryError.
    """
    return decode(data, rules, longest).pixels


def phashes(rgb: Image.Image) -> tuple[int, int] | None:
    """The perceptual hash as in ``normalise`` of these pixels, and of their mirror image; None for one colour."""
    plane = _tiny(rgb)
    return (_phash(plane), _phash(plane[:, ::-1])) if float(np.ptp(plane)) >= 2 else None


@dataclass(frozen=True, slots=True)
class Decoded:
    """Pixels, and facts about the file that they come from."""

    pixels: Image.Image
    """RGB, or grey values of an eighth of the width and height."""
    format: str
    frames: int
    width: int
    height: int
    untouched: bool
    """Whether the pixels were neither rotated nor scaled."""
    kept: bytes | None
    """The JPEG itself, without metadata, if its pixels need no change."""
    box: tuple[float, float, float, float] | None = None
    """The part of an eighth that the image covers, whose last row and column may be partial; None for RGB."""


@contextlib.contextmanager
def _faults() -> Iterator[None]:
    """Turn every error of a decoder into a ``BadImage``."""
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


def decode(data: bytes, rules: Rules, longest: int | None, count: bool = False, eighth: bool = False) -> Decoded:
    """The pixels of *data*, with *longest* scaled down to that longest side.

    Args:
        data: the file.
        rules: which images pass.
        longest: longest side, pixels; None for the original size.
        count: whether frames are counted.
        eighth: whether grey values of an eighth of the width and height will do for a large JPEG that is ``kept``.
            libjpeg reads all coded data at every scale, so it finds the same damage.

    Raises:
        BadImage: as ``load``.
    """
    with _faults():
        return _decode(data, rules, longest, count, eighth)


def _decode(data: bytes, rules: Rules, longest: int | None, count: bool, eighth: bool) -> Decoded:
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
        return _upright(opened, data, bare, known or str(opened.format), rules, longest, count, eighth)


def _upright(
    opened: Image.Image, data: bytes, bare: bytes, format: str, rules: Rules, longest: int | None, count: bool,
    eighth: bool,
) -> Decoded:  # fmt: skip
    width, height = opened.size
    _check_size(width, height, rules)
    frames = int(getattr(opened, "n_frames", 1)) if count else 1
    scale = min(1.0, (longest or math.inf) / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if format == "JPEG":
        orientation = _orientation(opened)
        transform = conversion(profile_of(opened, data, format), opened.mode)
        kept = bare if scale == 1 and orientation == 1 and opened.mode == "RGB" and transform is None else None
        if eighth and kept is not None and min(size) >= _LARGE and rules.whole:
            box = (0.0, 0.0, width / 8, height / 8)
            grey = _decode_jpeg(opened, bare, (math.ceil(box[2]), math.ceil(box[3])), rules, "GRAY")
            return Decoded(grey, format, frames, width, height, untouched=True, kept=kept, box=box)
        decoded = _decode_jpeg(opened, bare, size if scale <= 0.5 else _fraction(width, height, rules.enough), rules)
    else:
        kept = None
        decoded = _load(opened, rules)
        orientation = _orientation(opened)  # after the pixels: the decoder rotates TIFFs, and a PNG may state it last
        transform = conversion(profile_of(opened, data, format), decoded.mode)
    rgb = flatten(decoded, transform)
    if scale < 1:
        rgb = rgb.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)
    if orientation != 1:
        rgb = rgb.transpose(_TURNED[orientation])
    untouched = scale == 1 and orientation == 1 and decoded.size == (width, height)
    return Decoded(rgb, format, frames, width, height, untouched=untouched, kept=kept if untouched else None)


def _fraction(width: int, height: int, enough: int) -> tuple[int, int]:
    """The smallest size of 1/2, 1/4 or 1/8 whose shorter side has at least *enough* pixels; (0, 0): the full size."""
    parts = [part for part in (8, 4, 2) if enough and min(width, height) >= part * enough]
    return (-(-width // parts[0]), -(-height // parts[0])) if parts else (0, 0)


def _check_size(width: int, height: int, rules: Rules) -> None:
    if width * height > rules.pixels:
        raise BadImage("img_too_large", f"{width} x {height} pixels; at most {rules.pixels} in all")
    if min(width, height) < rules.shortest:
        raise BadImage("img_too_small", f"{width} x {height} pixels; each side at least {rules.shortest}")
    if max(width, height) > rules.aspect * min(width, height):
        raise BadImage("img_aspect", f"{width} x {height} pixels; sides at most {rules.aspect:g} to 1")


def _orientation(opened: Image.Image) -> int:
    """1 to 8; 1 if there is none or it is invalid."""
    try:
        value = opened.getexif().get(ExifTags.Base.Orientation, 1)
    except MemoryError:
        raise
    except Exception:  # broken EXIF is no reason to drop an image
        note("exif_bad")
        return 1
    return value if value in _TURNED else 1


def _decode_jpeg(
    opened: Image.Image, bare: bytes, least: tuple[int, int], rules: Rules, space: str | None = None
) -> Image.Image:
    """Pixels of at least the size *least*, decoded directly at a fraction of the full size if that is enough."""
    if rules.strict and (hole := zeroed(bare)) >= 0:
        raise BadImage("img_corrupt", f"zeros in its coded pixels, from byte {hole} without its metadata")
    space = space or {"RGB": "RGB", "L": "GRAY"}.get(opened.mode)
    try:
        if space is not None:
            pixels = simplejpeg.decode_jpeg(bare, space, min_width=least[0], min_height=least[1], strict=rules.strict)
            return Image.fromarray(pixels if space == "RGB" else pixels[:, :, 0])
        simplejpeg.decode_jpeg(bare, "CMYK", min_width=1, min_height=1, strict=rules.strict)  # for its warnings
    except ValueError as error:
        if rules.whole:
            raise BadImage("img_corrupt", str(error)) from error
    opened.draft(opened.mode, least if least[0] else opened.size)  # Pillow knows whether CMYK is stored inverted
    return _load(opened, rules)


def _load(opened: Image.Image, rules: Rules) -> Image.Image:
    """*opened* with its pixels; if the rules accept damage, with those before the damage."""
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


def _tiny(pixels: Image.Image, box: tuple[float, float, float, float] | None = None) -> np.ndarray:
    """Grey values, 32 x 32; of RGB with one grey value, the colour channel that varies most."""
    grey = pixels.convert("L").resize((32, 32), Image.Resampling.LANCZOS, box, reducing_gap=2.0)
    if pixels.mode == "L" or np.ptp(np.asarray(grey)) >= 2:
        return np.asarray(grey, np.float32)
    bands = np.asarray(pixels.resize((32, 32), Image.Resampling.LANCZOS, reducing_gap=2.0), np.float32)
    widest: np.ndarray = bands[:, :, int(np.ptp(bands, axis=(0, 1)).argmax())]
    return widest


def _phash(grey: np.ndarray) -> int:
    """64 bits: which of the 8 x 8 lowest DCT coefficients lie above their median, row by row, first bit highest.

    Images with a Hamming distance of about 6 or less are near-duplicates; the bits are those of ``imagehash.phash``,
    except for rounding.
    """
    cosines = _cosines()
    low = cosines @ grey @ cosines.T
    middle = np.sort(low, axis=None)[31:33]  # np.median takes ten times as long for so few values
    return int.from_bytes(np.packbits(low > (middle[0] + middle[1]) / 2).tobytes(), "big")


@functools.cache
def _cosines() -> np.ndarray:
    """The first 8 rows of the DCT-II matrix of 32 points."""
    rows, points = np.arange(8)[:, None], np.arange(32)[None, :]
    return np.cos(np.pi * rows * (2 * points + 1) / 64).astype(np.float32)
