from __future__ import annotations

from pathlib import Path

import fsspec
import pytest

from mminstruct.sources import folder
from mminstruct.sources.layout import layout
from mminstruct.sources.place import look
from tests.sources.badworld import good_archive, jpeg


def lay(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(jpeg(1))


def test_hidden_names_and_the_ground_truth_are_passed_by(tmp_path: Path) -> None:
    lay(tmp_path, "a.jpg", "b/c.jpg", "_drafts/d.jpg", ".git/e.jpg", "b/.f.jpg", "truth/g.json", "b/_SUCCESS")
    assert list(look(str(tmp_path)).files) == ["a.jpg", "b/c.jpg"]


def test_one_file_and_a_pattern_are_places_too(tmp_path: Path) -> None:
    lay(tmp_path, "x/1.tar", "x/2.tar", "y/1.tar", "x/notes.txt")
    assert list(look(str(tmp_path / "x/1.tar")).files) == ["1.tar"]
    assert list(look(str(tmp_path / "*/1.tar")).files) == ["x/1.tar", "y/1.tar"]
    assert list(look(f"file://{tmp_path}/x/*.tar").files) == ["1.tar", "2.tar"]


def test_a_folder_whose_name_looks_like_a_pattern_is_a_folder(tmp_path: Path) -> None:
    lay(tmp_path, "set[1]/a.jpg")
    assert list(look(str(tmp_path / "set[1]")).files) == ["a.jpg"]


def test_a_remote_place_is_listed_like_a_local_one() -> None:
    fs = fsspec.filesystem("memory")
    fs.pipe({"/collection/000.tar": good_archive(), "/collection/_tmp/001.tar": b"x"})
    place = look("memory://collection")
    assert list(place.files) == ["000.tar"]
    assert layout(place, ()) == "tar"
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
    assert layout(look(str(tmp_path)), ()) == expected


@pytest.mark.parametrize(
    ("names", "message"), [((), "is empty"), (("a.zip",), "its 1 files are: a.zip"), (("_a.tar",), "only hidden ones")]
)
def test_a_place_without_images_is_refused_with_what_was_looked_for(
    tmp_path: Path, names: tuple[str, ...], message: str
) -> None:
    lay(tmp_path, *names)
    with pytest.raises(ValueError, match=message):
        layout(look(str(tmp_path)), ())
    with pytest.raises(ValueError, match="does not exist"):
        look(str(tmp_path / "nowhere"))


def test_groups_of_a_folder_never_part_an_image_from_its_sidecars(tmp_path: Path) -> None:
    lay(tmp_path, *(f"{key}.{kind}" for key in range(10) for kind in ("jpg", "json", "txt")), "sub/1.jpg")
    shards = folder.shards(look(str(tmp_path)), "last", 4)
    assert [len(shard.files) for shard in shards] == [6, 6, 6, 6, 6, 1]
    for shard in shards[:-1]:
        assert len({name.split(".")[0] for name in shard.files}) == 2


def test_a_group_tells_when_a_file_of_it_changed(tmp_path: Path) -> None:
    lay(tmp_path, "1.jpg", "2.jpg")
    before = folder.shards(look(str(tmp_path)), "last", 4)[0].facts
    assert folder.shards(look(str(tmp_path)), "last", 4)[0].facts == before
    (tmp_path / "2.jpg").write_bytes(b"another")
    assert folder.shards(look(str(tmp_path)), "last", 4)[0].facts != before
