"""Images as files: one file per image, even if several conversations use it."""

from __future__ import annotations

import filecmp
import os
import shutil
from pathlib import Path

from mminstruct.export.row import Image
from mminstruct.readers.conversation import InvalidRow


def place(image: Image, folder: Path) -> str:
    """Write the image to *folder* if it is missing; returns its relative path.

    Subfolders are named after the first two characters of the image's name, because a folder with a million files is
    slow. A file on the same disk is hard-linked instead of copied.

    Raises:
        InvalidRow: its name is not a plain file name, or another image has the same name.
    """
    name = image.name
    if not name or name != Path(name).name or name.startswith("."):
        raise InvalidRow("image", f"{name!r} is not a plain file name")
    path = folder / "images" / name[:2] / name
    if path.exists():
        if not _same(image, path):
            raise InvalidRow("image", f"another image already has the name {name}")
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        if image.path is None:
            path.write_bytes(image.read())
        else:
            _link(image.path, path)
    return str(path.relative_to(folder))


def _same(image: Image, path: Path) -> bool:
    if image.path is None:
        data = image.read()
        return path.stat().st_size == len(data) and path.read_bytes() == data
    return path.samefile(image.path) or filecmp.cmp(path, image.path, shallow=False)


def _link(there: Path, path: Path) -> None:
    try:
        os.link(there.resolve(), path)
    except OSError:  # another disk, or a file system without links
        shutil.copyfile(there, path)
