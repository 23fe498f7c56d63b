"""A-OKVQA: a list of questions with four choices and three rationales."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mminstruct.annotations.keys import coco_key
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
from mminstruct.stage import content_id


class AOkvqa(AnnotationFormat):
    """``[{split, image_id, question_id, question, choices[4], correct_choice_idx, rationales[3]}]``.

    One of the rationales is taken, by digest. ``direct_answers`` answer the question without the choices and are not
    read.
    """

    split_field = "split"

    def read(self) -> Iterator[Annotation | Fault]:
        yield from each(
            self.chosen(self.files["path"].records(("image_id", "question", "choices"))), _made, "question_id"
        )


def _made(record: dict[str, Any]) -> Annotation:
    number = number_of_image(record, "image_id")
    question = text(record, "question", "no_question")
    native = own_id(record, "question_id")
    choices = record.get("choices")
    if not isinstance(choices, list) or len(choices) != 4 or not all(isinstance(one, str) for one in choices):
        raise Fault("bad_choices", f"`choices` is {shown(choices)}, should be four texts")
    if (found := record.get("correct_choice_idx")) is None:
        raise Fault("no_answer", "no `correct_choice_idx`, as in the test split")
    right = whole(found)
    if right is None or right > 3:
        raise Fault("bad_choice_index", f"`correct_choice_idx` is {shown(found)}, should be 0 to 3")
    given = record.get("rationales")
    if given is not None and not isinstance(given, list):
        raise Fault("bad_record", f"`rationales` is {shown(given)}, should be a list")
    rationales = [one for one in given or () if isinstance(one, str) and any(map(str.isalnum, one))]
    if not rationales:
        raise Fault("no_rationale", f"`rationales` is {shown(given)}")
    return Annotation(
        image=coco_key(number), kind="choice_explained", question=question, answer=choices[right], choices=choices,
        right=right, rationale=min(rationales, key=lambda one: content_id(native, one)), native=native,
    )  # fmt: skip
