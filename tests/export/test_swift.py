from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mminstruct.export import row as rows
from mminstruct.export import swift
from tests.export.conftest import jpeg, offline, saved, turns


def ms_swift(folder: Path, datasets: Any, cache: Path) -> list[dict[str, Any]]:
    """Rows by the rules of ms-swift's MessagesPreprocessor and check_messages, images from ROOT_IMAGE_DIR."""
    data = datasets.load_dataset("json", data_files=str(folder / "train.jsonl"), split="train", cache_dir=str(cache))
    for example in data:
        messages = example["messages"]
        assert messages
        assert len(messages) % 2 == 0
        for asked, answered in zip(messages[::2], messages[1::2], strict=True):
            assert asked["role"] == "user"
            assert asked["content"] is not None
            assert answered["role"] == "assistant"
            assert answered["content"] not in ("", None)
        assert sum(message["content"].count("<image>") for message in messages) == len(example["images"])
        for image in example["images"]:
            with Image.open(folder / image) as opened:
                opened.load()
    return list(data)


def test_ms_swift_s_rules_hold_for_every_row(
    sound: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(sound, "swift", tmp_path / "out")
    made = ms_swift(tmp_path / "out", offline(monkeypatch), tmp_path / "cache")
    assert len(made) == 198
    assert [message["content"] for message in made[7]["messages"]] == [
        turn["value"] for turn in sound[8]["conversations"]
    ]


def test_several_images_keep_their_order(tmp_path: Path) -> None:
    two = tuple(rows.Image(f"{n}{n}.jpg", data=jpeg(n)) for n in (2, 1))
    talk = turns(("human", "<image>\nor <image>?"), ("gpt", "The first."))
    swift.write(iter([rows.Row(id="a", turns=talk, images=two)]), tmp_path, "train")
    (back,) = swift.read(tmp_path, "train")
    assert [image.read() for image in back.images] == [jpeg(2), jpeg(1)]
