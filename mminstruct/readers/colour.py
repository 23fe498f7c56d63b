"""Conversion to 8-bit sRGB from ICC profiles, PNG's chunks, code points, deep greys and transparency.

A profile counts as sRGB if it does not change a cube of colours, whatever its name is. A PNG's chunks and code points
are turned into a profile too, so that there is one conversion.

Sources: ICC.1:2022 (profiles), W3C PNG 3rd edition section 4.3 (precedence of chunks), ITU-T H.273 (code points).
"""

from __future__ import annotations

import functools
import io
import math
import struct

import numpy as np
from PIL import Image, ImageCms

from mminstruct.readers.container import BadImage, code_points
from mminstruct.unit import note

_GREYS = ("I;16", "I;16B", "I;16L", "I;16N", "I", "F")
_SAME = 3
"""Most levels of 255 by which a profile may change a colour and count as sRGB; versions of sRGB differ by up to 2."""
_PROFILE_BYTES = 4 << 20
"""Largest profile; printers' profiles have up to 3 MB."""
_MODES = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK", b"Lab ": "LAB"}
"""Colour space in a profile's header to Pillow's mode."""
_GAMMA = 1 / 2.2
_PRIMARIES = {
    1: (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06),  # BT.709, sRGB
    5: (0.3127, 0.329, 0.64, 0.33, 0.29, 0.6, 0.15, 0.06),  # PAL
    6: (0.3127, 0.329, 0.63, 0.34, 0.31, 0.595, 0.155, 0.07),  # NTSC
    7: (0.3127, 0.329, 0.63, 0.34, 0.31, 0.595, 0.155, 0.07),
    9: (0.3127, 0.329, 0.708, 0.292, 0.17, 0.797, 0.131, 0.046),  # BT.2020
    12: (0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06),  # Display P3
}
"""H.273 table 2: x and y of white, red, green, blue."""
_TRANSFERS: dict[int, float | None] = {1: None, 4: 1 / 2.2, 5: 1 / 2.8, 6: None, 8: 1.0, 13: None, 14: None, 15: None}
"""H.273 table 3: exponent of the encoding; None for sRGB's curve, which browsers use for cameras' curves too."""
_UNSAID = 2

Chromaticities = tuple[float, ...]


def profile_of(opened: Image.Image, data: bytes, format: str) -> bytes | None:
    """An ICC profile of the file's colours; None if it states none, or sRGB without a profile.

    Raises:
        BadImage: ``img_colour``: 8-bit sRGB cannot show its colours without tone mapping (PQ, HLG), or its code points
            are unknown.
    """
    profile = opened.info.get("icc_profile")
    profile = profile if isinstance(profile, bytes) and profile else None
    codes = code_points(data, format)
    if codes is not None and (format == "PNG" or profile is None):
        return _coded(*codes)
    if profile is None and format == "PNG" and "srgb" not in opened.info:
        return _from_chunks(opened)
    return profile


def conversion(profile: bytes | None, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The transform of pixels of *mode* from *profile* to sRGB; None if they are sRGB already or the profile is broken.

    Broken profiles are noted as ``icc_bad``.
    """
    if profile is None and mode != "LAB":
        return None
    try:
        space, transform = _transform(profile)
        if not _fits(space, mode):
            raise ValueError(f"a profile of {space} in a picture of {mode}")
        return transform
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, KeyError):
        note("icc_bad")
        return None


def _fits(space: str, mode: str) -> bool:
    """Whether pixels of *mode* can be converted to the colour *space* of a profile without a guess."""
    if space == "RGB":
        return mode not in ("CMYK", "LAB")
    return mode in ("L", "1", "LA", "La", *_GREYS) if space == "L" else mode == space


def flatten(image: Image.Image, transform: ImageCms.ImageCmsTransform | None = None) -> Image.Image:
    """*image* as 8-bit sRGB: deep greys scaled, *transform* applied, transparent pixels blended over white."""
    alpha = None
    if image.mode in _GREYS:
        clear = image.info.get("transparency")
        if isinstance(clear, int):  # one value of 16 bits that is transparent
            alpha = Image.fromarray(np.where(np.asarray(image) == clear, 0, 255).astype(np.uint8))
        image = _eight_bit(image)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        alpha, image = rgba.getchannel("A"), rgba.convert("RGB")
    elif image.mode not in ("RGB", "L", "CMYK", "LAB"):
        image = image.convert("RGB")
    if transform is not None:
        if image.mode != transform.input_mode:
            image = image.convert(transform.input_mode)
        image = ImageCms.applyTransform(image, transform) or image
    rgb = image if image.mode == "RGB" else image.convert("RGB")
    return rgb if alpha is None else Image.composite(rgb, Image.new("RGB", rgb.size, "white"), alpha)


def _eight_bit(image: Image.Image) -> Image.Image:
    """16-bit, 32-bit and floating-point greys as 8-bit greys, scaled by the smallest usual range of their values."""
    values = np.nan_to_num(np.asarray(image).astype(np.float32))
    low, high = float(values.min()), float(values.max())
    if image.mode.startswith("I;16"):
        low, high = 0.0, 65535.0
    elif low >= 0:
        ranges = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0)
        low, high = 0.0, next((top for top in ranges if high <= top), high)
    return Image.fromarray(np.rint((values - low) * (255 / max(high - low, 1e-9))).astype(np.uint8))


@functools.lru_cache(maxsize=32)
def _transform(profile: bytes | None) -> tuple[str, ImageCms.ImageCmsTransform | None]:
    """Mode of the pixels that *profile* (None: Lab) applies to, and its transform to sRGB; None if it is sRGB."""
    srgb = ImageCms.createProfile("sRGB")
    if profile is None:
        return "LAB", ImageCms.buildTransform(ImageCms.createProfile("LAB"), srgb, "LAB", "RGB")
    if len(profile) > _PROFILE_BYTES:
        raise ValueError(f"a profile of {len(profile)} bytes")
    mode = _MODES[profile[16:20]]
    transform = ImageCms.buildTransform(ImageCms.ImageCmsProfile(io.BytesIO(profile)), srgb, mode, "RGB")
    if mode in ("RGB", "L"):
        before = _probe() if mode == "RGB" else Image.fromarray(np.arange(256, dtype=np.uint8)[None])
        after = ImageCms.applyTransform(before, transform)
        moved = np.asarray(after, np.int16) - np.asarray(before.convert("RGB"), np.int16)
        if np.abs(moved).max() <= _SAME:
            return mode, None
    return mode, transform


@functools.cache
def _probe() -> Image.Image:
    """All greys, and a cube of 9 x 9 x 9 colours."""
    steps = np.linspace(0, 255, 9).round()
    cube = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 3)
    greys = np.repeat(np.arange(256)[:, None], 3, axis=1)
    return Image.fromarray(np.concatenate([greys, cube])[None].astype(np.uint8))


def _from_chunks(opened: Image.Image) -> bytes | None:
    """A profile from PNG's gAMA and cHRM; as in libpng, exponents within 5 % of 1/2.2 mean sRGB's curve."""
    gamma, primaries = opened.info.get("gamma"), opened.info.get("chromaticity")
    if gamma is None:
        return None
    if not 0.1 <= gamma <= 10:
        note("png_gamma_bad")
        return None
    usual = abs(gamma / _GAMMA - 1) <= 0.05
    if primaries is None and usual:
        return None
    curve = None if usual else gamma
    return (_made(tuple(primaries), curve) if primaries else None) or _made(_PRIMARIES[1], curve)


def _coded(primaries: int, transfer: int) -> bytes | None:
    """A profile from H.273's code points."""
    primaries = 1 if primaries == _UNSAID else primaries
    transfer = 13 if transfer == _UNSAID else transfer
    if primaries not in _PRIMARIES or transfer not in _TRANSFERS:
        what = {16: "PQ", 18: "HLG"}.get(transfer, f"code points {primaries}/{transfer}")
        raise BadImage("img_colour", f"its colours are coded by {what}; save it as sRGB")
    curve = _TRANSFERS[transfer]
    return None if primaries == 1 and curve is None else _made(_PRIMARIES[primaries], curve)


@functools.lru_cache(maxsize=32)
def _made(xy: Chromaticities, gamma: float | None) -> bytes | None:
    """An ICC profile from primaries and the encoding's exponent (None: sRGB's curve); None if they are impossible."""
    try:
        white, *rgb = (np.array([x / y, 1.0, (1 - x - y) / y]) for x, y in zip(xy[::2], xy[1::2], strict=True))
        columns = np.stack(rgb, axis=1)
        matrix = columns * np.linalg.solve(columns, white)
        adapted = np.linalg.inv(_BRADFORD) @ np.diag((_BRADFORD @ _D50) / (_BRADFORD @ white)) @ _BRADFORD @ matrix
    except (ArithmeticError, ValueError, np.linalg.LinAlgError):
        adapted = np.full((3, 3), math.nan)
    if not (np.isfinite(adapted).all() and np.abs(adapted).max() < 100):
        note("png_chromaticities_bad")
        return None
    fixed = lambda *values: struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))  # noqa: E731
    curve = fixed(1 / gamma) if gamma is not None else fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    bodies = {
        b"wtpt": b"XYZ \0\0\0\0" + fixed(*_D50),
        **{tag: b"XYZ \0\0\0\0" + fixed(*adapted[:, n]) for n, tag in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))},
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), b"para\0\0\0\0" + (b"\0\0\0\0" if gamma else b"\0\3\0\0") + curve),
    }
    at, table, blob = 132 + 12 * len(bodies), b"", b""
    for tag, body in bodies.items():
        table += tag + struct.pack(">II", at + len(blob), len(body))
        blob += body
    head = struct.pack(">I4xI", at + len(blob), 0x04200000) + b"mntrRGB XYZ " + bytes(12) + b"acsp" + bytes(28)
    return (head + fixed(*_D50)).ljust(128, b"\0") + struct.pack(">I", len(bodies)) + table + blob


_D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
