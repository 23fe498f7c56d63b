from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mminstruct.export import sharegpt
from mminstruct.export.row import Row
from tests.export.conftest import offline, saved, turns


def llama_factory(folder: Path, name: str, datasets: Any, cache: Path) -> list[dict[str, Any]]:
    """Rows of a dataset by the rules of LLaMA-Factory's parser, SharegptDatasetConverter and image plugin."""
    entry = json.loads((folder / "dataset_info.json").read_text(encoding="utf-8"))[name]
    assert entry["formatting"] == "sharegpt"
    data = datasets.load_dataset(
        "json", data_files=str(folder / entry["file_name"]), split="train", cache_dir=str(cache)
    )
    columns, tags = entry["columns"], entry["tags"]
    accepted = (tags["user_tag"],), (tags["assistant_tag"],)
    for example in data:
        messages, images = example[columns["messages"]], example[columns["images"]]
        assert len(messages) % 2 == 0
        assert all(turn[tags["role_tag"]] in accepted[n % 2] for n, turn in enumerate(messages))
        assert isinstance(images, list), "a plain string breaks it (LLaMA-Factory#5883)"
        assert sum(turn[tags["content_tag"]].count("<image>") for turn in messages) == len(images)
        for image in images:
            with Image.open(folder / image) as opened:  # media_dir is the folder
                opened.load()
    return list(data)


def test_llama_factory_s_rules_hold_for_every_row(
    sound: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(sound, "sharegpt", tmp_path / "out")
    rows = llama_factory(tmp_path / "out", "out_train", offline(monkeypatch), tmp_path / "cache")
    assert [row["id"] for row in rows] == [one["pair_id"] for one in sound if one["split"] == "train"]
    assert rows[7]["conversations"] == sound[8]["conversations"]
    assert rows[0]["images"] == rows[1]["images"] == ["images/00/00ab.jpg"]
    assert len(llama_factory(tmp_path / "out", "out_test", offline(monkeypatch), tmp_path / "cache")) == 32


def test_text_alone_has_an_empty_list_of_images(tmp_path: Path) -> None:
    sharegpt.write(iter([Row(id="a", turns=turns(("human", "Hi"), ("gpt", "Ho")))]), tmp_path, "train")
    assert json.loads((tmp_path / "train.jsonl").read_text())["images"] == []
