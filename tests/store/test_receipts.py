"""The object with all receipts of a table: it saves reads, and is never believed against a receipt."""

from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mminstruct.checksum import seal
from mminstruct.engine.local import Local
from mminstruct.files import Files
from mminstruct.run import Run, claim, execute
from mminstruct.status.tables import all_faults, table_statuses
from mminstruct.store import packed, receipts
from mminstruct.store.packed import Packed
from mminstruct.store.receipt import Receipt
from mminstruct.store.receipts import PACKED, Receipts, listing_of, packed_receipts, parts_of
from mminstruct.store.tables import Part, Store
from tests.doing_nothing import Count, small


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "COUNT", 4)


@pytest.fixture(params=["disk", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "disk":
        return Store(str(tmp_path / "run"))
    return Store(f"{request.getfixturevalue('bucket')}/{tmp_path.name}")


TABLES = ("count", "first", "second", "sum", "last")


def receipt(key: str, number: int = 0, parts: int = 1) -> Receipt:
    made = [Part(f"{key}-{i:04d}", f"{key}-{i:04d}.x.parquet", number, 9, f"{number:064x}") for i in range(parts)]
    return Receipt(key=key, parts=made, rows_in=number, kept=number, dropped={}, inputs={"a": "b"}, seconds=0.25)


def commit(store: Store, key: str, number: int = 0) -> Receipt:
    return store.table("t").commit(receipt(key, number))


class Reads:
    """Counts the files of ``t`` that are read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.of: Counter[str] = Counter()
        real, begun = Files.read, Files.stream

        def read(store: Files, *pieces: str, **where: int | None) -> bytes | None:
            self.of["/".join(pieces)] += 1
            return real(store, *pieces, **where)

        def stream(store: Files, *pieces: str) -> BinaryIO | None:
            self.of["/".join(pieces)] += store.local  # else it reads
            return begun(store, *pieces)

        monkeypatch.setattr(Files, "read", read)
        monkeypatch.setattr(Files, "stream", stream)


def test_another_process_reads_the_object_and_only_what_is_new_or_other_since(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {key: commit(store, key, number) for number, key in enumerate(f"u{i:02d}" for i in range(11))}
    store.table("t").kept.consolidate()
    reads = Reads(monkeypatch)
    assert store.table("t").receipts() == made
    assert reads.of == {f"t/{PACKED}": 1}
    made |= {key: commit(store, key, 77) for key in ("u02-late", "u99")}
    del made["u05"]
    store.remove("t", "_receipts", "u05.json")
    store.remove("t", "_receipts", "u08.json")
    made["u08"] = commit(store, "u08", 1234)
    reads.of.clear()
    table = store.table("t")
    assert table.receipts() == made
    assert list(table.receipts()) == sorted(made)
    assert set(reads.of) == {*(f"t/_receipts/{key}.json" for key in ("u02-late", "u08", "u99")), f"t/{PACKED}"}


KEYS = ["a", "a-1", "a b", "b", "b.json", "c\ttab", "d", "é", "x" * 50, "z-0001"]


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(["make", "remove", "pack", "pack late", "look"]), st.sampled_from(KEYS)),
                max_size=25))  # fmt: skip
def test_whatever_happens_to_receipts_every_reader_sees_those_that_are_there(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str]]
) -> None:
    store = Store(str(tmp_path_factory.mktemp("run")))
    truth: dict[str, Receipt] = {}
    late = Receipts(store, "t")  # of another driver, whose view is old
    for number, (what, key) in enumerate(steps):
        if what == "make" and key not in truth:
            truth[key] = commit(store, key, number)
        elif what == "remove" and key in truth:
            store.remove("t", "_receipts", f"{key}.json")
            del truth[key]
        elif what == "pack":
            store.table("t").kept.consolidate()
        elif what == "pack late":
            kept = late._kept
            if len(kept):
                store.write(packed.dump(listing_of(kept).digest, kept.blocks, parts_of(kept).blocks), "t", PACKED)
        else:
            late.all()
        table = store.table("t")
        assert table.receipts() == truth
        assert dict(table.parts()) == {part.part: part for one in truth.values() for part in one.parts}
        assert list(table.parts()) == sorted(table.parts())


def test_parts_are_in_the_order_of_their_keys_and_found_by_them() -> None:
    rng = random.Random(0)
    made = {key: receipt(key, rng.randrange(99), rng.randrange(4)) for key in KEYS}
    found = parts_of(packed_receipts(made))
    every = {part.part: part for one in made.values() for part in one.parts}
    assert list(found.items()) == sorted(every.items())
    values = found.values()
    assert list(values) == list(values) == [every[key] for key in sorted(every)]
    assert all(found[key] == every[key] and found.tag(key) == every[key].sha256 for key in every)
    assert found.get("nothing") is None
    assert found.tag("") is None
    assert len(found) == len(every)
    assert list(found.only({"a-0000", "z-0001-0000"})) == sorted({"a-0000", "z-0001-0000"} & set(every))


def test_parts_that_another_thread_reads_meanwhile_are_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(str(tmp_path))
    commit(store, "a")
    kept = Receipts(store, "t")

    def overtaken(*some: Packed[Receipt]) -> Packed[Part]:
        monkeypatch.setattr(receipts, "parts_of", parts_of)
        commit(store, "b")
        assert list(kept.parts()) == ["a-0000", "b-0000"]
        return parts_of(*some)

    monkeypatch.setattr(receipts, "parts_of", overtaken)
    assert list(kept.parts()) == ["a-0000"]
    assert list(kept.parts()) == ["a-0000", "b-0000"]


def test_a_damaged_object_is_named_not_used_and_written_again_by_a_build(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    build(tmp_path)
    file = tmp_path / "first" / PACKED
    whole = file.read_bytes()
    truth = Store(str(tmp_path)).table("first").receipts()
    rng = random.Random(0)
    harmed = [b"", whole[:1], whole[:-1], whole[: len(whole) // 2], whole + b"x", b"{}\n" + whole, b"[]"]
    for place in rng.sample(range(len(whole)), 40):
        harmed.append(whole[:place] + bytes([whole[place] ^ 1 << rng.randrange(8)]) + whole[place + 1 :])
    for data in harmed:
        file.write_bytes(data)
        table = Store(str(tmp_path)).table("first")
        assert dict(table.receipts()) == dict(truth)
    statuses = table_statuses(str(tmp_path))
    assert not all_faults(statuses)
    assert [said for s in statuses for said in s.remarks if str(file) in said and "writes it again" in said]
    with caplog.at_level(logging.WARNING):
        assert build(tmp_path) == 0
    assert str(file) in caplog.text
    assert file.read_bytes() == whole


def test_an_object_of_another_version_is_not_used(tmp_path: Path) -> None:
    build(tmp_path)
    file = tmp_path / "first" / PACKED
    file.write_bytes(seal({"format": 999}) + b"\nother")
    assert len(Store(str(tmp_path)).table("first").receipts()) == 4
    assert build(tmp_path) == 0
    assert b"999" not in file.read_bytes()[:20]


KILLED = """
import os, pathlib, signal, sys
from tests.store import test_receipts as here
real, left = os.replace, int(sys.argv[2])

def replace(temporary, path):
    global left
    left -= str(path).endswith(here.PACKED)
    if left < 0:
        with open(temporary, "r+b") as file:  # half of it is written
            file.truncate(os.path.getsize(temporary) // 2)
        os.kill(os.getpid(), signal.SIGKILL)
    real(temporary, path)

os.replace = replace
here.build(pathlib.Path(sys.argv[1]))
"""


def test_a_build_that_is_killed_while_it_writes_the_object_leaves_a_right_run(tmp_path: Path) -> None:
    build(tmp_path / "calm")
    folder = tmp_path / "killed"
    for number in (0, 1):  # objects that are written before the kill
        done = subprocess.run([sys.executable, "-c", KILLED, str(folder), str(number)], stderr=subprocess.PIPE)
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert list(folder.glob(f"*/.{PACKED}.*")), "it died within the write"
        assert not all_faults(table_statuses(str(folder)))
    build(folder)
    assert [s.state for s in table_statuses(str(folder), verify=True)] == ["complete"] * 5
    assert len(list(folder.glob(f"*/{PACKED}"))) == 5
    digests = [[Store(str(run)).table(name).digest() for name in TABLES] for run in (folder, tmp_path / "calm")]
    assert digests[0] == digests[1]


def test_verification_compares_the_object_with_the_receipts(tmp_path: Path) -> None:
    build(tmp_path)
    assert not [said for s in table_statuses(str(tmp_path), verify=True) for said in (*s.remarks, *s.faults)]
    table = Store(str(tmp_path)).table("first")
    entries = [(key, tag, {**facts, "kept": 999}) for key, tag, facts in table.receipts().entries()]
    right, wrong = table.receipts().blocks, list(packed.blocks(entries, packed.Spool()))
    listing, parts = listing_of(table.receipts()).digest, table.parts().blocks
    for contents, said in (
        ((listing, wrong, parts), "contents than the receipt"),
        ((listing, right, []), "parts than its"),
        (("0" * 64, right, parts), "digest of its receipts' files than they have"),
    ):
        table.store.write(packed.dump(*contents), "first", PACKED)
        told = [fault for s in table_statuses(str(tmp_path), verify=True) for fault in s.faults]
        assert len(told) == 1
        assert f"first/{PACKED} has" in told[0]
        assert said in told[0]
    table.store.write(packed.dump(listing, wrong, parts), "first", PACKED)
    next((tmp_path / "first" / "_receipts").iterdir()).write_bytes(b"{")  # beside damage it is found, too
    faults = [said for s in table_statuses(str(tmp_path), verify=True) for said in s.faults]
    assert any(f"first/{PACKED} has other contents than the receipt" in said for said in faults)


def test_a_receipt_whose_bits_changed_is_found_by_verification_and_by_a_build_that_reads_it(tmp_path: Path) -> None:
    build(tmp_path)
    file = next((tmp_path / "first" / "_receipts").iterdir())
    data, there = bytearray(file.read_bytes()), file.stat()
    data[data.index(b'"kept": ') + 8] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(there.st_atime_ns, there.st_mtime_ns))  # as a disk does that loses bits
    assert not all_faults(table_statuses(str(tmp_path)))
    told = "".join(all_faults(table_statuses(str(tmp_path), verify=True)))
    assert "its checksum differs" in told
    assert f"if it does not, since size and time are those of {PACKED}, remove that file first" in told
    (tmp_path / "first" / PACKED).unlink()
    build(tmp_path)
    assert not all_faults(table_statuses(str(tmp_path), verify=True))


def test_a_run_with_a_base_reads_the_objects_of_the_other_and_writes_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(tmp_path / "old")
    before = {file: file.read_bytes() for file in (tmp_path / "old").glob(f"*/{PACKED}")}
    reads = Reads(monkeypatch)
    run = Run(url=str(tmp_path / "new"), recipe=small(Count()))
    claim(run, str(tmp_path / "old"))
    assert reads.of[f"first/{PACKED}"]
    assert not [name for name in reads.of if name.startswith("first/_receipts/")]
    execute(run, Local())
    assert {file: file.read_bytes() for file in before} == before
    assert [s.state for s in table_statuses(str(tmp_path / "new"), verify=True)] == ["complete"] * 5
    assert len(list((tmp_path / "new").glob(f"*/{PACKED}"))) == 5


def build(folder: Path) -> int:
    """Build; the number of units that were executed."""
    fresh = 0

    def watch(event: object) -> None:
        nonlocal fresh
        fresh += event.fresh  # type: ignore[attr-defined]

    run = Run(url=str(folder), recipe=small(Count()))
    claim(run)
    execute(run, Local(), watch=watch)
    return fresh


def test_a_receipt_takes_few_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "COUNT", 256)
    rng = random.Random(0)
    made = {f"shard-{i:06d}-0000": receipt(f"shard-{i:06d}-0000", rng.randrange(2**250)) for i in range(2000)}
    found = packed_receipts(made)
    assert sum(sum(block.lengths) for block in found.blocks) < 100 * len(made)
