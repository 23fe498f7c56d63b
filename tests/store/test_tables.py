"""The commit: exclusive, last, verified; on a disk and over the S3 protocol."""

from __future__ import annotations

import json
import multiprocessing
import random
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pytest

from mminstruct.checksum import Damaged
from mminstruct.stage import Drop
from mminstruct.store.datafile import BLOCK
from mminstruct.store.receipt import Receipt
from mminstruct.store.tables import Store, Table
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
    return Receipt(key=key, parts=[part], rows_in=len(values), kept=len(values), dropped={})


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


def test_a_receipt_that_was_removed_and_made_again_is_read_again(store: Store) -> None:
    table = store.table("t")
    table.commit(receipt(table, "a", 1))
    assert table.receipts()["a"].rows == 1
    store.remove("t", "_receipts", "a.json")
    assert table.receipts() == {}
    again = store.table("t").commit(receipt(table, "a", 1, 2))
    assert table.receipts() == {"a": again}


def test_create_tells_whether_it_was_first(store: Store) -> None:
    assert store.create(b"one", "t", "x.json")
    assert not store.create(b"two", "t", "x.json")
    assert store.read("t", "x.json") == b"one"


def test_the_same_work_lands_on_the_same_name(store: Store) -> None:
    table = store.table("t")
    assert table.put("a", numbers(1, 2)) == table.put("a", numbers(1, 2))
    assert table.put("a", numbers(1, 2)).file != table.put("a", numbers(1, 3)).file


def test_a_torn_receipt_is_an_error_that_names_it_and_no_reader_touches_it(store: Store) -> None:
    table = store.table("t")
    store.write(b'{"key": "a", "par', "t", "_receipts", "a.json")
    for read in (table.receipts, table.parts, table.digest, lambda: table.receipt("a"), lambda: table.find("a")):
        with pytest.raises(Damaged, match=r"t/_receipts/a\.json is torn \(17 bytes.*restores it from its copy"):
            read()
    assert store.read("t", "_receipts", "a.json") == b'{"key": "a", "par'


def test_a_receipt_of_another_unit_is_none_of_this_one(store: Store) -> None:
    table = store.table("t")
    table.commit(receipt(table, "a", 1))
    store.write(store.read("t", "_receipts", "a.json") or b"", "t", "_receipts", "b.json")
    with pytest.raises(Damaged, match=r"b\.json is the receipt of unit a"):
        store.table("t").receipts()


def test_a_receipt_from_before_checksums_is_read(store: Store) -> None:
    table = store.table("t")
    made = receipt(table, "a", 1)
    facts = asdict(made)
    del facts["parts"][0]["blocks"]
    store.create(json.dumps(facts).encode(), "t", "_receipts", "a.json")
    assert store.table("t").receipts() == {"a": made}
    assert store.table("t").load(made.parts[0], ("value",))["value"].to_pylist() == [1]


@pytest.mark.parametrize("columns", [("id",), ("id", "pixels")])
def test_of_a_large_part_only_what_is_read_is_fetched_and_every_block_of_it_verified(
    store: Store, columns: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = pa.schema([("id", pa.string()), ("pixels", pa.binary())])
    noise = [{"id": str(i), "pixels": random.Random(i).randbytes(50_000)} for i in range(100)]
    table = store.table("t")
    made = table.put("a", pa.Table.from_pylist(noise, schema=schema))
    table.commit(Receipt(key="a", parts=[made], rows_in=100, kept=100, dropped={}))
    fetched = 0
    cat = store.fs.cat_file

    def counted(*args: Any, **kwargs: Any) -> bytes:
        nonlocal fetched
        data = cast(bytes, cat(*args, **kwargs))
        fetched += len(data)
        return data

    monkeypatch.setattr(store.fs, "cat_file", counted)
    assert table.load(made, columns).to_pylist() == [{name: row[name] for name in columns} for row in noise]
    assert (fetched < 3 * BLOCK) == (columns == ("id",))
    whole = store.table("t").dataset(schema).to_table(columns=list(columns)).to_pylist()
    assert whole == [{name: row[name] for name in columns} for row in noise]


def test_a_large_part_with_a_flipped_bit_is_refused_wherever_the_bit_is(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    table = store.table("t")
    schema = pa.schema([("pixels", pa.binary())])
    rows = pa.Table.from_pylist([{"pixels": random.Random(i).randbytes(50_000)} for i in range(20)], schema=schema)
    made = table.put("a", rows)
    path = tmp_path / "t" / made.file
    data = path.read_bytes()
    chance = random.Random(0)
    for place in [*chance.sample(range(len(data)), 20), *range(len(data) - 8, len(data))]:
        bad = bytearray(data)
        bad[place] ^= 1 << chance.randrange(8)
        path.write_bytes(bad)
        with pytest.raises(Damaged, match=r"t/a\..* is not what was written"):
            table.load(made, ("pixels",))
    path.write_bytes(data[:-100])
    with pytest.raises(Damaged):
        table.load(made, ("pixels",))
    path.unlink()
    with pytest.raises(Damaged, match="is gone"):
        table.load(made, ("pixels",))


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
    made.dropped, made.rows_in = {"bad": 1}, 2
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
    with pytest.raises(Damaged, match=r"t/a\..*SHA-256"):
        table.load(made.parts[0], ("id", "value"))
    with pytest.raises(Damaged, match=r"t/a\..*SHA-256"):
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
