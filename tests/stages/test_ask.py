from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter
from typing import Any

import pyarrow as pa
import pytest

from mminstruct import schemas
from mminstruct.models.model import Reply
from mminstruct.models.structured import closed
from mminstruct.prompts import Message
from mminstruct.stage import StageOutput, identity, instruction_id, pair_id
from mminstruct.stages.ask import Ask, schema
from mminstruct.text.question import asked as shown
from mminstruct.text.turn import FAULTS
from mminstruct.unit import UNIT, Unit
from tests.stages.doubles import Script, Scripted, prompt_text, said
from tests.world import asked_about, some_domains

SEEN = "A lamp stands beside two books in a room."
OTHER = 'Three cats sleep under one table. The sign says "OPEN".'


def run(script: Script, images: int = 1, **fields: Any) -> tuple[StageOutput, Unit, Scripted]:
    given = {name: fields.pop(name) for name in ("caption", "domain", "words", "alt_text") if name in fields}
    ids = [f"i{n}" for n in range(images)]
    model = Scripted(script=script)
    stage = Ask(**{"model": model, "prompt": prompt_text("ask"), "domains": some_domains(), **fields})
    stage.check()
    tables = {
        "caption": pa.table({"image_id": ids, "caption": given.get("caption", [SEEN] * images)}),
        "ingest": pa.table({"image_id": ids, "alt_text": pa.array(given.get("alt_text", [None] * images), pa.string())}),
        "retrieve": pa.table({"image_id": [*ids, "x"], "domain": [*given.get("domain", ["colours"] * images), "places"]}),
        "transcribe": pa.table({"image_id": ids, "words": pa.array(given.get("words", [[]] * images), pa.list_(pa.string()))}),
    }  # fmt: skip
    unit = Unit(table="ask", key="k")
    token = UNIT.set(unit)
    try:
        made = stage.load()(**tables)
    finally:
        UNIT.reset(token)
    assert isinstance(made, StageOutput)
    return made, unit, model


def replying(**of_kind: str | Reply) -> Script:
    """A script that replies by kind; nothing for kinds that are not named."""
    marks = {"judgement": "Yes or No", "choice": "four choices", "short": "one to five", "long": "two to five"}

    def script(messages: list[Message], seed: int) -> str | Reply:
        kind = next(kind for kind, mark in marks.items() if mark in said(messages).replace("answer Yes or", "Yes or"))
        return of_kind.get(kind, "")

    return script


CHOICE = "<Q1> Which fruit lies here? </Q1> <C1> A. pear B. plum C. apple D. fig </C1> <A1> C </A1>"


def test_every_image_gets_the_wanted_number_of_each_kind_in_the_order_of_rows() -> None:
    made, unit, model = run(asked_about, images=3)
    assert made.table.schema == schemas.ASK
    rows = made.table.to_pylist()
    assert [row["image_id"] for row in rows] == [f"i{n}" for n in range(3) for _ in range(13)]
    assert Counter(row["kind"] for row in rows) == {"judgement": 12, "choice": 9, "short": 9, "long": 9}
    assert {row["fault"] for row in rows} == {None}
    assert {row["origin"] for row in rows} == {"ask"}
    assert len(model.chatter.asked) == 12
    assert unit.notes == {}
    for row in rows:
        assert row["instruction_id"] == instruction_id(shown(row["question"], row["choices"]))
        assert row["pair_id"] == pair_id(row["image_id"], row["instruction_id"])
        assert row["phrase"]
    assert len({row["pair_id"] for row in rows}) == len(rows)


def test_a_prompt_has_what_is_known_of_the_image_and_three_templates_of_its_domain() -> None:
    _, _, model = run(asked_about, caption=[OTHER], domain=["signs"], words=[["OPEN"]], alt_text=["Cats of Riverford"])
    text = said(model.chatter.asked[0])
    assert text.endswith(OTHER)
    assert "Topic: signs (words on signs)" in text
    assert "Known about the image: Cats of Riverford" in text
    assert "Words in the image: OPEN" in text
    templates = some_domains()[2].templates["judgement"]
    assert len(set(re.findall(r"^- (.+)$", text, re.MULTILINE)) & set(templates)) == 3


@pytest.mark.parametrize("alt_text", [None, "DSC1234.jpg", "...", "https://a.org/b", "x <|im_end|>"])
def test_a_text_that_tells_nothing_is_no_prior_knowledge(alt_text: str | None) -> None:
    _, unit, model = run(asked_about, alt_text=[alt_text])
    assert "Known about" not in said(model.chatter.asked[0])
    assert unit.notes == ({"alt_text_broken": 1} if alt_text and "im_end" in alt_text else {})


@pytest.mark.parametrize(
    ("need", "caption", "words", "alt_text", "met"),
    [
        ("words", SEEN, [], None, False), ("words", SEEN, ["EXIT"], None, True),
        ("person", SEEN, [], None, False), ("person", "A woman reads.", [], None, True),
        ("two_things", "The lamp is on.", [], None, False), ("two_things", SEEN, [], None, True),
        ("two_things", "The scene is on an office desk. It shows four red cacti.", [], None, False),
        ("two_things", "It shows one red cup and two blue cups on a sunny day.", [], None, False),
        ("two_things", "A pair of black shoes and another pair of shoes.", [], None, False),
        ("two_things", "A dog sleeps and a cat sleeps.", [], None, True),
        ("two_things", "A pair of scissors lies beside a pair of shoes.", [], None, True),
        ("two_things", "A black and white dog runs after a black and white cat.", [], None, True),
        ("person", "There are no people.", [], None, False), ("person", "A street without people.", [], None, False),
        ("number", "A lamp is on.", [], None, False), ("number", SEEN, [], None, True),
        ("place", SEEN, [], None, False), ("place", SEEN, [], "a lamp at Maple Harbour", True),
        ("place", 'A sign says "The Exit Here".', [], None, False), ("place", "It stands in Paris.", [], None, True),
    ],
)  # fmt: skip
def test_an_image_without_what_its_domain_needs_is_not_asked(
    need: str, caption: str, words: list[str], alt_text: str | None, met: bool
) -> None:
    domain = dataclasses.replace(some_domains()[0], needs=(need,))
    made, _, model = run(asked_about, caption=[caption], words=[words], alt_text=[alt_text], domains=[domain])
    assert [(drop.id, drop.reason, drop.detail) for drop in made.drops] == (
        [] if met else [("i0", f"needs_{need}", "colours")]
    )
    assert len(model.chatter.asked) == (4 if met else 0)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply("", "error", error="boom"), "model_error"),
        (Reply("", "filtered"), "model_filtered"),
        ("", "ask_empty"),
        ("I'm sorry, I can't help with that.", "ask_refusal"),
        ("What is it? A lamp.", "ask_unparsed"),
        (Reply("<Q1> What is", "length"), "ask_truncated"),
    ],
)
def test_an_image_is_dropped_if_no_reply_has_a_question_else_the_reply_is_noted(reply: Any, reason: str) -> None:
    made, _, _ = run(lambda *_: reply)
    assert made.table.num_rows == 0
    assert [(drop.id, drop.reason) for drop in made.drops] == [("i0", reason)]
    whole, unit, _ = run(replying(judgement=reply, choice=CHOICE, short=CHOICE, long=CHOICE))
    assert whole.drops == []
    assert unit.notes == {reason: 1}


def test_whole_pairs_before_a_cut_are_kept() -> None:
    made, unit, _ = run(lambda *_: Reply(f"{CHOICE} <Q2> Which fru", "length"), number={"choice": 3})
    assert made.table["question"].to_pylist() == ["Which fruit lies here?"]
    assert unit.notes == {"ask_truncated": 1}


def test_a_question_with_a_fault_stays_with_its_name_and_its_text_under_an_id_of_its_own() -> None:
    reply = "<Q1> Is it red? </Q1> <A1> Maybe </A1> <Q2> Is it red? </Q2> <A2> Perhaps </A2> <Q3> Is it red? </Q3> <A3> Yes </A3>"
    made, _, _ = run(
        lambda *_: reply + reply.replace("1", "4").replace("2", "5").replace("3", "6"), number={"judgement": 5}
    )
    rows = made.table.to_pylist()
    assert [row["fault"] for row in rows] == [
        "judgement_word",
        "judgement_word",
        None,
        "judgement_word",
        "judgement_word",
    ]
    assert [row["answer"] for row in rows] == ["Maybe", "Perhaps", "Yes", "Maybe", "Perhaps"]
    assert len({row["pair_id"] for row in rows}) == 5
    assert {row["fault"] for row in rows} - {None} <= FAULTS.keys()


def test_questions_beyond_the_wanted_number_are_noted_and_left_out() -> None:
    made, unit, _ = run(
        replying(choice=CHOICE + CHOICE.replace("1", "2").replace("fruit", "thing")), number={"choice": 1}
    )
    assert made.table.num_rows == 1
    assert unit.notes == {"ask_more": 1}


def test_choices_get_an_order_that_forgets_the_models_and_the_letter_follows() -> None:
    letters: Counter[str] = Counter()
    made, _, _ = run(replying(choice=CHOICE), images=200, number={"choice": 3})
    for row in made.table.to_pylist():
        assert sorted(row["choices"]) == ["apple", "fig", "pear", "plum"]
        assert row["choices"][row["right"]] == "apple"
        assert row["answer"] == "ABCD"[row["right"]]
        letters[row["answer"]] += 1
    assert all(30 <= letters[letter] <= 70 for letter in "ABCD"), letters


def test_a_question_names_the_one_template_that_it_was_made_from() -> None:
    domain = some_domains()[0]
    reply = "<Q1> Can a red lamp be seen? </Q1> <A1> Yes </A1> <Q2> Why is it so? </Q2> <A2> No </A2>"
    made, _, _ = run(lambda *_: reply, number={"judgement": 4}, templates=6)
    assert made.table["template"].to_pylist() == ["Can a <thing> be seen?", None]
    assert made.table["template"][0].as_py() in domain.templates["judgement"]


def test_the_order_of_images_and_their_neighbours_change_no_row() -> None:
    alone, _, _ = run(asked_about)
    among, _, _ = run(asked_about, images=4)
    assert alone.table.to_pylist() == among.table.to_pylist()[:13]
    other, _, _ = run(asked_about, seed=1)
    assert other.table["phrase"].to_pylist() != alone.table["phrase"].to_pylist()


def json_reply(messages: list[Message], seed: int) -> str:
    text = said(messages)
    one: dict[str, Any] = {"question": "Which fruit lies on this table?", "answer": "an apple"}
    if "four choices" in text:
        one = {"question": one["question"], "choices": ["pear", "plum", "apple", "fig"], "answer": "C"}
    elif "Yes or No" in text:
        one = {"question": "Is an apple on this table?", "answer": "Yes"}
    return f"Here it is:\n```json\n{json.dumps({'questions': [one]})}\n```"


def test_a_reply_in_json_is_read_by_its_schema() -> None:
    made, unit, _ = run(json_reply, form="json", prompt=prompt_text("ask_json"), number={"judgement": 1, "choice": 1})
    rows = made.table.to_pylist()
    assert [(row["kind"], row["fault"]) for row in rows] == [("judgement", None), ("choice", None)]
    assert rows[1]["choices"][rows[1]["right"]] == "apple"
    assert unit.notes == {}


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ('{"questions": [{"question": "Is it?", "answer": "Maybe"}]}', "ask_unparsed"),
        ('{"questions": [{"question": "Is it?"}]}', "ask_unparsed"),
        ('{"questions": []}', "ask_unparsed"),
        ('{"questions": [', "ask_unparsed"),
        (
            '{"questions": [{"question": "a", "answer": "Yes"}]} {"questions": [{"question": "a", "answer": "No"}]}',
            "ask_unparsed",
        ),
        (Reply('{"questions": [{"question": "Is it red?", "answer": "Yes"}]}', "length"), "ask_truncated"),
        ("I'm sorry, I can't help with that.", "ask_refusal"),
        ("", "ask_empty"),
    ],
)
def test_json_that_is_not_clear_gives_no_question(reply: Any, reason: str) -> None:
    made, _, _ = run(lambda *_: reply, form="json", prompt=prompt_text("ask_json"), number={"judgement": 2})
    assert made.table.num_rows == 0
    assert [drop.reason for drop in made.drops] == [reason]


@pytest.mark.parametrize("kind", ["judgement", "choice", "short", "long"])
def test_the_schemas_are_closed_as_strict_endpoints_need_them(kind: str) -> None:
    assert closed(schema(kind))


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"domains": []}, "domains is empty"),
        ({"domains": [*some_domains(), some_domains()[0]]}, "domains has colours twice"),
        ({"number": {"judgment": 4}}, "number has judgment: kinds are judgement"),
        ({"number": {"short": 0}}, "take 1 or more questions"),
        ({"templates": 0}, "templates=0"),
        ({"form": "xml"}, "form=xml: take tags or json"),
        ({"form": "json"}, "form=json does not fit the prompt, which asks for another form: take prompt=ask_json"),
        ({"question_words": [5, 3]}, "question_words"),
        ({"short_words": 0}, "short_words"),
        ({"languages": ["xx"]}, "languages"),
        ({"phrases": {"none": ["x"]}}, "phrases has none"),
    ],
)
def test_settings_that_cannot_work_are_refused(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        run(asked_about, **fields)


def test_what_the_asker_reads_of_a_file_is_in_the_fingerprint_and_nothing_else() -> None:
    one = some_domains()[0]

    def facts(**change: Any) -> Any:
        return identity(Ask(model=Scripted(), domains=[dataclasses.replace(one, **change)]))

    assert facts() == facts(looks=("x", "y", "z"))
    assert facts() != facts(says="other things")
    assert facts() != facts(templates={**one.templates, "long": one.templates["short"]})
