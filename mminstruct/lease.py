"""One driver for a folder: a lease that names its holder, who renews it; it is free again when the holder is dead.

``_lease/00000003.json`` names host, process and command. Numbers only grow, and a file is created put-if-absent: who
created the highest holds the lease, so of two who take over from a dead holder one wins, on a disk and on an object
store alike. The holder writes its file again every ``BEAT`` seconds (a heartbeat), and a last time as released.

A holder on this machine is dead when no process with its number and its start time runs here; the next one takes over
at once. Of a holder elsewhere only the heartbeats show that it lives: when none came for ``TERM`` seconds by our own
clock, it counts as dead. A holder that was only paused finds a higher number at its next heartbeat and stops.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cache

from mminstruct.checksum import Damaged, seal, unseal
from mminstruct.stage import Halt
from mminstruct.store import Store
from mminstruct.terminal import say

FOLDER = "_lease"
BEAT = 5.0
"""Seconds between two heartbeats."""
TERM = 30.0
"""Seconds without a heartbeat after which a holder on another machine counts as dead."""


class Held(Halt):
    """Another process works on the folder."""


@dataclass(frozen=True, kw_only=True)
class Holder:
    """A process that holds a lease."""

    host: str
    machine: str
    """Host, boot and process namespace: process numbers can be compared only where all three are the same."""
    pid: int
    started: float
    """When the process began, seconds since 1970."""
    command: str
    since: str
    """When it took the lease, UTC."""
    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Different each time that a lease is taken: no two takers write the same bytes."""
    beat: int = 0
    """Heartbeats so far."""
    released: bool = False

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} ({self.command}), since {self.since}"

    @property
    def near(self) -> bool:
        """Whether it runs, or ran, where this process can see it."""
        return self.machine == _machine()

    @property
    def lives(self) -> bool:
        """Of a near one: whether its process still runs. Another process may have its number by now."""
        import psutil

        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) < 2
            return bool(same and process.status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False
        except psutil.Error:  # it runs, and may not be looked at
            return True


@contextmanager
def hold(url: str) -> Iterator[None]:
    """Hold the lease of the folder at *url*; within one process as often as one likes.

    Raises:
        Held: another process works on it; or took over from this one, which had sent no heartbeat for ``TERM`` seconds.
    """
    with _OURS:
        lease = _LEASES.setdefault(url.rstrip("/"), _Lease(Store(url)))
        lease.enter()
    try:
        yield
    except KeyboardInterrupt:
        if lease.lost is not None:
            raise Held(f"{url}: stopped, since {lease.lost} took over from this process") from None
        raise
    finally:
        with _OURS:
            lease.leave()


@dataclass
class _Lease:
    """What this process has of one folder's lease."""

    store: Store
    depth: int = 0
    number: int = 0
    holder: Holder | None = None
    lost: Holder | None = None
    over: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None

    def enter(self) -> None:
        if self.depth == 0:
            self.number, self.holder = take(self.store)
            self.lost, self.over = None, threading.Event()
            self.thread = threading.Thread(target=self._beat, name="lease", daemon=True)
            self.thread.start()
        self.depth += 1

    def leave(self) -> None:
        self.depth -= 1
        if self.depth or self.thread is None or self.holder is None:
            return
        self.over.set()
        self.thread.join()
        if self.lost is None:
            with suppress(OSError):  # the next process then finds that this one is dead
                _write(self.store, self.number, replace(self.holder, released=True))

    def _beat(self) -> None:
        assert self.holder is not None
        while not self.over.wait(BEAT):
            try:
                number, other = _last(self.store)
                if number > self.number:
                    self.lost = other
                    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a shell's background jobs
                        say(f"{self.store.url}: stopped, since {other} took over from this process", to=sys.stderr)
                        os.kill(os.getpid(), signal.SIGTERM)
                    else:
                        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
                    return
                self.holder = replace(self.holder, beat=self.holder.beat + 1)
                _write(self.store, self.number, self.holder)
            except OSError:  # the store cannot be reached now: another process that waits for us cannot reach it either
                continue


_LEASES: dict[str, _Lease] = {}
_OURS = threading.RLock()


def take(store: Store) -> tuple[int, Holder]:
    """Take the lease, after a wait where only heartbeats can show whether its holder lives; its number, and us.

    Raises:
        Held: its holder lives.
    """
    mine = _self()
    while True:
        number, holder = _last(store)
        if holder is not None and not holder.released:
            _await_death(store, number, holder)
        if not store.create(_data(mine), FOLDER, _name(number + 1)):
            continue  # somebody else was first
        if _last(store)[0] > number + 1:  # another process has taken a higher number meanwhile
            store.remove(FOLDER, _name(number + 1))
            continue
        for name in store.names(FOLDER):
            if name.endswith(".json") and name < _name(number + 1):
                store.remove(FOLDER, name)
        return number + 1, mine


def _await_death(store: Store, number: int, holder: Holder) -> None:
    """Return once *holder* is dead or has released.

    Raises:
        Held: it lives.
    """
    held = f"{store.url}: {holder} works on it"
    if holder.near:
        if holder.lives:
            raise Held(f"{held}; wait for its end, or stop it (kill {holder.pid}), and run the same command again")
        return
    say(f"{store.url}: {holder} has the lease; waiting up to {TERM:g} s for a sign of life", to=sys.stderr)
    end = time.monotonic() + TERM
    while time.monotonic() < end:
        time.sleep(min(BEAT / 5, 1.0))
        now, other = _last(store)
        if now != number or other is None or other.released:
            return
        if other.beat != holder.beat:
            raise Held(f"{held}; wait for its end, or stop it there, and run the same command again")


def _last(store: Store) -> tuple[int, Holder | None]:
    """The highest number so far, 0 for none, and who created it."""
    for _ in range(10):
        names = [name for name in store.names(FOLDER) if name.endswith(".json")]
        if not names:
            return 0, None
        data = store.read(FOLDER, names[-1])
        if data is not None:  # else it was removed between the two
            return int(names[-1].removesuffix(".json")), _holder(store, names[-1], data)
    raise OSError(f"{store.path(FOLDER)}: {names[-1]} is listed and cannot be read; run the same command again")


def _holder(store: Store, name: str, data: bytes) -> Holder:
    """The holder that the file *name* of the lease names.

    Raises:
        Damaged: it names none.
    """
    where, mend = store.show(FOLDER, name), f"if no process works on {store.url}, remove this file"
    facts = unseal(data, where, mend)
    try:
        return Holder(**facts)
    except TypeError as error:  # of a version with other fields
        raise Damaged(f"{where} names no holder ({error}): {mend}") from None


def _name(number: int) -> str:
    return f"{number:08d}.json"


def _data(holder: Holder) -> bytes:
    return seal(asdict(holder), indent=1)


def _write(store: Store, number: int, holder: Holder) -> None:
    store.write(_data(holder), FOLDER, _name(number))


def _self() -> Holder:
    import psutil

    words = [os.path.basename(sys.argv[0] or "python"), *sys.argv[1:]]
    return Holder(
        host=socket.gethostname(), machine=_machine(), pid=os.getpid(), started=psutil.Process().create_time(),
        command=" ".join(words)[:200], since=time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime()),
    )  # fmt: skip


@cache
def _machine() -> str:
    """This boot of this host, and this namespace of process numbers."""
    import psutil

    boot = f"{psutil.boot_time():.0f}"
    with suppress(OSError), open("/proc/sys/kernel/random/boot_id") as file:
        boot = file.read().strip()
    with suppress(OSError):
        boot += " " + os.readlink("/proc/self/ns/pid")
    return f"{socket.gethostname()} {boot}"
