from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import webdataset

from mminstruct.export import row as rows
from mminstruct.export import webdataset as ours
from tests.export.conftest import Given, jpeg, saved, turns


def read(folder: Path) -> list[dict[str, Any]]:
    shards = sorted(map(str, folder.glob("train-*.tar")))
    return list(webdataset.WebDataset(shards, shardshuffle=False, empty_check=False).decode("pil"))


def test_the_library_reads_every_sample_with_its_image(sound: list[dict[str, Any]], tmp_path: Path) -> None:
    saved(sound, "webdataset", tmp_path / "out")
    samples = read(tmp_path / "out")
    assert [sample["json"]["id"] for sample in samples] == [one["pair_id"] for one in sound if one["split"] == "train"]
    assert samples[0]["jpg"].size == (64, 48)
    assert samples[7]["json"]["conversations"] == sound[8]["conversations"]
    assert samples[0]["__key__"] == "000000000"


def test_shards_are_cut_and_nothing_is_lost(sound: list[dict[str, Any]], tmp_path: Path) -> None:
    ours.write(Given(sound).rows("train"), tmp_path, "train", shard_rows=50)
    assert len(list(tmp_path.iterdir())) == 4
    assert [sample["json"]["id"] for sample in read(tmp_path)] == [row.id for row in ours.read(tmp_path, "train")]
    assert len({sample["__key__"] for sample in read(tmp_path)}) == 198


def test_the_same_rows_make_the_same_bytes(sound: list[dict[str, Any]], tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        ours.write(Given(sound).rows("test"), tmp_path / name, "test")
    digests = {hashlib.sha256(path.read_bytes()).hexdigest() for path in tmp_path.rglob("*.tar")}
    assert len(digests) == 1


def test_ids_with_dots_text_alone_and_several_images_are_samples_too(tmp_path: Path) -> None:
    two = tuple(rows.Image(f"{n}.jpg", data=jpeg(n)) for n in (1, 2))
    made = [
        rows.Row(id="a.b/c", turns=turns(("human", "Hi"), ("gpt", "Ho"))),
        rows.Row(id="d", turns=turns(("human", "<image><image>Hi"), ("gpt", "Ho")), images=two),
    ]
    ours.write(iter(made), tmp_path, "train")
    text, pair = read(tmp_path)
    assert text["json"]["id"] == "a.b/c"
    assert pair["0.jpg"].size == pair["1.jpg"].size == (64, 48)
    assert [image.read() for image in list(ours.read(tmp_path, "train"))[1].images] == [jpeg(1), jpeg(2)]
