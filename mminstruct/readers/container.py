"""Checks of an image file before anything decodes it: its format, whether it is complete, what is metadata.

Sources: ITU-T T.81 annex B (JPEG markers), W3C PNG 3rd edition section 5 (chunks), RFC 9649 (WebP container).
"""

from __future__ import annotations

import re
import zlib

import numpy as np

IMAGES = frozenset(
    ("jpg", "jpeg", "jpe", "jfif", "png", "webp", "gif", "bmp", "tif", "tiff", "avif", "heic", "heif", "jxl", "jp2",
     "svg", "eps", "psd", "ico", "ppm", "pgm", "pbm")
)  # fmt: skip
"""File extensions of images; the format itself is decided by the first bytes."""
_MAGIC = (
    (re.compile(rb"\xff\xd8\xff"), "JPEG"),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "PNG"),
    (re.compile(rb"GIF8[79]a"), "GIF"),
    (re.compile(rb"RIFF.{4}WEBP", re.S), "WEBP"),
    (re.compile(rb"BM.{4}\0{4}", re.S), "BMP"),
    (re.compile(rb"II[*+]\0|MM\0[*+]"), "TIFF"),
    (re.compile(rb".{4}ftypavi[fs]", re.S), "AVIF"),
    (re.compile(rb".{4}ftyp(?:hei|hev|mif1|msf1)", re.S), "HEIF"),
    (re.compile(rb"\xff\x0a|\0\0\0\x0cJXL "), "JXL"),
    (re.compile(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"), "JPEG2000"),
    (re.compile(rb"8BPS"), "PSD"),
    (re.compile(rb"%!PS|\xc5\xd0\xd3\xc6"), "EPS"),
    (re.compile(rb"%PDF-"), "PDF"),
    (re.compile(rb"SIMPLE  ="), "FITS"),
    (re.compile(rb"\x00\x00\x01\x00[\x01-\x40]\x00"), "ICO"),
    (re.compile(rb"\xd7\xcd\xc6\x9a|\x01\x00\x00\x00.{36} EMF", re.S), "WMF"),
    (re.compile(rb"P[1-6]\s"), "PPM"),
    (re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<[?!].{0,900}?>\s*){0,3}<svg\b", re.S), "SVG"),
)  # fmt: skip
_AFTER_SCAN = frozenset((0xC4, 0xCC, 0xDA, 0xDB, 0xDC, 0xDD, 0xFE, *range(0xE0, 0xF0)))
_SOI, _EOI, _SOS, _COM = 0xD8, 0xD9, 0xDA, 0xFE
_USUAL_CODES = bytes((0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 0x7D))
"""Number of codes of each length in T.81's table K.5 (luminance, AC): the start of that table in a file."""
_SCANS = 100
"""Progressive JPEGs have about 10; each scan costs a pass over the whole image, and takes few bytes in the file."""


class BadImage(Exception):
    """An image that is refused: ``reason`` goes into the table of drops, with ``detail``."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


def sniff(data: bytes) -> str | None:
    """Name of the image format of *data*, by its first bytes alone; None if it is no known format."""
    head = data[:2048]
    return next((name for pattern, name in _MAGIC if pattern.match(head)), None)


def check(data: bytes, format: str) -> bytes:
    """Check the container of a JPEG, PNG or WebP from its first byte to its last.

    This finds files that end early, broken segments, and PNG chunks with a wrong CRC. Other formats have no such
    structure and pass.

    Returns:
        The bytes to decode: for a JPEG the result of ``strip_jpeg``, else *data*.

    Raises:
        BadImage: ``img_truncated`` or ``img_corrupt``, with the byte; ``img_slow`` for a JPEG made to be slow.
    """
    if format == "JPEG":
        return strip_jpeg(data)
    if format == "PNG":
        _check_png(data)
    elif format == "WEBP" and (size := int.from_bytes(data[4:8], "little") + 8) > len(data) + 1:
        raise BadImage("img_truncated", f"its header promises {size} bytes, there are {len(data)}")
    return data


def zeroed(data: bytes) -> int:
    """Offset of 32 zero bytes in the coded pixels of a stripped JPEG, which are a sign of damage; -1 if there are none.

    With the usual Huffman tables no image is coded so. With optimised tables a flat image may be: they are not checked.
    """
    return data.find(bytes(32), data.find(b"\xff\xda")) if _USUAL_CODES in data else -1


def strip_jpeg(data: bytes) -> bytes:
    """The same image, not decoded, without comments, application segments and data after its end.

    Two application segments stay: JFIF's header without its thumbnail, and Adobe's, which defines the colour transform.
    EXIF, XMP, ICC profiles, thumbnails, appended archives and further images are removed.

    Raises:
        BadImage: ``img_truncated``: it has no end; ``img_corrupt``: its segments are invalid.
    """
    pieces = [b"\xff\xd8"]
    at, scans = 2, 0
    ends: np.ndarray | None = None
    while True:
        start = at
        while at < len(data) and data[at] == 0xFF:
            at += 1
        if at + 1 > len(data):
            raise BadImage("img_truncated", f"no end-of-image marker in {len(data)} bytes")
        marker = data[at]
        if at == start or (scans and marker not in _AFTER_SCAN and marker != _EOI) or marker in (0, _SOI):
            raise BadImage("img_corrupt", f"no JPEG segment at byte {start}")
        if marker == _EOI:
            if not scans:
                raise BadImage("img_truncated", "it ends before its picture begins")
            return b"".join((*pieces, b"\xff\xd9"))
        end = at + 1 + int.from_bytes(data[at + 1 : at + 3], "big")
        if at + 3 > len(data) or end > len(data):
            raise BadImage("img_truncated", f"ends at byte {len(data)}, in a segment that goes to byte {end}")
        payload = data[at + 3 : end]
        if marker == 0xE0 and payload.startswith(b"JFIF\0") and len(payload) >= 14:
            pieces.append(b"\xff\xe0\x00\x10" + payload[:12] + b"\0\0")
        elif marker == 0xEE and payload.startswith(b"Adobe") and len(payload) >= 12:
            pieces.append(b"\xff\xee\x00\x0e" + payload[:12])
        elif marker != _COM and not 0xE0 <= marker <= 0xEF:
            pieces.append(b"\xff" + data[at:end])
        at = end
        if marker == _SOS:
            scans += 1
            if scans > _SCANS:
                raise BadImage("img_slow", f"more than {_SCANS} scans")
            if ends is None:
                ends = _marks(data, at)
            place = int(np.searchsorted(ends, at))
            if place == len(ends):
                raise BadImage("img_truncated", f"no end-of-image marker in {len(data)} bytes")
            pieces.append(data[at : ends[place]])
            at = int(ends[place])


def _marks(data: bytes, start: int) -> np.ndarray:
    """Offsets from *start* on of markers that are neither stuffed zeros nor restarts."""
    codes = np.frombuffer(data, np.uint8, offset=start)
    marks = np.flatnonzero(codes[:-1] == 0xFF)
    follow = codes[marks + 1]
    ends: np.ndarray = marks[(follow != 0) & (follow != 0xFF) & ((follow < 0xD0) | (follow > 0xD7))] + start
    return ends


def code_points(data: bytes, format: str) -> tuple[int, int] | None:
    """Code points of ITU-T H.273 for primaries and transfer, from a PNG's cICP chunk or an AVIF's ``colr`` box."""
    if format == "PNG":
        at = 8
        while (kind := data[at + 4 : at + 8]) not in (b"IDAT", b"IEND", b""):
            if kind == b"cICP":
                return (data[at + 8], data[at + 9]) if at + 10 <= len(data) else None
            at += 12 + int.from_bytes(data[at : at + 4], "big")
    elif format == "AVIF":
        at = data.find(b"colrnclx", 0, 1 << 16)
        if 0 <= at <= len(data) - 12:
            return int.from_bytes(data[at + 8 : at + 10], "big"), int.from_bytes(data[at + 10 : at + 12], "big")
    return None


def _check_png(data: bytes) -> None:
    at, seen = 8, False
    while True:
        size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        end = at + 12 + size
        if end > len(data):
            raise BadImage("img_truncated", f"ends at byte {len(data)}, in a chunk that goes to byte {end}")
        if zlib.crc32(data[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise BadImage("img_corrupt", f"wrong checksum in the {kind.decode('latin-1')!r} chunk at byte {at}")
        if kind == b"IEND":
            if not seen:
                raise BadImage("img_truncated", "it ends before its picture begins")
            return
        seen |= kind == b"IDAT"
        at = end
