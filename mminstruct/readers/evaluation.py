"""Evaluation images and the hashes that find copies of them: each file is read, counted as no image, or an error.

If an evaluation image is not read, copies of it stay in the training set. So all formats are read here, and a file that
cannot be read stops the build. Only files that are no images both by their first bytes and by their names are skipped.
"""

from __future__ import annotations

import logging
import os
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from mminstruct.content import walk
from mminstruct.readers.container import IMAGES, BadImage, sniff
from mminstruct.readers.image import EVALUATION, decode, phashes
from mminstruct.text import repair
from mminstruct.unit import note

log = logging.getLogger(__name__)

UNREADABLE = ("stop", "note")
"""What to do about a file that may hold an image and cannot be read: stop the build, or only count it."""
LONGEST = 1024
"""Evaluation images are scaled down to this longest side, pixels: that of ``ingest``."""
_BYTES = 512 << 20
_NAMED = 10
_MORE = frozenset(("tga", "pcx", "dds", "sgi", "ras", "qoi", "icns", "dib", "j2k", "j2c", "jpx", "jxr", "exr", "hdr",
                   "cr2", "cr3", "nef", "arw", "dng", "raf", "orf", "rw2"))  # fmt: skip
_PACKED = frozenset(("tar", "tgz", "gz", "bz2", "xz", "zst", "zip", "7z", "rar", "parquet", "arrow", "lance", "h5",
                     "hdf5", "npy", "npz", "lmdb", "tfrecord", "mdb"))  # fmt: skip
"""Extensions of files that may contain images and are not opened here."""
_APPLE = b"\x00\x05\x16\x07"
"""AppleDouble, which macOS writes beside files on foreign disks, as ``._photo.jpg``."""


def pictures(
    folder: str, unreadable: str, field: str, harm: str = "copies of them would stay in the training set"
) -> Iterator[tuple[str, Image.Image]]:
    """Name and pixels of each image under *folder*, in the order of the names; links to folders are followed.

    The notes ``eval_images_read``, ``eval_files_passed_by`` (no images), ``eval_images_one_colour`` (they have no hash)
    and ``eval_images_unreadable`` add up to all files. ``eval_frames_passed_by`` counts frames after the first.

    Args:
        folder: The folder, with all folders below it.
        unreadable: ``stop`` or ``note``.
        field: The key of that setting, for the message.
        harm: What follows if some of them are missing, for the message.

    Raises:
        ValueError: after the last image, with the names of files that cannot be read; or there is no image.
    """
    counts: Counter[str] = Counter()
    refused: dict[str, str] = {}
    for name, path in _files(folder, refused):
        try:
            said = _look(path)
            if said is not None:
                counts[said] += 1
                continue
            seen = decode(path.read_bytes(), EVALUATION, LONGEST, count=True)
        except (BadImage, OSError) as error:
            refused[name] = str(error)
            continue
        counts["eval_frames_passed_by"] += seen.frames - 1
        if phashes(seen.pixels) is None:
            counts["eval_images_one_colour"] += 1
            continue
        counts["eval_images_read"] += 1
        yield name, seen.pixels
    counts["eval_images_unreadable"] = len(refused)
    for what, count in counts.items():
        note(what, count)
    log.info("%s: %s", folder, ", ".join(f"{what} {count}" for what, count in sorted(counts.items()) if count))
    if refused and unreadable == "stop":
        first = "; ".join(f"{name} ({reason})" for name, reason in list(refused.items())[:_NAMED])
        more = f"; and {len(refused) - _NAMED} more" if len(refused) > _NAMED else ""
        raise ValueError(
            f"{len(refused)} files in {folder} may hold images and cannot be read, so {harm}: {first}{more}."
            f" Convert or remove them, or accept that with {field}=note"
        )
    if not counts["eval_images_read"]:
        raise ValueError(f"{folder} holds no image that opens; its files: {dict(counts)}")


def _files(folder: str, refused: dict[str, str]) -> Iterator[tuple[str, Path]]:
    """Name and path of each file; folders that cannot be listed and special files go into *refused*."""
    found: dict[str, Path] = {}

    def unlisted(error: OSError) -> None:
        refused[repair(os.path.relpath(str(error.filename), folder))] = str(error.strerror)

    for root, files in walk(folder, unlisted):
        for file in files:
            path = Path(root, file)
            name = repair(path.relative_to(folder).as_posix())
            try:
                if stat.S_ISREG(path.stat().st_mode):
                    found[name if name not in found else repr(os.fsencode(path))] = path
                else:
                    refused[name] = "no regular file"
            except OSError as error:
                refused[name] = str(error.strerror)
    yield from sorted(found.items())


def _look(path: Path) -> str | None:
    """The note that counts a file which is no image; None if it may be one.

    Raises:
        BadImage: it may contain images that are not read here.
    """
    with path.open("rb") as file:
        head = file.read(2048)
    ending, kind = path.suffix.lower().removeprefix("."), sniff(head)
    if kind == "PDF" or head.startswith(_APPLE):
        return "eval_files_passed_by"
    if kind is None and ending in _PACKED:
        raise BadImage("img_packed", "unpack it, if it holds images")
    if kind is None and ending not in IMAGES | _MORE:
        return "eval_files_passed_by"
    if (size := path.stat().st_size) > _BYTES:
        raise BadImage("img_too_large", f"{size} bytes, over {_BYTES}")
    return None


def hashes(rgb: Image.Image) -> dict[str, int]:
    """Perceptual hashes of an image and of edited versions of it; edit -> hash.

    A hash alone survives a change of format, size, quality or to grey, but not a mirror, nor a crop or border of 3 % of
    a side. Two kinds of edits are covered: a training image made from the evaluation image (which is cropped and framed
    here), and an evaluation image made from the training image (its edges are extended, its border is removed).
    Numbers: docs/decontamination.md.
    """
    bare = _unframed(rgb)
    small = rgb.copy()
    small.thumbnail((256, 256), Image.Resampling.BICUBIC, reducing_gap=2.0)
    width, height = small.size
    views = {"as it is": rgb}
    if bare.size != rgb.size:
        views["without its border"] = bare
    for percent in (2, 4, 6, 9):
        x, y = width * percent / 100, height * percent / 100
        views[f"cropped by {percent} %"] = small.resize(small.size, box=(x, y, width - x, height - y))
        margin = ((max(1, round(y)),) * 2, (max(1, round(x)),) * 2, (0, 0))
        views[f"extended by {percent} %"] = Image.fromarray(np.pad(np.asarray(small), margin, mode="symmetric"))
    for percent in (3, 8):
        for colour in ("white", "black"):
            frame = max(1, round(min(width, height) * percent / 100))
            views[f"with a {colour} border of {percent} %"] = ImageOps.expand(small, frame, colour)
    found: dict[str, int] = {}
    for what, view in views.items():
        if (both := phashes(view)) is not None:
            found[what], found[f"{what}, mirrored"] = both
    return found


def _unframed(rgb: Image.Image) -> Image.Image:
    """*rgb* without a border of one colour; unchanged if it has none, or if less than half would remain."""
    values_HW3 = np.asarray(rgb, np.int16)
    top, bottom = _border(values_HW3), rgb.height - _border(values_HW3[::-1])
    if bottom <= top:
        return rgb
    inner_WH3 = values_HW3[top:bottom].transpose(1, 0, 2)
    left, right = _border(inner_WH3), rgb.width - _border(inner_WH3[::-1])
    if 2 * max(0, right - left) * (bottom - top) < rgb.width * rgb.height:
        return rgb
    return rgb.crop((left, top, right, bottom))


def _border(lines_LM3: np.ndarray) -> int:
    """Number of first lines that have the colour of the first one, within the errors of JPEG near the image."""
    colour_3 = np.median(lines_LM3[0], axis=0)
    if np.abs(lines_LM3[0] - colour_3).mean() > 6:
        return 0
    return next((n for n, line in enumerate(lines_LM3) if np.abs(line - colour_3).mean() > 24), len(lines_LM3))
