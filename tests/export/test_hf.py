from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from mminstruct.export import ExportError, hf
from tests.export.conftest import UNSOUND, Tables, row, tables_of

FUNNEL = [{"table": "filter", "in": 300, "kept": 230, "dropped": {"refusal": 50, "cut": 20}}]


def load(folder: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> Any:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    import datasets

    return datasets.load_dataset(str(folder), cache_dir=str(cache))


def test_datasets_loads_it_offline_with_decoded_images(
    tables: Tables, sound: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = hf.write(tables, tmp_path / "out", funnel=FUNNEL)
    loaded = load(tmp_path / "out", monkeypatch, tmp_path / "cache")
    assert {split: loaded[split].num_rows for split in loaded} == counts == {"train": 198, "test": 32}
    assert list(loaded["train"]["pair_id"]) == [one["pair_id"] for one in sound if one["split"] == "train"]
    first = loaded["train"][0]
    assert first["image"].size == (64, 48)
    assert first["image"].mode == "RGB"
    assert first["conversations"] == sound[0]["conversations"]


def test_the_files_alone_say_that_the_column_is_an_image(
    tables: Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hf.write(tables, tmp_path / "out")
    (tmp_path / "out" / "README.md").unlink()
    assert load(tmp_path / "out", monkeypatch, tmp_path / "cache")["test"][0]["image"].size == (64, 48)


def test_row_groups_have_a_hundred_rows_and_files_are_cut_by_size(tables: Tables, tmp_path: Path) -> None:
    hf.write(tables, tmp_path / "one")
    (train,) = (tmp_path / "one" / "data").glob("train-*")
    assert train.name == "train-00000-of-00001.parquet"
    meta = pq.ParquetFile(train).metadata
    assert [meta.row_group(n).num_rows for n in range(meta.num_row_groups)] == [100, 98]
    hf.write(tables, tmp_path / "many", file_bytes=1000)
    assert sorted(path.name for path in (tmp_path / "many" / "data").glob("train-*")) == [
        "train-00000-of-00002.parquet", "train-00001-of-00002.parquet",
    ]  # fmt: skip


def test_the_card_has_what_the_hub_reads_and_the_funnel(tables: Tables, tmp_path: Path) -> None:
    hf.write(tables, tmp_path / "out", funnel=FUNNEL)
    _, head, body = (tmp_path / "out" / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    facts = yaml.safe_load(head)
    assert facts["license"] == "cc-by-4.0"
    assert facts["size_categories"] == ["n<1K"]
    assert [split["num_examples"] for split in facts["dataset_info"]["splits"]] == [198, 32]
    assert facts["configs"][0]["data_files"][1] == {"split": "test", "path": "data/test-*"}
    assert "| filter | 300 | 230 | 50 refusal, 20 cut |" in body


def test_a_mixture_of_licences_is_told_as_other(tmp_path: Path) -> None:
    hf.write(tables_of([row(0), row(2, licence=None)]), tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "license: other" in text
    assert "| unknown | 1 |" in text


@pytest.mark.parametrize("name", UNSOUND)
def test_an_unsound_row_is_named_and_nothing_is_left_behind(name: str, tmp_path: Path) -> None:
    change, said = UNSOUND[name]
    with pytest.raises(ExportError, match="row p004") as error:
        hf.write(tables_of([row(0), row(4, **change)]), tmp_path / "out")
    assert said in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_is_not_touched_unless_allowed(tables: Tables, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep")
    with pytest.raises(ExportError, match="not empty"):
        hf.write(tables, tmp_path / "out")
    with pytest.raises(ExportError, match="row p004"):
        hf.write(tables_of([row(4, **UNSOUND["no turns"][0])]), tmp_path / "out", overwrite=True)
    assert (tmp_path / "out" / "mine.txt").read_text() == "keep"
    hf.write(tables, tmp_path / "out", overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["README.md", "data"]


def test_an_empty_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no rows"):
        hf.write(tables_of([]), tmp_path / "out")


def test_the_schema_s_features_are_those_that_datasets_writes() -> None:
    import datasets

    from mminstruct.export.hf import SCHEMA
    from mminstruct.stages.export import FEATURES

    features = datasets.Features.from_dict(FEATURES)
    assert features.arrow_schema.names == SCHEMA.names
    assert [field.type for field in features.arrow_schema] == [field.type for field in SCHEMA]
    assert json.loads(SCHEMA.metadata[b"huggingface"]) == {"info": {"features": FEATURES}}
