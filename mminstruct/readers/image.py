"""One image made safe and uniform: upright, RGB, sRGB, first frame, capped in size, free of metadata.

What is found of damage inside an image. PNG: all of it, its chunks carry checksums. JPEG: warnings of libjpeg, which
Pillow does not pass on, are errors here, and so are runs of zeros that no encoder writes. On two photographs of
640 x 427, saved at qualities 75 to 95 and damaged at random places, that found all holes of 64 zeros coded by the usual
tables and 7 to 8 of 10 coded otherwise, 9 of 10 of 512 bytes, 19 of 20 of 4096, 6 to 9 of 10 cuts of 100 bytes, but
single flipped bits only 2 to 3 times of 10: most of those decode to a picture like any other. GIF, WebP, BMP, TIFF and
AVIF carry no marks: damage shows where the decoder stumbles. A digest in the sidecar finds everything
(``Ingest.checksum``).
"""

from __future__ import annotations

import functools
import io
from dataclasses import dataclass

import numpy as np
import simplejpeg  # type: ignore[import-untyped]
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError

from mminstruct.readers.container import BadImage, check, sniff, zeroed
from mminstruct.stage import note

_QUALITY = 95
_COLOURS = 256
"""Drawings with no more colours stay lossless."""
_GREYS = ("I;16", "I;16B", "I;16L", "I;16N", "I", "F")
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

    A JPEG that is already RGB, upright and small enough keeps its coded pixels bit for bit; drawings of up to 256
    colours become PNG; all else becomes a JPEG of quality 95.

    Raises:
        BadImage: for any reason not to keep it; never another exception but MemoryError.
    """
    try:
        return _normalise(data, rules)
    except (BadImage, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise BadImage("img_too_large", str(error)) from error
    except Exception as error:  # decoders raise anything: SyntaxError, struct.error, KeyError, RecursionError ...
        said = f"{type(error).__name__}: {error}"
        if "truncated" in said.lower() or isinstance(error, EOFError):
            raise BadImage("img_truncated", said) from error
        raise BadImage("img_meta_bomb" if "MAX_TEXT" in said else "img_corrupt", said) from error


def _normalise(data: bytes, rules: Rules) -> Picture:
    if not data:
        raise BadImage("img_empty", "0 bytes")
    format = sniff(data)
    if format is None:
        raise BadImage("img_not_image", f"begins with {data[:16]!r}")
    if format not in rules.formats:
        raise BadImage("img_format", f"{format}; allowed are {', '.join(rules.formats)}")
    bare = check(data, format)
    try:
        opened = Image.open(io.BytesIO(data), formats=[format])
    except UnidentifiedImageError as error:
        raise BadImage("img_corrupt", f"no decoder makes sense of this {format}") from error
    with opened:
        return _convert(opened, bare, format, rules)


def _convert(opened: Image.Image, bare: bytes, format: str, rules: Rules) -> Picture:
    width, height = opened.size
    _check_size(width, height, rules)
    frames = int(getattr(opened, "n_frames", 1))
    orientation = _orientation(opened)
    profile = _profile(opened)
    scale = min(1.0, rules.longest / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if format == "JPEG":
        decoded = _decode_jpeg(opened, bare, size if scale <= 0.5 else (0, 0), rules.strict)
    else:
        opened.load()
        decoded = opened
    plain = scale == 1 and orientation == 1
    kept = format == "JPEG" and plain and decoded.mode == "RGB" and profile is None
    rgb = flatten(decoded, profile)
    if rgb.size != size:
        rgb = rgb.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)
    if orientation != 1:
        rgb = rgb.transpose(_TURNED[orientation])
    grey = _tiny(rgb)
    if float(np.ptp(grey)) < 2:
        raise BadImage("img_blank", f"one colour, {rgb.getpixel((0, 0))}")
    return Picture(
        image=bare if kept else _encode(rgb, lossless=plain and format in ("PNG", "GIF", "BMP")),
        width=rgb.width, height=rgb.height, original_width=width, original_height=height,
        format=format, frames=frames, phash=_phash(grey),
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
    except Exception:  # broken EXIF is no reason to lose an image
        note("exif_bad")
        return 1
    return value if value in _TURNED else 1


def _decode_jpeg(opened: Image.Image, bare: bytes, least: tuple[int, int], strict: bool) -> Image.Image:
    """Pixels of at least the size *least*, decoded straight to a fraction of its size where that is enough."""
    if strict and (hole := zeroed(bare)) >= 0:
        raise BadImage("img_corrupt", f"zeros in its coded pixels, from byte {hole} without its metadata")
    space = {"RGB": "RGB", "L": "GRAY"}.get(opened.mode, "CMYK")
    try:
        pixels = simplejpeg.decode_jpeg(bare, space, min_width=least[0], min_height=least[1], strict=strict)
    except ValueError as error:
        raise BadImage("img_corrupt", str(error)) from error
    if space == "CMYK":  # Pillow knows which of them are stored inverted
        opened.draft("CMYK", least if least[0] else opened.size)
        opened.load()
        return opened
    return Image.fromarray(pixels if space == "RGB" else pixels[:, :, 0])


def flatten(image: Image.Image, profile: bytes | None = None) -> Image.Image:
    """*image* as 8-bit sRGB: deep greys scaled, colours managed by ICC *profile*, transparency over white."""
    if image.mode in _GREYS:
        image = _eight_bit(image)
    alpha = None
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        alpha, image = rgba.getchannel("A"), rgba.convert("RGB")
    elif image.mode not in ("RGB", "L", "CMYK", "LAB"):
        image = image.convert("RGB")
    if profile is not None or image.mode == "LAB":
        image = _managed(image, profile)
    rgb = image if image.mode == "RGB" else image.convert("RGB")
    return rgb if alpha is None else Image.composite(rgb, Image.new("RGB", rgb.size, "white"), alpha)


def _eight_bit(image: Image.Image) -> Image.Image:
    """16-bit, 32-bit and floating greys as 8-bit greys, by the range that their values can be in."""
    values = np.nan_to_num(np.asarray(image).astype(np.float32))
    low, high = float(values.min()), float(values.max())
    if image.mode.startswith("I;16"):
        low, high = 0.0, 65535.0
    elif low >= 0:
        ranges = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0)
        low, high = 0.0, next((top for top in ranges if high <= top), high)
    return Image.fromarray(np.rint((values - low) * (255 / max(high - low, 1e-9))).astype(np.uint8))


def _profile(opened: Image.Image) -> bytes | None:
    """The ICC profile, where it says anything but sRGB."""
    profile = opened.info.get("icc_profile")
    if not profile or not isinstance(profile, bytes) or b"sRGB" in profile or "sRGB".encode("utf-16-be") in profile:
        return None
    return profile


def _managed(image: Image.Image, profile: bytes | None) -> Image.Image:
    try:
        return ImageCms.applyTransform(image, _transform(profile, image.mode)) or image
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        note("icc_bad")
        return image


@functools.lru_cache(maxsize=32)
def _transform(profile: bytes | None, mode: str) -> ImageCms.ImageCmsTransform:
    source = ImageCms.createProfile("LAB") if profile is None else ImageCms.ImageCmsProfile(io.BytesIO(profile))
    return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")


def _encode(rgb: Image.Image, lossless: bool) -> bytes:
    buffer = io.BytesIO()
    if lossless and rgb.getcolors(_COLOURS) is not None:
        rgb.save(buffer, "PNG")
    else:
        rgb.save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()


def _tiny(rgb: Image.Image) -> np.ndarray:
    """Grey values, 32 x 32."""
    grey = rgb.convert("L").resize((32, 32), Image.Resampling.LANCZOS, reducing_gap=2.0)
    return np.asarray(grey, np.float32)


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
