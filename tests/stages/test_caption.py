from __future__ import annotations

import pyarrow as pa
import pytest

from mminstruct import schemas
from mminstruct.models.model import Reply
from mminstruct.prompts import Message
from mminstruct.stage import seed
from mminstruct.stages.caption import Caption
from tests.stages.doubles import Scripted, image_of, prompt_text, said


def ingest(count: int) -> pa.Table:
    rows = [{"image_id": f"i{k}", "image": b"\x89PNG%d" % k if k % 2 else b"\xff\xd8%d" % k} for k in range(count)]
    return pa.Table.from_pylist(
        rows, schema=pa.schema([schemas.INGEST.field("image_id"), schemas.INGEST.field("image")])
    )


def stage(model: Scripted) -> Caption:
    return Caption(model=model, prompt=prompt_text("caption"), seed=5)


def test_every_image_gets_a_caption_of_its_own_in_the_order_of_the_rows() -> None:
    model = Scripted()
    table = ingest(5)
    made = stage(model).load()(table)
    assert made.table.schema == schemas.CAPTION
    assert made.table["image_id"].to_pylist() == table["image_id"].to_pylist()
    assert len(set(made.table["caption"].to_pylist())) == 5
    assert made.drops == []
    assert [image_of(messages[-1]) for messages in model.chatter.asked] == table["image"].to_pylist()
    assert model.chatter.seeds == [seed(5, "caption", f"i{k}") for k in range(5)]
    assert model.chatter.calls == 1


def test_a_caption_does_not_depend_on_the_images_around_it() -> None:
    caption = stage(Scripted()).load()
    whole = caption(ingest(6)).table.to_pylist()
    assert [caption(ingest(6).slice(k, 1)).table.to_pylist()[0] for k in range(6)] == whole


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply("A dog on a mat and a", "length"), "caption_truncated"),
        (Reply("", "stop"), "caption_empty"),
        (Reply(" \n<|im_end|>", "stop"), "caption_empty"),
        (Reply("The dog is red. " * 9, "stop"), "caption_repetition"),
        (Reply("I'm sorry, I cannot describe people.", "stop"), "caption_refusal"),
        (Reply("", "error", error="HTTP 400: image too large"), "model_error"),
        (Reply("", "filtered"), "model_filtered"),
    ],
)
def test_a_bad_caption_leaves_by_name_and_takes_no_other_with_it(reply: Reply, reason: str) -> None:
    def script(messages: list[Message], seed: int) -> Reply | str:
        return reply if image_of(messages[-1]) == b"\x89PNG1" else "A dog."

    made = stage(Scripted(script=script)).load()(ingest(3))
    assert made.table["image_id"].to_pylist() == ["i0", "i2"]
    assert [(drop.id, drop.reason) for drop in made.drops] == [("i1", reason)]
    if reply.error:
        assert made.drops[0].detail == reply.error


def test_a_caption_is_one_clean_line_with_its_tokens() -> None:
    model = Scripted(script=lambda messages, seed: Reply("A dog.\n\nA \u202esign\u200b.</s>", "stop", tokens_out=7))
    assert stage(model).load()(ingest(1)).table.to_pylist() == [
        {"image_id": "i0", "caption": "A dog. A sign.", "tokens": 7}
    ]
    assert "Describe" in said(model.chatter.asked[0])


def test_an_empty_part_stays_an_empty_part() -> None:
    made = stage(Scripted()).load()(ingest(0))
    assert made.table.num_rows == 0
    assert made.table.schema == schemas.CAPTION


def test_a_prompt_may_use_the_words_and_the_domain_of_an_image_and_only_images_with_words_are_captioned() -> None:
    model = Scripted()
    given = Caption(model=model, prompt=prompt_text("caption_words") + "{{ domain }}")
    words = pa.table({"image_id": ["i2", "i0"], "words": [["OPEN", "No entry"], []]})
    domains = pa.table({"image_id": ["i0", "i1", "i2"], "domain": ["image_scene", "ocr", "ocr"]})
    made = given.load()(ingest(3), transcribe=words, retrieve=domains)
    assert made.table["image_id"].to_pylist() == ["i2", "i0"]
    first, second = (said(messages) for messages in model.chatter.asked)
    assert "Words in the image: OPEN, No entry" in first
    assert first.endswith("at least 200 words.\nocr")
    assert "Words in the image" not in second
    assert second.endswith("at least 120 words.\nimage scene")
    assert [image_of(messages[-1]) for messages in model.chatter.asked] == [
        ingest(3)["image"][n].as_py() for n in (2, 0)
    ]
