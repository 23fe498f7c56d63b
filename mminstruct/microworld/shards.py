"""Writes a world in the layout of a real collection: SA-1B, DataComp as img2dataset stores it, or COCO with VQA v2.

The ground truth is written next to the data, to ``_truth/scenes.jsonl``, which no stage reads.
Files are byte-identical in every run: tar members have no time and no owner.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mminstruct.microworld import language
from mminstruct.microworld.catalogue import CANVAS, KINDS
from mminstruct.microworld.drawing.render import Rendered, render
from mminstruct.microworld.drawing.rle import encode
from mminstruct.microworld.scene import Group, Relation, Scene, draw_scene

Layout = Literal["sa1b", "datacomp", "coco"]
_QUALITY = 92
_LICENCES = ("cc-by-4.0", "cc0-1.0", "cc-by-sa-4.0")


@dataclass(frozen=True, slots=True, eq=False)
class _Drawn:
    """One scene with its picture, also as JPEG bytes."""

    scene: Scene
    rendered: Rendered
    jpeg: bytes

    @property
    def image_id(self) -> str:
        return hashlib.sha256(self.jpeg).hexdigest()[:16]

    def truth(self, file: str, alt: language.AltText | None = None) -> dict[str, Any]:
        boxes = [[[b.x0, b.y0, b.x1, b.y1] for b in group] for group in self.rendered.boxes]
        said = asdict(alt) if alt else None
        return {"image_id": self.image_id, "file": file, "scene": self.scene.to_dict(), "boxes": boxes, "alt": said}


def write(
    layout: Layout, folder: str | Path, images: int, seed: int = 0, per_shard: int = 1000, start: int = 0,
    workers: int = 1,
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

    Returns:
        The folder.

    Raises:
        ValueError: If *layout* is unknown, or a number is below 1.
    """
    writers: dict[str, Callable[..., Path]] = {"sa1b": write_sa1b, "datacomp": write_datacomp, "coco": write_coco}
    if layout not in writers:
        raise ValueError(f"unknown layout {layout!r}: choose one of {', '.join(writers)}")
    if images < 1 or per_shard < 1 or workers < 1:
        raise ValueError(f"images, per_shard and workers must be at least 1, not {images}, {per_shard} and {workers}")
    return writers[layout](folder, range(start, start + images), seed=seed, per_shard=per_shard, workers=workers)


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
    folder: str | Path, indices: Sequence[int], seed: int = 0, per_shard: int = 1000, workers: int = 1
) -> Path:
    """Tars ``sa_000000.tar`` with ``sa_N.jpg`` and ``sa_N.json``, including masks (Kirillov et al. 2023, SA-1B)."""
    return _write_tars(folder, indices, per_shard, workers, partial(_sa1b_shard, Path(folder), seed))


def write_datacomp(
    folder: str | Path, indices: Sequence[int], seed: int = 0, per_shard: int = 1000, workers: int = 1
) -> Path:
    """Tars ``00000.tar`` with image, alt-text and metadata, each with img2dataset's table and statistics."""
    return _write_tars(folder, indices, per_shard, workers, partial(_datacomp_shard, Path(folder), seed))


def write_coco(
    folder: str | Path, indices: Sequence[int], seed: int = 0, per_shard: int = 1000, workers: int = 1
) -> Path:
    """``images/`` and ``annotations/`` with instances, captions, and questions and answers in the format of VQA v2."""
    folder = Path(folder)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "annotations").mkdir(exist_ok=True)
    names = list(KINDS)
    info = {"description": "microworld", "version": "1.0", "year": 2026}
    images: list[dict[str, Any]] = []
    things: list[dict[str, Any]] = []
    captions: list[dict[str, Any]] = []
    questions: list[dict[str, Any]] = []
    answers: list[dict[str, Any]] = []
    lines = []
    for drawn in _draw(indices, seed, workers):
        number, scene = drawn.scene.index, drawn.scene
        file = f"{number:012d}.jpg"
        (folder / "images" / file).write_bytes(drawn.jpeg)
        images.append({"id": number, "file_name": file, "width": CANVAS, "height": CANVAS, "license": 1})
        for k, mask in _masks(drawn.rendered):
            kind = scene.groups[drawn.rendered.owners[k - 1]].kind
            things.append({"id": number * 100 + k, "image_id": number, "category_id": names.index(kind) + 1,
                           "iscrowd": 0, **_shape(mask)})  # fmt: skip
        captions += [
            {
                "id": number * 10 + k,
                "image_id": number,
                "caption": language.caption(scene, _rng("coco", scene, k), how),
            }
            for k, how in enumerate(("short", "short", "short", "long", "long"))
        ]
        for k, (question, answer) in enumerate(language.short_questions(scene)):
            key = {"question_id": number * 100 + k, "image_id": number}
            questions.append({**key, "question": question})
            said = [{"answer": answer, "answer_confidence": "yes", "answer_id": n} for n in range(1, 11)]
            kind = "yes/no" if answer in ("yes", "no") else "number" if question.startswith("How many") else "other"
            begin = " ".join(question.lower().rstrip("?").split()[:2])
            answers.append({**key, "question_type": begin, "answer_type": kind, "multiple_choice_answer": answer,
                            "answers": said})  # fmt: skip
        lines.append(drawn.truth(f"images/{file}"))
    kinds = [{"id": k, "name": name, "supercategory": KINDS[name].category} for k, name in enumerate(names, 1)]
    licences = [{"id": 1, "name": _LICENCES[0], "url": ""}]
    common = {"info": info, "licenses": licences, "images": images}
    vqa = {"info": info, "license": licences[0], "data_type": "microworld", "data_subtype": "train"}
    for name, content in (
        ("instances.json", {**common, "annotations": things, "categories": kinds}),
        ("captions.json", {**common, "annotations": captions}),
        ("v2_OpenEnded_questions.json", {**vqa, "task_type": "Open-Ended", "questions": questions}),
        ("v2_annotations.json", {**vqa, "annotations": answers}),
    ):
        (folder / "annotations" / name).write_text(json.dumps(content), encoding="utf-8")
    _write_truth(folder, lines)
    return folder


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
            _write_truth(folder, [line for lines in pool.map(shard, parts) for line in lines])
    else:
        _write_truth(folder, [line for part in parts for line in shard(part)])
    return folder


def _sa1b_shard(folder: Path, seed: int, part: tuple[int, Sequence[int]]) -> list[dict[str, Any]]:
    number, indices = part
    lines = []
    with _Tar(folder / f"sa_{number:06d}.tar") as tar:
        for drawn in _draw(indices, seed):
            index = drawn.scene.index
            rng = _rng("sa1b", drawn.scene)
            annotations = [
                {
                    "id": index * 100 + k,
                    **_shape(mask),
                    "predicted_iou": round(rng.uniform(0.88, 1.0), 4),
                    "stability_score": round(rng.uniform(0.92, 1.0), 4),
                    "point_coords": [_inside(mask)],
                    "crop_box": [0, 0, CANVAS, CANVAS],
                }
                for k, mask in _masks(drawn.rendered)
            ]
            image = {"image_id": index, "width": CANVAS, "height": CANVAS, "file_name": f"sa_{index}.jpg"}
            tar.add(f"sa_{index}.jpg", drawn.jpeg)
            tar.add(f"sa_{index}.json", json.dumps({"image": image, "annotations": annotations}).encode())
            lines.append(drawn.truth(f"{tar.name}/sa_{index}.jpg"))
    return lines


def _datacomp_shard(folder: Path, seed: int, part: tuple[int, Sequence[int]]) -> list[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number, indices = part
    lines, rows = [], []
    with _Tar(folder / f"{number:05d}.tar") as tar:
        for place, drawn in enumerate(_draw(indices, seed)):
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


def _draw_one(seed: int, index: int) -> _Drawn:
    scene = draw_scene(index, seed)
    rendered = render(scene)
    buffer = io.BytesIO()
    rendered.image.save(buffer, "JPEG", quality=_QUALITY)
    return _Drawn(scene, rendered, buffer.getvalue())


def _draw(indices: Iterable[int], seed: int, workers: int = 1) -> Iterator[_Drawn]:
    if workers == 1:
        yield from map(partial(_draw_one, seed), indices)
    else:
        with ProcessPoolExecutor(workers) as pool:
            yield from pool.map(partial(_draw_one, seed), indices, chunksize=32)


def _rng(what: str, scene: Scene, number: int = 0) -> random.Random:
    return random.Random(f"mminstruct {what} {scene.seed}/{scene.index}/{number}")


def _masks(rendered: Rendered) -> Iterator[tuple[int, np.ndarray[Any, np.dtype[np.bool_]]]]:
    """Number and mask of every instance that is at least partly visible."""
    for k in range(1, len(rendered.owners) + 1):
        mask = rendered.mask(k)
        if mask.any():
            yield k, mask


def _shape(mask: np.ndarray[Any, np.dtype[np.bool_]]) -> dict[str, Any]:
    """Bounding box (x, y, width, height), area in pixels and segmentation, in COCO's format."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    x, y = int(columns[0]), int(rows[0])
    box = [x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y]
    return {"bbox": box, "area": int(mask.sum()), "segmentation": encode(mask)}


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


def _write_truth(folder: Path, lines: list[dict[str, Any]]) -> None:
    path = folder / "_truth" / "scenes.jsonl"
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
