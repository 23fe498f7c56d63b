from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from mminstruct import schemas
from mminstruct.bench.contestant import Contestant
from mminstruct.models.model import Reply
from mminstruct.prompts import Message
from mminstruct.stage import StageOutput
from mminstruct.stages.respond import Respond, ends
from tests.bench.pictures import lines, picture
from tests.stages.doubles import Player, image_of, prompt_text, said


def run(contestants: dict[str, Contestant], count: int = 3, blind: tuple[int, ...] = (), **fields: Any) -> StageOutput:
    stage = Respond(contestants=contestants, prompt=prompt_text("respond"), **fields)
    stage.check()
    rows = [
        {"question_id": f"q{n}", "image": None if n in blind else picture(n), "question": f"What is {n}?"}
        for n in range(count)
    ]
    schema = pa.schema([schemas.PICK.field(name) for name in ("question_id", "image", "question")])
    return stage.load()(pick=pa.Table.from_pylist(rows, schema=schema))


def test_every_contestant_answers_every_question_about_its_image() -> None:
    player = Player(script=lambda messages, seed: f"It is {said(messages)[-2]}.")
    made = run({"b": player, "a": Player(script=lambda messages, seed: "No idea.")})
    assert made.table.schema == schemas.RESPOND
    rows = [(row["question_id"], row["contestant"], row["answer"]) for row in made.table.to_pylist()]
    assert rows == [
        ("q0", "a", "No idea."), ("q0", "b", "It is 0."), ("q1", "a", "No idea."), ("q1", "b", "It is 1."),
        ("q2", "a", "No idea."), ("q2", "b", "It is 2."),
    ]  # fmt: skip
    assert [image_of(asked[-1]) for asked in player.chatter.asked] == [picture(n) for n in range(3)]


def test_all_models_are_capped_alike_whatever_they_ask_for() -> None:
    caps: list[int] = []

    class Greedy(Player):
        def chat(self) -> Any:
            caps.append(self.max_tokens)
            return super().chat()

    run({"a": Greedy(max_tokens=9999), "b": Greedy(max_tokens=8)}, max_tokens=77)
    assert caps == [77, 77]


def test_an_answer_cut_at_the_cap_is_kept_and_marked() -> None:
    made = run(
        {"a": Player(script=lambda messages, seed: Reply("It is a very long", "length", tokens_out=77))}, count=1
    )
    (row,) = made.table.to_pylist()
    assert (row["answer"], row["finish"], row["tokens"], row["words"]) == ("It is a very long", "length", 77, 5)


@pytest.mark.parametrize(
    ("reply", "fault"),
    [
        (Reply("", "error", error="boom"), "model_error"),
        (Reply("", "filtered"), "model_filtered"),
        (Reply("Request timed out. Please try again.", "stop"), "error_text"),
        (Reply('{"error": {"message": "Rate limit reached", "code": 429}}', "stop"), "error_text"),
    ],
)
def test_a_contestant_that_fails_has_a_fault_and_the_others_their_answers(reply: Reply, fault: str) -> None:
    broken = Player(script=lambda messages, seed: reply if "1?" in said(messages) else "Fine.")
    made = run({"a": broken, "b": Player(script=lambda messages, seed: "Good.")})
    rows = {(row["question_id"], row["contestant"]): row for row in made.table.to_pylist()}
    assert made.drops == []
    assert (rows["q1", "a"]["answer"], rows["q1", "a"]["fault"]) == (None, fault)
    assert rows["q1", "b"]["answer"] == "Good."
    alone = run({"a": broken})
    assert [(drop.id, drop.reason) for drop in alone.drops] == [("q1", "no_answer")]


@pytest.mark.parametrize("said", ["None", "Access denied", "I'm sorry, but I can't see it.", "The bus <pad> is red."])
def test_what_the_contestant_said_is_its_answer_however_bad_it_is(said: str) -> None:
    (row,) = run({"a": Player(script=lambda messages, seed: said)}, count=1).table.to_pylist()
    assert (row["answer"], row["fault"]) == (said, None)


def test_thoughts_that_never_end_are_no_answer() -> None:
    (row,) = run({"a": Player(script=lambda messages, seed: "<think>It is 0. No, 1")}, count=1).table.to_pylist()
    assert (row["answer"], row["fault"], row["words"]) == ("", None, 0)


def test_an_empty_answer_is_an_answer() -> None:
    made = run({"a": Player(script=lambda messages, seed: " ")}, count=1)
    assert made.table.to_pylist()[0]["answer"] == ""


def test_a_model_is_not_asked_about_an_image_that_is_not_there() -> None:
    player = Player()
    made = run({"a": player, "b": Player()}, count=2, blind=(0,))
    assert [drop.id for drop in made.drops] == ["q0"]
    assert len(player.chatter.asked) == 1
    assert "What is 1?" in said(player.chatter.asked[0])


def test_given_answers_are_joined_by_id_and_missing_ones_are_told(tmp_path: Path) -> None:
    rows = [
        {"question_id": "q2", "text": "Two."},
        "{torn",
        {"question_id": "q0", "text": "Zero."},
        {"question_id": "x", "text": "X."},
    ]
    made = run({"given": Contestant(answers=lines(tmp_path / "a.json", rows)), "z": Player()})
    found = {row["question_id"]: row for row in made.table.to_pylist() if row["contestant"] == "given"}
    assert [found[f"q{n}"]["answer"] for n in range(3)] == ["Zero.", None, "Two."]
    assert found["q1"]["fault"] == "missing"
    assert (found["q0"]["finish"], found["q0"]["tokens"]) == ("given", None)


def test_earlier_turns_come_first_with_the_contestants_own_replies_and_one_image() -> None:
    def talk(messages: list[Message], seed: int) -> str:
        return f"reply {sum(message['role'] == 'user' for message in messages)}"

    player = Player(script=talk)
    made = run({"a": player}, count=1, rounds=[0, 2], earlier=["Yes or no?", "One word?", "Not asked."])
    rows = {row["contestant"]: row for row in made.table.to_pylist()}
    assert rows["a"]["answer"] == "reply 1"
    assert rows["a"]["earlier"] is None
    assert rows["a@2"]["answer"] == "reply 3"
    assert json.loads(rows["a@2"]["earlier"]) == [["Yes or no?", "reply 1"], ["One word?", "reply 2"]]
    last = player.chatter.asked[-1]
    assert [message["role"] for message in last] == ["user", "assistant"] * 2 + ["user"]
    assert [image_of(message) is not None for message in last] == [True, False, False, False, False]
    assert last[-1]["content"] == "What is 0?"


def test_an_earlier_turn_that_failed_is_the_fault_of_the_answer() -> None:
    def talk(messages: list[Message], seed: int) -> Reply | str:
        return Reply("", "error", error="boom") if len(messages) == 1 else "fine"

    made = run({"a": Player(script=talk), "b": Player()}, count=1, rounds=[1])
    assert {row["contestant"]: row["fault"] for row in made.table.to_pylist()} == {"a@1": "model_error", "b@1": None}


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("It is a dog that runs in the park.", True),
        ("It is a dog that runs in the", False),
        ("It is a dog that runs in the park,", False),
        ("Yes", True),
        ("A post about a dog in the park #dog #park", True),
        ("Buy these things today:\n- milk\n- bread and butter", True),
        ("```json\n{\"a\": 1, \"b\": 2, \"c\": 3, \"d\": 4}\n```", True),
        ("Dear friend,\nit is a quiet night here at the beach.\nBest wishes", True),
        ("Dear friend,\nit is a quiet night here at the", False),
        ("这是一只狗在公园里跑的照片。", True),
        ("", True),
    ],
)  # fmt: skip
def test_an_answer_that_stops_in_the_middle_is_told_from_one_that_ends(text: str, whole: bool) -> None:
    assert ends(text) is whole


def test_contestants_that_cannot_take_part_are_refused_by_name() -> None:
    for contestants, match in [
        ({}, "no contestants"),
        ({"a b": Player()}, "a b: a name may only contain"),
        ({"a@2": Player()}, "a@2: a name may only contain"),
        ({"a": Contestant()}, r"contestants\.a: give its name"),
        ({"a": Contestant(name="m", answers="f")}, r"contestants\.a: give its name"),
    ]:
        with pytest.raises(ValueError, match=match):
            run(contestants)  # type: ignore[arg-type]
    for rounds in ([], [0, 0], [-1], [3]):
        with pytest.raises(ValueError, match="rounds"):
            run({"a": Player()}, rounds=rounds, earlier=["x", "y"])
