"""VQA-E: a list of questions with an answer and a sentence that explains it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mminstruct.annotations.keys import coco_key
from mminstruct.annotations.record import (
    Annotation,
    AnnotationFormat,
    Fault,
    each,
    majority,
    number_of_image,
    shown,
    text,
)  # fmt: skip


class VqaE(AnnotationFormat):
    """``[{img_id, question, multiple_choice_answer, answers, explanation: [text, score]}]``."""

    def read(self) -> Iterator[Annotation | Fault]:
        yield from each(self.files["path"].records(("img_id", "question", "explanation")), _made)


def _made(record: dict[str, Any]) -> Annotation:
    number = number_of_image(record, "img_id")
    question = text(record, "question", "no_question")
    answer, support = majority(record, question)
    explained = record.get("explanation")
    said = explained[0] if isinstance(explained, list) and explained else None
    if not isinstance(said, str) or said.isspace() or not said:
        raise Fault("bad_explanation", f"`explanation` is {shown(explained)}, should be [text, score]")
    return Annotation(
        image=coco_key(number), kind="explained", question=question, answer=answer, support=support, rationale=said
    )
