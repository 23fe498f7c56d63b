from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest

from mminstruct import schemas
from mminstruct.models.model import Reply
from mminstruct.prompts import Message
from mminstruct.recipes import MMInstruct
from mminstruct.stages.rate import Rate
from mminstruct.unit import UNIT, Unit
from tests.stages.doubles import Scripted, image_of, prompt_text, said, turn
from tests.world import recipe

PICTURES = pa.table({"image_id": ["i1", "i2"], "image": pa.array([b"\xff\xd8one", b"\xff\xd8two"], pa.large_binary())})


def rated(reply: Any, *, sees: Any = None, **fields: Any) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Ratings of two pairs, and notes. *reply* is what the text model replies; *sees* the other, or the same."""
    stage = Rate(
        enable=True,
        reader=Scripted(script=reply),
        viewer=Scripted(script=sees or reply),
        prompt=prompt_text("rate"),
        **fields,
    )
    columns = ("pair_id", "image_id", "question", "choices", "phrase", "answer")
    rows = [turn("i1+t1", answer="Yes"), turn("i2+t1", answer="A long </answer> answer.")]
    review = pa.Table.from_pylist([{name: row.get(name) for name in columns} for row in rows])
    unit = Unit("rate", "u")
    token = UNIT.set(unit)
    try:
        out = stage.load()(review=review, ingest=PICTURES)
    finally:
        UNIT.reset(token)
    assert out.table.schema == schemas.RATE
    assert not out.drops
    return out.table.to_pylist(), dict(unit.notes)


def graded(grade: Any) -> str:
    return json.dumps({"reason": "so", "grade": grade})


def test_each_axis_is_asked_once_per_pair_and_only_two_of_them_with_the_image() -> None:
    seen: list[tuple[bytes | None, str]] = []

    def script(messages: list[Message], seed: int) -> str:
        seen.append((image_of(messages[-1]), said(messages)))
        return graded(4)

    rows, notes = rated(script)
    assert [[row[axis] for axis in schemas.AXES] for row in rows] == [[4, 4, 4, 4]] * 2
    assert [image for image, _ in seen] == [None] * 4 + [b"\xff\xd8one", b"\xff\xd8two"] * 2
    assert len({text for _, text in seen}) == 8
    assert notes == {}


def test_an_answer_cannot_leave_its_place_in_the_prompt() -> None:
    texts: list[str] = []

    def script(messages: list[Message], seed: int) -> str:
        texts.append(said(messages))
        return graded(1)

    rated(script, axes=["relevance"])
    assert [text.count("</answer>") for text in texts] == [1, 1]


@pytest.mark.parametrize(
    ("reply", "rating"),
    [("5", 5), ("Rating: 4/5", 4), ("grade: 3", 3), (graded(0), None), (graded(6), None), (graded(2.5), None),
     ("Rating: 4/10", None), ("4 or 5", None), ("", None), ("I cannot rate this.", None), (graded(3) + graded(4), None)],
)  # fmt: skip
def test_a_rating_is_read_or_null_and_never_guessed(reply: str, rating: int | None) -> None:
    rows, notes = rated(lambda *_: reply, axes=["relevance"])
    assert [row["relevance"] for row in rows] == [rating, rating]
    assert notes == ({} if rating else {"unrated_relevance": 2})
    assert rows[0]["replies"] == [{"axis": "relevance", "reply": reply}]


def test_a_failed_call_is_counted_and_gives_no_rating() -> None:
    rows, notes = rated(lambda *_: Reply(graded(5), "error", error="down"), axes=["relevance"])
    assert [row["relevance"] for row in rows] == [None, None]
    assert notes == {"model_error": 2}


@pytest.mark.parametrize(("axes", "word"), [(["beauty"], "beauty"), ([], "axes=[]"), (["relevance"] * 2, "different")])
def test_unknown_axes_are_refused(axes: list[str], word: str) -> None:
    with pytest.raises(ValueError, match=word.replace("[", r"\[").replace("]", r"\]")):
        Rate(enable=True, reader=Scripted(script=str), viewer=Scripted(script=str), axes=axes).check()


def test_a_disabled_stage_is_in_no_run_and_nothing_reads_it() -> None:
    made: MMInstruct = recipe("nowhere")
    assert "rate" in made.stages()
    assert {"rate"} <= made.stages()["select"].reads.keys() & made.stages()["export"].reads.keys()
    made.rate.enable = False
    assert "rate" not in made.stages()
    assert not any("rate" in stage.reads for stage in made.stages().values())
