"""Visual Genome's questions and answers (``question_answers.json``): a list of images, each with its questions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mminstruct.annotations.files import Numbered
from mminstruct.annotations.keys import vg_key
from mminstruct.annotations.record import (
    Annotation,
    AnnotationFormat,
    Fault,
    each,
    number_of_image,
    own_id,
    shown,
    text,
    whole,
)  # fmt: skip
from mminstruct.annotations.visual_genome import in_coco
from mminstruct.readers.text import BadRow


class VgQA(AnnotationFormat):
    """``[{id, qas: [{qa_id, image_id, question, answer}]}]``. Each question is a record, numbered through the file."""

    takes = ("images",)

    def read(self) -> Iterator[Annotation | Fault]:
        coco = in_coco(self.files.get("images"))

        def made(record: dict[str, Any]) -> Annotation:
            number = number_of_image(record, "image_id")
            if "outer" in record and whole(record["outer"]) != number:
                raise Fault("bad_image_id", f"`image_id` is {number}, within image {shown(record['outer'])}")
            question = text(record, "question", "no_question")
            answer = text(record, "answer", "no_answer", "empty_answer")
            native = own_id(record, "qa_id")
            return Annotation(
                image=vg_key(number), coco=coco.get(vg_key(number)), kind="short", question=question, answer=answer,
                native=native,
            )  # fmt: skip

        yield from each(self._questions(), made, "qa_id")

    def _questions(self) -> Iterator[Numbered]:
        """The questions of all images; an image whose questions cannot be read is one bad record."""
        number = 0
        for _, image in self.files["path"].records(("qas",)):
            said = image.said if isinstance(image, BadRow) else None
            asked = image.get("qas") if isinstance(image, dict) else None
            if not isinstance(asked, list):
                number += 1
                yield number, BadRow(number, said or f"`qas` is {shown(asked)}, should be a list")
                continue
            for one in asked:
                number += 1
                if isinstance(one, dict) and isinstance(image, dict):
                    outer = image.get("id")
                    yield number, one if outer is None else {"image_id": outer, **one, "outer": outer}
                else:
                    yield number, BadRow(number, f"it is a JSON {type(one).__name__}, should be an object")
