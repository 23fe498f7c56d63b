"""TallyQA: a list of questions whose answers are counts, about images of COCO and of Visual Genome."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mminstruct.annotations.keys import image_key
from mminstruct.annotations.record import (
    Annotation,
    AnnotationFormat,
    Fault,
    each,
    name_of_image,
    own_id,
    shown,
    text,
    whole,
)  # fmt: skip
from mminstruct.annotations.visual_genome import in_coco


class TallyQA(AnnotationFormat):
    """``[{image, image_id, question, question_id, answer, issimple, data_source}]``.

    ``image`` is the file's name (``VG_100K_2/2410408.jpg``). ``image_id`` is not read: for Visual Genome it has
    a 9 before the image's number.
    """

    takes = ("images",)

    def read(self) -> Iterator[Annotation | Fault]:
        coco = in_coco(self.files.get("images"))

        def made(record: dict[str, Any]) -> Annotation:
            key = image_key(name_of_image(record, "image"))
            question = text(record, "question", "no_question")
            if (answer := record.get("answer")) is None:
                raise Fault("no_answer", "no `answer`")
            if (count := whole(answer)) is None:
                raise Fault("bad_count", f"`answer` is {shown(answer)}, should be a whole number from 0")
            return Annotation(
                image=key, coco=coco.get(key), kind="number", question=question, answer=str(count),
                native=own_id(record, "question_id"),
            )  # fmt: skip

        yield from each(self.files["path"].records(("image", "question", "answer")), made, "question_id")
