"""A small world gone wrong: archives with every kind of bad member and every way to be broken that is known to occur."""

from __future__ import annotations

import gzip
import io
import json
import random
import struct
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

KEPT = (
    "good/sa_1.jpg", "good/sa_2.JPEG", "good/sa_3.jpg", "png_named.jpg", "upright.jpg", "dotted.v1.0.jpg",
    "dotted.v2.0.jpg", "twice.jpg", "twin.jpg", "same.jpg", "animated.gif", "alpha.png", "cmyk.jpg", "sixteen.png",
    "trailer.jpg", "no_extension", "meta_broken.jpg", "meta_utf16.jpg", "meta_deep.jpg", "meta_twice.jpg",
    "text_latin.jpg", "icc_broken.jpg", "exif_broken.jpg", "late.jpg", "naïve ☃.jpg", "../../etc/passwd.jpg",
    "/absolute.jpg",
)  # fmt: skip
"""Members of ``bad.tar`` that live, odd as some are."""


def photo(seed: int, width: int = 320, height: int = 240) -> Image.Image:
    """Smooth colours with some detail, as unlike from one seed to the next as photographs are."""
    rng = np.random.default_rng(seed)
    values = np.zeros((height, width, 3), np.float32)
    for cell, strength in ((8, 25.0), (40, 60.0), (120, 90.0)):
        size = (height // cell + 2, width // cell + 2, 3)
        coarse = Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8)).resize(
            (width, height), Image.Resampling.BICUBIC
        )
        values += (np.asarray(coarse, np.float32) - 128) * strength / 128
    return Image.fromarray(np.clip(values + 128, 0, 255).astype(np.uint8))


def encode(image: Image.Image, format: str = "JPEG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def jpeg(seed: int, **options: object) -> bytes:
    return encode(photo(seed), "JPEG", **options)


def hole(data: bytes, size: int = 64) -> bytes:
    """*data* with *size* zeros at two thirds."""
    at = len(data) * 2 // 3
    return data[:at] + bytes(size) + data[at + size :]


def _png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_claiming(width: int, height: int) -> bytes:
    """A well-formed PNG whose header claims a size that its few bytes do not hold."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + _png_chunk(b"IHDR", header) + _png_chunk(b"IDAT", body) + _png_chunk(b"IEND", b"")


def _text_bomb() -> bytes:
    """A PNG with 80 MB of text in 80 kB, before its pixels."""
    good = encode(photo(90), "PNG")
    bomb = _png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(80_000_000)))
    return good[:33] + bomb + good[33:]


def _many_scans() -> bytes:
    data = jpeg(91, progressive=True)
    at = data.rindex(b"\xff\xda")
    return data[:at] + data[at:-2] * 200 + data[-2:]


def _swapped(data: bytes) -> bytes:
    """A PNG with one byte of its pixels changed and its checksum left."""
    at = data.index(b"IDAT") + 40
    return data[:at] + bytes((data[at] ^ 0x55,)) + data[at + 1 :]


class Writer:
    """Adds members to an archive in the order of the calls."""

    def __init__(self, archive: tarfile.TarFile) -> None:
        self.archive = archive

    def file(self, name: str, data: bytes) -> None:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        self.archive.addfile(member, io.BytesIO(data))

    def odd(self, name: str, kind: bytes, link: str = "") -> None:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, link
        self.archive.addfile(member)


def write_bad_shards(folder: Path) -> dict[str, str]:
    """Write ``bad.tar``, whole as an archive, with 40 kinds of bad and odd members among the good ones of ``KEPT``.

    Returns:
        For each member that must be dropped: the ``id`` of its drop, and the reason.
    """
    folder.mkdir(parents=True, exist_ok=True)
    expected: dict[str, str] = {}
    with tarfile.open(folder / "bad.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        write = Writer(archive)
        _write_good(write)

        def bad(name: str, data: bytes, reason: str) -> None:
            write.file(name, data)
            expected[name] = reason

        bad("empty.jpg", b"", "img_empty")
        bad("page.jpg", b"<!DOCTYPE html><html><body>404 Not Found</body></html>", "img_not_image")
        bad("text.png", b"not an image at all", "img_not_image")
        bad("movie.jpg", b"\0\0\0\x18ftypmp42" + bytes(400), "img_not_image")
        bad("zeros.jpg", bytes(5000), "img_not_image")
        bad("archive.jpg", b"PK\x03\x04" + bytes(100), "img_not_image")
        bad("vector.svg", b"<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'/>", "img_format")
        bad("script.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n", "img_format")
        bad("layers.psd", b"8BPS\0\x01" + bytes(200), "img_format")
        bad("stars.jpg", b"SIMPLE  =                    T" + bytes(2850), "img_format")
        bad("phone.heic", b"\0\0\0\x18ftypheic" + bytes(400), "img_format")
        bad("scan.tif", encode(photo(70), "TIFF"), "img_format")
        bad("half.jpg", jpeg(71)[: len(jpeg(71)) // 2], "img_truncated")
        bad("last_bytes.jpg", jpeg(72)[:-2], "img_truncated")
        bad("header_only.jpg", jpeg(73)[:200], "img_truncated")
        bad("half_png.png", encode(photo(74), "PNG")[:20_000], "img_truncated")
        bad("half_webp.webp", encode(photo(75), "WEBP")[:2_000], "img_truncated")
        bad("half_bmp.bmp", encode(photo(76), "BMP")[:9_000], "img_truncated")
        bad("half_gif.gif", encode(photo(77), "GIF")[:9_000], "img_truncated")
        bad("hole.jpg", hole(jpeg(78, quality=90)), "img_corrupt")
        bad("swapped.png", _swapped(encode(photo(79), "PNG")), "img_corrupt")
        bad("garbage.jpg", b"\xff\xd8\xff\xe0" + random.Random(0).randbytes(4000), "img_truncated")
        bad("scans.jpg", _many_scans(), "img_slow")
        bad("bomb.png", png_claiming(30_000, 30_000), "img_too_large")
        bad("large.png", png_claiming(8_000, 8_000), "img_too_large")
        bad("text_bomb.png", _text_bomb(), "img_meta_bomb")
        bad("one_pixel.png", encode(photo(80, 1, 1), "PNG"), "img_too_small")
        bad("thin.jpg", encode(photo(81, 400, 20)), "img_too_small")
        bad("strip.jpg", encode(photo(82, 900, 40)), "img_aspect")
        bad("blank.jpg", encode(Image.new("RGB", (300, 200), "white")), "img_blank")
        bad("copy.jpg", jpeg(50), "dup_exact")
        bad("twin.png", encode(photo(83), "PNG"), "key_ambiguous")
        bad("alone.json", b'{"caption": "no image came with me"}', "no_image")
        bad("alone_too.txt", b"nor with me", "no_image")
        expected[f"twice.jpg@{archive.offset}"] = "dup_member"
        write.file("twice.jpg", jpeg(85))
        for name, kind in (
            ("symbolic.jpg", tarfile.SYMTYPE), ("hard.jpg", tarfile.LNKTYPE), ("device.jpg", tarfile.CHRTYPE),
            ("pipe.jpg", tarfile.FIFOTYPE),
        ):  # fmt: skip
            write.odd(name, kind, "/etc/passwd")
            expected[name] = "member_type"
        write.odd("a_folder", tarfile.DIRTYPE)
        for name in ("._good.jpg", ".DS_Store", "__MACOSX/good/._sa_1.jpg", "README.md", "LICENSE.txt", "labels.npy"):
            write.file(name, b"not data")
        write.file("late.txt", b"read at last")
    return expected


def _write_good(write: Writer) -> None:
    annotations = [{"id": 1, "bbox": [1, 2, 3, 4], "segmentation": {"size": [240, 320], "counts": "Zl10m`0"}}]
    for number, name in enumerate(KEPT[:3], 1):
        write.file(name, jpeg(number))
        described = {"image": {"image_id": number, "file_name": name}, "annotations": annotations}
        write.file(f"good/sa_{number}.json", json.dumps(described).encode())
    write.file("late.jpg", jpeg(4))
    write.file("png_named.jpg", encode(photo(5), "PNG"))
    exif = Image.Exif()
    exif[0x0112] = 6
    write.file("upright.jpg", jpeg(6, exif=exif))
    for version in (1, 2):
        write.file(f"dotted.v{version}.0.jpg", jpeg(6 + version))
        write.file(f"dotted.v{version}.0.txt", f"version {version}".encode())
    write.file("twice.jpg", jpeg(9))
    write.file("twin.jpg", jpeg(10))
    write.file("same.jpg", jpeg(50))
    frames = [photo(11), photo(12), photo(13)]
    write.file("animated.gif", encode(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    clear = photo(14).convert("RGBA")
    clear.putalpha(128)
    write.file("alpha.png", encode(clear, "PNG"))
    write.file("cmyk.jpg", encode(photo(15).convert("CMYK")))
    grey = np.asarray(photo(16).convert("L"), np.uint16) * 257
    write.file("sixteen.png", encode(Image.fromarray(grey), "PNG"))
    write.file("trailer.jpg", jpeg(17) + b"PK\x03\x04" + bytes(10_000))
    write.file("no_extension", jpeg(18))
    for seed, name, described in (
        (20, "meta_broken", b'{"caption": "cut'),
        (21, "meta_utf16", json.dumps({"caption": "wide"}).encode("utf-16")),
        (22, "meta_deep", b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
        (23, "meta_twice", b'{"caption": "one", "caption": "two"}'),
    ):
        write.file(f"{name}.jpg", jpeg(seed))
        write.file(f"{name}.json", described)
    write.file("text_latin.jpg", jpeg(30))
    write.file("text_latin.txt", "caf\xe9 \u202e\u200b".encode("cp1252", "ignore"))
    write.file("icc_broken.jpg", jpeg(31, icc_profile=b"no profile" * 20))
    write.file("exif_broken.jpg", jpeg(32, exif=b"Exif\0\0II*\0" + b"\xff" * 40))
    for seed, name in enumerate(KEPT[-3:], 33):
        write.file(name, jpeg(seed))


def good_archive(count: int = 4, *, first: int = 100) -> bytes:
    """A whole archive of *count* images with a sidecar each."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        write = Writer(archive)
        for number in range(first, first + count):
            write.file(f"sa_{number}.jpg", encode(photo(number, 64, 48)))
            write.file(f"sa_{number}.json", json.dumps({"image": {"image_id": number}}).encode())
    return buffer.getvalue()


def write_broken_shards(folder: Path) -> dict[str, str]:
    """Write archives that must fail as a whole.

    Returns:
        For each: its file name, and a pattern that the error must match.
    """
    folder.mkdir(parents=True, exist_ok=True)
    good = good_archive()
    with tarfile.open(fileobj=io.BytesIO(good)) as archive:
        members = archive.getmembers()
        third, end = members[4], members[-1].offset_data + -(-members[-1].size // 512) * 512
    broken: dict[str, tuple[Callable[[], bytes], str]] = {
        "empty": (lambda: b"", "empty"),
        "zeros": (lambda: bytes(2_000_000), "nothing but zeros"),
        "no_members": (lambda: bytes(10_240), "without members"),
        "page": (lambda: b"<!DOCTYPE html><html>" + b" " * 2000, "not a tar archive"),
        "in_data": (lambda: good[: third.offset_data + 100], f"ends at byte {third.offset_data + 100}"),
        "in_header": (lambda: good[: third.offset + 100], f"cut at byte {third.offset + 100}"),
        "between": (lambda: good[: third.offset], f"ends at byte {third.offset} without"),
        "no_end": (lambda: good[:end], f"ends at byte {end} without"),
        "half_end": (lambda: good[: end + 512], "cut at byte"),
        "checksum": (
            lambda: good[: third.offset] + b"X" + good[third.offset + 1 :],
            f"broken header at byte {third.offset}",
        ),
        "hole": (lambda: good[: third.offset] + bytes(2048) + good[third.offset + 2048 :], "has a hole"),
        "padded": (lambda: good[: third.offset] + bytes(3_000_000), "nothing but zeros"),
        "joined": (lambda: good + good_archive(first=200), "has a hole"),
        "gzip_cut": (lambda: gzip.compress(good)[:-3000], "gzip"),
        "bzip2": (lambda: b"BZh91AY&SY" + bytes(100), "bzip2"),
    }
    for name, (make, _) in broken.items():
        (folder / f"{name}.tar").write_bytes(make())
    return {f"{name}.tar": pattern for name, (_, pattern) in broken.items()}
