"""The Ray engine: Ray Data rows are keys, each stage a pool of actors; tables rest in files, only names travel."""

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
from mminstruct.engine.crew import lend
from mminstruct.run import Event, Run
from mminstruct.stage import CREW, Halt, WorkerFault
from mminstruct.store import Receipt
from mminstruct.work import Worker


class Ray:
    """Pushes units through pools of actors, several in flight in each; dead actors are replaced, retries bounded."""

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        self._session = uuid.uuid4().hex[:8]

    def run(self, run: Run, tables: list[str], keys: list[str]) -> Iterator[Event]:
        import ray

        connect(self.config)
        context = ray.data.DataContext.get_current()
        logging.getLogger("ray.data").setLevel(logging.ERROR)  # or it reports each segment
        context.enable_progress_bars = context.enable_operator_progress_bars = False
        context.print_on_execution_start = False
        context.execution_options.preserve_order = False
        context.execution_no_progress_timeout_s = -1  # half an hour, but one unit may take longer
        # a row, a key, is a block: else all parts of a shard would go to one worker. No operator beside the pools
        # (repartition) may do it: its tasks would wait for ever where the pools have all the CPUs
        context.target_max_block_size = context.target_min_block_size = 1
        grows = fans_out(run.recipe, tables[0])  # then only the first pool can be larger than its work
        groups = [
            (names, pool if grows and number else dataclasses.replace(pool, workers=min(pool.workers, len(keys))))
            for number, (names, pool) in enumerate(side_by_side(self.config, run.recipe, tables))
        ]
        if not self.config.autoscale:
            _fits(groups, ray.cluster_resources())
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
            )  # Ray restarts actors and retries their tasks without end; _Operator gives up on a unit that kills them
        try:
            for row in data.iter_rows():
                for event in json.loads(row["events"]):
                    yield _event(event)
        except ray.exceptions.RayError as error:
            raise _plain(error) from error
        finally:
            for table in map(run.table, tables):
                with suppress(OSError):  # none there, or somebody writes into it who is no longer listened to
                    table.store.fs.rm(table.store.path(table.name, f"_running-{self._session}"), recursive=True)


def connect(config: EngineConfig) -> bool:
    """Join the cluster, or start one here with its dashboard off; False if this process is in one already."""
    import ray

    if ray.is_initialized():
        return False
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # leaves GPU variables alone in CPU workers
    os.environ.setdefault("RAY_DATA_USAGE_DISABLED", "1")  # a thread that polls for ever, past the shutdown too
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # or it tells every user that actors have arguments
    address = config.address or os.environ.get("RAY_ADDRESS")
    if address:
        _answers(address)
        ray.init(address=address, log_to_driver=False)
    else:
        ray.init(num_cpus=config.cpus, include_dashboard=False, log_to_driver=False, logging_level="error")
    return True


def _plain(error: Exception) -> Exception:
    """What Ray raises as an error of one line, with its cause; a fault in our own code stays as it came.

    Args:
        error: a ``ray.exceptions.RayError``.
    """
    from ray.exceptions import RayError, RayTaskError

    cause: Exception = error.cause if isinstance(error, RayTaskError) else error
    if isinstance(cause, RayTaskError) or not isinstance(cause, OSError | RayError):
        return error
    said = " ".join(line.strip() for line in str(cause).split("\n") if line.strip())
    return OSError(f"Ray: {type(cause).__name__}: {said[:500]}; its logs are in /tmp/ray/session_latest/logs")


def _answers(address: str) -> None:
    """Refuse an address that does not answer: Ray would try it for minutes, and warn at each attempt.

    Raises:
        ConnectionError: nothing listens there.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():  # auto, local
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except OSError as error:
        raise ConnectionError(
            f"engine.address={address}: no Ray answers there ({error}); start it (ray start --head), or give no"
            " engine.address and no RAY_ADDRESS to have one started here"
        ) from error


def end_agents() -> None:
    """Kill what a Ray that this process started would leave behind: right before the process ends, never else.

    Raylet and GCS die with their driver. Ray's agents, children of the raylet, would go on for two minutes with
    220 MB, to tell a GCS that is gone.
    """
    for ours in psutil.Process().children():
        with suppress(psutil.Error):
            for agent in ours.children(recursive=True):
                with suppress(psutil.Error):  # one that is gone already spares none of the others
                    agent.kill()


def _fits(groups: list[tuple[list[str], Pool]], there: dict[str, float]) -> None:
    """Refuse pools that could never all start: Ray would wait for ever without a word."""
    for name, attribute in (("CPU", "cpus"), ("GPU", "gpus")):
        wanted = sum(pool.workers * getattr(pool, attribute) for _, pool in groups)
        if wanted > there.get(name, 0):
            asked = ", ".join(f"{names[0]} {pool.workers} x {getattr(pool, attribute):g}" for names, pool in groups)
            raise ValueError(
                f"these stages run side by side and want {wanted:g} {name}s ({asked}); the cluster has"
                f" {there.get(name, 0):g}: lower engine.pools.STAGE.workers or .{attribute}, set engine.fused=true,"
                " or engine.autoscale=true where the cluster grows"
            )


class _Operator:
    """The actor: workers of one stage, or of a fused segment."""

    def __init__(self, run: Run, tables: list[str], retries: int, session: str) -> None:
        self.workers = [Worker(run, name) for name in tables]
        self.retries, self.session = retries, session
        self.room = _Room()

    def __call__(self, row: dict[str, Any]) -> list[dict[str, Any]]:
        events = json.loads(row["events"])
        if not row["key"]:  # failed upstream: only its events travel on
            return [row]
        CREW.set(lend)
        try:
            new, parts = self._follow(0, row["key"])
        except (Halt, OSError) as halt:  # as data: it would come out of Ray as another, with pages of traceback
            new, parts = [{"halt": str(halt)}], []
        events += new
        rows = [{"key": part, "events": "[]"} for part in parts] or [{"key": "", "events": "[]"}]
        rows[0]["events"] = json.dumps(events)
        return rows

    def _follow(self, index: int, key: str) -> tuple[list[dict[str, Any]], list[str]]:
        """Events of a unit and of what came of it, and the part keys that leave this operator."""
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
        """Do a unit; one that has killed its worker too often is a failure, not another dead worker."""
        store = worker.table.store
        folder = (worker.name, f"_running-{self.session}", key)
        before = store.names(*folder)
        died = sum(name.startswith("alone") for name in before)
        if died >= self.retries:
            error = f"its worker died {died} times at it; look for it in Ray's logs, or run it alone with engine=local"
            worker.table.fail(key, error, "")
            return Event(worker.name, key, None, error)
        with self.room.enter(alone=bool(before)) as alone:
            mark = f"{'alone' if alone else 'among'}-{uuid.uuid4().hex[:8]}"
            store.write(b"", *folder, mark, sync=False)
            try:
                return worker.work(key)
            except WorkerFault:
                os._exit(70)  # Ray replaces the actor and sends it the unit again; an exception would end the run
            finally:  # its own mark alone: on a node that Ray thinks dead a twin may still be at this unit
                store.remove(*folder, mark)


class _Room:
    """Where units of one actor work together, but for suspects: a worker that dies then tells which unit killed it."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.inside, self.closed = 0, False

    @contextmanager
    def enter(self, alone: bool) -> Iterator[bool]:
        """Wait for a place, or for the whole room; whether the unit has it to itself, and will until it leaves."""
        with self.changed:
            self.changed.wait_for(lambda: not self.closed)
            self.closed = alone
            if alone:
                self.changed.wait_for(lambda: not self.inside)
            self.inside += 1
        try:
            yield alone
        finally:
            with self.changed:
                self.inside -= 1
                self.closed = self.closed and not alone
                self.changed.notify_all()


def _event(facts: dict[str, Any]) -> Event:
    if "halt" in facts:
        raise Halt(facts["halt"])
    receipt = facts.pop("receipt")
    return Event(**facts, receipt=Receipt.from_json(json.dumps(receipt)) if receipt else None)
