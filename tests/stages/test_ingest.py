from __future__ import annotations

import csv
import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mminstruct import schemas
from mminstruct.engine.local import Local
from mminstruct.recipe import Recipe
from mminstruct.report.build import page
from mminstruct.run import Run, claim, execute
from mminstruct.stage import Drop
from mminstruct.stages.ingest import Ingest
from mminstruct.status.tables import as_text, table_statuses
from mminstruct.unit import UNIT, Unit
from tests.sources.badworld import (
    KEPT,
    Writer,
    encode,
    good_archive,
    jpeg,
    photo,
    write_bad_shards,
    write_broken_shards,
)
from tests.sources.web import serve


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    yield from serve()


def ingest(stage: Ingest, key: str | None = None) -> tuple[dict[str, dict[str, Any]], dict[str, Drop]]:
    """Rows by member and drops by id, of one shard or of all."""
    rows: dict[str, dict[str, Any]] = {}
    drops: dict[str, Drop] = {}
    stage.check()
    transform = stage.load()
    for shard in [key] if key else stage.shards():
        for part in transform(shard):
            assert part.rows_in == part.output.table.num_rows + len(part.output.drops)
            assert part.output.table.num_rows <= stage.rows
            assert part.output.table.schema.equals(schemas.INGEST)
            rows |= {row["member"]: row for row in part.output.table.to_pylist()}
            drops |= {drop.id: drop for drop in part.output.drops}
    return rows, drops


def test_every_bad_member_is_dropped_for_its_reason_and_every_good_one_lives(tmp_path: Path) -> None:
    expected = write_bad_shards(tmp_path)
    rows, drops = ingest(Ingest(path=str(tmp_path), rows=8))
    assert {name: drop.reason for name, drop in drops.items()} == expected
    assert sorted(rows) == sorted(KEPT)
    for row in rows.values():
        with Image.open(io.BytesIO(row["image"])) as image:
            image.load()
            assert (image.mode, image.size) == ("RGB", (row["width"], row["height"]))
            assert not set(image.info) & {"exif", "icc_profile", "comment", "xmp"}
    assert rows["png_named.jpg"]["format"] == "PNG"
    assert rows["animated.gif"]["frames"] == 3
    assert rows["upright.jpg"]["width"] == rows["upright.jpg"]["original_height"] == 240
    assert rows["dotted.v2.0.jpg"]["alt_text"] == "version 2"
    assert rows["late.jpg"]["alt_text"] == "read at last"
    assert rows["meta_utf16.jpg"]["alt_text"] == "wide"
    assert rows["text_latin.jpg"]["alt_text"] == "café"
    assert len(rows["trailer.jpg"]["image"]) < 10_000 + len(jpeg(17)) // 2


def test_all_that_a_shard_held_is_in_the_notes_where_it_is_no_row(tmp_path: Path) -> None:
    write_bad_shards(tmp_path)
    unit = Unit(table="ingest", key="bad")
    token = UNIT.set(unit)
    ingest(Ingest(path=str(tmp_path)))
    UNIT.reset(token)
    expected = {"member_ignored": 6, "directory": 1, "sidecar_bad": 3, "text_cp1252": 1, "icc_bad": 1}
    assert {name: unit.notes.get(name) for name in expected} == expected


def test_no_broken_shard_passes_for_a_short_one(tmp_path: Path) -> None:
    for name, pattern in write_broken_shards(tmp_path).items():
        with pytest.raises(ValueError, match=pattern) as caught:
            ingest(Ingest(path=str(tmp_path)), name.removesuffix(".tar"))
        assert name in str(caught.value)


def write_sa1b(folder: Path, shards: int = 2, images: int = 5) -> None:
    """Archives like SA-1B's: images of 2250 x 1500 pixels and run-length encoded masks."""
    for shard in range(shards):
        with tarfile.open(folder / f"sa_{shard:06d}.tar", "w") as archive:
            write = Writer(archive)
            for image in range(shard * images, (shard + 1) * images):
                write.file(f"./sa_{image}.jpg", encode(photo(image, 300, 200).resize((2250, 1500)), quality=88))
                mask = {"size": [1500, 2250], "counts": "Zl10m`0"}
                annotations = [
                    {"id": n, "area": n, "bbox": [0.0, 0.0, 1.5, 2.5], "segmentation": mask} for n in range(40)
                ]
                about = {"image_id": image, "width": 2250, "height": 1500, "file_name": f"sa_{image}.jpg"}
                write.file(f"./sa_{image}.json", json.dumps({"image": about, "annotations": annotations}).encode())


def test_sa1b_comes_with_its_masks(tmp_path: Path) -> None:
    write_sa1b(tmp_path)
    stage = Ingest(path=str(tmp_path), name="SA-1B", licence="SA-1B Dataset Research License", rows=2)
    assert list(stage.shards()) == ["sa_000000", "sa_000001"]
    rows, drops = ingest(stage)
    assert not drops
    row = rows["./sa_7.jpg"]
    assert (row["width"], row["height"], row["original_width"], row["original_height"]) == (1024, 683, 2250, 1500)
    assert (row["source"], row["licence"], row["shard"]) == ("SA-1B", "SA-1B Dataset Research License", "sa_000001.tar")
    sidecar = json.loads(row["sidecar"])
    assert sidecar["image"]["image_id"] == 7
    assert sidecar["annotations"][39]["segmentation"]["counts"] == "Zl10m`0"
    with tarfile.open(tmp_path / "sa_000001.tar") as archive:
        original = archive.extractfile("./sa_7.jpg")
        assert original is not None
        assert row["image_id"] == hashlib.sha256(original.read()).hexdigest()[:16]


def write_datacomp(folder: Path, **changes: Any) -> None:
    """A shard in img2dataset's layout: an archive, a table of all requested images, a JSON file of counts."""
    table = []
    with tarfile.open(folder / "00000.tar", "w") as archive:
        write = Writer(archive)
        for number in range(6):
            key = f"{number:09d}"
            row = {
                "uid": f"u{number}", "url": f"http://x/{number}.jpg", "caption": f"caption {number}", "key": key,
                "status": "success", "error_message": None, "license": "CC0" if number == 1 else None,
                "clip_l14_similarity_score": 0.25 * number, "sha256": hashlib.sha256(jpeg(number)).hexdigest(),
            }  # fmt: skip
            row |= changes if number == 2 else {}
            if number in (3, 4):
                row |= {"status": "failed_to_download", "error_message": "HTTP Error 404: Not Found"}
            table.append(row)
            if row["status"] == "success" and number != 5:
                write.file(f"{key}.jpg", jpeg(number))
                write.file(f"{key}.txt", str(row["caption"]).encode())
                write.file(f"{key}.json", json.dumps({name: row[name] for name in ("key", "status", "url")}).encode())
    pq.write_table(pa.Table.from_pylist(table), folder / "00000.parquet")
    (folder / "00000_stats.json").write_text('{"count": 6, "successes": 4}')


def test_datacomp_joins_its_table_and_accounts_for_what_was_never_fetched(tmp_path: Path) -> None:
    write_datacomp(tmp_path)
    rows, drops = ingest(Ingest(path=str(tmp_path), licence="unknown", checksum="sha256"))
    assert list(rows) == [f"{number:09d}.jpg" for number in (0, 1, 2)]
    row = rows["000000001.jpg"]
    assert (row["alt_text"], row["url"], row["licence"]) == ("caption 1", "http://x/1.jpg", "CC0")
    assert json.loads(row["sidecar"])["clip_l14_similarity_score"] == 0.25
    assert rows["000000000.jpg"]["licence"] == "unknown"
    assert {name: (drop.reason, drop.detail) for name, drop in drops.items()} == {
        "000000003 (listed)": ("no_image", "failed_to_download: HTTP Error 404: Not Found"),
        "000000004 (listed)": ("no_image", "failed_to_download: HTTP Error 404: Not Found"),
        "000000005 (listed)": ("no_image", "success: not in the archive"),
    }


def test_a_digest_that_does_not_fit_is_a_drop_where_digests_are_checked(tmp_path: Path) -> None:
    write_datacomp(tmp_path, sha256="0" * 64)
    assert ingest(Ingest(path=str(tmp_path), checksum="sha256"))[1]["000000002.jpg"].reason == "img_checksum"
    assert "000000002.jpg" in ingest(Ingest(path=str(tmp_path)))[0]


def test_a_table_beside_an_archive_is_one_of_its_facts(tmp_path: Path) -> None:
    write_datacomp(tmp_path)
    stage = Ingest(path=str(tmp_path))
    before = stage.shards()
    write_datacomp(tmp_path, caption="another caption, and a longer one")
    assert stage.shards()["00000"]["bytes"] != before["00000"]["bytes"]


def test_an_archive_of_failures_alone_is_no_error(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "00000.tar", "w"):
        pass
    pq.write_table(pa.table({"key": ["0"], "status": ["failed_to_download"]}), tmp_path / "00000.parquet")
    rows, drops = ingest(Ingest(path=str(tmp_path)))
    assert (len(rows), [drop.reason for drop in drops.values()]) == (0, ["no_image"])


def test_folders_come_with_sidecars_and_metadata_and_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats/1.jpg").write_bytes(jpeg(1))
    (tmp_path / "cats/1.txt").write_text("a cat")
    (tmp_path / "cats/2.PNG").write_bytes(encode(photo(2), "PNG"))
    (tmp_path / "3").write_bytes(jpeg(3))
    (tmp_path / "notes").write_text("no image")
    (tmp_path / "out.jpg").symlink_to(tmp_path / "cats/1.jpg")
    with (tmp_path / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [["file_name", "text", "age"], ["cats/2.PNG", "another cat", "7"], ["3", "no cat", ""]]
        )
    stage = Ingest(path=str(tmp_path), name="pets")
    rows, drops = ingest(stage)
    assert {name: row["alt_text"] for name, row in rows.items()} == {
        "cats/1.jpg": "a cat", "cats/2.PNG": "another cat", "3": "no cat",
    }  # fmt: skip
    assert json.loads(rows["cats/2.PNG"]["sidecar"]) == {"age": "7"}
    assert {name: drop.reason for name, drop in drops.items()} == {"out.jpg": "member_type"}
    assert ingest(Ingest(path=str(tmp_path), links=True))[0].keys() == {*rows, "out.jpg"}


def test_parquet_files_are_read_row_by_row(tmp_path: Path) -> None:
    images = [{"bytes": jpeg(n), "path": None} for n in (1, 2, 1)]
    table = pa.table({"image": images, "caption": ["one", "two", "one again"], "id": [1, 2, 3]})
    pq.write_table(table, tmp_path / "train-00000-of-00001.parquet")
    rows, drops = ingest(Ingest(path=str(tmp_path)))
    assert [(row["alt_text"], row["sidecar"]) for row in rows.values()] == [("one", '{"id": 1}'), ("two", '{"id": 2}')]
    assert drops["row 2"].reason == "dup_exact"


def test_lists_of_addresses_are_fetched(web: str, tmp_path: Path) -> None:
    lines = [
        "URL,TEXT",
        f"{web}/photo/1,one",
        f"{web}/page,two",
        f"{web}/redirect/photo/3,three",
        f"{web}/missing/404,four",
    ]
    (tmp_path / "laion.csv").write_text("\n".join(lines))
    rows, drops = ingest(Ingest(path=str(tmp_path), allow_private=True, group=3))
    assert [(row["alt_text"], row["url"]) for row in rows.values()] == [("one", f"{web}/photo/1")]
    assert [drop.reason for drop in drops.values()] == ["img_not_image", "url_redirect", "url_status"]
    refused = ingest(Ingest(path=str(tmp_path)))[1].values()
    assert {drop.reason for drop in refused} == {"url_private"}


def test_a_remote_collection_is_read_like_a_local_one(tmp_path: Path) -> None:
    write_bad_shards(tmp_path)
    fs = fsspec.filesystem("memory")
    fs.pipe("/collection/bad.tar", (tmp_path / "bad.tar").read_bytes())
    assert ingest(Ingest(path="memory://collection", name="x")) == ingest(Ingest(path=str(tmp_path), name="x"))
    fs.rm("/collection", recursive=True)


def test_the_same_archive_makes_the_same_rows_gzipped_or_not(tmp_path: Path) -> None:
    import gzip

    (tmp_path / "plain.tar").write_bytes(good_archive())
    (tmp_path / "packed.tar.gz").write_bytes(gzip.compress(good_archive()))
    stage = Ingest(path=str(tmp_path))
    plain, packed = ingest(stage, "plain")[0], ingest(stage, "packed")[0]
    assert [row["image"] for row in plain.values()] == [row["image"] for row in packed.values()]
    assert len(plain) == 4


@dataclass(kw_only=True)
class OnlyIngest(Recipe):
    ingest: Ingest


def test_in_a_run_a_broken_shard_fails_alone_and_the_sums_close(tmp_path: Path) -> None:
    expected = write_bad_shards(tmp_path / "shards")
    broken = write_broken_shards(tmp_path / "shards")
    run = Run(url=str(tmp_path / "run"), recipe=OnlyIngest(ingest=Ingest(path=str(tmp_path / "shards"), rows=10)))
    claim(run)
    events: list[Any] = []
    execute(run, Local(), watch=events.append, fail_on_error=False)
    failed = {event.key for event in events if event.error}
    assert failed == {name.removesuffix(".tar") for name in broken}
    (receipt,) = run.table("ingest").receipts().values()
    assert (receipt.rows_in, receipt.kept) == (len(expected) + len(KEPT), len(KEPT))
    assert [part.rows for part in receipt.parts] == [10, 10, 7]


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"layout": "zip"}, "layout=zip"), ({"rows": 0}, "rows=0"), ({"key": "middle"}, "key=middle"), ({"path": ""}, "path is empty"),
     ({"pixels": 10**9}, "pixels="), ({"columns": {"imgae": "x"}}, "imgae")],
)  # fmt: skip
def test_a_configuration_that_cannot_work_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Ingest(**{"path": "x", **changes}).check()


def test_a_layout_that_finds_nothing_says_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(1))
    with pytest.raises(ValueError, match=r"no archive, as layout=tar reads; it holds 1 files .a.jpg"):
        Ingest(path=str(tmp_path), layout="tar").shards()


def test_sums_close_over_shards_that_hold_every_kind_of_bad_member(tmp_path: Path) -> None:
    expected = write_bad_shards(tmp_path / "bad")
    assert len(set(expected.values())) >= 12
    assert len(expected) >= 25
    run = Run(url=str(tmp_path / "run"), recipe=OnlyIngest(ingest=Ingest(path=str(tmp_path / "bad"), rows=8)))
    claim(run)
    execute(run, Local())
    (status,) = table_statuses(run.url)
    assert status.faults == []
    assert status.rows_in == status.kept + sum(status.dropped.values()) == len(KEPT) + len(expected)
    assert {row["id"]: row["reason"] for row in run.table("ingest").dropped()} == expected


def test_status_and_report_say_what_became_of_every_file_and_what_was_noted(tmp_path: Path) -> None:
    source = tmp_path / "photos"
    (source / "_edited").mkdir(parents=True)
    for number, name in enumerate(("IMG_0.jpg", "_DSC0001.jpg", "_edited/b.jpg", ".hidden.jpg")):
        (source / name).write_bytes(jpeg(number))
    (source / "b.zip").write_bytes(b"PK")
    (source / "IMG_0.json").write_text('{"caption": ["a lake", "water"]}')
    run = Run(url=str(tmp_path / "run"), recipe=OnlyIngest(ingest=Ingest(path=str(source))))
    claim(run)
    execute(run, Local())
    (status,) = table_statuses(run.url)
    assert (status.kept, status.faults) == (3, [])
    passed = {"hidden: a name that begins with .": 1, "no image by its name: .zip": 1}
    assert status.listing == {"files": 6, "shards": 2, "read": 4, "passed": passed}
    said = as_text([status])
    assert "ingest: 6 files listed, 4 read as 2 shards, 2 passed by" in said
    assert "    1 x no image by its name: .zip" in said
    assert "ingest: noted 1 x captions_more" in said
    shown = page(run.url)
    assert "6 files listed, 4 read as 2 shards, 2 passed by." in shown
    assert "captions_more" in shown
    run.table("ingest").list_source({**status.listing, "read": 3})
    assert table_statuses(run.url)[0].faults == ["ingest: 6 files listed, but 3 read as 2 shards, 2 passed by"]


def test_a_shard_with_members_past_counting_fails_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mminstruct.stages.ingest._MOST_MEMBERS", 3)
    (tmp_path / "many.tar").write_bytes(good_archive(4))
    with pytest.raises(ValueError, match=r"many\.tar holds more than 3 members"):
        ingest(Ingest(path=str(tmp_path)))
