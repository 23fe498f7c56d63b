from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from mminstruct.bench.sets import FileSet
from mminstruct.export.mix import mix
from mminstruct.export.records import own
from mminstruct.readers import conversation
from mminstruct.readers.conversation import InvalidRow
from mminstruct.stage import Drop
from mminstruct.training import data
from tests.export.conftest import jpeg
from tests.readers import hostile
from tests.readers.hostile import CONVERSATIONS, talk

OWN = {
    "train": {"several_images", "image_missing"},
    "mix": {"token", "empty", "undecoded", "error_text", "several_images", "image_missing", "image_count"},
    "bench": {"no_question", "several_images", "nothing_to_see", "no_id"},
}
"""What a door refuses beyond what the reader does: training takes one image; a mixture is for any trainer, so it holds
no token of a template, no question of nothing, and one ``<image>`` an image; a benchmark asks something that can be
seen."""
Found = tuple[str, ...] | str


def by_reader(record: dict[str, Any]) -> Found:
    try:
        return tuple(turn["value"] for turn in conversation.read(record).folded())
    except InvalidRow as error:
        return error.reason


def by_training(file: Path) -> Found:
    try:
        table, facts = data.read(str(file), None)
    except ValueError as error:
        return str(error).partition("dropped 1 x ")[2].split()[0].rstrip(":")
    assert facts["taken"] == 1
    (row,) = table.to_pylist()
    said = row["conversations"]
    system = [turn["value"] for turn in said if turn["from"] == "system"]
    return tuple(
        turn["value"]
        for turn in conversation.Conversation(
            "", [turn for turn in said if turn["from"] != "system"], (), *system
        ).folded()
    )


def by_mixing(file: Path, to: Path) -> Found:
    made = to / "mix.yaml"
    made.write_text(json.dumps({"sources": {"a": {"path": str(file)}}}))
    try:
        mix(made, "llava", to / "out", overwrite=True)
    except ValueError as error:
        return str(error).partition("1 rows, 1 x ")[2]
    (row,) = own(to / "out" / "train.json")
    return tuple(turn["value"] for turn in row["conversations"])


def by_asking(record: dict[str, Any], file: Path) -> Found:
    captioned = {**record, "question_id": "q", "caption": "A caption."}
    file.write_text(json.dumps([captioned]))
    (one,) = FileSet(str(file), str(file.parent), None).questions()
    if isinstance(one, Drop):
        return one.reason
    return one.question, str(one.reference)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("doors")
    for number in range(2):
        (made / f"{number}.jpg").write_bytes(jpeg(number))
    return made


def agree(record: dict[str, Any], folder: Path) -> None:
    from mminstruct.text import repair

    text = json.dumps([record])
    (folder / "one.json").write_text(text)
    (again,) = own(folder / "one.json")
    read = by_reader(again)
    trained = by_training(folder / "one.json")
    mixed = by_mixing(folder / "one.json", folder)
    asked = by_asking(record, folder / "asked.json")
    if isinstance(read, str):
        assert trained == read
        assert mixed == read or mixed in OWN["mix"]
        assert asked == read or (asked == "no_question" and not any(key in record for key in conversation.LISTS))
        return
    assert trained == read or trained in OWN["train"] or trained == "image"
    assert mixed in (read, trained) or mixed in OWN["mix"]
    if isinstance(asked, tuple):
        first, second = (repair(text).replace("<image>", "").strip() for text in read[:2])
        assert asked == (first, second or "None")
    else:
        assert asked in OWN["bench"]


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_training_mixing_and_asking_take_the_same_turns_or_leave_for_the_same_reason(name: str, folder: Path) -> None:
    agree(CONVERSATIONS[name], folder)


@settings(max_examples=60, deadline=None)
@given(record=hostile.records)
def test_they_agree_on_whatever_comes(record: dict[str, Any], folder: Path) -> None:
    agree(json.loads(hostile.written(record).replace(hostile.DIGITS, '"long"')), folder)


@pytest.mark.parametrize(
    ("name", "said", "images", "system", "repairs"),
    [
        ("sound, with an image", ["<image>\nWhat is it?", "A bus."], ("0.jpg",), None, ()),
        ("OpenAI's words", ["Why?", "So."], (), None, ()),
        ("OpenAI's parts", ["<image>\nWhat?", "A bus."], ("0.jpg",), None, ()),
        ("an image as an object", ["<image>\nWhat is it?", "A bus."], ("0.jpg",), None, ()),
        ("an image as a list of objects", ["<image>\nWhat is it?", "A bus."], ("0.jpg",), None, ()),
        ("an image without its mark", ["Why?", "Because."], ("0.jpg",), None, ("image_without_mark",)),
        ("the model speaks first", ["Why?", "Because."], (), None, ("first_turn_passed_over",)),
        ("the human speaks last", ["Why?", "Because."], (), None, ("last_turn_passed_over",)),
        ("both", ["Why?", "Because."], (), None, ("first_turn_passed_over", "last_turn_passed_over")),
        ("a system first", ["Why?", "Because."], (), "Be short.", ()),
        ("a system as a field", ["<image>\nWhat is it?", "A bus."], ("0.jpg",), "Be short.", ()),
        ("a blank system", ["Why?", "Because."], (), None, ()),
    ],
)
def test_a_sound_conversation_is_read_whole(
    name: str, said: list[str], images: tuple[str, ...], system: str | None, repairs: tuple[str, ...]
) -> None:
    found = conversation.read(CONVERSATIONS[name])
    assert [turn["value"] for turn in found.turns] == said
    assert (found.images, found.system, found.repairs) == (images, system, repairs)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("an image as bytes", "image"),
        ("an image as a number", "image"),
        ("a mark without its image", "image_count"),
        ("a mark in the answer", "token"),
        ("the model speaks first twice", "turns"),
        ("only the human", "turns"),
        ("the human twice", "turns"),
        ("a system in the middle", "system"),
        ("two systems", "system"),
        ("an unknown speaker", "speaker"),
        ("a speaker that is a list", "speaker"),
        ("an empty answer", "empty"),
        ("a text that is null", "turns"),
        ("no turns", "turns"),
        ("turns that are texts", "turns"),
        ("turns that are a text", "no_conversation"),
        ("nothing", "no_conversation"),
    ],
)
def test_what_is_no_conversation_is_counted_by_reason(name: str, reason: str) -> None:
    with pytest.raises(InvalidRow) as error:
        conversation.read(CONVERSATIONS[name])
    assert error.value.reason == reason


def test_a_system_opens_the_first_question_behind_its_images() -> None:
    found = conversation.read(CONVERSATIONS["a system as a field"])
    assert [turn["value"] for turn in found.folded()] == ["<image>\nBe short.\n\nWhat is it?", "A bus."]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../0.jpg", "image"),
        ("/etc/passwd", "image"),
        ("https://example.org/0.jpg", "image"),
        ("data:image/png;base64,AAAA", "image"),
        ("gone.jpg", "image_missing"),
        ("0\0.jpg", "image_missing"),
        ("x" * 5000, "image_missing"),
    ],
)
def test_an_image_lies_in_its_folder_or_the_row_leaves(name: str, reason: str, folder: Path) -> None:
    with pytest.raises(InvalidRow) as error:
        conversation.located(name, str(folder))
    assert error.value.reason == reason
    assert conversation.located("0.jpg", str(folder)) == str(folder / "0.jpg")
    assert conversation.located(str(folder / "0.jpg"), str(folder)) == str(folder / "0.jpg")
    assert conversation.located("a/0.jpg", "s3://bucket/x/") == "s3://bucket/x/a/0.jpg"


def test_one_row_with_half_an_emoji_costs_no_other(tmp_path: Path) -> None:
    rows = [talk(("human", "Why?"), ("gpt", said)) | {"id": said} for said in ("One.", "smile \ud83d end", "Two.")]
    (tmp_path / "x.json").write_text(json.dumps(rows))
    table, facts = data.read(str(tmp_path / "x.json"), None)
    assert [row["conversations"][1]["value"] for row in table.to_pylist()] == ["One.", "smile  end", "Two."]
    assert facts["mended"] == {"text_surrogates": 2}
    (tmp_path / "mix.yaml").write_text(json.dumps({"sources": {"a": {"path": str(tmp_path / "x.json")}}}))
    mix(tmp_path / "mix.yaml", "llava", tmp_path / "out")
    told = json.loads((tmp_path / "out" / "export.json").read_text())["mixture"][0]
    assert (told["taken"], told["mended"]) == (3, {"text_surrogates": 2})
