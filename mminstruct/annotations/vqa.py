"""VQA v2 and OK-VQA: a file of questions and a file of annotations, joined by ``question_id``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mminstruct.annotations.files import Numbered
from mminstruct.annotations.keys import coco_key
from mminstruct.annotations.record import (
    Annotation,
    AnnotationFormat,
    Fault,
    licence,
    majority,
    number_of_image,
    own_id,
    safe_id,
    text,
)  # fmt: skip
from mminstruct.readers.text import BadRow

_BATCH = 50_000
_HALF = pa.schema(
    [
        ("id", pa.string()), ("image", pa.int64()), ("text", pa.string()), ("support", pa.float64()),
        ("number", pa.int64()), ("reason", pa.string()), ("found", pa.string()),
    ]
)  # fmt: skip
"""A question or an annotation: its text or answer, or why it cannot be used."""


class Vqa(AnnotationFormat):
    """``questions[{question_id, image_id, question}]`` and ``annotations[{question_id, image_id, answers, ...}]``.

    One question id is one record, whether it has a question, an annotation or both.
    """

    needs = ("questions",)

    def read(self) -> Iterator[Annotation | Fault]:
        asked, answered = self.files["questions"], self.files["path"]
        loose: list[Fault] = []
        questions = _halves(
            asked.listed("questions", ("question_id", "image_id", "question")),
            lambda record: (text(record, "question", "no_question"), None), "question", loose,
        )  # fmt: skip
        annotations = _halves(
            answered.listed("annotations", ("question_id", "image_id")),
            lambda record: majority(record, str(record.get("question_id"))), "annotation", loose,
        )  # fmt: skip
        questions, annotations = (
            _distinct(table, what, reason, loose)
            for table, what, reason in (
                (questions, "question", "dup_question_id"), (annotations, "annotation", "dup_annotation"),
            )
        )  # fmt: skip
        yield from loose
        named = licence(answered.others.get("license")) or licence(asked.others.get("license"))
        joined = questions.join(annotations, "id", join_type="full outer", right_suffix=" of answer")
        for batch in joined.to_batches(max_chunksize=_BATCH):
            columns = {name: batch.column(name).to_pylist() for name in batch.schema.names}
            names = [*_HALF.names[1:], *(f"{name} of answer" for name in _HALF.names[1:])]
            ids = batch.column("id").to_pylist()
            for native, *both in zip(ids, *(columns[name] for name in names), strict=True):
                yield _whole(native, both[:6], both[6:], named)


def _whole(native: str, asked: list[Any], answered: list[Any], licence: str | None) -> Annotation | Fault:
    """The annotation or fault of one question id; *asked* and *answered* are the halves, without the id."""
    image, question, _, number, reason, found = asked
    theirs, answer, support, place, their_reason, theirs_found = answered
    where = f"question {number}" if number is not None else f"annotation {place}"
    if reason is not None:
        return _fault(reason, found, where, native)
    if their_reason is not None:
        return _fault(their_reason, theirs_found, f"annotation {place}", native)
    if number is None or place is None:
        found = f"question id {native} has {'no annotation' if place is None else 'no question'}"
        return _fault("no_partner", found, where, native)
    if image != theirs:
        found = f"its question is about image {image}, its annotation about image {theirs}"
        return _fault("bad_image_id", found, where, native)
    return Annotation(
        image=coco_key(image), kind="short", question=question, answer=answer, support=support, native=native,
        licence=licence, where=where,
    )  # fmt: skip


def _fault(reason: str, found: str, where: str, native: str) -> Fault:
    fault = Fault(reason, found)
    fault.where, fault.native = where, native
    return fault


def _halves(
    found: Iterator[Numbered], read: Callable[[dict[str, Any]], tuple[str, float | None]], what: str, loose: list[Fault]
) -> pa.Table:
    """The records of one file as ``_HALF``; those without an id go to *loose*."""
    batches, rows = list[pa.RecordBatch](), list[tuple[Any, ...]]()

    def flush() -> None:
        columns = zip(*rows, strict=True) if rows else [()] * len(_HALF)
        batches.append(
            pa.RecordBatch.from_arrays(
                [pa.array(list(column), field.type) for column, field in zip(columns, _HALF, strict=True)], schema=_HALF
            )
        )
        rows.clear()

    for number, record in found:
        if isinstance(record, BadRow):
            loose.append(_fault("bad_record", record.said, f"{what} {number}", ""))
            continue
        try:
            native = own_id(record, "question_id")
        except Fault as fault:
            loose.append(_fault(fault.reason, fault.found, f"{what} {number}", safe_id(record.get("question_id"))))
            continue
        try:
            rows.append((native, number_of_image(record, "image_id"), *read(record), number, None, None))
        except Fault as fault:
            rows.append((native, None, None, None, number, fault.reason, fault.found))
        if len(rows) == _BATCH:
            flush()
    flush()
    return pa.Table.from_batches(batches, _HALF)


def _distinct(table: pa.Table, what: str, reason: str, loose: list[Fault]) -> pa.Table:
    """*table* with one row for each id: the usable one that is first by content. The others go to *loose*."""
    if pc.count_distinct(table["id"]).as_py() == len(table):
        return table
    order = ["id", "image", "text", "support", "reason", "found", "number"]
    table = table.sort_by([(name, "ascending") for name in order])
    ids = table["id"].combine_chunks()
    again = pa.concat_arrays([pa.array([False]), pc.equal(ids[1:], ids[:-1])])
    for row in table.filter(again).to_pylist():
        said = row["found"] or f"{what} id {row['id']} is there twice"
        loose.append(_fault(row["reason"] or reason, said, f"{what} {row['number']}", row["id"]))
    return table.filter(pc.invert(again))
