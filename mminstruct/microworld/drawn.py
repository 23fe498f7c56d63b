"""Drawn scenes with their truth, as every layout writes them."""

from __future__ import annotations

import hashlib
import io
import json
import random
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mminstruct.microworld.drawing.render import Rendered, render
from mminstruct.microworld.drawing.rle import encode
from mminstruct.microworld.language import AltText
from mminstruct.microworld.scene import Scene, draw_scene

_QUALITY = 92
_WORST_QUALITY = 50
"""Of photographs on ``hard``, whose JPEG quality varies."""


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """One scene with its picture, also as JPEG bytes."""

    scene: Scene
    rendered: Rendered
    jpeg: bytes

    @property
    def image_id(self) -> str:
        """The first 16 hex digits of the SHA-256 of the image file."""
        return hashlib.sha256(self.jpeg).hexdigest()[:16]

    def truth(self, file: str, alt: AltText | None = None) -> dict[str, Any]:
        """The line of ground truth of the image at *file*, relative to the folder."""
        boxes = [[[b.x0, b.y0, b.x1, b.y1] for b in group] for group in self.rendered.boxes]
        said = asdict(alt) if alt else None
        return {"image_id": self.image_id, "file": file, "scene": self.scene.to_dict(), "boxes": boxes, "alt": said}


def _draw_one(seed: int, level: str, index: int) -> Drawn:
    scene = draw_scene(index, seed, level)
    rendered = render(scene)
    buffer = io.BytesIO()
    rendered.image.save(buffer, "JPEG", quality=quality(scene))
    return Drawn(scene, rendered, buffer.getvalue())


def quality(scene: Scene) -> int:
    """JPEG quality of the picture of *scene*."""
    if scene.level == "easy" or scene.style != "photo":
        return _QUALITY
    return random.Random(f"mminstruct quality {scene.seed}/{scene.index}").randint(_WORST_QUALITY, _QUALITY)


def draw(indices: Iterable[int], seed: int, workers: int = 1, level: str = "easy") -> Iterator[Drawn]:
    """The scenes of *indices* in their order, drawn by as many processes as there are *workers*."""
    one = partial(_draw_one, seed, level)
    if workers == 1:
        yield from map(one, indices)
    else:
        with ProcessPoolExecutor(workers) as pool:
            yield from pool.map(one, indices, chunksize=32)


def masks(rendered: Rendered) -> Iterator[tuple[int, np.ndarray[Any, np.dtype[np.bool_]]]]:
    """Number and mask of every instance that is at least partly visible."""
    for k in range(1, len(rendered.owners) + 1):
        mask = rendered.mask(k)
        if mask.any():
            yield k, mask


def shape(mask: np.ndarray[Any, np.dtype[np.bool_]]) -> dict[str, Any]:
    """Bounding box (x, y, width, height), area in pixels and segmentation, in COCO's format."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    x, y = int(columns[0]), int(rows[0])
    box = [x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y]
    return {"bbox": box, "area": int(mask.sum()), "segmentation": encode(mask)}


def write_truth(folder: Path, lines: list[dict[str, Any]], name: str = "scenes.jsonl") -> None:
    """Write *lines* to the file *name* of the folder's ground truth."""
    path = folder / "_truth" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
