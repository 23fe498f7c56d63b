from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import fsspec
import pytest

from mminstruct.microworld import shards as world
from mminstruct.sources.archive import TarSource
from mminstruct.sources.facts import facts
from mminstruct.sources.folder import FolderSource
from mminstruct.sources.layout import account
from mminstruct.sources.listing import HIDDEN, NO_FILE, SYSTEM, TRUTH, UNFINISHED, Listing, list_path
from mminstruct.sources.source import Options, Shard
from mminstruct.stages.ingest import Ingest
from tests.sources.badworld import good_archive, jpeg
from tests.sources.kinds import chosen


def lay(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(jpeg(1))


def archives(listing: Listing) -> list[Shard]:
    return TarSource(listing, Options()).shards()


def groups(folder: Path) -> list[Shard]:
    return FolderSource(list_path(str(folder)), Options(group=4, name="all")).shards()


def test_images_come_in_whatever_their_folder_is_called(tmp_path: Path) -> None:
    lay(tmp_path, "_DSC0001.jpg", "_edited/b.jpg", "truth/c.jpg", "__pycache__/d.jpg")
    assert sorted(list_path(str(tmp_path)).files) == [
        "_DSC0001.jpg",
        "__pycache__/d.jpg",
        "_edited/b.jpg",
        "truth/c.jpg",
    ]


def test_what_is_no_data_is_passed_by_and_counted(tmp_path: Path) -> None:
    lay(
        tmp_path,
        "a.jpg",
        ".git/e.jpg",
        "b/.f.jpg",
        ".DS_Store",
        "b/._a.jpg",
        "__MACOSX/a.jpg",
        "b/_SUCCESS",
        "Thumbs.db",
    )
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").symlink_to(tmp_path / "b")
    listing = list_path(str(tmp_path))
    assert list(listing.files) == ["a.jpg"]
    assert listing.passed == {
        ".git/e.jpg": HIDDEN, "b/.f.jpg": HIDDEN, ".DS_Store": SYSTEM, "b/._a.jpg": SYSTEM, "__MACOSX/a.jpg": SYSTEM,
        "b/_SUCCESS": SYSTEM, "Thumbs.db": SYSTEM, "pipe.jpg": NO_FILE, "folder.jpg": NO_FILE,
    }  # fmt: skip
    assert list(list_path(str(tmp_path / "b/.f.jpg")).files) == [".f.jpg"], "a file that is given by its name is read"


def test_the_truth_of_a_drawn_world_is_known_by_its_content(tmp_path: Path) -> None:
    world.write("coco", tmp_path, 1)
    assert list_path(str(tmp_path)).passed == {"_truth/scenes.jsonl": TRUTH}
    (tmp_path / "_truth/scenes.jsonl").write_text('{"url": "http://x/1.jpg"}\n')
    assert list_path(str(tmp_path)).passed == {}


def test_unfinished_archives_and_tables_are_passed_by_and_counted(tmp_path: Path) -> None:
    lay(tmp_path, "0.tar", "_temporary/1.tar", "_2.tar")
    listing = list_path(str(tmp_path))
    assert [shard.name for shard in archives(listing)] == ["0.tar"]
    assert account(listing, archives(listing))["passed"] == {UNFINISHED: 2}
    assert [shard.name for shard in archives(list_path(str(tmp_path / "_2.tar")))] == ["_2.tar"]


def test_what_the_layout_does_not_read_is_counted_with_the_way_to_read_it(tmp_path: Path) -> None:
    lay(
        tmp_path,
        "0.tar",
        "0.parquet",
        "0_stats.json",
        "1.parquet",
        "x/a.jpg",
        "README.md",
        "list.csv",
        "x.npy",
        "y.\x1b[2J",
    )
    listing = list_path(str(tmp_path))
    assert account(listing, archives(listing)) == {
        "files": 9, "shards": 1, "read": 2,
        "passed": {
            "no image by its name: .json": 1, "Parquet file: read it by layout=parquet, or layout=urls": 1,
            "image: read it by layout=folder": 1, "README or licence": 1, "list: read it by layout=urls": 1,
            "no image by its name: .npy": 1, "no image by its name: other extensions, or none": 1,
        },
    }  # fmt: skip


def test_one_file_and_a_pattern_are_places_too(tmp_path: Path) -> None:
    lay(tmp_path, "x/1.tar", "x/2.tar", "y/1.tar", "x/notes.txt")
    assert list(list_path(str(tmp_path / "x/1.tar")).files) == ["1.tar"]
    assert list(list_path(str(tmp_path / "*/1.tar")).files) == ["x/1.tar", "y/1.tar"]
    assert list(list_path(f"file://{tmp_path}/x/*.tar").files) == ["1.tar", "2.tar"]


def test_a_folder_whose_name_looks_like_a_pattern_is_a_folder(tmp_path: Path) -> None:
    lay(tmp_path, "set[1]/a.jpg")
    assert list(list_path(str(tmp_path / "set[1]")).files) == ["a.jpg"]


def test_a_remote_place_is_listed_like_a_local_one() -> None:
    fs = fsspec.filesystem("memory")
    fs.pipe({"/collection/000.tar": good_archive(), "/collection/_tmp/001.tar": b"x", "/collection/.x.tar": b"x"})
    listing = list_path("memory://collection")
    assert listing.finished(".tar") == ["000.tar"]
    assert listing.passed == {".x.tar": HIDDEN}
    assert chosen(listing) == "tar"
    fs.rm("/collection", recursive=True)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("0.tar", "0.parquet", "0_stats.json"), "tar"),
        (("0/1.jpg", "0/1.json", "0.parquet"), "folder"),
        (("list.csv",), "urls"),
        (("list.txt", "more.tsv"), "urls"),
    ],
)
def test_the_layout_is_told_by_what_lies_there(tmp_path: Path, names: tuple[str, ...], expected: str) -> None:
    lay(tmp_path, *names)
    assert chosen(list_path(str(tmp_path))) == expected


@pytest.mark.parametrize(
    ("names", "message"),
    [((), "is empty"), (("a.zip",), "it holds 1 files .a.zip"), ((".a.tar",), "it holds 1 x hidden")],
)
def test_a_place_without_images_is_refused_with_what_was_looked_for(
    tmp_path: Path, names: tuple[str, ...], message: str
) -> None:
    lay(tmp_path, *names)
    with pytest.raises(ValueError, match=message):
        chosen(list_path(str(tmp_path)))
    with pytest.raises(ValueError, match="does not exist"):
        list_path(str(tmp_path / "nowhere"))


def test_groups_of_a_folder_never_part_an_image_from_its_sidecars(tmp_path: Path) -> None:
    lay(tmp_path, *(f"{key}.{kind}" for key in range(10) for kind in ("jpg", "json", "txt")), "sub/1.jpg")
    shards = groups(tmp_path)
    assert [len(shard.files) for shard in shards] == [6, 6, 6, 6, 6, 1]
    for shard in shards[:-1]:
        assert len({name.split(".")[0] for name in shard.files}) == 2


def test_a_group_tells_when_a_file_of_it_changed(tmp_path: Path) -> None:
    def now() -> dict[str, Any]:
        return facts(list_path(str(tmp_path)), groups(tmp_path)[0])

    lay(tmp_path, "1.jpg", "2.jpg")
    before = now()
    assert now() == before
    (tmp_path / "2.jpg").write_bytes(b"another")
    assert now() != before


def test_a_licence_or_a_notice_makes_no_folder_one_of_images(tmp_path: Path) -> None:
    lay(tmp_path, "photos/a.jpg", "photos/a.json", "meta/LICENSE", "meta/NOTICE", "meta/all.json")
    for name in ("LICENSE", "NOTICE", "all.json"):
        (tmp_path / "meta" / name).write_text("{}")
    (tmp_path / "hashes").mkdir()
    (tmp_path / "hashes" / "9f3a").write_bytes(jpeg(1))  # an image without an extension
    listing = list_path(str(tmp_path))
    shards = FolderSource(listing, Options(name="x")).shards()
    assert [shard.name for shard in shards] == ["hashes:0000", "photos:0000"]
    assert account(listing, shards)["passed"] == {
        "README or licence": 1, "no image by its name: other extensions, or none": 1, "no image by its name: .json": 1,
    }  # fmt: skip
    with pytest.raises(ValueError, match=r"holds no image, as layout=folder reads; it holds 3 files \(LICENSE, NOTICE"):
        Ingest(path=str(tmp_path / "meta"), layout="folder").shards()
