"""Visual Spatial Reasoning: JSON lines with a statement about two things, and whether it is true."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mminstruct.annotations.keys import image_key
from mminstruct.annotations.record import Annotation, AnnotationFormat, Fault, each, name_of_image, shown, text, whole


class Vsr(AnnotationFormat):
    """``{image, caption, label: 0 | 1, relation, vote_true_validator_id, vote_false_validator_id}``.

    The label is the annotator's; the validators said independently whether the statement is true.
    """

    def read(self) -> Iterator[Annotation | Fault]:
        yield from each(self.files["path"].records(("image", "caption", "label")), _made)


def _made(record: dict[str, Any]) -> Annotation:
    name = name_of_image(record, "image")
    statement = text(record, "caption", "no_question")
    if (found := record.get("label")) is None:
        raise Fault("no_answer", "no `label`")
    label = whole(found) if not isinstance(found, str) else None
    if label not in (0, 1):
        raise Fault("bad_label", f"`label` is {shown(found)}, should be 0 or 1")
    true, false = _votes(record, "vote_true_validator_id"), _votes(record, "vote_false_validator_id")
    agree, against = (true, false) if label else (false, true)
    if against > agree:
        raise Fault("votes_disagree", f"label {label}, but {true} say true and {false} say false")
    support = (1 + agree) / (1 + true + false) if true + false else None
    return Annotation(
        image=image_key(name), kind="judgement", question=statement, answer=("no", "yes")[label], support=support
    )


def _votes(record: dict[str, Any], name: str) -> int:
    votes = record.get(name)
    if votes is not None and not isinstance(votes, list):
        raise Fault("bad_record", f"`{name}` is {shown(votes)}, should be a list")
    return len(votes or ())
