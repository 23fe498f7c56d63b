"""ST-VQA: an object with a list of questions about text in images, of which those of two collections are taken."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from mminstruct.annotations.keys import image_key
from mminstruct.annotations.record import (
    Annotation,
    AnnotationFormat,
    Fault,
    each,
    majority,
    name_of_image,
    own_id,
    shown,
    text,
)  # fmt: skip
from mminstruct.annotations.visual_genome import in_coco

_COCO = re.compile(r"(?:^|/)coco-?_?text/(?:[^/]+/)*[^/]+$", re.IGNORECASE)
_VG = re.compile(r"(?:^|/)(?:visual-?_?genome|vg)/(?:[^/]+/)*([^/]+)$", re.IGNORECASE)


class StVQA(AnnotationFormat):
    """``{data: [{question_id, question, answers, file_path, set_name}]}``.

    ``file_path`` names the collection: ``coco-text/COCO_train2014_000000347021.jpg``, ``visual_genome/2410408.jpg``.
    """

    takes = ("images",)
    split_field = "set_name"

    def read(self) -> Iterator[Annotation | Fault]:
        coco = in_coco(self.files.get("images"))

        def made(record: dict[str, Any]) -> Annotation:
            key = _key(name_of_image(record, "file_path"))
            question = text(record, "question", "no_question")
            native = own_id(record, "question_id")
            answer, support = majority(record, native)
            return Annotation(
                image=key, coco=coco.get(key), kind="short", question=question, answer=answer, support=support,
                native=native,
            )  # fmt: skip

        found = self.files["path"].listed("data", ("question", "file_path"))
        yield from each(self.chosen(found), made, "question_id")


def _key(path: str) -> str:
    if genome := _VG.search(path):
        return image_key(f"VG_100K/{genome[1]}")
    if not _COCO.search(path):
        raise Fault("bad_image_id", f"{shown(path)} is neither in coco-text nor in visual_genome")
    return image_key(path)
