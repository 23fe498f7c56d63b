"""Metrics of a training run: ``metrics.jsonl``, ``samples.jsonl``, and the trackers that are configured."""

from __future__ import annotations

import json
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from mminstruct.store.tables import Store

METRICS, SAMPLES = "metrics.jsonl", "samples.jsonl"
_EVERY = 2.0
"""Seconds between two writes of the metrics; an object store only takes whole files."""
PEAK = {
    "B200": 2250e12, "H200": 989e12, "H100": 989e12, "H20": 148e12, "A100": 312e12, "A800": 312e12, "L40S": 362e12,
    "L40": 181e12, "L4": 121e12, "A10": 125e12, "4090": 165e12,
}  # fmt: skip
"""Dense bf16 FLOP/s by a part of the GPU's name, from NVIDIA's data sheets; the first match counts."""


class Curve:
    """Metrics of each step, and samples of each evaluation.

    Args:
        store: the folder ``train`` of a run.
        trackers: names of ``config.TRACKERS``.
        start: number of completed steps; rows of later steps, from an earlier attempt, are removed.
        facts: settings that a tracker shows beside the metrics.
    """

    def __init__(self, store: Store, trackers: list[str], start: int, facts: dict[str, Any]) -> None:
        self.store = store
        self.rows = [row for row in read(store) if row["step"] <= start]
        self.samples = [row for row in read(store, SAMPLES) if row["step"] <= start]
        self._written = 0.0
        self._trackers: list[_Tracker] = [_TRACKERS[name](store, facts, start) for name in trackers]

    def add(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        for tracker in self._trackers:
            tracker.add({key: value for key, value in row.items() if isinstance(value, int | float)}, row["step"])
        if time.monotonic() - self._written > _EVERY:
            self.flush()

    def add_samples(self, rows: list[dict[str, Any]]) -> None:
        """Record answers to the probe questions."""
        self.samples += rows
        for tracker in self._trackers:
            tracker.add_samples(rows)
        self.flush()

    def flush(self) -> None:
        for name, rows in ((METRICS, self.rows), (SAMPLES, self.samples)):
            if rows:
                self.store.write("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows).encode(), name)
        for tracker in self._trackers:
            tracker.flush()
        self._written = time.monotonic()

    def close(self) -> None:
        self.flush()
        for tracker in self._trackers:
            tracker.close()


def read(store: Store, name: str = METRICS) -> list[dict[str, Any]]:
    """Rows that were written so far."""
    # only \n ends a line: an answer may contain U+2028, at which str.splitlines splits
    return [json.loads(line) for line in (store.read(name) or b"").split(b"\n") if line]


class _Tracker:
    """One destination of the metrics besides ``metrics.jsonl``."""

    def add(self, row: dict[str, float], step: int) -> None:
        raise NotImplementedError

    def add_samples(self, rows: list[dict[str, Any]]) -> None:
        raise NotImplementedError

    def flush(self) -> None:
        """By default nothing is buffered."""

    def close(self) -> None:
        raise NotImplementedError


class _TensorBoard(_Tracker):
    """Event files; for a remote store, written to a temporary folder and uploaded after each flush."""

    def __init__(self, store: Store, facts: dict[str, Any], start: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.store = store
        self.folder = store.path("tensorboard") if store.local else tempfile.mkdtemp(prefix="mminstruct-")
        self.writer: Any = SummaryWriter(self.folder, purge_step=start + 1)
        self.writer.add_text("config", f"```\n{json.dumps(facts, indent=1)}\n```", start)

    def add(self, row: dict[str, float], step: int) -> None:
        for key, value in row.items():
            if key != "step":
                self.writer.add_scalar(key, value, step)

    def add_samples(self, rows: list[dict[str, Any]]) -> None:
        for row in rows:
            self.writer.add_text(f"probe/{row['id']}", f"{row['question']}\n\n**{row['answer']}**", row["step"])

    def flush(self) -> None:
        self.writer.flush()
        if not self.store.local:
            for file in Path(self.folder).iterdir():
                self.store.fs.put_file(str(file), self.store.path("tensorboard", file.name))

    def close(self) -> None:
        self.flush()
        self.writer.close()


class _Wandb(_Tracker):
    """A run of Weights & Biases; WANDB_MODE=offline keeps it local."""

    def __init__(self, store: Store, facts: dict[str, Any], start: int) -> None:
        import wandb

        self.run: Any = wandb.init(project="mminstruct", id=facts["manifest"], resume="allow", config=facts)

    def add(self, row: dict[str, float], step: int) -> None:
        self.run.log(row, step=step)

    def add_samples(self, rows: list[dict[str, Any]]) -> None:
        import wandb

        table = wandb.Table(columns=list(rows[0]), data=[list(row.values()) for row in rows])
        self.run.log({"probe": table}, step=rows[0]["step"])

    def close(self) -> None:
        self.run.finish()


class _MLflow(_Tracker):
    """A run of MLflow, on the server that MLFLOW_TRACKING_URI names."""

    def __init__(self, store: Store, facts: dict[str, Any], start: int) -> None:
        import mlflow

        self.mlflow: Any = mlflow
        mlflow.set_experiment("mminstruct")
        mlflow.start_run(run_name=facts["manifest"])
        mlflow.log_dict(facts, "config.json")

    def add(self, row: dict[str, float], step: int) -> None:
        self.mlflow.log_metrics({key: float(value) for key, value in row.items()}, step=step)

    def add_samples(self, rows: list[dict[str, Any]]) -> None:
        self.mlflow.log_dict({"rows": rows}, f"probe-{rows[0]['step']:08d}.json")

    def close(self) -> None:
        self.mlflow.end_run()


_TRACKERS = {"tensorboard": _TensorBoard, "wandb": _Wandb, "mlflow": _MLflow}


def memory_gb(gpu: bool) -> float:
    """Peak memory of this worker in GiB: of its GPU, or of the process."""
    if gpu:
        import torch

        return float(torch.cuda.max_memory_allocated() / 2**30)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def peak_flops(gpu: bool) -> float | None:
    """Peak bf16 FLOP/s of this worker's GPU; None on CPU and for an unknown GPU."""
    if not gpu:
        return None
    import torch

    name = torch.cuda.get_device_name()
    return next((peak for part, peak in PEAK.items() if part in name), None)


def flops_per_token(model: Any) -> float:
    """FLOPs of training per token of the language model.

    Counts 2 per weight forward, 2 backward, and 2 more per trained weight. Attention products, the vision tower and
    recomputed activations are left out, so MFU is a lower bound.
    """
    total = 0.0
    for name, parameter in model.named_parameters():
        if "vision_tower" not in name and "embed_tokens" not in name:
            total += (6 if parameter.requires_grad else 4) * getattr(parameter, "ds_numel", parameter.numel())
    return total
