"""Malformed replies over a real connection: no crash, and no row from a guess."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from mminstruct import schemas
from mminstruct.models.model import Model
from mminstruct.stage import StageOutput
from mminstruct.stages.ask import Ask
from mminstruct.stages.converse import Converse
from mminstruct.stages.verify import Verify
from tests.models.server import Answer, Endpoint, Request, say
from tests.stages.doubles import prompt_text
from tests.world import some_domains

Pairs = list[tuple[str, str]]
"""Question and answer (of a choice, its text) of each row that is clear in a reply."""
_FRUIT = "A. pear B. plum C. apple D. fig"
_OK = "<Q1> Which fruit lies here? </Q1> <C1> A. pear B. plum C. apple D. fig </C1> <A1> C </A1>"
_CLEAR = [("Which fruit lies here?", "apple")]

WITHHELD: list[tuple[str, Pairs]] = [
    ("<Q1> Which fruit lies here? <C1> A. pear B. plum C. apple D. fig <A1> C", _CLEAR),
    ("<q1> Which fruit lies here? </q1> <c1> A) pear\nB) plum\nC) apple\nD) fig </c1> <a1> (C) </a1>", _CLEAR),
    ("**<Q1>** Which fruit lies here? **</Q1>** **<C1>** **A.** pear **B.** plum **C.** apple **D.** fig **</C1>** <A1> **C** </A1>",
     _CLEAR),
    ("**Q1：** Which fruit lies here?\n**C1：** A. pear B. plum C. apple D. fig\n**A1：** C", _CLEAR),
    ("＜Ｑ１＞ Which fruit lies here? ＜/Ｑ１＞ ＜C1＞ A． pear B． plum C． apple D． fig ＜/C1＞ ＜A1＞ C ＜/A1＞", _CLEAR),
    (f"Of course! Here you go:\n{_OK}\nLet me know if you need more.", _CLEAR),
    (_OK.replace("<A1> C", "<A1> C. apple"), _CLEAR),
    (_OK.replace("<A1> C", "<A1> apple"), _CLEAR),
    (_OK.replace("1", "7"), _CLEAR),
    (f"{_OK} <Q2> Which fruit lies here? </Q2> <C2> {_FRUIT} </C2> <A2> A </A2>", _CLEAR),
    (f"{_OK} <Q1> What lies under this fruit? </Q1> <C1> A. a table B. a chair C. a bed D. a box </C1> <A1> D </A1>",
     [*_CLEAR, ("What lies under this fruit?", "a box")]),
    (f"{_OK} <Q2> What lies under this fruit? </Q2> <C2> A. a table B. a ch", _CLEAR),
    (_OK.replace("<A1> C", "<A1> E"), []),
    (_OK.replace("<A1> C", "<A1> C. pear"), []),
    (_OK.replace("<A1> C", "<A1> A or C"), []),
    (_OK.replace("<A1> C", "<A1> a melon"), []),
    (_OK.replace("<A1> C", "<A1> "), []),
    (_OK.replace("<A1> C </A1>", ""), []),
    (_OK.replace("<A1> C </A1>", "<A1> C </A1> <A1> B </A1>"), []),
    (_OK.replace("A1>", "A2>"), []),
    (_OK.replace("D. fig", "D. fig E. grape"), []),
    (_OK.replace("D. fig", ""), []),
    (_OK.replace("D. fig", "E. fig"), []),
    (_OK.replace("A. pear B. plum", "B. plum A. pear"), []),
    (_OK.replace("D. fig", "D. the apple"), []),
    (_OK.replace("D. fig", "D."), []),
    (_OK.replace("D. fig", "D. none of the above"), []),
    (_OK.replace("D. fig", "D. 12"), []),
    (_OK.replace("A. pear", "A. plan B. C. pear"), []),
    (_OK.replace(f"<C1> {_FRUIT} </C1>", ""), []),
    (_OK.replace(_FRUIT, "pear, plum, apple, fig"), []),
    (_OK.replace("Which fruit lies here?", "Which <thing> lies here?"), []),
    (_OK.replace("Which fruit lies here?", "Fruit?"), []),
    (_OK.replace("Which fruit lies here?", "What does the description call the fruit?"), []),
    ("<Q1> Which fruit lies here? </Q1> <Q1> Which fruit lies there? </Q1> <C1> A. pear B. plum C. apple D. fig </C1> <A1> C </A1>",
     []),
    ('Here is the JSON: {"questions": [{"question": "Which fruit lies here?", "choices": ["pear", "plum", "apple", "fig"], "answer": "C"}]}',
     []),
    ("I'm sorry, but I can't help with questions about this image.", []),
    ("", []),
    (f"<think> A draft: {_OK}", []),
    (_OK.replace("pear", "pear<|im_end|>"), []),
    ("<Q1> question </Q1> <C1> A. first B. second C. third D. fourth </C1> <A1> letter </A1>", []),
]  # fmt: skip
CUT = 11
"""The reply that ends at the limit of tokens."""


@pytest.fixture(scope="module")
def answered() -> dict[int, Pairs]:
    """The clear rows of ask for each reply, which a scripted endpoint gives for an image of its own."""

    def script(request: Request) -> Answer:
        number = int(request.asked.rsplit("picture ", 1)[1].split()[0])
        return Answer(body=say(WITHHELD[number][0], finish="length" if number == CUT else "stop"))

    ids = [f"i{n:02d}" for n in range(len(WITHHELD))]
    with Endpoint(script) as endpoint:
        model = Model(name="m", backend="openai", url=endpoint.url)
        stage = Ask(model=model, prompt=prompt_text("ask"), domains=some_domains(), number={"choice": 3})
        made = stage.load()(
            caption=pa.table({"image_id": ids, "caption": [f"A fruit of picture {n} here" for n in range(len(ids))]}),
            ingest=pa.table({"image_id": ids, "alt_text": pa.nulls(len(ids), pa.string())}),
            retrieve=pa.table({"image_id": ids, "domain": ["colours"] * len(ids)}),
            transcribe=pa.table({"image_id": ids, "words": pa.array([[]] * len(ids), pa.list_(pa.string()))}),
        )
    assert isinstance(made, StageOutput)
    rows: dict[int, Pairs] = {number: [] for number in range(len(WITHHELD))}
    for row in made.table.to_pylist():
        if row["fault"] is None:
            rows[int(row["image_id"][1:])].append((row["question"], row["choices"][row["right"]]))
    assert {row["image_id"] for row in made.table.to_pylist()} | {drop.id for drop in made.drops} == set(ids)
    return rows


def test_there_are_forty_malformed_replies() -> None:
    assert len(WITHHELD) >= 40


@pytest.mark.parametrize("number", range(len(WITHHELD)))
def test_a_malformed_reply_gives_no_row_from_a_guess(answered: dict[int, Pairs], number: int) -> None:
    assert answered[number] == WITHHELD[number][1]


def test_malformed_replies_are_neither_rounds_nor_agreement() -> None:
    ask: dict[str, Any] = dict.fromkeys(schemas.ASK.names)
    ask |= {"pair_id": "p", "image_id": "i", "instruction_id": "q", "kind": "judgement", "domain": "d", "question": "Is it red?",
            "answer": "Yes", "origin": "ask"}  # fmt: skip
    sent = iter([reply for reply, _ in WITHHELD for _ in range(2)])
    caption = pa.table({"image_id": ["i"], "caption": ["A lamp."]})
    came = pa.table({"image_id": ["i"], "alt_text": [""]})
    with Endpoint(lambda request: Answer(body=say(next(sent)))) as endpoint:
        model = Model(name="m", backend="openai", url=endpoint.url)
        talks = Converse(model=model, prompt=prompt_text("converse")).load()
        checks = Verify(model=model, prompt=prompt_text("verify"), blind_votes=0).load()
        for _, clear in WITHHELD:
            made = talks(ask=pa.Table.from_pylist([ask], schema=schemas.ASK), caption=caption)
            assert isinstance(made, StageOutput)
            rounds = [row for row in made.table.to_pylist() if row["talk"] and row["fault"] is None]
            assert len(rounds) <= len(clear)
            judged = checks(converse=pa.Table.from_pylist([ask], schema=schemas.CONVERSE), caption=caption, ingest=came)
            assert isinstance(judged, StageOutput)
            assert [drop.reason for drop in judged.drops] == ["verify_unparsed"]
