"""A build repairs damaged files of its run."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from mminstruct.checksum import Damaged
from mminstruct.engine.local import Local
from mminstruct.export import ExportError, write
from mminstruct.run import DriftError, Run, claim, execute
from mminstruct.status.tables import table_statuses
from mminstruct.status.trace import trace
from mminstruct.store.receipts import PACKED
from tests.doing_nothing import Small, small


def build(folder: Path, recipe: Small) -> dict[str, int]:
    """Build; returns the number of executed units by table."""
    fresh: dict[str, int] = {}
    run = Run(url=str(folder), recipe=recipe)
    claim(run)
    execute(run, Local(), watch=lambda event: fresh.update({event.table: fresh.get(event.table, 0) + event.fresh}))
    return {table: count for table, count in fresh.items() if count}


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.relative_to(folder).parts[0] not in ("_aside", "_lease")
        and path.name != PACKED  # it has the times of the receipts
    }


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:40])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[data.index(b'"kept": ') + 8] ^= 1
    file.write_bytes(data)


def swap(file: Path) -> None:
    file.write_bytes(next(other for other in sorted(file.parent.iterdir()) if other != file).read_bytes())


@pytest.mark.parametrize("harm", [cut, empty, flip, swap])
def test_a_damaged_receipt_is_set_aside_and_its_parts_are_adopted(
    tmp_path: Path, harm: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    build(tmp_path, small(drop=3))
    before = contents(tmp_path)
    file = tmp_path / "first" / "_receipts" / "shard-00000-0001.json"
    harm(file)
    damaged = file.read_bytes()
    with caplog.at_level(logging.WARNING):
        assert build(tmp_path, small(drop=3)) == {}
    assert contents(tmp_path) == before
    assert [path.read_bytes() for path in (tmp_path / "_aside").iterdir()] == [damaged]
    assert f"{file} is" in caplog.text
    assert "replaced by its copy; nothing is executed again" in caplog.text


def test_where_the_copy_or_a_part_is_damaged_too_the_unit_is_made_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    build(tmp_path, small(drop=3))
    receipts = tmp_path / "first" / "_receipts"
    cut(receipts / "shard-00000-0000.json")
    cut(tmp_path / "first" / "_copies" / "_receipts" / "shard-00000-0000.json")
    cut(receipts / "shard-00001-0001.json")
    empty(next((tmp_path / "first").glob("shard-00001-0001.*")))
    assert build(tmp_path, small(drop=3)) == {"first": 2}
    assert len(list((tmp_path / "_aside").iterdir())) == 2
    assert caplog.text.count("so the unit is executed again") == 2
    assert not [fault for status in table_statuses(str(tmp_path), verify=True) for fault in status.faults]


def test_a_damaged_manifest_is_put_back_and_still_refuses_another_recipe(tmp_path: Path) -> None:
    build(tmp_path, small())
    before = contents(tmp_path)
    cut(tmp_path / "first" / "manifest.json")
    with pytest.raises(DriftError, match="drop: 0 -> 3"):
        build(tmp_path, small(drop=3))
    assert contents(tmp_path) == before
    cut(tmp_path / "first" / "manifest.json")
    empty(tmp_path / "first" / "_copies" / "manifest.json")
    with pytest.raises(Damaged, match=r"first/manifest.json is torn .* the configuration that made first is unknown"):
        build(tmp_path, small())


@pytest.mark.parametrize("file", ["manifest.json", "_receipts/shard-00000-0001.json"])
def test_readers_name_what_is_damaged_and_leave_it_where_it_is(tmp_path: Path, file: str) -> None:
    build(tmp_path, small())
    cut(tmp_path / "first" / file)
    before = contents(tmp_path)
    for read in (
        lambda: [fault for status in table_statuses(str(tmp_path)) for fault in status.faults],
        lambda: write(str(tmp_path), "llava", tmp_path.with_name("out")),
        lambda: claim(Run(url=str(tmp_path.with_name("new")), recipe=small()), str(tmp_path)),
    ):
        try:
            said = str(read())
        except (Damaged, ExportError) as error:
            said = str(error)
        assert f"first/{file} is torn" in said
    with suppress(LookupError, Damaged):
        trace(str(tmp_path), "0123")
    assert contents(tmp_path) == before
    assert not (tmp_path / "_aside").exists()
