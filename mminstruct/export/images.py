"""Images as files beside the lists that name them: one file an image, however many conversations are about it."""

from __future__ import annotations

import filecmp
import os
import shutil
from pathlib import Path

from mminstruct.export.row import Image
from mminstruct.readers.conversation import InvalidRow


def place(image: Image, folder: Path) -> str:
    """Put the image in *folder* unless it is there; its path from there.

    Images lie in folders by the first two characters of their names: one of a million files is a burden to every file
    system. A file on the same disk is linked, not copied.

    Raises:
        InvalidRow: its name is no plain file name, or another image's.
    """
    name = image.name
    if not name or name != Path(name).name or name.startswith("."):
        raise InvalidRow("image", f"{name!r} is no plain file name for an image")
    path = folder / "images" / name[:2] / name
    if path.exists():
        if not _same(image, path):
            raise InvalidRow("image", f"another image goes by the name of {name} already")
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
    except OSError:  # another disk, or one without links
        shutil.copyfile(there, path)
