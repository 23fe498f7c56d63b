"""The truth of a run's images: the scenes that they were drawn from."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mminstruct.microworld.annotated.questions import plain
from mminstruct.microworld.language import AltText
from mminstruct.microworld.scene import Scene
from mminstruct.microworld.shards import scene_from

_FILE = "_truth/scenes.jsonl"
_ANNOTATIONS = "_truth/annotations.jsonl"
_PLANTED_TOGETHER = ("contradiction", "near_equal")


@dataclass(frozen=True, slots=True)
class ImageTruth:
    """What is known about one image."""

    scene: Scene
    alt: AltText | None = None
    """Its alt-text and which facts in it are true; None where it has no alt-text."""


Truth = Mapping[str, ImageTruth]
"""By image_id."""


def read_truth(folders: Sequence[Path]) -> dict[str, ImageTruth]:
    """The truth of all images in *folders*, each written by ``mminstruct microworld``.

    Raises:
        FileNotFoundError: naming the first folder that has no ``_truth/scenes.jsonl``.
    """
    found: dict[str, ImageTruth] = {}
    for folder in folders:
        path = folder / _FILE
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing: give a folder that `mminstruct microworld` wrote")
        for line in path.read_text(encoding="utf-8").splitlines():
            fields = json.loads(line)
            alt = fields.get("alt")
            if alt is not None:
                alt = AltText(**{**alt, **{name: tuple(alt[name]) for name in ("true_facts", "false_facts")}})
            found[fields["image_id"]] = ImageTruth(scene_from(fields["scene"]), alt)
    return found


@dataclass(frozen=True, slots=True)
class AnnotationTruth:
    """What is known about one annotation: a line of truth of the ``coco`` layout, which defines the fields."""

    set: str
    place: str | None
    where: tuple[str, ...]
    image: str
    question: str | None
    answer: str
    true: bool
    planted: str | None
    group: str | None
    expected: str

    @property
    def fault(self) -> str | None:
        """The reason for which ``annotate`` or ``template`` must drop it."""
        return None if self.planted in _PLANTED_TOGETHER else self.planted

    @property
    def key(self) -> tuple[str, ...]:
        """By which its row is found: its own id, else the question and the image, else the description."""
        if self.place is not None:
            return self.set, self.place
        return (self.set, self.image, plain(self.question)) if self.question else (self.set, self.answer)


def row_key(row: Mapping[str, object]) -> list[tuple[str, ...]]:
    """What ``AnnotationTruth.key`` can be for *row* of ``annotate``."""
    keys = [(str(row["set"]), str(row["place"]))]
    if row["question"] is None:
        return [*keys, (str(row["set"]), str(row["answer"]))]
    names = [re.fullmatch(r"coco:(\d+)", str(row[name])) for name in ("image_key", "coco_key")]
    return keys + [
        (str(row["set"]), f"{int(found[1]):012d}.jpg", plain(str(row["question"]))) for found in names if found
    ]


def read_annotation_truth(folders: Sequence[Path]) -> list[AnnotationTruth]:
    """The truth of the annotations in those of *folders* that have the layout ``coco``."""
    lines = [line for folder in folders if (path := folder / _ANNOTATIONS).is_file()
             for line in path.read_text(encoding="utf-8").splitlines()]  # fmt: skip
    return [AnnotationTruth(**{**(known := json.loads(line)), "where": tuple(known["where"])}) for line in lines]


def find_truth(sources: Iterable[str]) -> list[Path]:
    """Folders with a ``_truth`` in, below or directly above *sources*, the paths that a run read its images from.

    Raises:
        FileNotFoundError: where there is none.
    """
    searched = []
    for source in sources:
        if "://" in source:
            continue
        path = Path(source)
        while not path.is_dir() and path != path.parent:  # a pattern, or a single shard
            path = path.parent
        searched.append(str(path))
        for place in (path, path.absolute().parent):
            if found := sorted(file.parent.parent for file in place.glob(f"**/{_FILE}")):
                return found
    raise FileNotFoundError(
        f"no {_FILE} in or below {', '.join(searched) or 'any source'} of the run: give its folder with --truth"
    )
