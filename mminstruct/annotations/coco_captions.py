"""COCO's captions (``captions_train2017.json``): one object with ``images``, ``licenses`` and ``annotations``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mminstruct.annotations.files import SetFile
from mminstruct.annotations.keys import image_key
from mminstruct.annotations.record import (
    Annotation,
    AnnotationFormat,
    Fault,
    each,
    licence,
    number_of_image,
    own_id,
    text,
    whole,
)  # fmt: skip
from mminstruct.readers.text import Unreadable
from mminstruct.unit import note


class CocoCaptions(AnnotationFormat):
    """``annotations[{id, image_id, caption}]``; ``images[{id, file_name, license}]`` names the photographs."""

    repeated = "dup_annotation"

    def read(self) -> Iterator[Annotation | Fault]:
        file = self.files["path"]
        images = _images(file)

        def make(record: dict[str, Any]) -> Annotation:
            number = number_of_image(record, "image_id")
            if number not in images:
                raise Fault("bad_image_id", f"`images` has no image {number}")
            key, photograph = images[number]
            if key is None:
                raise Fault("bad_image_id", f"`images` has two file names for image {number}")
            return Annotation(
                image=key, kind="caption", answer=text(record, "caption", "no_answer", "empty_answer"),
                native=own_id(record, "id"), licence=licence(record.get("license")), photograph=photograph,
            )  # fmt: skip

        yield from each(file.listed("annotations", ("image_id", "caption")), make, "id")


def _images(file: SetFile) -> dict[int, tuple[str | None, str | None]]:
    """Number of an image -> its key and its licence; the key is None where the number has two file names.

    Images without a number or a file name are counted (``image_without_name``): their captions are dropped.
    """
    licences: dict[int, str] = {}
    images: dict[int, tuple[str | None, int | None]] = {}
    there = False
    for name, count, one in file.members():
        there = there or name == "images"
        if not count or name not in ("images", "licenses"):
            continue
        fields = one if isinstance(one, dict) else {}
        number, path = whole(fields.get("id")), fields.get("file_name")
        if name == "licenses":
            if number is not None and (said := licence(fields)):
                licences[number] = said
        elif number is None or not isinstance(path, str):
            note("image_without_name")
        else:
            key = image_key(path)
            if images.setdefault(number, (key, whole(fields.get("license"))))[0] != key:
                images[number] = (None, None)
    if not there:
        raise Unreadable(f"{file.what} has no list `images`, which names the photographs: give the file that has it")
    return {number: (key, licences.get(-1 if of is None else of)) for number, (key, of) in images.items()}
