"""Writes a world in the layout of a real collection: SA-1B, DataComp as img2dataset stores it, or annotated COCO.

The ground truth is written next to the data, to ``_truth/scenes.jsonl``, which no stage reads.
Files are byte-identical in every run: tar members have no time and no owner.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
import tarfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mminstruct.microworld import language
from mminstruct.microworld.annotated.layout import write_coco
from mminstruct.microworld.catalogue import CANVAS, LEVELS
from mminstruct.microworld.drawn import draw, masks, shape, write_truth
from mminstruct.microworld.scene import Group, Relation, Scene

Layout = Literal["sa1b", "datacomp", "coco"]
_LICENCES = ("cc-by-4.0", "cc0-1.0", "cc-by-sa-4.0")


def write(
    layout: Layout, folder: str | Path, images: int, seed: int = 0, per_shard: int = 1000, start: int = 0,
    workers: int = 1, level: str = "easy",
) -> Path:  # fmt: skip
    """Write *images* scenes of a world into *folder*.

    Args:
        layout: ``sa1b``, ``datacomp`` or ``coco``.
        folder: Created if missing; files of the same names are overwritten.
        images: Number of scenes, at least 1.
        seed: Seed of the world.
        per_shard: Images per tar; ``coco`` has no tars.
        start: Index of the first scene.
        workers: Drawing processes; the files do not depend on their number.
        level: ``easy`` or ``hard``.

    Returns:
        The folder.

    Raises:
        ValueError: If *layout* or *level* is unknown, or a number is below 1.
    """
    writers: dict[str, Callable[..., Path]] = {"sa1b": write_sa1b, "datacomp": write_datacomp, "coco": write_coco}
    if layout not in writers:
        raise ValueError(f"unknown layout {layout!r}: choose one of {', '.join(writers)}")
    if images < 1 or per_shard < 1 or workers < 1:
        raise ValueError(f"images, per_shard and workers must be at least 1, not {images}, {per_shard} and {workers}")
    if level not in LEVELS:
        raise ValueError(f"unknown level {level!r}: choose one of {', '.join(LEVELS)}")
    some = {"seed": seed, "per_shard": per_shard, "workers": workers, "level": level}
    return writers[layout](folder, range(start, start + images), **some)


def truth(folder: str | Path) -> dict[str, Scene]:
    """The scenes of a written folder by image ID: the first 16 hex digits of the SHA-256 of the image file.

    Raises:
        FileNotFoundError: If the folder was not written by :func:`write`.
    """
    path = Path(folder) / "_truth" / "scenes.jsonl"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: only `mminstruct microworld` writes the ground truth of a folder")
    lines = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return {line["image_id"]: scene_from(line["scene"]) for line in lines}


def scene_from(fields: dict[str, Any]) -> Scene:
    """The inverse of ``Scene.to_dict``."""
    groups = tuple(Group(**group) for group in fields["groups"])
    relations = tuple(Relation(**relation) for relation in fields["relations"])
    return Scene(**{**fields, "groups": groups, "relations": relations})


def write_sa1b(
    folder: str | Path, indices: Sequence[int], seed: int = 0, per_shard: int = 1000, workers: int = 1,
    level: str = "easy",
) -> Path:  # fmt: skip
    """Tars ``sa_000000.tar`` with ``sa_N.jpg`` and ``sa_N.json``, including masks (Kirillov et al. 2023, SA-1B)."""
    return _write_tars(folder, indices, per_shard, workers, partial(_sa1b_shard, Path(folder), seed, level))


def write_datacomp(
    folder: str | Path, indices: Sequence[int], seed: int = 0, per_shard: int = 1000, workers: int = 1,
    level: str = "easy",
) -> Path:  # fmt: skip
    """Tars ``00000.tar`` with image, alt-text and metadata, each with img2dataset's table and statistics."""
    return _write_tars(folder, indices, per_shard, workers, partial(_datacomp_shard, Path(folder), seed, level))


def _write_tars(
    folder: str | Path,
    indices: Sequence[int],
    per_shard: int,
    workers: int,
    shard: Callable[[tuple[int, Sequence[int]]], list[dict[str, Any]]],
) -> Path:
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    parts = [(k, indices[at : at + per_shard]) for k, at in enumerate(range(0, len(indices), per_shard))]
    if workers > 1:
        with ProcessPoolExecutor(workers) as pool:
            write_truth(folder, [line for lines in pool.map(shard, parts) for line in lines])
    else:
        write_truth(folder, [line for part in parts for line in shard(part)])
    return folder


def _sa1b_shard(folder: Path, seed: int, level: str, part: tuple[int, Sequence[int]]) -> list[dict[str, Any]]:
    number, indices = part
    lines = []
    with _Tar(folder / f"sa_{number:06d}.tar") as tar:
        for drawn in draw(indices, seed, level=level):
            index = drawn.scene.index
            rng = _rng("sa1b", drawn.scene)
            annotations = [
                {
                    "id": index * 100 + k,
                    **shape(mask),
                    "predicted_iou": round(rng.uniform(0.88, 1.0), 4),
                    "stability_score": round(rng.uniform(0.92, 1.0), 4),
                    "point_coords": [_inside(mask)],
                    "crop_box": [0, 0, CANVAS, CANVAS],
                }
                for k, mask in masks(drawn.rendered)
            ]
            image = {"image_id": index, "width": CANVAS, "height": CANVAS, "file_name": f"sa_{index}.jpg"}
            tar.add(f"sa_{index}.jpg", drawn.jpeg)
            tar.add(f"sa_{index}.json", json.dumps({"image": image, "annotations": annotations}).encode())
            lines.append(drawn.truth(f"{tar.name}/sa_{index}.jpg"))
    return lines


def _datacomp_shard(folder: Path, seed: int, level: str, part: tuple[int, Sequence[int]]) -> list[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number, indices = part
    lines, rows = [], []
    with _Tar(folder / f"{number:05d}.tar") as tar:
        for place, drawn in enumerate(draw(indices, seed, level=level)):
            key = f"{number:05d}{place:04d}"
            rng = _rng("alt", drawn.scene)
            alt = language.alt_text(drawn.scene, rng)
            row = {
                "uid": hashlib.md5(f"{seed}/{drawn.scene.index}".encode(), usedforsecurity=False).hexdigest(),
                "url": f"https://microworld.invalid/{seed}/{drawn.scene.index}.jpg",
                "caption": alt.text,
                "key": key,
                "status": "success",
                "error_message": None,
                "width": CANVAS,
                "height": CANVAS,
                "original_width": CANVAS,
                "original_height": CANVAS,
                "sha256": hashlib.sha256(drawn.jpeg).hexdigest(),
                "license": rng.choice(_LICENCES),
            }
            tar.add(f"{key}.jpg", drawn.jpeg)
            tar.add(f"{key}.txt", alt.text.encode())
            tar.add(f"{key}.json", json.dumps(row, ensure_ascii=False).encode())
            rows.append(row)
            lines.append(drawn.truth(f"{tar.name}/{key}.jpg", alt))
    schema = pa.schema(
        [(name, pa.int32() if isinstance(value, int) else pa.string()) for name, value in rows[0].items()]
    )
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), folder / f"{number:05d}.parquet")
    stats = {"count": len(rows), "successes": len(rows), "failed_to_download": 0, "failed_to_resize": 0,
             "status_dict": {"success": len(rows)}}  # fmt: skip
    (folder / f"{number:05d}_stats.json").write_text(json.dumps(stats, indent=4), encoding="utf-8")
    return lines


def _rng(what: str, scene: Scene, number: int = 0) -> random.Random:
    return random.Random(f"mminstruct {what} {scene.seed}/{scene.index}/{number}")


def _inside(mask: np.ndarray[Any, np.dtype[np.bool_]]) -> list[float]:
    """A point within the mask: x and y."""
    rows, columns = np.nonzero(mask)
    middle = len(rows) // 2
    return [float(columns[middle]), float(rows[middle])]


class _Tar:
    """A tar whose bytes depend on its members only. It is written as ``.part`` and renamed when complete."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self._path = path
        self._part = path.with_suffix(".part")

    def __enter__(self) -> _Tar:
        self._tar = tarfile.open(self._part, "w", format=tarfile.USTAR_FORMAT)
        return self

    def add(self, name: str, content: bytes) -> None:
        member = tarfile.TarInfo(name)
        member.size, member.mode = len(content), 0o644
        self._tar.addfile(member, io.BytesIO(content))

    def __exit__(self, kind: object, *_: object) -> None:
        self._tar.close()
        if kind is None:
            self._part.replace(self._path)
        else:
            self._part.unlink()
