"""GPU memory that the models of a segment need at the same time, compared with what the engine's GPUs have.

Sizes are in conf/rates.yaml: of a model ``gb``, its weights (bf16, or as published if they are quantised), and ``kib``,
the keys and values of one token; of a GPU ``gb``. A model without a size is reported, and not counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mminstruct.engine.config import EngineConfig, models, replica_gpus, side_by_side
from mminstruct.models.model import Model
from mminstruct.recipe import Recipe, segments
from mminstruct.stage import Stage

PROCESS_GB = 1.0
"""Of a worker, beside weights and cache: CUDA's context and activations; assumed."""
VLLM_SHARE = 0.9
"""Share of a GPU that a vLLM engine reserves if ``options.gpu_memory_utilization`` is not set."""
_QUANTIZED = {"fp8": 0.5, "experts_int8": 0.5, "bitsandbytes": 0.3}
"""``options.quantization`` that shrinks bf16 weights while they are loaded -> their size relative to bf16."""
_BATCH = {"transformers": 64, "cogvlm": 8}
"""Sequences in a batch by default, of backends that compute fixed batches; transformers takes 16 with images."""


@dataclass(frozen=True, slots=True)
class Need:
    """Memory of one worker's model on each GPU of its replica, GB."""

    table: str
    model: str
    gb: float | None
    """None: rates.yaml has no size of the model."""
    least: float | None
    """What must fit into the share of a vLLM engine: weights, activations and the cache of one longest sequence."""


@dataclass(frozen=True, slots=True)
class Fit:
    """Workers that share one or more GPUs at the same time."""

    needs: list[Need]
    """One for each worker and model."""
    gpus: int
    gpu_gb: float

    @property
    def gb(self) -> float:
        return sum(need.gb or 0 for need in self.needs)

    def faults(self) -> list[str]:
        """Why these workers cannot start; empty if they can."""
        said = [
            f"{need.table}: {need.model} needs {need.least:.1f} GB and may take {need.gb:.1f} GB of its GPU: raise"
            " gpu_memory_utilization or lower max_model_len in the model's options"
            for need in self.needs
            if need.gb is not None and need.least is not None and need.least > need.gb
        ]
        if self.gb > self.gpus * self.gpu_gb:
            each = ", ".join(f"{need.table} {need.gb:.1f}" for need in self.needs if need.gb)
            where = "one GPU" if self.gpus == 1 else f"{self.gpus} GPUs"
            said.append(f"{self.gb:.1f} GB on {where} of {self.gpu_gb:g} GB at the same time: {each}")
        return said


def fits(config: EngineConfig, recipe: Recipe, rates: Mapping[str, Any]) -> list[Fit]:
    """What shares GPUs in each segment; empty for an engine without a named GPU (``engine.gpu``)."""
    has = rates["gpus"].get(config.gpu, {}).get("gb")
    if not has or config.kind == "local":
        return []
    stages, found = recipe.stages(), []
    for tables in segments(recipe):
        shared: list[Need] = []
        occupied = 0.0
        for names, pool in side_by_side(config, recipe, tables):
            needs = _needs({name: stages[name] for name in names}, has, rates) if pool.gpus else []
            if pool.gpus >= 1 and needs:
                found.append(Fit(needs, 1, has))
            elif pool.gpus and needs:
                shared += needs * pool.workers
                occupied += pool.workers * pool.gpus
        if shared:
            found.append(Fit(shared, math.ceil(occupied - 1e-9), has))
    return found


def check_memory(config: EngineConfig, recipe: Recipe, rates: Mapping[str, Any]) -> None:
    """Check that the models of each segment fit the engine's GPUs.

    Raises:
        ValueError: they do not; one line for each segment, and what can be changed.
    """
    lines = dict.fromkeys(line for fit in fits(config, recipe, rates) for line in fit.faults())
    if lines:
        raise ValueError(
            f"the models do not fit the memory of {config.gpu} (engine.gpu= names another GPU):\n"
            + "\n".join(f"  {line}" for line in lines)
            + "\ntake smaller or quantised models (docs/models.md says what fits which GPU), a smaller batch_size or"
            " max_model_len in their options, or an engine with more GPUs"
        )


def _needs(tables: Mapping[str, Stage], has: float, rates: Mapping[str, Any]) -> list[Need]:
    """Of one worker that makes *tables*; equal models are loaded once (``models.loaded``)."""
    found: dict[str, Need] = {}
    for table, stage in tables.items():
        for model in models(stage):
            if model.name and not model.remote and model.options.get("device") != "cpu" and repr(model) not in found:
                found[repr(model)] = _need(table, stage, model, has, rates["models"].get(model.name, {}))
    return list(found.values())


def _need(table: str, stage: Stage, model: Model, has: float, entry: Mapping[str, Any]) -> Need:
    if "gb" not in entry:
        return Need(table, model.name, None, None)
    options, spread = model.options, replica_gpus(model)
    weights = entry["gb"] * _QUANTIZED.get(str(options.get("quantization")), 1.0) / spread + PROCESS_GB
    token_gb = entry.get("kib", 0) * 1024 / 1e9 / spread
    if model.backend == "vllm":
        least = weights + int(options.get("max_model_len") or 4096) * token_gb
        return Need(table, model.name, has * float(options.get("gpu_memory_utilization") or VLLM_SHARE), least)
    sees = model.backend == "transformers" and "image" in entry
    batch = int(options.get("batch_size") or (16 if sees else _BATCH.get(model.backend, 1)))
    tokens = (stage.call_tokens.input if stage.call_tokens else 0) + entry.get("image", 0) + model.max_tokens
    return Need(table, model.name, weights + batch * tokens * token_gb, None)


def memory_text(fits: list[Fit]) -> list[str]:
    """The fullest GPU, as a line; and models whose memory is not known."""
    if not fits:
        return ["memory: not compared, since engine.gpu names no GPU of rates.yaml"]
    most = max(fits, key=lambda fit: fit.gb / fit.gpus)
    unknown = sorted({need.model for fit in fits for need in fit.needs if need.gb is None})
    missing = f"; without {', '.join(unknown)}, whose gb rates.yaml does not have" if unknown else ""
    return [f"memory: at most {most.gb / most.gpus:.1f} of the {most.gpu_gb:g} GB of a GPU{missing}"]
