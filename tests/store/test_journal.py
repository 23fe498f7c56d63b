"""The journal: paid replies survive a crash, and only replies that were written are read."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mminstruct.store.journal import Calls
from mminstruct.store.tables import Store
from tests.models.asking import unit


@pytest.fixture(params=["disk", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "disk":
        return Store(str(tmp_path / "run"))
    return Store(f"{request.getfixturevalue('bucket')}/{tmp_path.name}")


def replies(*names: str) -> dict[str, dict[str, Any]]:
    return {name: {"text": f"reply to {name}\u2028\x85 ü\n", "cost": 0.25} for name in names}


def test_a_journal_outlives_its_writer(store: Store) -> None:
    Calls(store.table("t"), "a").put(replies("r1", "r2"))
    again = Calls(store.table("t"), "a")
    assert again.get("r1") == replies("r1")["r1"]
    assert again.get("r3") is None
    again.put(replies("r3"))
    late = Calls(store.table("t"), "a")
    assert [late.get(name) for name in ("r1", "r2", "r3")] == list(replies("r1", "r2", "r3").values())
    assert Calls(store.table("t"), "b").get("r1") is None
    late.clear()
    assert Calls(store.table("t"), "a").get("r1") is None


def test_a_group_is_one_object_where_nothing_can_be_appended(bucket: str, tmp_path: Path) -> None:
    store = Store(f"{bucket}/{tmp_path.name}")
    calls = Calls(store.table("t"), "a")
    calls.put(replies(*map(str, range(100))))
    calls.put(replies("late"))
    assert len(store.names("t", "_calls/a")) == 2


def test_a_torn_line_is_named_and_counted_and_swallows_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(str(tmp_path / "run"))
    Calls(store.table("t"), "a").put(replies("r1"))
    file = tmp_path / "run/t/_calls/a/replies.jsonl"
    with file.open("ab") as end:  # a power cut in the middle of an append
        end.write(file.read_bytes()[:-9])
    with unit() as work, caplog.at_level(logging.WARNING):
        again = Calls(store.table("t"), "a")
        assert again.get("r1") is not None
        again.put(replies("r3"))
    assert work.notes == {"journal_lines_damaged": 1}
    assert "replies.jsonl, line 2" in caplog.text
    last = Calls(store.table("t"), "a")
    assert (last.get("r1"), last.get("r3")) == tuple(replies("r1", "r3").values())


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_flipped_bit_is_ever_read_as_a_reply(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("run")
    store = Store(str(folder))
    said = replies("r1", "r2", "r3")
    Calls(store.table("t"), "a").put(said)
    file = folder / "t/_calls/a/replies.jsonl"
    body = bytearray(file.read_bytes())
    body[data.draw(st.integers(0, len(body) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    file.write_bytes(body)
    with unit() as work:
        found = {name: reply for name in said if (reply := Calls(store.table("t"), "a").get(name))}
    assert all(said[name] == reply for name, reply in found.items())
    assert len(found) >= 1, "one bit spoils its own line, or the two that it joins"
    assert len(found) == 3 or work.notes["journal_lines_damaged"] >= 1


def test_threads_that_write_side_by_side_lose_nothing(store: Store) -> None:
    calls = Calls(store.table("t"), "a")
    threads = [
        threading.Thread(target=lambda n=n: calls.put(replies(*(f"{n}-{i}" for i in range(5))))) for n in range(8)
    ]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    again = Calls(store.table("t"), "a")
    assert all(again.get(f"{n}-{i}") for n in range(8) for i in range(5))
