"""Training pictures, drawn once at the size of the models' input, and labels of every patch."""

from __future__ import annotations

import io
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from mminstruct.microworld.catalogue import COLOURS, KINDS, RELATIONS, SETTINGS, SIZES, TIMES, WEATHERS, WORDS
from mminstruct.microworld.drawing.render import render
from mminstruct.microworld.scene import Scene, draw_scene
from mminstruct.readers.image import load

SIDE = 192
"""Side of a model's input, in pixels."""
PATCH = 16
"""Side of a patch, in pixels."""
GRID = SIDE // PATCH

Bytes = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]

LOCAL: dict[str, tuple[str | None, ...]] = {
    "kind": tuple(KINDS),
    "colour": COLOURS,
    "size": SIZES,
    "action": (None, *dict.fromkeys(action for kind in KINDS.values() for action in kind.actions)),
    "count": ("1", "2", "3", "4", "5", "6"),
    "word": (None, *WORDS),
    "role": (None, *(f"{name} {end}" for name in RELATIONS for end in ("subject", "target"))),
}
"""Classes of the group that a patch shows, by head."""
WHOLE: dict[str, tuple[str | None, ...]] = {
    "setting": tuple(SETTINGS),
    "time": (None, *TIMES),
    "weather": (None, *WEATHERS),
}
"""Classes of the whole picture, by head."""
_COVERED = 0.15
"""Least share of a patch that a thing covers if the patch shows it."""


@dataclass(frozen=True)
class Pictures:
    """*n* pictures and their labels, as memory-mapped arrays."""

    pixels: Bytes
    """(n, SIDE, SIDE, 3)."""
    owners: Bytes
    """(n, GRID * GRID): 0 for the backdrop, g + 1 where a patch shows group g."""
    centres: Bytes
    """(n, GRID * GRID): 1 at the centre of the visible part of a thing."""
    groups: Bytes
    """(n, 4, len(LOCAL)): class indices of the groups."""
    wholes: Bytes
    """(n, len(WHOLE)): class indices of the picture."""

    def __len__(self) -> int:
        return len(self.pixels)


def seen(scene: Scene) -> tuple[Bytes, Bytes, Bytes, Bytes, Bytes]:
    """One row of each array of ``Pictures``, for *scene*."""
    drawn = render(scene)
    image = drawn.image
    if scene.index % 4:  # most shards hold JPEG
        packed = io.BytesIO()
        image.save(packed, "JPEG", quality=70 + scene.index % 29)
        image = load(packed.getvalue())
    pixels = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    edges = np.arange(drawn.masks.shape[0]) * GRID // drawn.masks.shape[0]
    patch = (edges[:, None] * GRID + edges[None, :]).ravel()
    area = np.bincount(patch, minlength=GRID * GRID)
    shown = drawn.group_map().ravel()
    cover = (
        np.stack([np.bincount(patch[shown == g + 1], minlength=GRID * GRID) for g in range(len(scene.groups))]) / area
    )
    owners = np.where(cover.max(0) >= _COVERED, cover.argmax(0) + 1, 0).astype(np.uint8)
    centres = np.zeros(GRID * GRID, np.uint8)
    for instance in range(1, len(drawn.owners) + 1):
        rows, columns = np.nonzero(drawn.masks == instance)
        if len(rows):
            at = edges[int(rows.mean())] * GRID + edges[int(columns.mean())]
            centres[at], owners[at] = 1, drawn.owners[instance - 1] + 1
    roles = {}
    for relation in scene.relations:
        roles[relation.subject], roles[relation.target] = f"{relation.name} subject", f"{relation.name} target"
    groups = np.zeros((4, len(LOCAL)), np.uint8)
    for number, group in enumerate(scene.groups):
        said = {"kind": group.kind, "colour": group.colour, "size": group.size, "action": group.action,
                "count": str(group.count), "word": group.word, "role": roles.get(number)}  # fmt: skip
        groups[number] = [values.index(said[name]) for name, values in LOCAL.items()]
    wholes = np.array([values.index(getattr(scene, name)) for name, values in WHOLE.items()], np.uint8)
    return pixels, owners, centres, groups, wholes


def _seen(pair: tuple[int, int]) -> tuple[Bytes, Bytes, Bytes, Bytes, Bytes]:
    return seen(draw_scene(*pair))


def drawn_once(folder: Path, count: int, seed: int = 0, workers: int = 2, start: int = 0) -> Pictures:
    """Scenes *start* to *start* + *count* - 1 of world *seed*, from files in *folder*, which are drawn if missing."""
    here = folder / f"{SIDE}-{PATCH}-{seed}-{start}-{count}"
    if not here.exists():
        new = here.with_suffix(".new")
        new.mkdir(parents=True, exist_ok=True)
        with ProcessPoolExecutor(workers) as pool:
            rows = pool.map(_seen, ((index, seed) for index in range(start, start + count)), chunksize=64)
            _write(new, rows, count)
        new.rename(here)
    return Pictures(*(np.load(here / f"{name}.npy", mmap_mode="r") for name in Pictures.__dataclass_fields__))


def drawn(count: int, seed: int) -> Pictures:
    """The first *count* scenes of world *seed*, drawn now and kept in memory."""
    rows = [seen(draw_scene(index, seed)) for index in range(count)]
    return Pictures(*(np.stack(part) for part in zip(*rows, strict=True)))


def _write(folder: Path, rows: Iterator[tuple[Bytes, ...]], count: int) -> None:
    files: list[Bytes] = []
    for number, row in enumerate(rows):
        if not files:
            files = [
                np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.uint8, (count, *part.shape))
                for name, part in zip(Pictures.__dataclass_fields__, row, strict=True)
            ]
        for file, part in zip(files, row, strict=True):
            file[number] = part
    for file in files:
        file.flush()  # type: ignore[attr-defined]
