from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mminstruct.export import ExportError, llava
from tests.export.conftest import UNSOUND, Tables, jpeg, row, tables_of


def test_lists_name_images_that_lie_beside_them(tables: Tables, sound: list[dict[str, Any]], tmp_path: Path) -> None:
    counts = llava.write(tables, tmp_path / "out", funnel=[{"table": "filter", "in": 1, "kept": 1, "dropped": {}}])
    train = json.loads((tmp_path / "out" / "train.json").read_text(encoding="utf-8"))
    test = json.loads((tmp_path / "out" / "test.json").read_text(encoding="utf-8"))
    assert counts == {"train": len(train), "test": len(test)} == {"train": 198, "test": 32}
    assert train[0] == {"id": "p000", "image": "images/00/00ab.jpg", "conversations": sound[0]["conversations"]}
    assert (tmp_path / "out" / train[0]["image"]).read_bytes() == sound[0]["image"]["bytes"]
    assert len(list((tmp_path / "out" / "images").rglob("*.jpg"))) == 115  # two rows an image
    assert json.loads((tmp_path / "out" / "funnel.json").read_text())[0]["table"] == "filter"


def test_a_run_without_a_test_split_has_no_test_list(tmp_path: Path) -> None:
    assert llava.write(tables_of([row(0)]), tmp_path / "out") == {"train": 1}
    assert not (tmp_path / "out" / "test.json").exists()


def test_a_png_stays_a_png(tmp_path: Path) -> None:
    llava.write(tables_of([row(0, image={"bytes": jpeg(1, "PNG"), "path": "77.png"})]), tmp_path / "out")
    with Image.open(tmp_path / "out" / "images" / "77" / "77.png") as image:
        assert image.format == "PNG"


@pytest.mark.parametrize("name", UNSOUND)
def test_an_unsound_row_is_named_and_nothing_is_left_behind(name: str, tmp_path: Path) -> None:
    change, said = UNSOUND[name]
    with pytest.raises(ExportError, match="row p004") as error:
        llava.write(tables_of([row(0), row(4, **change)]), tmp_path / "out")
    assert said in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["../out.jpg", "/etc/x.jpg", "a/b.jpg", ".hidden.jpg", ""])
def test_a_name_that_is_a_path_is_refused(path: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="row p001"):
        llava.write(tables_of([row(1, image={"bytes": jpeg(1), "path": path})]), tmp_path / "out")


def test_two_images_of_one_name_are_refused(tmp_path: Path) -> None:
    both = [row(1, image={"bytes": jpeg(n), "path": "x.jpg"}, pair_id=f"p{n}") for n in (1, 2)]
    with pytest.raises(ExportError, match="row p2"):
        llava.write(tables_of(both), tmp_path / "out")


def test_a_row_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="twice"):
        llava.write(tables_of([row(1)] * 2), tmp_path / "out")
