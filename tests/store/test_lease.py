"""At most one driver per folder."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from mminstruct.checksum import Damaged
from mminstruct.store import lease
from mminstruct.store.lease import Held, Holder, hold, take
from mminstruct.store.tables import Store
from tests import world
from tests.lease_run import AT_ONCE
from tests.models.server import Answer, Endpoint, Request, echo

IMAGES = 32


@pytest.fixture(params=["disk", "object store"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "disk":
        return Store(str(tmp_path))
    return Store(f"{request.getfixturevalue('bucket')}/{tmp_path.name}")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return world.draw(tmp_path_factory.mktemp("world"), images=IMAGES)


class Gate:
    """Answers a number of requests, and all others once it is open, so that a test decides how long a driver works."""

    def __init__(self, free: int) -> None:
        self.free, self.open = free, threading.Event()

    async def __call__(self, request: Request) -> Answer:
        while request.number >= self.free and not self.open.is_set():
            await asyncio.sleep(0.02)
        return echo(request)


def driver(run: Path, source: Path, url: str, engine: str = "local") -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "tests.lease_run", str(run), str(source), url, engine]
    return subprocess.Popen(words, stderr=subprocess.PIPE, text=True)


def until(endpoint: Endpoint, requests: int) -> None:
    end = time.monotonic() + 240
    while len(endpoint.requests) < requests:
        assert time.monotonic() < end
        time.sleep(0.02)


def bought(endpoint: Endpoint) -> Counter[bytes]:
    return Counter(request.raw for request in endpoint.requests)


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, said = process.communicate(timeout=240)
    return process.returncode, said


def test_of_two_drivers_one_works_and_the_other_names_it_and_nothing_is_bought_twice(
    tmp_path: Path, source: Path
) -> None:
    gate = Gate(12)
    with Endpoint(gate) as endpoint:
        first = driver(tmp_path / "run", source, endpoint.url)
        until(endpoint, 12 + AT_ONCE)
        code, said = end(driver(tmp_path / "run", source, endpoint.url))
        gate.open.set()
        assert code == 4
        assert f"process {first.pid} on {socket.gethostname()}" in said
        assert f"kill {first.pid}" in said
        assert end(first) == (0, "")
        assert end(driver(tmp_path / "run", source, endpoint.url)) == (0, ""), "the lease was given back"
    assert sorted(bought(endpoint).values()) == [1] * IMAGES


def test_two_drivers_that_start_together_buy_nothing_twice(tmp_path: Path, source: Path) -> None:
    gate = Gate(0)
    with Endpoint(gate) as endpoint:
        both = [driver(tmp_path / "run", source, endpoint.url) for _ in range(2)]
        while all(one.poll() is None for one in both):
            time.sleep(0.05)
        gate.open.set()
        assert sorted(end(one)[0] for one in both) == [0, 4]
    assert sorted(bought(endpoint).values()) == [1] * IMAGES


@pytest.mark.parametrize("engine", ["local", pytest.param("ray", marks=pytest.mark.slow)])
def test_after_a_killed_driver_the_next_takes_over_at_once_and_buys_again_only_what_was_in_flight(
    tmp_path: Path, source: Path, engine: str
) -> None:
    gate = Gate(12)
    with Endpoint(gate) as endpoint:
        first = driver(tmp_path / "run", source, endpoint.url, engine)
        until(endpoint, 12 + AT_ONCE)
        in_flight = len(endpoint.requests) - 12
        first.kill()
        first.wait()
        gate.open.set()
        code, said = end(driver(tmp_path / "run", source, endpoint.url, engine))
        assert (code, "waiting" in said) == (0, False), said
    assert len(bought(endpoint)) == IMAGES
    again = sum(bought(endpoint).values()) - IMAGES
    assert again <= in_flight + AT_ONCE, "those without a reply, and those whose reply was not on the disk yet"


def elsewhere(number: int = 1, **facts: object) -> Holder:
    some = {"host": "far", "machine": "far 1", "pid": 7, "started": 0.0, "command": "mminstruct build", "since": "then",
            "token": "t"}  # fmt: skip
    return Holder(**{**some, **facts})  # type: ignore[arg-type]


def test_a_holder_elsewhere_that_gives_no_sign_of_life_is_followed_after_its_term(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "TERM", 1.0)
    store.create(lease._data(elsewhere()), lease.FOLDER, "00000001.json")
    began = time.monotonic()
    assert take(store)[0] == 2
    assert time.monotonic() - began >= 1.0


def test_a_holder_elsewhere_that_lives_is_named(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "TERM", 20.0)
    store.create(lease._data(elsewhere()), lease.FOLDER, "00000001.json")
    beat = threading.Timer(1.0, lambda: lease._write(store, 1, elsewhere(beat=1)))
    beat.start()
    with pytest.raises(Held, match=r"process 7 on far \(mminstruct build\), since then is working on it"):
        take(store)
    beat.join()


def test_of_many_who_take_over_from_a_dead_holder_one_gets_the_lease(store: Store) -> None:
    dead = replace(lease._self(), started=1.0)  # another process had this process id
    store.create(lease._data(dead), lease.FOLDER, "00000003.json")

    def attempt(_: int) -> int:
        try:
            return take(store)[0]
        except Held:
            return 0

    with ThreadPoolExecutor(8) as threads:
        assert sorted(threads.map(attempt, range(8))) == [0] * 7 + [4]
    assert store.names(lease.FOLDER) == ["00000004.json"]


def test_a_process_holds_a_lease_as_often_as_it_likes_and_gives_it_back_at_the_last_end(store: Store) -> None:
    def released() -> bool:
        holder = lease._last(store)[1]
        assert holder is not None
        return holder.released

    with hold(store.url), hold(store.url):
        assert not released()
    assert released()
    with pytest.raises(ValueError, match="stop"), hold(store.url):
        raise ValueError("stop")
    assert released()
    assert take(store)[0] == 3, "numbers only grow"


def test_a_holder_that_was_paused_too_long_stops_when_another_has_taken_over(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "BEAT", 0.1)

    def work() -> None:
        with hold(store.url):
            store.create(lease._data(elsewhere()), lease.FOLDER, "00000002.json")
            time.sleep(30)

    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # another test may have changed it
    try:
        with pytest.raises(Held, match=r"stopped because process 7 on far .* took over"):
            work()
    finally:
        signal.signal(signal.SIGINT, handler)
    assert lease._last(store) == (2, elsewhere()), "and leaves the other's lease alone"


def test_ctrl_c_gives_the_lease_back(tmp_path: Path, source: Path) -> None:
    with Endpoint(Gate(3)) as endpoint:
        first = driver(tmp_path / "run", source, endpoint.url)
        until(endpoint, 4)
        first.send_signal(signal.SIGINT)
        first.communicate()
        holder = lease._last(Store(str(tmp_path / "run")))[1]
        assert holder is not None
        assert holder.released


def test_a_process_of_the_same_number_that_began_later_is_not_the_holder() -> None:
    me = lease._self()
    assert me.local
    assert me.alive
    assert not replace(me, started=me.started - 60).alive
    assert not replace(me, pid=2**22 + os.getpid()).alive


@pytest.mark.parametrize("data", [b"", b'{"host": "a"', b"[]", b'{"host": "a"}'])
def test_a_lease_that_names_no_holder_is_damaged(store: Store, data: bytes) -> None:
    store.create(data, lease.FOLDER, "00000003.json")
    with pytest.raises(Damaged, match=r"00000003\.json .*if no process is working on .*remove this file"):
        take(store)


def test_a_damaged_lease_is_named_with_what_to_do(store: Store) -> None:
    data = bytearray(lease._data(elsewhere()))
    data[data.index(b"far")] ^= 1
    store.create(bytes(data), lease.FOLDER, "00000001.json")
    with pytest.raises(Damaged, match=r"_lease/00000001\.json .*if no process is working on .*, remove this file"):
        take(store)


def test_a_paused_holder_that_ignores_ctrl_c_is_terminated(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lease, "BEAT", 0.1)
    sent: list[int] = []
    gone = threading.Event()
    monkeypatch.setattr(os, "kill", lambda pid, number: (sent.append(number), gone.set()))
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with hold(store.url):
            store.create(lease._data(elsewhere()), lease.FOLDER, "00000002.json")
            assert gone.wait(30)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert sent == [signal.SIGTERM]
    assert "process 7 on far" in capsys.readouterr().err
