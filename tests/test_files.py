"""Only the error "not found" means that a file is absent."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mminstruct import files
from mminstruct.engine.local import Local
from mminstruct.files import Files, Unreachable, below, info
from mminstruct.run import FailedUnits, Run, claim, execute
from mminstruct.sources.listing import list_path
from mminstruct.stage import Halt
from mminstruct.status.tables import all_faults, as_json, table_statuses
from mminstruct.store import deletion, lease
from mminstruct.store.tables import Store
from tests.doing_nothing import NUMBERS, TOTAL, Count, small
from tests.faulty import Faulty


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(files, "PAUSES", (0.0, 0.0, 0.0))
    yield
    Faulty.begin(0.0, 0)


_NUMBER = itertools.count()


def build_and_read(chance: float, seed: int) -> tuple[str, ...]:
    """Build on a store that fails with probability *chance*, resume once, then read everything."""
    url = f"faulty://runs/{next(_NUMBER)}"
    recipe = small(Count(shard_count=3), drop=3)
    Faulty.begin(chance, seed)
    for _ in range(2):
        run = Run(url=url, recipe=recipe)
        claim(run)
        execute(run, Local())
    store = Store(url)
    rows = [
        str(store.table(name).dataset(schema).to_table().to_pylist())
        for name, schema in (("first", NUMBERS), ("second", NUMBERS), ("sum", TOTAL), ("last", TOTAL))
    ]
    statuses = table_statuses(url, verify=True)
    assert not all_faults(statuses)
    for status in statuses:
        status.seconds = 0
    drops = str(sorted(str(row) for row in store.table("first").dropped()))
    return (*rows, drops, as_json(statuses), str(deletion.deleted(store)))


@pytest.mark.parametrize("chance", [0.02, 0.4])
def test_on_a_store_that_fails_by_chance_a_run_ends_the_same_or_with_an_error_that_names_a_file(chance: float) -> None:
    calm = build_and_read(0.0, 0)
    same = named = 0
    for seed in range(20):
        try:
            assert build_and_read(chance, seed) == calm
            same += 1
        except (Unreachable, Halt, FailedUnits) as error:
            named += "faulty://runs/" in str(error) and "4 attempts" in str(error)
        assert Faulty.raised
    assert same + named == 20
    assert same == 20 if chance == 0.02 else named > 0


@pytest.mark.parametrize("named", ["ETag", "LastModified", "mtime", "modificationTime"])
def test_an_object_of_equal_size_is_another_one_if_what_its_store_calls_the_time_or_digest_differs(named: str) -> None:
    assert files._stamp({"size": 9, named: 1}) != files._stamp({"size": 9, named: 2})


def test_what_is_forbidden_is_not_absent() -> None:
    store = Files("faulty://runs/forbidden")
    Faulty.begin(1.0, 0)
    for read in (
        lambda: store.read("x.json"),
        lambda: store.names("folder"),
        lambda: store.sizes("folder"),
        lambda: store.exists("x.json"),
        lambda: store.read_many("folder", ["a.json", "b.json"]),
        lambda: info(store.fs, store.root),
        lambda: below(store.fs, store.root),
        lambda: list_path("faulty://runs/forbidden"),
    ):
        with pytest.raises(
            Unreachable, match=r"cannot (read|list|look at) faulty:///?runs/forbidden.*\(4 attempts\); "
        ):
            read()
    Faulty.begin(0.0, 0)
    assert store.read("x.json") is None
    assert store.names("folder") == []
    assert not store.exists("x.json")
    assert store.read_many("folder", ["a.json", "b.json"]) == {}


def test_a_create_whose_answer_was_lost_is_ours_and_one_of_another_is_not() -> None:
    store = Files("faulty://runs/create")
    for seed in range(40):
        Faulty.begin(0.5, seed)
        try:
            assert store.create(b"mine", f"{seed}.json")
        except Unreachable:
            continue
        Faulty.begin(0.0, 0)
        assert not store.create(b"another's", f"{seed}.json")
        assert store.read(f"{seed}.json") == b"mine"


def test_a_folder_of_a_source_that_cannot_be_listed_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "a.jpg").write_bytes(b"x")
    scan = os.scandir

    def forbidden(path: Any) -> Any:
        if str(path).rstrip("/").endswith("inner"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", forbidden)
    with pytest.raises(Unreachable, match=r"inner.*let this account read, write and list"):
        list_path(str(tmp_path))


def test_a_full_disk_is_an_error_with_the_file_and_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    run = Run(url=str(tmp_path / "run"), recipe=small())
    with lease.hold(run.url):
        monkeypatch.setattr(os, "fsync", full)
        _a_full_disk(tmp_path, run)
        monkeypatch.undo()
        claim(run)
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(Halt, match=r"count/shard-00000: cannot write .*shard-00000-0000\..*free some space"):
            execute(run, Local())


def _a_full_disk(tmp_path: Path, run: Run) -> None:
    store = Files(str(tmp_path))
    with pytest.raises(Unreachable, match=r"cannot write .*/t/x\.json: .*No space left.*free some space there"):
        store.write(b"x", "t", "x.json")
    assert list((tmp_path / "t").iterdir()) == []
    with pytest.raises(Unreachable, match=r"run/count/manifest\.json"):
        claim(run)
