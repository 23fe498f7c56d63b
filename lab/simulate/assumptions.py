"""What the simulation assumes beside the recipe, the engine's preset and conf/rates.yaml, each with its source."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Assumptions:
    """Times are seconds. "Measured" refers to the tables of docs/scale.md."""

    shard_images: int = 11_186
    """Images in a shard of the source: SA-1B has 11.2 million in 1,000 archives."""
    spread: float = 0.1
    """Sigma of the lognormal factor on a unit's seconds, whose mean is 1. A unit is a sum over hundreds of rows, whose
    lengths vary by about their mean: 1 / sqrt(512) is .04; and shards differ among themselves. Assumed."""
    straggler_share: float = 0.005
    """Share of units that take ``straggler_factor`` times as long (retried reads, very long replies). Assumed."""
    straggler_factor: float = 4.0
    slow_share: float = 0.02
    """Share of workers that are slower throughout by ``slow_factor`` (hot cards, noisy neighbours). Assumed."""
    slow_factor: float = 1.2
    driver_seconds: float = 0.0045
    """Of the driver for each short unit, one after another: several keys share a row. CPU time measured by
    ``benchmarks.engine --keys 5000`` on a loaded machine. A long unit has its own row, which costs some .012."""
    key_seconds: float = 0.0
    """Of the driver for each key before the first unit of a segment: none, since keys stream in as units end."""
    receipt_seconds: float = 0.0018
    """Of the driver to read one receipt from the object store at a barrier: half an hour for a million. Measured."""
    latency: float = 0.5
    """Of the object store for all requests of a unit, half before the work and half after it. Measured: .4 to .6."""
    requests: float = 19.5
    """Object store requests of a unit under Ray. Measured."""
    requests_usd: float = 41e-6
    """US dollars for the requests of one unit. Measured: 24 to 41 a million units."""
    request_seconds: float = 0.0058
    """Of a worker for one request to an endpoint, with enough of them in flight. Measured."""
    start: float = 15.0
    """From the order for a worker to its first unit, without its model: process, imports. Assumed."""
    engine_start: float = 60.0
    """Of vLLM beside its weights: compiled graphs from a cache, CUDA graphs. Reported: 34 and 59 (vllm#20264)."""
    load_gbps: float = 1.0
    """Gigabytes of weights a second into one worker. Reported: .5 to 1.2 (vllm#38820, vllm#44881)."""
    node_gpus: int = 8
    node_cpus: int = 64
    mtbf_hours: float = 6_300.0
    """Mean time between failures of a node with 8 GPUs: 419 unexpected ones in 54 days on 16,384 H100 (Llama 3, arXiv
    2407.21783, section 3.3.4)."""
    spot_per_hour: float = 0.0
    """Spot losses of a node an hour. Providers publish only bands; scenarios try several."""
    away: float = 900.0
    """Mean until a node that was lost is replaced, boot not included; exponential. Assumed."""
    boot: float = 300.0
    """Of a node, paid: start, environment from an image. Assumed."""
    idle: float = 600.0
    """After this long without a worker a node is given back (cluster.yaml: idle_timeout_minutes)."""
    autoscale: bool = True
    """Whether idle nodes are given back; without it all are paid for until the last table is done."""
    queue: float | None = None
    """A pool stops while more units than this wait before the next one, for each slot of that one. None: no limit. Ray
    2.60 limits by bytes in its object store, and keys have next to none."""
    ahead: int = 1
    """Units sent to a worker beyond those in flight (``max_tasks_in_flight_per_actor`` in engine/data.py)."""
    retries: int = 3
    """Deaths of a unit's worker that it survives, beside the first (``engine.retries``)."""
    hand_over: float | None = None
    """Seconds between looks at the pools of a segment, each of which may give a GPU worker without work to the pool
    with the longest queue. The engine cannot do this: a design on paper."""
    core_usd: float = 0.05
    """US dollars for one CPU core for an hour after the GPUs are given back. m6i on demand in 2026. Assumed."""
