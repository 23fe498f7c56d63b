"""The Ray engine. Each stage is a pool of actors; Ray Data carries only unit keys, the tables stay in files."""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psutil

from mminstruct.engine.config import Actors, EngineConfig, actors, goes_on, sharers, side_by_side
from mminstruct.engine.pipeline import Pipeline
from mminstruct.run import Event, Run
from mminstruct.stage import Halt
from mminstruct.store.receipt import Receipt
from mminstruct.terminal import say
from mminstruct.unit import Counters


class Ray:
    """Sends units through pools of actors, several in flight in each. Dead actors are replaced, retries are bounded.

    The actors go on from one segment to the next where ``config.goes_on`` allows it, and end with ``close``.
    """

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        self._session = uuid.uuid4().hex[:8]
        self._pools: list[Actors] = []
        self._pipeline: Pipeline | None = None

    def run(self, run: Run, tables: list[str], keys: list[str]) -> Iterator[Event]:
        if "ray" not in sys.modules:
            there = self.config.address or os.environ.get("RAY_ADDRESS")
            say(f"Joining Ray at {there}" if there else "Starting Ray, which takes about ten seconds", flush=True)
        import ray

        connect(self.config)
        groups = side_by_side(self.config, run.recipe, tables)
        pools = actors(self.config, run.recipe, tables, len(keys))
        if self._pipeline is None or not goes_on(self._pools, pools):
            self.close()
            self._pools, self._pipeline = pools, self._start(pools)
        tables_of = [names for names, _ in groups]
        share = sharers(tables_of, self._pools, run.stages)
        done = False
        try:
            for event in self._pipeline.work(run, tables_of, keys, share):
                yield _event(event)
            done = True
        except ray.exceptions.RayError as error:
            raise _one_line(error) from error
        finally:
            if not done:  # it has units in flight
                self.close()
            for table in map(run.table, tables):
                with suppress(OSError):  # it is missing, or a worker of an earlier attempt still writes to it
                    table.store.fs.rm(table.store.path(table.name, f"_running-{self._session}"), recursive=True)

    def in_hand(self) -> list[Counters]:
        pipeline = self._pipeline  # another thread may close it meanwhile
        return pipeline.in_hand() if pipeline else []

    def close(self) -> None:
        """End the actors."""
        if self._pipeline is not None:
            self._pipeline.close()
        self._pipeline = None

    def _start(self, pools: list[Actors]) -> Pipeline:
        import ray

        context = ray.data.DataContext.get_current()
        logging.getLogger("ray.data").setLevel(logging.ERROR)  # else it logs each start
        context.enable_progress_bars = context.enable_operator_progress_bars = False
        context.print_on_execution_start = False
        context.execution_options.preserve_order = False
        context.execution_no_progress_timeout_s = -1  # the default is 30 minutes; one unit may take longer
        context.target_max_block_size = context.target_min_block_size = 1  # each row is sent on at once, as a block
        if not self.config.autoscale:
            _check_resources(pools, ray.cluster_resources())
        return Pipeline([one.pool for one in pools], self.config.retries, self._session)


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
    with _without_line("Set ray log level from environment variable"):
        quiet = {"log_to_driver": False, "logging_level": "error"}
        if address:
            ray.init(address=address, **quiet)
        else:
            ray.init(num_cpus=config.cpus, include_dashboard=False, **quiet)
    return True


@contextmanager
def _without_line(said: str) -> Iterator[None]:
    """Leave lines that contain *said* out of what this process writes to stderr, native code included."""
    try:
        held = tempfile.TemporaryFile()  # noqa: SIM115  (closed below)
        there = os.dup(2)
    except OSError:  # no room, or stderr is closed
        yield
        return
    with held, os.fdopen(there, "wb") as real:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(there, 2)
            held.seek(0)
            real.writelines(line for line in held if said.encode() not in line)


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


def _check_resources(pools: list[Actors], there: dict[str, float]) -> None:
    """Raise ValueError if the pools can never all start: Ray would wait forever without a message."""
    for name, attribute in (("CPU", "cpus"), ("GPU", "gpus")):
        wanted = sum(one.pool.workers * getattr(one.pool, attribute) for one in pools)
        if wanted > there.get(name, 0):
            asked = ", ".join(f"{one.name} {one.pool.workers} x {getattr(one.pool, attribute):g}" for one in pools)
            raise ValueError(
                f"these stages run side by side and want {wanted:g} {name}s ({asked}); the cluster has"
                f" {there.get(name, 0):g}: lower engine.pools.STAGE.workers or .{attribute}, set engine.fused=true,"
                " or set engine.autoscale=true if the cluster can grow"
            )


def _event(facts: dict[str, Any]) -> Event:
    if "halt" in facts:
        raise Halt(facts["halt"])
    receipt = facts.pop("receipt")
    return Event(**facts, receipt=Receipt.from_json(json.dumps(receipt)) if receipt else None)
