from __future__ import annotations

import re
from typing import Any

import pyarrow as pa
import pytest

from mminstruct import schemas
from mminstruct.models.model import Reply
from mminstruct.prompts import Message
from mminstruct.stage import StageOutput
from mminstruct.stages.verify import REASONS, Verify
from mminstruct.text.turn import FAULTS
from tests.stages.doubles import Scripted, image_of, prompt_text, said

FRUIT = ["apple", "pear", "plum", "fig"]
LONG = "A red bus stands at the harbour. Two women wait beside it."


def question(pair: str, kind: str = "short", answer: str = "red", **change: Any) -> dict[str, Any]:
    """A row of the table converse."""
    row: dict[str, Any] = dict.fromkeys(schemas.CONVERSE.names)
    told = {"kind": kind, "domain": "colours", "question": f"What about {pair}?", "answer": answer, "origin": "ask"}
    return {**row, "pair_id": pair, "image_id": "i0", "instruction_id": f"q{pair}", **told, **change}


def choice(pair: str, right: int = 1) -> dict[str, Any]:
    return question(pair, "choice", "ABCD"[right], choices=FRUIT, right=right)


def letter(messages: list[Message], text: str) -> str:
    """The letter of the choice *text* as it was shown."""
    return re.findall(rf"^([A-D])\. {text}$", said(messages), re.MULTILINE)[0]


class Script:
    """Replies with the description, without it, and with the image."""

    def __init__(self, told: Any = "red", blind: Any = "unknown", seen: Any = "red") -> None:
        self.told, self.blind, self.seen = told, blind, seen

    def __call__(self, messages: list[Message], seed: int) -> str | Reply:
        text = said(messages)
        step = self.seen if image_of(messages[-1]) else self.told if "Image: a lamp" in text else self.blind
        return step(messages) if callable(step) else step  # type: ignore[no-any-return]


def run(rows: list[dict[str, Any]], script: Any, viewer: bool = False, **fields: Any) -> tuple[StageOutput, Scripted]:
    model = Scripted(script=script)
    stage = Verify(model=model, viewer=model if viewer else None, prompt=prompt_text("verify"), **fields)
    stage.check()
    given = {"converse": pa.Table.from_pylist(rows, schema=schemas.CONVERSE),
             "caption": pa.table({"image_id": ["i0"], "caption": ["a lamp"]})}  # fmt: skip
    came = {"image_id": ["i0"], "alt_text": ["Lamp Street"], "image": pa.array([b"\xff\xd8x"], pa.large_binary())}
    given["ingest"] = pa.table(came).select(list(stage.reads["ingest"].columns))
    assert given.keys() == stage.reads.keys()
    made = stage.load()(**given)
    assert isinstance(made, StageOutput)
    return made, model


def reasons(made: StageOutput) -> dict[str, str]:
    return {drop.id: drop.reason for drop in made.drops}


RIGHT = Script(told=lambda messages: letter(messages, "pear"))
CASES: dict[str, tuple[list[dict[str, Any]], Script, dict[str, Any]]] = {
    "unanswerable": ([question("p")], Script(told="unknown"), {}),
    "inconsistent": ([question("p")], Script(told="blue"), {}),
    "unsupported": ([question("p", "long", LONG)], Script(told="Two women wait beside it."), {}),
    "blind_answerable": ([choice("p")], Script(RIGHT.told, RIGHT.told), {"on_blind": "drop"}),
    "image_disagrees": ([question("p")], Script(seen="blue"), {"viewer": True}),
    "verify_unparsed": ([question("p", "judgement", "Yes")], Script(told="Yes and no"), {}),
    "model_error": ([question("p")], Script(told=Reply("", "error", error="boom")), {}),
    "model_filtered": ([question("p")], Script(told=Reply("", "filtered")), {}),
    "after_a_gap": (
        [question("a", fault="no_answer", talk="t", turn=0), question("p", talk="t", turn=1)],
        Script(), {},
    ),
}  # fmt: skip


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_to_drop_a_row_is_reached(reason: str) -> None:
    rows, script, fields = CASES[reason]
    made, _ = run(rows, script, **fields)
    assert reasons(made)["p"] == reason
    assert made.table.num_rows == 0
    assert all("What about" in str(drop.detail) for drop in made.drops)


def test_there_is_a_case_for_every_reason() -> None:
    assert CASES.keys() == REASONS.keys()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_row_with_a_fault_is_dropped_with_its_name_and_its_text_and_costs_no_call(fault: str) -> None:
    made, model = run([question("p", fault=fault, detail="why")], Script(), share=0.0)
    assert [(drop.id, drop.reason, drop.detail) for drop in made.drops] == [("p", fault, "What about p? / red (why)")]
    assert model.chatter.asked == []


def test_a_row_that_is_answered_alike_is_kept_with_what_was_tried() -> None:
    rows = [question("a"), question("b", "judgement", "Yes"), choice("c"), question("d", "long", LONG)]

    def told(messages: list[Message]) -> str:
        text = said(messages)
        return "supported" if "Text: " in text else letter(messages, "pear") if "A. " in text else (
            "Yes" if "with Yes" in text else "a red")  # fmt: skip

    def blind(messages: list[Message]) -> str:
        return "Yes" if "with Yes" in said(messages) else "unknown"

    made, model = run(rows, Script(told, blind, told), viewer=True)
    assert made.drops == []
    assert made.table.schema == schemas.VERIFY
    kept = {row["pair_id"]: row for row in made.table.to_pylist()}
    assert [kept[pair]["blind"] for pair in "abcd"] == [0.0, 1.0, 0.0, None]
    assert [kept[pair]["checked"] for pair in "ad"] == [["description", "blind", "image"], ["description", "image"]]
    assert {(row["agrees"], row["seen"]) for row in kept.values()} == {(True, True)}
    assert len(model.chatter.asked) == 4 + 3 * 3 + 4
    names = [name for name in schemas.CONVERSE.names if name not in ("fault", "detail")]
    assert [{name: row[name] for name in names} for row in kept.values()] == [
        {n: row[n] for n in names} for row in rows
    ]


def test_without_a_viewer_no_image_is_read() -> None:
    made, _ = run([question("p")], Script())
    row = made.table.to_pylist()[0]
    assert (row["seen"], row["checked"]) == (None, ["description", "blind"])


def test_the_verifier_sees_the_choices_in_another_order_and_the_right_one_under_another_letter() -> None:
    rows = [choice(f"p{n}", n % 4) for n in range(40)]
    _, model = run(rows, Script(told="unknown"))
    told = [said(messages) for messages in model.chatter.asked if "Image: a lamp" in said(messages)]
    assert len(told) == 40
    for row, text in zip(rows, told, strict=True):
        assert sorted(re.findall(r"^[A-D]\. (\w+)$", text, re.MULTILINE)) == sorted(FRUIT)
        assert f"{row['answer']}. {FRUIT[row['right']]}" not in text
    blind = [said(messages) for messages in model.chatter.asked if "Image:" not in said(messages)]
    assert {re.findall(r"([A-D])\. apple", text)[0] for text in blind} == set("ABCD")


def test_a_prompt_asks_for_the_form_of_its_kind_and_never_shows_the_answer() -> None:
    _, model = run([question("a", answer="violet"), question("b", "judgement", "Yes"), choice("c"), question("d", "long", LONG)],
                   Script(), blind_votes=0)  # fmt: skip
    short, judged, chosen, long = (said(messages) for messages in model.chatter.asked)
    assert "at most five words" in short
    assert "violet" not in short
    assert "with Yes or No" in judged
    assert "the letter of a choice" in chosen
    assert f"Text: {LONG}" in long
    assert "What about d" not in long


@pytest.mark.parametrize(
    ("said_in_turn", "kept"),
    [(["red", "red", "blue"], True), (["red", "blue", "unknown"], False), (["red", "blue", "red", "blue"], False)],
)
def test_more_than_half_of_the_votes_must_agree(said_in_turn: list[str], kept: bool) -> None:
    left = list(said_in_turn)
    made, _ = run([question("p")], lambda *_: left.pop(0), votes=len(left), blind_votes=0)
    assert (made.table.num_rows == 1) == kept
    if not kept:
        assert set(reasons(made).values()) == {"inconsistent"}


def test_only_choices_are_dropped_for_being_found_blind_and_only_in_every_try() -> None:
    script = Script(lambda messages: letter(messages, "pear") if "A. " in said(messages) else "Yes", "Yes")
    made, _ = run([question("j", "judgement", "Yes"), choice("c")], script, on_blind="drop")
    assert made.table["pair_id"].to_pylist() == ["j", "c"]  # "Yes" is no letter
    marked, _ = run([choice("c")], Script(RIGHT.told, RIGHT.told))
    assert marked.table["blind"].to_pylist() == [1.0]


def test_the_first_step_that_fails_is_the_reason() -> None:
    pear, fig = (lambda messages, text=text: letter(messages, text) for text in ("pear", "fig"))
    for told, blind, seen, reason in ((fig, pear, fig, "inconsistent"), (pear, pear, fig, "blind_answerable"),
                                      (pear, fig, fig, "image_disagrees")):  # fmt: skip
        made, _ = run([choice("c")], Script(told, blind, seen), viewer=True, on_blind="drop")
        assert reasons(made) == {"c": reason}


def test_a_dropped_choice_tells_the_texts_of_both_answers_because_letters_differ_from_try_to_try() -> None:
    made, _ = run([choice("c")], Script(told=lambda messages: f"Answer: {letter(messages, 'fig')}"))
    assert [drop.detail for drop in made.drops] == ["What about c? / B. pear (description: fig)"]


def test_a_conversation_ends_before_its_first_dropped_round_and_others_go_on() -> None:
    rows = [question(f"{talk}{turn}", "long", LONG, talk=talk, turn=turn) for talk in "st" for turn in range(4)]
    rows[5]["fault"] = "no_answer"
    made, _ = run(rows[::-1], Script(told="supported"))
    assert sorted(made.table["pair_id"].to_pylist()) == ["s0", "s1", "s2", "s3", "t0"]
    assert reasons(made) == {"t1": "no_answer", "t2": "after_a_gap", "t3": "after_a_gap"}


def test_a_share_of_the_rows_is_tried_and_the_others_say_so() -> None:
    rows = [question(f"p{n}") for n in range(400)]
    made, model = run(rows, Script(), share=0.25, blind_votes=0)
    tried = [row for row in made.table.to_pylist() if row["checked"]]
    assert len(model.chatter.asked) == len(tried)
    assert 65 <= len(tried) <= 135
    assert {(row["agrees"], row["blind"]) for row in made.table.to_pylist() if not row["checked"]} == {(None, None)}


@pytest.mark.parametrize(
    "fields",
    [{"votes": 0}, {"blind_votes": -1}, {"on_blind": "keep"}, {"share": 1.5}, {"on_blind": "drop", "blind_votes": 0}],
)
def test_settings_that_cannot_work_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(fields))):
        run([], Script(), **fields)


def test_the_verifier_knows_what_the_asker_knew_of_an_image_but_not_when_it_answers_blind() -> None:
    _, model = run([question("p")], Script())
    told, blind = (
        [said(chat) for chat in model.chatter.asked if "Image: a lamp" in said(chat)],
        [said(chat) for chat in model.chatter.asked if "Image: a lamp" not in said(chat)],
    )
    assert all("Known about the image: Lamp Street" in text for text in told)
    assert told
    assert not any("Lamp Street" in text for text in blind)
    assert blind
    _, model = run([question("p")], Script(), prior_words=0)
    assert not any("Lamp Street" in said(chat) for chat in model.chatter.asked)
