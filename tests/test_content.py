"""Files and folders are identified by their content, not by their path."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Any

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mminstruct import content, files
from mminstruct.content import hashes, look


def filled(folder: Path) -> Path:
    (folder / "b").mkdir(parents=True)
    (folder / "a.txt").write_text("one")
    (folder / "b" / "c.txt").write_text("two")
    return folder


def test_a_folder_is_the_same_however_it_is_spelt_touched_copied_or_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = filled(tmp_path / "x")
    before = look(str(folder))
    assert str(before) == f"2 files, digest {before.digest}"
    os.utime(folder / "a.txt", (1, 1))
    monkeypatch.chdir(tmp_path)
    assert look("x") == look("x/") == look("./x") == look(f"file://{folder}") == before
    shutil.copytree(folder, tmp_path / "copy")
    folder.rename(tmp_path / "moved")
    (tmp_path / "link").symlink_to(tmp_path / "moved")
    assert look("copy") == look("moved") == look("link") == before


@pytest.mark.parametrize("change", ["grown", "shrunk", "renamed", "other bytes", "swapped"])
def test_a_folder_that_holds_something_else_is_another(tmp_path: Path, change: str) -> None:
    folder = filled(tmp_path / "x")
    before = look(str(folder))
    if change == "grown":
        (folder / "d.txt").write_text("")
    elif change == "shrunk":
        (folder / "a.txt").unlink()
    elif change == "renamed":
        (folder / "a.txt").rename(folder / "aa.txt")  # the sort order is unchanged
    elif change == "other bytes":
        (folder / "a.txt").write_text("eno")
    else:
        (folder / "a.txt").write_text("two")
        (folder / "b" / "c.txt").write_text("one")
    assert look(str(folder)) != before


@settings(max_examples=50)
@given(st.dictionaries(st.text("abc/", min_size=1, max_size=6), st.binary(max_size=20), max_size=4))
def test_equal_digests_mean_equal_files(tmp_path_factory: pytest.TempPathFactory, tree: dict[str, bytes]) -> None:
    def plant(files: dict[str, bytes]) -> tuple[str, dict[str, bytes]]:
        folder = tmp_path_factory.mktemp("tree")
        for name, data in files.items():
            path = folder / name.replace("/", "-")
            path.write_bytes(data)
        there = {path.name: path.read_bytes() for path in folder.iterdir()}
        return look(str(folder)).digest, there

    one, files = plant(tree)
    other, same = plant(dict(reversed(tree.items())))
    assert (one == other) == (files == same)
    assert plant({**tree, "new": b""})[0] != one


def test_what_file_browsers_leave_does_not_count_and_hidden_files_may(tmp_path: Path) -> None:
    folder = filled(tmp_path / "x")
    before = look(str(folder))
    for name in (".DS_Store", "Thumbs.db", "b/._c.txt"):
        (folder / name).write_text("litter")
    assert look(str(folder)) == before
    (folder / ".cache").mkdir()
    (folder / ".cache" / "note").write_text("fetched just now")
    assert look(str(folder), hidden=False) == before
    assert look(str(folder)).files == 3


def test_links_are_followed_and_a_circle_of_them_ends(tmp_path: Path) -> None:
    folder, other = filled(tmp_path / "x"), filled(tmp_path / "y")
    (folder / "more").symlink_to(other)
    (folder / "again").symlink_to(folder)
    assert look(str(folder)).files == 4


def test_nothing_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none: no such file or folder"):
        look(str(tmp_path / "none"))


def test_an_object_store_is_known_by_names_sizes_and_etags(bucket: str) -> None:
    fs = fsspec.filesystem("s3")
    for name in ("one", "two"):
        fs.pipe(f"runs/content/{name}/a.txt", b"one")
        fs.pipe(f"runs/content/{name}/b/c.txt", b"two")
    assert look(f"{bucket}/content/one") == look(f"{bucket}/content/two/")
    before = look(f"{bucket}/content/one")
    fs.pipe("runs/content/one/a.txt", b"eno")
    assert look(f"{bucket}/content/one") != before
    with pytest.raises(FileNotFoundError):
        look(f"{bucket}/content/none")


def test_a_store_without_etags_is_read() -> None:
    fs = fsspec.filesystem("memory")
    fs.pipe("/content/a.txt", b"one")
    before = look("memory://content")
    fs.pipe("/content/a.txt", b"eno")
    assert look("memory://content") != before


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file whose digest is cached; its timestamps say that it was last modified a minute ago."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(content, "_SETTLED", -1.0)  # so that tests need not wait until their files are old enough
    path = tmp_path / "large"
    path.write_bytes(b"x" * (9 << 20))
    return path


def read_of(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    read: list[str] = []
    real = content._sha256
    monkeypatch.setattr(content, "_sha256", lambda path: read.append(path) or real(path))
    return read


def test_a_large_file_is_read_once_and_again_when_it_changed(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = read_of(monkeypatch)
    before = hashes([str(large)])
    assert hashes([str(large)]) == before
    assert read == [str(large)]
    stat = large.stat()
    time.sleep(0.02)
    large.write_bytes(b"y" * (9 << 20))
    os.utime(large, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # hidden from mtime, as `cp -p` does
    assert hashes([str(large)]) != before
    assert len(read) == 2


def test_a_file_that_changed_this_very_moment_is_read_again_next_time(
    large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "_SETTLED", 2.0)
    read = read_of(monkeypatch)
    hashes([str(large)])
    hashes([str(large)])
    assert len(read) == 2


def test_without_a_home_that_can_be_written_to_files_are_read_each_time(
    large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (large.parent / "home").write_text("no folder")
    read = read_of(monkeypatch)
    assert hashes([str(large)]) == hashes([str(large)])
    assert len(read) == 2


def test_a_folder_with_two_names_is_known_by_the_first(tmp_path: Path) -> None:
    for name, link, to in (("one", "b", "a"), ("two", "a", "b")):
        folder = tmp_path / name / to
        folder.mkdir(parents=True)
        (folder / "x.txt").write_bytes(b"x")
        (tmp_path / name / link).symlink_to(folder)
    assert look(str(tmp_path / "one")) == look(str(tmp_path / "two"))
    assert look(str(tmp_path / "one")).files == 1


def test_a_folder_that_cannot_be_listed_is_an_error_and_not_a_smaller_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.txt").write_bytes(b"x")
    real = os.scandir

    def scandir(path: str) -> Any:
        if path.endswith("a"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(PermissionError, match="denied"):
        look(str(tmp_path))
    monkeypatch.setattr(files, "PAUSES", ())
    fs = fsspec.filesystem("memory")
    fs.pipe("/refused/a/x.txt", b"x")
    monkeypatch.setattr(type(fs), "find", lambda self, path, **more: scandir("a"))
    with pytest.raises(files.Unreachable, match="cannot list"):
        look("memory://refused")
