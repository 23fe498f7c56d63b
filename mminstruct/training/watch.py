"""What is seen of a run while it goes on: ``metrics.jsonl``, TensorBoard, and whoever else is asked."""

from __future__ import annotations

import json
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from mminstruct.store import Store

METRICS, SAMPLES = "metrics.jsonl", "samples.jsonl"
_EVERY = 2.0
"""Seconds between two writings of the curve, which a bucket takes only whole."""
PEAK = {
    "B200": 2250e12, "H200": 989e12, "H100": 989e12, "H20": 148e12, "A100": 312e12, "A800": 312e12, "L40S": 362e12,
    "L40": 181e12, "L4": 121e12, "A10": 125e12, "4090": 165e12,
}  # fmt: skip
"""Dense bf16 FLOP/s by a part of the GPU's name, from NVIDIA's data sheets; the first that fits counts."""


class Curve:
    """Rows of numbers, one a step, for people and for who goes on from a checkpoint.

    Args:
        store: the folder ``train`` of a run.
        trackers: names of ``config.TRACKERS``.
        start: steps done: what an earlier try recorded behind them is forgotten.
        facts: settings that a tracker shows beside the curve.
    """

    def __init__(self, store: Store, trackers: list[str], start: int, facts: dict[str, Any]) -> None:
        self.store = store
        self.rows = [row for row in read(store) if row["step"] <= start]
        self.samples = [row for row in read(store, SAMPLES) if row["step"] <= start]
        self._written = 0.0
        self._sinks: list[Any] = [_SINKS[name](store, facts, start) for name in trackers]

    def add(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        for sink in self._sinks:
            sink.numbers({key: value for key, value in row.items() if isinstance(value, int | float)}, row["step"])
        if time.monotonic() - self._written > _EVERY:
            self.flush()

    def say(self, rows: list[dict[str, Any]]) -> None:
        """Answers to the probe."""
        self.samples += rows
        for sink in self._sinks:
            sink.texts(rows)
        self.flush()

    def flush(self) -> None:
        for name, rows in ((METRICS, self.rows), (SAMPLES, self.samples)):
            if rows:
                self.store.write("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows).encode(), name)
        for sink in self._sinks:
            sink.flush()
        self._written = time.monotonic()

    def close(self) -> None:
        self.flush()
        for sink in self._sinks:
            sink.close()


def read(store: Store, name: str = METRICS) -> list[dict[str, Any]]:
    """Rows that a curve has written so far."""
    # only \n ends a line: an answer may hold U+2028, at which str.splitlines breaks
    return [json.loads(line) for line in (store.read(name) or b"").split(b"\n") if line]


class _TensorBoard:
    """Event files; for a remote store, written here and sent after each flush."""

    def __init__(self, store: Store, facts: dict[str, Any], start: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.store = store
        self.folder = store.path("tensorboard") if store.local else tempfile.mkdtemp(prefix="mminstruct-")
        self.writer: Any = SummaryWriter(self.folder, purge_step=start + 1)
        self.writer.add_text("config", f"```\n{json.dumps(facts, indent=1)}\n```", start)

    def numbers(self, row: dict[str, float], step: int) -> None:
        for key, value in row.items():
            if key != "step":
                self.writer.add_scalar(key, value, step)

    def texts(self, rows: list[dict[str, Any]]) -> None:
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


class _Wandb:
    """A run of Weights & Biases; WANDB_MODE=offline keeps it here."""

    def __init__(self, store: Store, facts: dict[str, Any], start: int) -> None:
        import wandb

        identity = facts["manifest"]
        self.run: Any = wandb.init(project="mminstruct", id=identity, resume="allow", config=facts)

    def numbers(self, row: dict[str, float], step: int) -> None:
        self.run.log(row, step=step)

    def texts(self, rows: list[dict[str, Any]]) -> None:
        import wandb

        table = wandb.Table(columns=list(rows[0]), data=[list(row.values()) for row in rows])
        self.run.log({"probe": table}, step=rows[0]["step"])

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        self.run.finish()


class _MLflow:
    """A run of MLflow, where MLFLOW_TRACKING_URI says."""

    def __init__(self, store: Store, facts: dict[str, Any], start: int) -> None:
        import mlflow

        self.mlflow: Any = mlflow
        mlflow.set_experiment("mminstruct")
        mlflow.start_run(run_name=facts["manifest"])
        mlflow.log_dict(facts, "config.json")

    def numbers(self, row: dict[str, float], step: int) -> None:
        self.mlflow.log_metrics({key: float(value) for key, value in row.items()}, step=step)

    def texts(self, rows: list[dict[str, Any]]) -> None:
        self.mlflow.log_dict({"rows": rows}, f"probe-{rows[0]['step']:08d}.json")

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        self.mlflow.end_run()


_SINKS = {"tensorboard": _TensorBoard, "wandb": _Wandb, "mlflow": _MLflow}


def memory_gb(gpu: bool) -> float:
    """Peak of this worker: of its GPU, or of the process."""
    if gpu:
        import torch

        return float(torch.cuda.max_memory_allocated() / 2**30)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def peak_flops(gpu: bool) -> float | None:
    """FLOP/s that this worker's GPU could do in bf16; None on CPU and for one that we do not know."""
    if not gpu:
        return None
    import torch

    name = torch.cuda.get_device_name()
    return next((peak for part, peak in PEAK.items() if part in name), None)


def flops_per_token(model: Any) -> float:
    """FLOPs that training does for a token of the language model: 2 for each weight forward, 2 backward, and 2 more for
    each that learns. Attention's products and the vision tower are left out, and what is computed twice to save memory
    too: so MFU is not flattered.
    """
    total = 0.0
    for name, parameter in model.named_parameters():
        if "vision_tower" not in name and "embed_tokens" not in name:
            total += (6 if parameter.requires_grad else 4) * getattr(parameter, "ds_numel", parameter.numel())
    return total
