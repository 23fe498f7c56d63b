from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from mminstruct import schemas
from mminstruct.bench.contestant import Contestant
from mminstruct.bench.histories import HISTORIES
from mminstruct.models.model import Reply
from mminstruct.prompts import Message
from mminstruct.stage import StageOutput
from mminstruct.stages.respond import Respond, ends
from mminstruct.store.receipt import Receipt
from mminstruct.store.tables import Store
from tests.bench.pictures import lines, picture
from tests.stages.doubles import Player, image_of, prompt_text, said


def run(
    contestants: dict[str, Contestant], count: int = 3, blind: tuple[int, ...] = (), order: tuple[int, ...] = (),
    before: dict[int, str] | None = None, **fields: Any,
) -> StageOutput:  # fmt: skip
    """The output for questions 0 to *count*, or those of *order*; *before* has their column ``earlier``."""
    stage = Respond(contestants=contestants, prompt=prompt_text("respond"), **fields)
    stage.check()
    rows = [
        {"question_id": f"q{n}", "image": None if n in blind else picture(n), "question": f"What is {n}?"}
        | {"earlier": (before or {}).get(n)}
        for n in order or range(count)
    ]
    schema = pa.schema([schemas.PICK.field(name) for name in stage.reads["pick"].columns])
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


def earlier(made: StageOutput, contestant: str) -> dict[str, list[str]]:
    """The questions before each question, by its id."""
    rows = [row for row in made.table.to_pylist() if row["contestant"] == contestant]
    return {row["question_id"]: [asked for asked, _ in json.loads(row["earlier"] or "[]")] for row in rows}


def test_each_named_history_comes_before_each_question_and_an_empty_one_has_our_turns() -> None:
    mine = ["What is left?", "What is right?"]
    made = run({"a": Player(), "b": Player()}, histories={"phrase": [], "open_phrase": [], "mine": mine}, shuffle=False)
    names = [name + after for name in "ab" for after in ("", "@mine", "@open_phrase", "@phrase")]
    assert sorted({row["contestant"] for row in made.table.to_pylist()}) == names
    for name, turns in (HISTORIES | {"mine": tuple(mine)}).items():
        if f"a@{name}" in names:
            assert earlier(made, f"b@{name}") == {f"q{n}": list(turns) for n in range(3)}
    assert earlier(made, "a") == {f"q{n}": [] for n in range(3)}


def test_turns_are_shuffled_for_each_question_and_not_by_the_order_of_questions_or_the_contestant() -> None:
    histories: dict[str, list[str]] = {"mixed": [], "open_phrase": []}
    made = run({"a": Player(), "b": Player()}, count=40, histories=histories)
    orders = earlier(made, "a@mixed")
    assert orders == earlier(made, "b@mixed")
    assert {tuple(sorted(turns)) for turns in orders.values()} == {tuple(sorted(HISTORIES["mixed"]))}
    assert {turns[-1] for turns in orders.values()} == set(HISTORIES["mixed"])  # each format is the last one for some
    assert {tuple(turns) for turns in earlier(made, "a@open_phrase").values()} == {HISTORIES["open_phrase"]}
    few = run({"a": Player()}, order=(7, 3, 30), histories=histories)
    assert earlier(few, "a@mixed") == {f"q{n}": orders[f"q{n}"] for n in (7, 3, 30)}
    there = {(row["question_id"], row["contestant"]): row for row in made.table.to_pylist()}
    assert all(row == there[row["question_id"], row["contestant"]] for row in few.table.to_pylist())
    fixed = run({"a": Player()}, count=5, histories=histories, shuffle=False)
    assert {tuple(turns) for turns in earlier(fixed, "a@mixed").values()} == {HISTORIES["mixed"]}
    assert earlier(run({"a": Player()}, count=40, histories=histories, seed=1), "a@mixed") != orders


def test_a_question_of_a_dialogue_is_asked_alone_and_again_after_its_own_earlier_turns() -> None:
    def talk(messages: list[Message], seed: int) -> str:
        return f"reply {sum(message['role'] == 'user' for message in messages)}"

    player = Player(script=talk)
    made = run({"a": player}, before={1: '["What is 0?"]', 2: '["What is 0?", "What is 1?"]'})
    rows = {(row["question_id"], row["contestant"]): row for row in made.table.to_pylist()}
    assert list(rows) == [
        ("q0", "a"), ("q1", "a"), ("q1", "a@dialogue"), ("q2", "a"), ("q2", "a@dialogue"),
    ]  # fmt: skip
    assert [rows[key]["answer"] for key in rows] == ["reply 1", "reply 1", "reply 2", "reply 1", "reply 3"]
    said = json.loads(rows["q2", "a@dialogue"]["earlier"])
    assert said == [["What is 0?", "reply 1"], ["What is 1?", "reply 2"]]
    assert image_of(player.chatter.asked[-1][0]) == picture(2)
    blind = run({"a": Player(), "b": Player()}, count=2, blind=(0,), before={0: '["Why?"]'})
    assert [drop.id for drop in blind.drops] == ["q0"]


def test_given_answers_may_have_histories_too(tmp_path: Path) -> None:
    def answers(name: str, text: str) -> str:
        return lines(tmp_path / f"{name}.json", [{"question_id": f"q{n}", "text": f"{text} {n}."} for n in range(3)])

    given = Contestant(
        answers=answers("fresh", "Alone"), after={"phrase": answers("phrase", "Calm"), "3": answers("3", "Three")}
    )
    made = run({"given": given, "z": Player()}, histories={"phrase": []})
    rows = {(row["question_id"], row["contestant"]): row["answer"] for row in made.table.to_pylist()}
    assert [rows["q1", f"given{after}"] for after in ("", "@3", "@phrase")] == ["Alone 1.", "Three 1.", "Calm 1."]
    assert ("q1", "z@phrase") in rows
    Store(str(tmp_path / "bench")).create(b'{"order": 1}', "respond", "manifest.json")
    table = Store(str(tmp_path / "bench")).table("respond")
    part = table.put("p", made.table)
    table.commit(Receipt(key="p", parts=[part], rows_in=3, kept=3, dropped={}))
    found = Contestant(answers=str(tmp_path / "bench"), model_id="given", after={"phrase": str(tmp_path / "bench")})
    again = run({"again": found})
    said = {(row["question_id"], row["contestant"]): row["answer"] for row in again.table.to_pylist()}
    assert (said["q1", "again"], said["q1", "again@phrase"]) == ("Alone 1.", "Calm 1.")
    with pytest.raises(ValueError, match="bench has no answers of given after mixed"):
        run({"a": replace(found, after={"mixed": str(tmp_path / "bench")})})


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
        (
            {"a": Contestant(name="m", after={"phrase": "f"})},
            r"contestants\.a: after holds existing answers: give answers",
        ),
        ({"a": Contestant(answers="f", after={"a b": "f"})}, r"contestants\.a: after\.a b: the name of a history"),
        ({"a": Contestant(answers="f", after={"fresh": "f"})}, r"contestants\.a: after\.fresh: the name of a history"),
    ]:
        with pytest.raises(ValueError, match=match):
            run(contestants)  # type: ignore[arg-type]
    for rounds in ([], [0, 0], [-1], [3]):
        with pytest.raises(ValueError, match="rounds"):
            run({"a": Player()}, rounds=rounds, earlier=["x", "y"])
    for histories, match in [
        ({"3": ["Why?"]}, r"histories\.3: a name begins with a letter"),
        ({"fresh": ["Why?"]}, r"histories\.fresh: a name .* is not fresh or dialogue"),
        ({"mine": []}, r"histories\.mine: give its turns, a list of questions; only phrase, yesno"),
        ({"mine": [" "]}, r"histories\.mine: give its turns"),
    ]:
        with pytest.raises(ValueError, match=match):
            run({"a": Player()}, histories=histories)
    with pytest.raises(ValueError, match=r"rounds=\[1\]: histories are compared with answers without one, so add 0"):
        run({"a": Player()}, histories={"phrase": []}, rounds=[1])
