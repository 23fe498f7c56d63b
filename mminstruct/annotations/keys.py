"""Keys of images: the same photograph has one key in every annotation set and in a folder of images."""

from __future__ import annotations

import re
import unicodedata

_COCO = re.compile(r"(?:COCO_(?:train|val|test)20[0-9]{2}_)?0*([0-9]+)", re.ASCII)


def image_key(path: str) -> str:
    """The key of the image that *path* names.

    Args:
        path: A file name, with or without folders and ending, as annotation sets and archives write it.

    Returns:
        ``coco:9`` for COCO's names (``COCO_train2014_000000000009.jpg``, ``000000000009.jpg``), ``vg:9`` for a number
        in a folder of Visual Genome (``VG_100K/9.jpg``, ``VG_100K_2/9.jpg``), else ``stem:NAME``: the file name
        without its ending, in NFC.
    """
    folder, _, name = path.rpartition("/")
    stem = name.rpartition(".")[0] or name
    found = _COCO.fullmatch(stem)
    if found is None:
        return f"stem:{unicodedata.normalize('NFC', stem)}"
    if folder.rpartition("/")[2] in ("VG_100K", "VG_100K_2") and stem[0] != "C":
        return vg_key(found[1])
    return coco_key(found[1])


def coco_key(number: int | str) -> str:
    """The key of the image that COCO numbers so."""
    return f"coco:{number}"


def vg_key(number: int | str) -> str:
    """The key of the image that Visual Genome numbers so."""
    return f"vg:{number}"
