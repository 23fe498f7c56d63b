from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import yaml

from mminstruct.export import ExportError, hf
from mminstruct.export.row import Image, InvalidRow, Row
from mminstruct.stages.export import FEATURES
from tests.export.conftest import Given, jpeg, offline, row, saved, turns


def load(folder: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> Any:
    return offline(monkeypatch).load_dataset(str(folder), cache_dir=str(cache))


def test_datasets_loads_it_offline_with_decoded_images(
    sound: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = saved(sound, "hf", tmp_path / "out")
    loaded = load(tmp_path / "out", monkeypatch, tmp_path / "cache")
    assert {split: loaded[split].num_rows for split in loaded} == facts.rows == {"train": 198, "test": 32}
    assert list(loaded["train"]["pair_id"]) == [one["pair_id"] for one in sound if one["split"] == "train"]
    assert loaded["train"][0]["image"].size == (64, 48)
    assert loaded["train"][0]["image"].mode == "RGB"
    assert [loaded["train"][n]["conversations"] for n in (0, 7)] == [sound[n]["conversations"] for n in (0, 8)]


def test_the_files_alone_say_that_the_column_is_an_image(
    sound: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(sound, "hf", tmp_path / "out")
    for name in ("README.md", "export.json", "croissant.json"):
        (tmp_path / "out" / name).unlink()
    assert load(tmp_path / "out", monkeypatch, tmp_path / "cache")["test"][0]["image"].size == (64, 48)


def test_row_groups_have_a_hundred_rows_and_files_are_cut_by_size(sound: list[dict[str, Any]], tmp_path: Path) -> None:
    saved(sound, "hf", tmp_path / "one")
    (train,) = (tmp_path / "one" / "data").glob("train-*")
    assert train.name == "train-00000-of-00001.parquet"
    meta = pq.ParquetFile(train).metadata
    assert [meta.row_group(n).num_rows for n in range(meta.num_row_groups)] == [100, 98]
    hf.write(Given(sound).rows("train"), tmp_path, "train", file_bytes=1000)
    assert sorted(path.name for path in (tmp_path / "data").glob("train-*")) == [
        "train-00000-of-00002.parquet", "train-00001-of-00002.parquet",
    ]  # fmt: skip


def test_text_alone_has_no_image_and_several_images_are_refused(tmp_path: Path) -> None:
    talk = turns(("human", "Hi"), ("gpt", "Ho"))
    hf.write(iter([Row(id="a", turns=talk)]), tmp_path, "train")
    assert ds.dataset(tmp_path / "data").to_table()["image"].to_pylist() == [None]
    assert [one.images for one in hf.read(tmp_path, "train")] == [()]
    two = tuple(Image(f"{n}.jpg", data=jpeg(n)) for n in (1, 2))
    (tmp_path / "two").mkdir()
    with pytest.raises(InvalidRow, match="2 images"):
        hf.write(iter([Row(id="a", turns=talk, images=two)]), tmp_path / "two", "train")


def test_the_card_has_what_the_hub_reads(sound: list[dict[str, Any]], tmp_path: Path) -> None:
    saved(sound, "hf", tmp_path / "out")
    _, head, body = (tmp_path / "out" / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    facts = yaml.safe_load(head)
    assert facts["license"] == "cc-by-4.0"
    assert facts["size_categories"] == ["n<1K"]
    assert [split["num_examples"] for split in facts["dataset_info"]["splits"]] == [198, 32]
    assert facts["configs"][0]["data_files"][1] == {"split": "test", "path": "data/test-*.parquet"}
    assert "| drawn | CC BY 4.0 | 230 |" in body


def test_licences_are_told_by_source_and_a_mixture_is_other(tmp_path: Path) -> None:
    saved([row(0), row(2, licence=None), row(4, source="b|c", licence="MIT")], "hf", tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "license: other" in text
    for line in ("| drawn | unknown | 1 |", "| drawn | CC BY 4.0 | 1 |", r"| b\|c | MIT | 1 |"):
        assert line in text


def test_a_broken_file_is_no_proof(
    sound: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = hf.write

    def write(rows: Any, folder: Path, split: str) -> None:
        writes(rows, folder, split)
        (path,) = (folder / "data").glob(f"{split}-*")
        half = pq.read_table(path).slice(0, 20)
        pq.write_table(half, path)

    monkeypatch.setattr(hf, "write", write)
    with pytest.raises(ExportError, match="20 rows read back of 198"):
        saved(sound, "hf", tmp_path / "out")


def test_the_schema_s_features_are_those_that_datasets_writes() -> None:
    import datasets

    features = datasets.Features.from_dict(FEATURES)
    assert features.arrow_schema.names == hf.SCHEMA.names
    assert [field.type for field in features.arrow_schema] == [field.type for field in hf.SCHEMA]
    assert json.loads(hf.SCHEMA.metadata[b"huggingface"]) == {"info": {"features": FEATURES}}


def test_the_card_tells_datasets_the_size_of_each_split(sound: list[dict[str, Any]], tmp_path: Path) -> None:
    facts = saved(sound, "hf", tmp_path / "out")
    about = yaml.safe_load((tmp_path / "out" / "README.md").read_text().split("---")[1])["dataset_info"]
    assert {one["name"]: one["num_bytes"] for one in about["splits"]} == facts.sizes
    tables = {split: pq.read_table(next((tmp_path / "out" / "data").glob(f"{split}-*"))) for split in facts.rows}
    assert all(0.5 < facts.sizes[split] / table.nbytes < 1.5 for split, table in tables.items())
    assert about["dataset_size"] == sum(facts.sizes.values()) > 0
