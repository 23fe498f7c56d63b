"""The layouts in which a world is written."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pycocotools.coco import COCO

from mminstruct.microworld.catalogue import CANVAS, KINDS_AT
from mminstruct.microworld.drawing.render import render
from mminstruct.microworld.drawing.rle import decode
from mminstruct.microworld.scene import draw_scene
from mminstruct.microworld.shards import truth, write

LAYOUTS = ("sa1b", "datacomp", "coco")


def _members(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _truth_lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "_truth" / "scenes.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_writing_twice_gives_the_same_bytes_with_any_number_of_workers(layout: str, tmp_path: Path) -> None:
    first = _files(write(layout, tmp_path / "a", images=7, seed=3, per_shard=3))
    second = _files(write(layout, tmp_path / "b", images=7, seed=3, per_shard=3, workers=2))
    assert first.keys() == second.keys()
    assert first == second


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_truth_is_keyed_by_the_digest_of_each_image(layout: str, tmp_path: Path) -> None:
    write(layout, tmp_path, images=5, seed=4, per_shard=2, start=30)
    scenes = truth(tmp_path)
    assert list(scenes.values()) == [draw_scene(index, seed=4) for index in range(30, 35)]
    for line in _truth_lines(tmp_path):
        shard, _, name = line["file"].partition("/")
        jpeg = (tmp_path / line["file"]).read_bytes() if layout == "coco" else _members(tmp_path / shard)[name]
        assert line["image_id"] == hashlib.sha256(jpeg).hexdigest()[:16]
        scene = scenes[line["image_id"]]
        assert [len(boxes) for boxes in line["boxes"]] == [group.count for group in scene.groups]
        pixels = np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB")).astype(int)
        assert np.abs(pixels - np.asarray(render(scene).image)).mean() < 6


def test_sa1b_shards_hold_pairs_whose_masks_are_the_shapes_drawn(tmp_path: Path) -> None:
    write("sa1b", tmp_path, images=5, seed=1, per_shard=3)
    shards = sorted(path.name for path in tmp_path.glob("*.tar"))
    assert shards == ["sa_000000.tar", "sa_000001.tar"]
    members = _members(tmp_path / "sa_000000.tar")
    assert list(members) == [f"sa_{n}.{ending}" for n in range(3) for ending in ("jpg", "json")]
    for number in range(3):
        entry = json.loads(members[f"sa_{number}.json"])
        assert entry["image"] == {
            "image_id": number,
            "width": CANVAS,
            "height": CANVAS,
            "file_name": f"sa_{number}.jpg",
        }
        picture = render(draw_scene(number, seed=1))
        assert len(entry["annotations"]) == len(picture.owners)
        for k, annotation in enumerate(entry["annotations"], 1):
            assert set(annotation) == {"id", "bbox", "area", "segmentation", "predicted_iou", "point_coords", "crop_box",
                                       "stability_score"}  # fmt: skip
            mask = decode(annotation["segmentation"])
            assert (mask == picture.mask(k)).all()
            x, y, width, height = annotation["bbox"]
            assert annotation["area"] == mask.sum() == mask[y : y + height, x : x + width].sum()
            column, row = annotation["point_coords"][0]
            assert mask[int(row), int(column)]
            assert 0 <= annotation["predicted_iou"] <= 1


def test_tars_carry_no_time_and_no_owner(tmp_path: Path) -> None:
    write("sa1b", tmp_path, images=1)
    with tarfile.open(tmp_path / "sa_000000.tar") as tar:
        assert {(m.mtime, m.uid, m.gid, m.uname, m.gname) for m in tar} == {(0, 0, 0, "", "")}


def test_datacomp_shards_agree_with_their_table_and_statistics(tmp_path: Path) -> None:
    write("datacomp", tmp_path, images=40, seed=2, per_shard=25)
    sizes = []
    for number in range(2):
        members = _members(tmp_path / f"{number:05d}.tar")
        rows = pq.read_table(tmp_path / f"{number:05d}.parquet").to_pylist()
        stats = json.loads((tmp_path / f"{number:05d}_stats.json").read_text())
        assert stats["count"] == stats["successes"] == len(rows)
        assert list(members) == [f"{row['key']}.{ending}" for row in rows for ending in ("jpg", "txt", "json")]
        for row in rows:
            assert json.loads(members[f"{row['key']}.json"]) == row
            assert members[f"{row['key']}.txt"].decode() == row["caption"]
            assert hashlib.sha256(members[f"{row['key']}.jpg"]).hexdigest() == row["sha256"]
            assert (row["status"], row["width"], row["height"]) == ("success", CANVAS, CANVAS)
        sizes.append(len(rows))
    assert sizes == [25, 15]
    kinds = {line["alt"]["kind"] for line in _truth_lines(tmp_path)}
    assert {"good", "wrong"} <= kinds


def test_coco_instances_are_the_things_drawn_and_pycocotools_loads_them(tmp_path: Path) -> None:
    write("coco", tmp_path, images=6, seed=2)
    read = COCO(str(tmp_path / "annotations" / "instances.json"))
    images = {number: image["file_name"] for number, image in read.imgs.items()}
    assert sorted(images.values()) == sorted(path.name for path in (tmp_path / "images").iterdir())
    kinds = {number: category["name"] for number, category in read.cats.items()}
    assert list(kinds.values()) == list(KINDS_AT["easy"])
    for number in images:
        expected = sorted(group.kind for group in draw_scene(number, seed=2).groups for _ in range(group.count))
        found = read.imgToAnns[number]
        assert sorted(kinds[a["category_id"]] for a in found) == expected
        assert all(decode(a["segmentation"]).sum() == a["area"] for a in found)


def test_a_tar_gets_its_name_only_when_it_is_complete(tmp_path: Path) -> None:
    (tmp_path / "sa_000001.tar").mkdir()
    with pytest.raises(OSError, match="sa_000001"):
        write("sa1b", tmp_path, images=4, per_shard=2)
    assert len(_members(tmp_path / "sa_000000.tar")) == 4
    assert not (tmp_path / "_truth").exists()


def test_an_unknown_layout_and_empty_worlds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"unknown layout 'laion': choose one of sa1b, datacomp, coco"):
        write("laion", tmp_path, images=1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 1"):
        write("sa1b", tmp_path, images=0)


def test_a_folder_without_truth_is_named_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="only `mminstruct microworld` writes the ground truth"):
        truth(tmp_path)
