"""A lease: at most one process writes to a run's folder. The holder renews it; it expires when the holder is dead.

``_lease/00000003.json`` names host, process and command. Numbers only increase and files are created put-if-absent.
The process that created the highest number holds the lease, so when two processes take over from a dead holder, one
wins, on a disk and on an object store. The holder rewrites its file every ``BEAT`` seconds (heartbeat) and marks it
released at the end.

A holder on this machine is dead if no process with its id and start time runs; the next process takes over at once. A
holder on another machine is dead if there was no heartbeat for ``TERM`` seconds of our clock. A holder that was only
paused finds a higher number at its next heartbeat and stops.
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
from mminstruct.store.tables import Store
from mminstruct.terminal import say

FOLDER = "_lease"
BEAT = 5.0
"""Seconds between two heartbeats."""
TERM = 30.0
"""Seconds without a heartbeat after which a holder on another machine counts as dead."""


class Held(Halt):
    """Another process is working on the folder."""


@dataclass(frozen=True, kw_only=True)
class Holder:
    """A process that holds a lease."""

    host: str
    machine: str
    """Host, boot and process namespace: process ids are comparable only if all three are equal."""
    pid: int
    started: float
    """Start time of the process, seconds since 1970."""
    command: str
    since: str
    """Time at which it took the lease, UTC."""
    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Unique for each acquisition, so that no two processes write the same bytes."""
    beat: int = 0
    """Heartbeats so far."""
    released: bool = False

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} ({self.command}), since {self.since}"

    @property
    def local(self) -> bool:
        """Whether this process can see the holder's process."""
        return self.machine == _machine()

    @property
    def alive(self) -> bool:
        """Whether the process of a local holder still runs. Its id may have been reused by another process."""
        import psutil

        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) < 2
            return bool(same and process.status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False
        except psutil.Error:  # it runs, but access is denied
            return True


@contextmanager
def hold(url: str) -> Iterator[None]:
    """Hold the lease of the folder at *url*. Reentrant within a process.

    Raises:
        Held: another process is working on it, or took over because this one sent no heartbeat for ``TERM`` seconds.
    """
    with _OURS:
        lease = _LEASES.setdefault(url.rstrip("/"), _Lease(Store(url)))
        lease.enter()
    try:
        yield
    except KeyboardInterrupt:
        if lease.lost is not None:
            raise Held(f"{url}: stopped because {lease.lost} took over") from None
        raise
    finally:
        with _OURS:
            lease.release()


@dataclass
class _Lease:
    """State of one folder's lease in this process."""

    store: Store
    depth: int = 0
    number: int = 0
    holder: Holder | None = None
    lost: Holder | None = None
    released: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None

    def enter(self) -> None:
        if self.depth == 0:
            self.number, self.holder = take(self.store)
            self.lost, self.released = None, threading.Event()
            self.thread = threading.Thread(target=self._beat, name="lease", daemon=True)
            self.thread.start()
        self.depth += 1

    def release(self) -> None:
        self.depth -= 1
        if self.depth or self.thread is None or self.holder is None:
            return
        self.released.set()
        self.thread.join()
        if self.lost is None:
            with suppress(OSError):  # the next process will find this one dead
                _write(self.store, self.number, replace(self.holder, released=True))

    def _beat(self) -> None:
        assert self.holder is not None
        while not self.released.wait(BEAT):
            try:
                number, other = _last(self.store)
                if number > self.number:
                    self.lost = other
                    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as for background jobs of a shell
                        say(f"{self.store.url}: stopped because {other} took over", to=sys.stderr)
                        os.kill(os.getpid(), signal.SIGTERM)
                    else:
                        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
                    return
                self.holder = replace(self.holder, beat=self.holder.beat + 1)
                _write(self.store, self.number, self.holder)
            except OSError:  # the store is unreachable, so a waiting process cannot take over either
                continue


_LEASES: dict[str, _Lease] = {}
_OURS = threading.RLock()


def take(store: Store) -> tuple[int, Holder]:
    """Take the lease; its number and this process as holder. Waits for heartbeats of a holder on another machine.

    Raises:
        Held: the holder is alive.
    """
    mine = _self()
    while True:
        number, holder = _last(store)
        if holder is not None and not holder.released:
            _await_death(store, number, holder)
        if not store.create(_data(mine), FOLDER, _name(number + 1)):
            continue  # another process was first
        if _last(store)[0] > number + 1:  # another process took a higher number in the meantime
            store.remove(FOLDER, _name(number + 1))
            continue
        for name in store.names(FOLDER):
            if name.endswith(".json") and name < _name(number + 1):
                store.remove(FOLDER, name)
        return number + 1, mine


def _await_death(store: Store, number: int, holder: Holder) -> None:
    """Return when *holder* is dead or has released the lease.

    Raises:
        Held: the holder is alive.
    """
    held = f"{store.url}: {holder} is working on it"
    if holder.local:
        if holder.alive:
            raise Held(f"{held}; wait until it ends or stop it (kill {holder.pid}), then run the same command again")
        return
    say(f"{store.url}: {holder} holds the lease; waiting up to {TERM:g} s for its heartbeat", to=sys.stderr)
    end = time.monotonic() + TERM
    while time.monotonic() < end:
        time.sleep(min(BEAT / 5, 1.0))
        now, other = _last(store)
        if now != number or other is None or other.released:
            return
        if other.beat != holder.beat:
            raise Held(f"{held}; wait until it ends or stop it there, then run the same command again")


def _last(store: Store) -> tuple[int, Holder | None]:
    """The highest number, 0 for none, and its holder."""
    for _ in range(10):
        names = [name for name in store.names(FOLDER) if name.endswith(".json")]
        if not names:
            return 0, None
        data = store.read(FOLDER, names[-1])
        if data is not None:  # else it was removed after it was listed
            return int(names[-1].removesuffix(".json")), _holder(store, names[-1], data)
    raise OSError(f"{store.path(FOLDER)}: {names[-1]} is listed but cannot be read; run the same command again")


def _holder(store: Store, name: str, data: bytes) -> Holder:
    """Parse the lease file *name*.

    Raises:
        Damaged: it names no holder.
    """
    where, fix = store.show(FOLDER, name), f"if no process is working on {store.url}, remove this file"
    facts = unseal(data, where, fix)
    try:
        return Holder(**facts)
    except TypeError as error:  # another version wrote other fields
        raise Damaged(f"{where} names no holder ({error}): {fix}") from None


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
    """Host, boot and process namespace."""
    import psutil

    boot = f"{psutil.boot_time():.0f}"
    with suppress(OSError), open("/proc/sys/kernel/random/boot_id") as file:
        boot = file.read().strip()
    with suppress(OSError):
        boot += " " + os.readlink("/proc/self/ns/pid")
    return f"{socket.gethostname()} {boot}"
