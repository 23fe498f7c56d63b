from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from mminstruct.export import ExportError, openai_batch
from mminstruct.export import row as rows
from tests.export.conftest import Given, jpeg, row, saved, turns


def requests(folder: Path) -> list[dict[str, Any]]:
    files = sorted(folder.glob("train-[0-9]*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]


def test_openai_s_own_types_take_every_request(sound: list[dict[str, Any]], tmp_path: Path) -> None:
    from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
    from pydantic import TypeAdapter

    saved(sound, "openai-batch", tmp_path / "out")
    made = requests(tmp_path / "out")
    assert len({request["custom_id"] for request in made}) == len(made) == 198
    assert all(set(request) == {"custom_id", "method", "url", "body"} for request in made)
    assert {(request["method"], request["url"]) for request in made} == {("POST", "/v1/chat/completions")}
    adapter = TypeAdapter(CompletionCreateParamsNonStreaming)
    for request in made:
        list(adapter.validate_python(request["body"])["messages"])  # validated as it is used up


def test_the_last_answer_is_left_to_be_asked_and_lies_beside(sound: list[dict[str, Any]], tmp_path: Path) -> None:
    saved(sound, "openai-batch", tmp_path / "out")
    body = requests(tmp_path / "out")[7]["body"]
    assert body["model"] == "somebody"
    (image, text), answer, question = (message["content"] for message in body["messages"])
    assert (
        base64.b64decode(image["image_url"]["url"].removeprefix("data:image/jpeg;base64,"))
        == sound[8]["image"]["bytes"]
    )
    assert (text["text"], answer, question[0]["text"]) == ("How many?", "Two.", "Of what?")
    answers = [json.loads(line) for line in (tmp_path / "out" / "train-answers.jsonl").read_text().splitlines()]
    assert (answers[7]["custom_id"], answers[7]["answer"]) == ("p008", "Ducks.")


def test_files_are_cut_by_requests_and_by_bytes(sound: list[dict[str, Any]], tmp_path: Path) -> None:
    for name, limit in (("a", {"file_requests": 100}), ("b", {"file_bytes": 200_000})):
        (tmp_path / name).mkdir()
        openai_batch.write(Given(sound).rows("train"), tmp_path / name, "train", model="m", **limit)
        assert len(requests(tmp_path / name)) == 198
    assert len(list((tmp_path / "a").glob("train-0*.jsonl"))) == 2
    files = list((tmp_path / "b").glob("train-0*.jsonl"))
    assert len(files) > 2
    assert max(file.stat().st_size for file in files) <= 200_000


def test_a_model_is_asked_for_here_and_nowhere_else(tmp_path: Path) -> None:
    from mminstruct.export import Facts, save

    with pytest.raises(ExportError, match="needs a model"):
        save(Given([row(0)]), Facts(name="x"), "openai-batch", tmp_path / "out")
    with pytest.raises(ExportError, match="takes no model"):
        save(Given([row(0)]), Facts(name="x"), "llava", tmp_path / "out", model="m")


def test_images_within_the_text_stay_where_they_were(tmp_path: Path) -> None:
    two = tuple(rows.Image(f"{n}.jpg", data=jpeg(n)) for n in (1, 2))
    talk = turns(("human", "Is <image> or <image> older?"), ("gpt", "Neither."))
    openai_batch.write(iter([rows.Row(id="a", turns=talk, images=two)]), tmp_path, "train", model="m")
    (message,) = requests(tmp_path)[0]["body"]["messages"]
    assert [part.get("text", "-") for part in message["content"]] == ["Is", "-", "or", "-", "older?"]
    (back,) = openai_batch.read(tmp_path, "train")
    assert rows.normal(back.turns[0]["value"]) == rows.normal(talk[0]["value"])
    assert [image.read() for image in back.images] == [jpeg(1), jpeg(2)]
