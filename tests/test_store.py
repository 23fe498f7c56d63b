"""The commit: exclusive, last, verified; on a disk and on a real S3 protocol."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pyarrow as pa
import pytest

from mminstruct.stage import Drop
from mminstruct.store import Receipt, Store, Table
from tests.doing_nothing import NUMBERS


@pytest.fixture(params=["disk", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "disk":
        return Store(str(tmp_path / "run"))
    return Store(f"{request.getfixturevalue('bucket')}/{tmp_path.name}")


def numbers(*values: int) -> pa.Table:
    return pa.table({"id": [f"{v:016d}" for v in values], "value": list(values)}, schema=NUMBERS)


def receipt(table: Table, key: str, *values: int) -> Receipt:
    part = table.put(key, numbers(*values))
    return Receipt(key=key, parts=[part], taken=len(values), kept=len(values), dropped={})


def test_nobody_sees_a_part_before_its_receipt(store: Store) -> None:
    table = store.table("t")
    made = receipt(table, "a", 1, 2)
    assert store.table("t").parts() == {}
    table.commit(made)
    assert list(store.table("t").parts()) == ["a"]
    assert store.table("t").dataset(NUMBERS).to_table()["value"].to_pylist() == [1, 2]


def test_the_first_receipt_stands_and_the_late_twin_leaves_nothing(store: Store) -> None:
    table = store.table("t")
    first = table.commit(receipt(table, "a", 1))
    late = receipt(store.table("t"), "a", 2)
    assert store.table("t").commit(late) == first
    assert store.table("t").dataset(NUMBERS).to_table()["value"].to_pylist() == [1]
    assert late.parts[0].file not in store.names("t")


def test_create_tells_whether_it_was_first(store: Store) -> None:
    assert store.create(b"one", "t", "x.json")
    assert not store.create(b"two", "t", "x.json")
    assert store.read("t", "x.json") == b"one"


def test_the_same_work_lands_on_the_same_name(store: Store) -> None:
    table = store.table("t")
    assert table.put("a", numbers(1, 2)) == table.put("a", numbers(1, 2))
    assert table.put("a", numbers(1, 2)).file != table.put("a", numbers(1, 3)).file


def test_a_torn_receipt_counts_as_none_and_is_cleared_away(store: Store) -> None:
    table = store.table("t")
    store.write(b'{"key": "a", "par', "t", "_receipts", "a.json")
    assert table.receipts() == {}
    assert store.names("t", "_receipts") == []
    table.commit(receipt(table, "a", 1))
    assert list(store.table("t").receipts()) == ["a"]


def test_a_whole_table_comes_in_the_order_of_its_keys(store: Store) -> None:
    table = store.table("t")
    for key, value in (("b", 2), ("c", 3), ("a", 1)):
        table.commit(receipt(table, key, value))
    fresh = store.table("t")
    assert fresh.dataset(NUMBERS).to_table()["value"].to_pylist() == [1, 2, 3]
    assert fresh.dataset(NUMBERS, frozenset("ac")).to_table()["value"].to_pylist() == [1, 3]
    assert fresh.digest() != fresh.digest(frozenset("ac"))
    assert fresh.find("b") == table.parts()["b"]


def test_drops_keep_their_reasons(store: Store) -> None:
    table = store.table("t")
    made = receipt(table, "a", 1)
    made.dropped, made.taken = {"bad": 1}, 2
    made.drops = table.put_drops("a", [Drop("x", "bad", "why\ud83d".encode("utf-8", "replace").decode())])
    table.commit(made)
    assert [(r["unit"], r["id"], r["reason"]) for r in store.table("t").dropped()] == [("a", "x", "bad")]


def test_a_flipped_bit_is_found_on_reading(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    table = store.table("t")
    made = table.commit(receipt(table, "a", *range(500)))
    path = tmp_path / "t" / made.parts[0].file
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(OSError, match=r"(?i)crc|corrupt|checksum"):
        table.load(made.parts[0], ("id", "value"))
    with pytest.raises(OSError, match=r"(?i)crc|corrupt|checksum"):
        store.table("t").dataset(NUMBERS).to_table()


def _race(folder: str, number: int, wins: multiprocessing.Queue[int]) -> None:
    if Store(folder).create(json.dumps(number).encode(), "t", "_receipts", "a.json"):
        wins.put(number)


def test_of_many_processes_exactly_one_commits(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    wins: multiprocessing.Queue[int] = context.Queue()
    racers = [context.Process(target=_race, args=(str(tmp_path), i, wins)) for i in range(12)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    winner = wins.get(timeout=5)
    assert wins.empty()
    assert Store(str(tmp_path)).read("t", "_receipts", "a.json") == json.dumps(winner).encode()
    assert [p.name for p in (tmp_path / "t" / "_receipts").iterdir()] == ["a.json"]
