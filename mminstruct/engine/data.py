"""The Ray engine. Each stage is a pool of actors; Ray Data carries only unit keys, the tables stay in files."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psutil

from mminstruct.engine.config import EngineConfig, Pool, fans_out, side_by_side
from mminstruct.engine.worker_group import lend
from mminstruct.run import Event, Run
from mminstruct.stage import Halt, WorkerFault
from mminstruct.store.receipt import Receipt
from mminstruct.unit import WORKER_GROUP
from mminstruct.work import Worker


class Ray:
    """Sends units through pools of actors, several in flight in each. Dead actors are replaced, retries are bounded."""

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        self._session = uuid.uuid4().hex[:8]

    def run(self, run: Run, tables: list[str], keys: list[str]) -> Iterator[Event]:
        import ray

        connect(self.config)
        context = ray.data.DataContext.get_current()
        logging.getLogger("ray.data").setLevel(logging.ERROR)  # else it logs each segment
        context.enable_progress_bars = context.enable_operator_progress_bars = False
        context.print_on_execution_start = False
        context.execution_options.preserve_order = False
        context.execution_no_progress_timeout_s = -1  # the default is 30 minutes; one unit may take longer
        # each row is a block, else all parts of a shard would go to one worker. Repartitioning would do the same, but
        # its tasks would wait forever when the pools use all CPUs
        context.target_max_block_size = context.target_min_block_size = 1
        grows = fans_out(run.recipe, tables[0])  # then only the first pool can have more workers than units
        groups = [
            (names, pool if grows and number else dataclasses.replace(pool, workers=min(pool.workers, len(keys))))
            for number, (names, pool) in enumerate(side_by_side(self.config, run.recipe, tables))
        ]
        if not self.config.autoscale:
            _check_resources(groups, ray.cluster_resources())
        data = ray.data.from_items([{"key": key, "events": "[]"} for key in keys], override_num_blocks=len(keys))
        for names, pool in groups:
            data = data.flat_map(
                _Operator,
                fn_constructor_args=(run, names, self.config.retries, self._session),
                compute=ray.data.ActorPoolStrategy(
                    size=pool.workers,
                    max_tasks_in_flight_per_actor=pool.in_flight + 1,
                    max_concurrent_calls_per_actor=pool.in_flight,
                    enable_true_multi_threading=True,
                ),
                num_cpus=pool.cpus,
                num_gpus=pool.gpus or None,
                memory=pool.memory_gb * 2**30 or None,
                resources=pool.resources or None,
                runtime_env=pool.env or None,
            )  # Ray restarts actors and retries their tasks without limit; _Operator fails a unit that kills its actor
        try:
            for row in data.iter_rows():
                for event in json.loads(row["events"]):
                    yield _event(event)
        except ray.exceptions.RayError as error:
            raise _one_line(error) from error
        finally:
            for table in map(run.table, tables):
                with suppress(OSError):  # it is missing, or a worker of an earlier attempt still writes to it
                    table.store.fs.rm(table.store.path(table.name, f"_running-{self._session}"), recursive=True)


def connect(config: EngineConfig) -> bool:
    """Join the cluster, or start one here without a dashboard; False if this process is connected already."""
    import ray

    if ray.is_initialized():
        return False
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # keep GPU variables of CPU workers as they are
    os.environ.setdefault("RAY_DATA_USAGE_DISABLED", "1")  # it starts a thread that polls even after shutdown
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # else it warns every user about actors with arguments
    address = config.address or os.environ.get("RAY_ADDRESS")
    if address:
        _check_address(address)
        ray.init(address=address, log_to_driver=False)
    else:
        ray.init(num_cpus=config.cpus, include_dashboard=False, log_to_driver=False, logging_level="error")
    return True


def _one_line(error: Exception) -> Exception:
    """Ray's error as one line that names the cause; an error in our own code stays unchanged.

    Args:
        error: a ``ray.exceptions.RayError``.
    """
    from ray.exceptions import RayError, RayTaskError

    cause: Exception = error.cause if isinstance(error, RayTaskError) else error
    if isinstance(cause, RayTaskError) or not isinstance(cause, OSError | RayError):
        return error
    said = " ".join(line.strip() for line in str(cause).split("\n") if line.strip())
    return OSError(f"Ray: {type(cause).__name__}: {said[:500]}; its logs are in /tmp/ray/session_latest/logs")


def _check_address(address: str) -> None:
    """Check that something listens at *address*: Ray would retry for minutes and warn at each attempt.

    Raises:
        ConnectionError: nothing does.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():  # auto, local
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except OSError as error:
        raise ConnectionError(
            f"engine.address={address}: no Ray answers there ({error}); start it (ray start --head), or unset"
            " engine.address and RAY_ADDRESS to start one here"
        ) from error


def end_agents() -> None:
    """Kill the agents of a Ray that this process started; call it only right before the process exits.

    Raylet and GCS exit with their driver. Ray's agents, children of the raylet, would retry for two minutes and hold
    220 MB.
    """
    for ours in psutil.Process().children():
        with suppress(psutil.Error):
            for agent in ours.children(recursive=True):
                with suppress(psutil.Error):  # that one has exited already
                    agent.kill()


def _check_resources(groups: list[tuple[list[str], Pool]], there: dict[str, float]) -> None:
    """Raise ValueError if the pools can never all start: Ray would wait forever without a message."""
    for name, attribute in (("CPU", "cpus"), ("GPU", "gpus")):
        wanted = sum(pool.workers * getattr(pool, attribute) for _, pool in groups)
        if wanted > there.get(name, 0):
            asked = ", ".join(f"{names[0]} {pool.workers} x {getattr(pool, attribute):g}" for names, pool in groups)
            raise ValueError(
                f"these stages run side by side and want {wanted:g} {name}s ({asked}); the cluster has"
                f" {there.get(name, 0):g}: lower engine.pools.STAGE.workers or .{attribute}, set engine.fused=true,"
                " or set engine.autoscale=true if the cluster can grow"
            )


class _Operator:
    """The actor: executes units of one stage, or of a fused segment."""

    def __init__(self, run: Run, tables: list[str], retries: int, session: str) -> None:
        self.workers = [Worker(run, name) for name in tables]
        self.retries, self.session = retries, session
        self.units = _SharedLock()

    def __call__(self, row: dict[str, Any]) -> list[dict[str, Any]]:
        events = json.loads(row["events"])
        if not row["key"]:  # it failed upstream: only its events are passed on
            return [row]
        WORKER_GROUP.set(lend)
        try:
            new, parts = self._follow(0, row["key"])
        except (Halt, OSError) as halt:  # as data: Ray would change its type and add pages of traceback
            new, parts = [{"halt": str(halt)}], []
        events += new
        rows = [{"key": part, "events": "[]"} for part in parts] or [{"key": "", "events": "[]"}]
        rows[0]["events"] = json.dumps(events)
        return rows

    def _follow(self, index: int, key: str) -> tuple[list[dict[str, Any]], list[str]]:
        """Events of a unit and of its parts in the later stages here, and the part keys for the next operator."""
        if index == len(self.workers):
            return [], [key]
        event = self._attempt(self.workers[index], key)
        events, leaving = [dataclasses.asdict(event)], []
        for part in event.receipt.parts if event.receipt else ():
            more, parts = self._follow(index + 1, part.part)
            events += more
            leaving += parts
        return events, leaving

    def _attempt(self, worker: Worker, key: str) -> Event:
        """Execute a unit; one that has killed its worker too often is recorded as failed instead."""
        store = worker.table.store
        folder = (worker.name, f"_running-{self.session}", key)
        before = store.names(*folder)
        died = sum(name.startswith("alone") for name in before)
        if died >= self.retries:
            error = f"its worker died {died} times; look for the unit in Ray's logs, or run it with engine=local"
            worker.table.fail(key, error, "")
            return Event(worker.name, key, None, error)
        with self.units.hold(exclusive=bool(before)) as alone:
            mark = f"{'alone' if alone else 'among'}-{uuid.uuid4().hex[:8]}"
            store.write(b"", *folder, mark, sync=False)
            try:
                return worker.work(key)
            except WorkerFault:
                os._exit(70)  # Ray replaces the actor and sends the unit again; an exception would end the run
            finally:  # only its own mark: on a node that Ray presumes dead, a twin may still execute this unit
                store.remove(*folder, mark)


class _SharedLock:
    """A lock that units share, except suspects, which hold it alone: if the worker dies then, the suspect killed it."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.holders, self.closed = 0, False

    @contextmanager
    def hold(self, exclusive: bool) -> Iterator[bool]:
        """Wait for the lock and hold it; yields *exclusive*."""
        with self.changed:
            self.changed.wait_for(lambda: not self.closed)
            self.closed = exclusive
            if exclusive:
                self.changed.wait_for(lambda: not self.holders)
            self.holders += 1
        try:
            yield exclusive
        finally:
            with self.changed:
                self.holders -= 1
                self.closed = self.closed and not exclusive
                self.changed.notify_all()


def _event(facts: dict[str, Any]) -> Event:
    if "halt" in facts:
        raise Halt(facts["halt"])
    receipt = facts.pop("receipt")
    return Event(**facts, receipt=Receipt.from_json(json.dumps(receipt)) if receipt else None)
