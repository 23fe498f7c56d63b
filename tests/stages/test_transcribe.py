from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest

from mminstruct import schemas
from mminstruct.models.model import Reply
from mminstruct.stage import StageOutput
from mminstruct.stages.transcribe import Transcribe
from mminstruct.unit import UNIT, Unit
from tests.stages.doubles import Scripted, prompt_text, said


def run(
    reply: str | Reply, sidecars: list[str | None] | None = None, **fields: Any
) -> tuple[StageOutput, Unit, Scripted]:
    given = [None] if sidecars is None else sidecars
    ids = [f"i{n}" for n in range(len(given))]
    model = Scripted(script=lambda messages, seed: reply)
    stage = Transcribe(model=model, **{"prompt": prompt_text("transcribe"), **fields})
    stage.check()
    unit = Unit(table="transcribe", key="k")
    token = UNIT.set(unit)
    ingest = pa.table({"image_id": [*ids, "other"], "image": pa.array([b"\xff\xd8x"] * (len(ids) + 1), pa.large_binary()),
                       "sidecar": pa.array([*given, None], pa.string())})  # fmt: skip
    try:
        made = stage.load()(retrieve=pa.table({"image_id": ids}), ingest=ingest)
    finally:
        UNIT.reset(token)
    assert isinstance(made, StageOutput)
    return made, unit, model


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ("OPEN\nNo entry", ["OPEN", "No entry"]),
        ("- OPEN\n- OPEN\n2. No entry", ["OPEN", "OPEN", "No entry"]),
        ('The scene is in a workshop. It shows a sign. The sign says "EXIT".', ["EXIT"]),
        ("A poster says “Grand Sale” and “Grand Sale”, a sign “Today”.", ["Grand Sale", "Today"]),
        ("none", []),
        ("None.", []),
        ("There is no visible text in this image.", []),
        ("No words can be read.", []),
        ("", []),
        ("Words: OPEN", ["OPEN"]),
        ("<think> hm </think>OPEN<|im_end|>", ["OPEN"]),
    ],
)
def test_quoted_strings_are_the_words_and_lines_where_there_are_none(reply: str, words: list[str]) -> None:
    made, unit, _ = run(reply)
    assert made.table.schema == schemas.TRANSCRIBE
    assert made.table.to_pylist() == [{"image_id": "i0", "words": words, "origin": "model"}]
    assert unit.notes == {}


@pytest.mark.parametrize(
    ("reply", "words", "note"),
    [
        ("The scene is on a farm on a rainy evening, and it shows three small green ducks.", [], "transcribe_prose"),
        ("I'm sorry, I can't see the image.", [], "transcribe_refusal"),
        (Reply("OPEN\nNo ent", "length"), ["OPEN"], "transcribe_truncated"),
        ("OPEN\n<|im_start|>user", ["OPEN"], "transcribe_broken"),
        ("OPEN\n" + "so many words " * 2 + "\nthat are on it", ["OPEN"], "transcribe_most"),
    ],
)
def test_what_is_no_word_of_the_image_is_left_out_and_noted(reply: str | Reply, words: list[str], note: str) -> None:
    made, unit, _ = run(reply, most_words=6)
    assert made.table["words"].to_pylist() == [words]
    assert unit.notes == {note: 1}


@pytest.mark.parametrize("finish", ["error", "filtered"])
def test_an_image_is_dropped_only_if_there_is_no_reply(finish: Any) -> None:
    made, _, _ = run(Reply("", finish, error="boom"))
    assert [(drop.id, drop.reason, drop.detail) for drop in made.drops] == [("i0", f"model_{finish}", "boom")]
    assert made.table.num_rows == 0


def test_an_image_whose_sidecar_has_the_words_costs_no_call() -> None:
    sidecars = [
        json.dumps({"ocr": ["EXIT", " two  words "]}),
        None,
        json.dumps({"ocr": "a\nb"}),
        json.dumps({"ocr": []}),
    ]
    made, unit, model = run("OPEN", [*sidecars, json.dumps({"ocr": {"x": 1}})])
    assert made.table["words"].to_pylist() == [["EXIT", "two words"], ["OPEN"], ["a", "b"], [], ["OPEN"]]
    assert made.table["origin"].to_pylist() == ["sidecar", "model", "sidecar", "sidecar", "model"]
    assert len(model.chatter.asked) == 2
    assert unit.notes == {"ocr_unreadable": 1}
    assert run("OPEN", sidecars[:1], field="text")[0].table["words"].to_pylist() == [["OPEN"]]


def test_a_captioner_transcribes_with_its_own_prompt() -> None:
    _, _, model = run("x", prompt=prompt_text("caption"))
    assert "Describe this image" in said(model.chatter.asked[0])


def test_limits_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match="most_words=0"):
        run("x", most_words=0)
