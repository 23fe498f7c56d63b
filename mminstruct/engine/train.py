"""Training on a Ray cluster: Ray Train starts the workers and restarts them when one dies."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from mminstruct.engine.config import EngineConfig
from mminstruct.engine.data import connect
from mminstruct.stage import Halt
from mminstruct.store import lease
from mminstruct.store.tables import Store
from mminstruct.terminal import say as to_terminal
from mminstruct.training import deepspeed, loop, tracking
from mminstruct.training.config import Train
from mminstruct.training.data import summary
from mminstruct.training.prepare import done, prepare

Say = Callable[[str], None]


def train(config: Train, say: Say = to_terminal, commit: str | None = None, after_step: loop.Hook | None = None) -> str:
    """Train, or resume from the last checkpoint; the folder of the model.

    Args:
        say: called with lines of progress.
        commit: the code's commit, for the manifest.
        after_step: see ``loop.fit``.

    Raises:
        Halt: the loss is not finite, too many images cannot be opened, or another process trains in this folder.
        ValueError: the configuration or the data cannot be used.
        OSError: the workers died, or could not write, more often than ``workers.retries``.
    """
    with lease.hold(config.out + "/train"):
        manifest = prepare(config, commit)
        for name, facts in manifest["data"].items():
            say(f"data.{'path' if name == 'train' else name}: {summary(facts)}")
        if not done(config):
            with _Progress(config, say):
                (_in_process if config.workers.kind == "local" else _on_ray)(config, after_step)
    return f"{config.out}/train/{loop.MODEL}"


def _in_process(config: Train, after_step: loop.Hook | None) -> None:
    """Train in this process."""
    import tempfile

    import torch.distributed as dist

    os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
    with tempfile.TemporaryDirectory() as folder:
        backend = "nccl" if config.workers.gpu else "gloo"
        dist.init_process_group(backend, init_method=f"file://{folder}/meeting", rank=0, world_size=1)
        try:
            loop.fit(config, after_step)
        finally:
            deepspeed.shutdown()


def _on_ray(config: Train, after_step: loop.Hook | None) -> None:
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    workers = config.workers
    began = connect(EngineConfig(address=workers.address))
    try:
        _check_resources(config, ray.cluster_resources())
        logging.getLogger("ray.train").setLevel(logging.ERROR)
        store = Store(config.out + "/train")
        trainer = TorchTrainer(
            _work,
            train_loop_config={"config": config, "after_step": after_step},
            scaling_config=ScalingConfig(
                num_workers=workers.count,
                use_gpu=workers.gpu,
                resources_per_worker={"CPU": workers.cpus, **({"GPU": 1} if workers.gpu else {}), **workers.resources},
            ),
            # checkpoints are written by ``training.checkpoint``: this folder holds only Ray's own state
            run_config=RunConfig(
                name=f"_ray-{uuid.uuid4().hex[:8]}",
                storage_path=store.root,
                storage_filesystem=store.arrow,
                failure_config=FailureConfig(max_failures=workers.retries),
                worker_runtime_env=workers.env or None,
            ),
            torch_config=TorchConfig(backend="nccl" if workers.gpu else "gloo"),
        )
        try:
            trainer.fit()
        except Exception as error:
            raise OSError(
                f"training stopped: {_last_line(error)}; the same command resumes from the last checkpoint"
            ) from error
        finally:
            for name in store.names():
                if name.startswith("_ray-"):
                    store.fs.rm(store.path(name), recursive=True)
        halted = store.read(loop.HALT)
        if halted is not None:
            raise Halt(json.loads(halted)["error"])
    finally:
        if began:
            ray.shutdown()


def _work(given: dict[str, Any]) -> None:
    """Runs on a worker. A halt is passed on as a file: after an exception Ray would retry."""
    config: Train = given["config"]
    try:
        loop.fit(config, given["after_step"])
    except Halt as halt:
        Store(config.out + "/train").write(json.dumps({"error": str(halt)}).encode(), loop.HALT)


def _check_resources(config: Train, there: dict[str, float]) -> None:
    """Raise ValueError if the workers can never all start: Ray would wait forever."""
    workers = config.workers
    for name, each in (("CPU", workers.cpus), ("GPU", 1.0 if workers.gpu else 0.0)):
        if workers.count * each > there.get(name, 0):
            raise ValueError(
                f"workers.count={workers.count} wants {workers.count * each:g} {name}s, the cluster has"
                f" {there.get(name, 0):g}: lower workers.count" + (" or workers.cpus" if name == "CPU" else "")
            )


def _last_line(error: BaseException) -> str:
    """The last line of a worker's error."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


class _Progress:
    """A context manager that reports progress from the metrics that worker 0 writes."""

    def __init__(self, config: Train, say: Say, every: float = 5.0) -> None:
        self.store, self.say, self.every = Store(config.out + "/train"), say, every
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._follow, daemon=True)
        self.reported = (0, "")

    def __enter__(self) -> _Progress:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()
        self._report()

    def _follow(self) -> None:
        while not self.over.wait(self.every):
            self._report()

    def _report(self) -> None:
        rows = [row for row in tracking.read(self.store) if "loss" in row]
        held = [row for row in tracking.read(self.store) if "eval_loss" in row]
        now = (rows[-1]["step"] if rows else 0, str(held[-1]) if held else "")
        if rows and now != self.reported:
            self.reported = now
            self.say(line(rows[-1], held[-1] if held else None))


def line(row: dict[str, Any], held: dict[str, Any] | None = None) -> str:
    """A row of metrics as one readable line."""
    said = [
        f"step {row['step']}/{row['of']}",
        f"loss {row['loss']:.4f}",
        f"held out {held['eval_loss']:.4f}" if held else "",
        f"{row['tokens_per_second']:,.0f} tokens/s",
        f"{row['images_per_second']:,.1f} images/s",
        f"MFU {row['mfu']:.0%}" if row.get("mfu") else "",
        f"{row['memory_gb']:.1f} GB",
        f"{row['broken']} broken images" if row["broken"] else "",
        f"{time.strftime('%H:%M:%S', time.gmtime(row['eta_seconds']))} left",
    ]
    return ", ".join(word for word in said if word)
