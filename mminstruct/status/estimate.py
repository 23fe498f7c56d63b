"""Estimates the cost of a run before it starts: rows, GPU hours and money of each stage, with the arithmetic.

A stage that an earlier run executed with the same models is estimated from that run's receipts. Other stages declare
their calls and tokens (``Stage.fan``, ``Stage.asks``, ``Stage.call_tokens``), and conf/rates.yaml has the speeds of
models and GPUs. Unknown values are reported, never guessed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from mminstruct.engine.config import EngineConfig, Pool, PoolConfig, pools
from mminstruct.engine.memory import Fit, fits, memory_text
from mminstruct.models.model import Model
from mminstruct.models.prices import price_of
from mminstruct.recipe import Recipe, inputs
from mminstruct.stage import Stage, Tokens, identity
from mminstruct.store.receipt import Receipt
from mminstruct.store.tables import Store


@dataclass
class Cost:
    """Estimated cost of one table."""

    table: str
    rows: float
    """Input rows."""
    how: str
    """The arithmetic, or what is missing."""
    seconds: float | None = None
    """Seconds per row on one GPU, or on one worker without GPUs; None: unknown."""
    gpu: bool = False
    lanes: float = 1
    """GPUs, or workers without GPUs, that the engine assigns to the table."""
    usd: float = 0.0
    """Cost of endpoints, US dollars."""

    @property
    def hours(self) -> float | None:
        """Hours of GPUs or workers for all rows; None: unknown."""
        return None if self.seconds is None else self.rows * self.seconds / 3600

    @property
    def wall(self) -> float:
        """Wall-clock hours if all lanes are busy; 0 where it is unknown."""
        return (self.hours or 0) / self.lanes


@dataclass
class Estimate:
    """Segments run sequentially, the pools of a segment in parallel; the tables of a pool share its workers."""

    images: int
    segments: list[list[list[Cost]]]
    """By segment, pool and table."""
    gpus: float
    """Maximum number of GPUs of a segment."""
    gpu: str
    gpu_usd: float | None
    """Price of one GPU hour, US dollars; None: the engine's GPU is not set."""
    fits: list[Fit] = field(default_factory=list)
    """What shares GPUs at the same time, and its memory."""
    budget: float | None = None
    """US dollars after which endpoints are no longer called; None: no limit."""


@dataclass
class _Measured:
    """Measurements of one table in an earlier run."""

    url: str
    manifest: dict[str, Any]
    receipts: list[Receipt]
    in_flight: int
    """Units that one worker executed concurrently. A receipt's seconds are that many times the worker's own."""

    def per_row(self, name: str) -> float:
        return float(sum(getattr(r, name) for r in self.receipts) / max(1, sum(r.rows_in for r in self.receipts)))


def estimate(
    recipe: Recipe, engine: EngineConfig, images: int, rates: Mapping[str, Any], runs: Iterable[str] = ()
) -> Estimate:
    """Estimate the cost of *images* images.

    Args:
        rates: conf/rates.yaml. Its optional ``tokens``, ``asked`` and ``seconds`` replace a stage's ``call_tokens``,
            ``asks()`` and ``core_seconds``, by table name; ``rows`` replaces a source's ``fan()``.
        runs: Folders of earlier runs; the first that executed a stage with the same models is used.

    Raises:
        ValueError: *images* is below 1, or *rates* do not have the GPU.
    """
    if images < 1:
        raise ValueError(f"images={images}: must be 1 or more")
    if engine.gpu and engine.gpu not in rates["gpus"]:
        raise ValueError(f"engine.gpu={engine.gpu}: rates.yaml has only {', '.join(rates['gpus'])}; add it there")
    stages = recipe.stages()
    costs: dict[str, Cost] = {}
    made: dict[str, float] = {}
    segments = pools(engine, recipe)
    for group, pool in (item for segment in segments for item in segment):
        for name in group:
            stage = stages[name]
            first = next((table for table, _ in inputs(stage).values()), None)
            per, of = _per_image(name, stage, rates) if first is None else (1.0, "")
            rows = images * per if first is None else made[first]
            seen = next((one for url in runs if (one := _measured(url, name, recipe)) and _same(stage, one)), None)
            costs[name] = _cost(name, stage, rows, pool, engine, rates, seen)
            if per != 1:
                costs[name].how += f"\n    {per:g} rows for each image ({of})"
            out, most = rows * _growth(stage, seen, 1.0 if first is None else stage.fan()), stage.most()
            made[name] = out if most is None else min(out, most)
    used = [model for stage in stages.values() for some in _models(stage).values() for model in some]
    budgets = [float(usd) for model in used if (usd := (model.options.get("budget") or {}).get("usd")) is not None]
    return Estimate(
        images=images,
        segments=[[[costs[name] for name in group] for group, _ in segment] for segment in segments],
        gpus=max(sum(pool.workers * pool.gpus for _, pool in segment) for segment in segments),
        gpu=engine.gpu,
        gpu_usd=rates["gpus"].get(engine.gpu, {}).get("usd") if engine.gpu_usd is None else engine.gpu_usd,
        fits=fits(engine, recipe, rates), budget=min(budgets, default=None),
    )  # fmt: skip


def _measured(url: str, name: str, recipe: Recipe) -> _Measured | None:
    """Receipts of a table in the run at *url*; None if there are none."""
    store = Store(url)
    manifest, receipts = store.table(name).manifest(), list(store.table(name).receipts().values())
    if manifest is None or not receipts:
        return None
    facts = store.config() or {}
    said = facts.get("config", {}).get("engine", {})
    if said.get("kind") == "local":
        return _Measured(url, manifest, receipts, 1)
    kinds, named = ({name: _entry(one) for name, one in (said.get(key) or {}).items()} for key in ("kinds", "pools"))
    engine = EngineConfig(fused=said.get("fused", False), pool=_entry(said.get("pool") or {}), kinds=kinds, pools=named)
    pool = next(pool for segment in pools(engine, recipe) for group, pool in segment if name in group)
    return _Measured(url, manifest, receipts, max(1, min(pool.in_flight, len(receipts) // pool.workers)))


def _entry(said: Mapping[str, Any]) -> PoolConfig:
    """A pool of config.yaml, without values that are expressions (``${replicas:8,answerer}`` in older runs)."""
    known = {item.name for item in dataclasses.fields(PoolConfig)}
    return PoolConfig(**{key: value for key, value in said.items() if key in known and not isinstance(value, str)})


def _models(stage: Stage) -> dict[str, list[Model]]:
    """The models that the stage calls, by field: the field itself, or the values of a mapping."""
    found: dict[str, list[Model]] = {}
    for item in dataclasses.fields(stage):
        value = getattr(stage, item.name)
        held = value.values() if isinstance(value, Mapping) else [value]
        if models := [one for one in held if isinstance(one, Model) and one.name]:
            found[item.name] = models
    return found


def _same(stage: Stage, seen: _Measured) -> bool:
    """Whether the run executed this stage with the same models, so that its seconds per row apply."""
    config = seen.manifest["config"]
    return seen.manifest["stage"] == type(stage).__name__ and all(
        config.get(name) == identity(getattr(stage, name)) for name in _models(stage)
    )


def _per_image(name: str, stage: Stage, rates: Mapping[str, Any]) -> tuple[float, str]:
    """Rows that a source has for each image, and where the number is from."""
    given = rates.get("rows", {}).get(name)
    if given is not None:
        return float(given), "rates.yaml: rows"
    return stage.fan(), f"{type(stage).__name__}.fan(), assumed; set rows.{name} in rates.yaml"


def _growth(stage: Stage, seen: _Measured | None, fan: float) -> float:
    """Output rows per input row: as measured if the whole configuration is the same, else *fan*, without drops."""
    same = seen is not None and seen.manifest["config"] == identity(stage)
    return seen.per_row("rows") if seen is not None and same else fan


def _cost(
    name: str, stage: Stage, rows: float, pool: Pool, engine: EngineConfig, rates: Mapping[str, Any],
    seen: _Measured | None,
) -> Cost:  # fmt: skip
    on_gpu = pool.gpus > 0
    cost = Cost(name, rows, "", gpu=on_gpu, lanes=pool.workers * (pool.gpus if on_gpu else 1))
    if seen is not None:
        busy = seen.per_row("seconds") / seen.in_flight
        cost.seconds, cost.usd = busy * (pool.gpus if on_gpu else 1), seen.per_row("cost") * rows
        cost.how = f"measured in {seen.url}: {seen.per_row('seconds'):.4g} s per row / {seen.in_flight} in flight"
        cost.how += f" x {pool.gpus:g} GPUs" if on_gpu else ""
    elif models := [model for found in _models(stage).values() for model in found]:
        each = float(rates.get("asked", {}).get(name, stage.asks()))
        calls = [_call(name, stage, model, each, engine if on_gpu else None, rates) for model in models]
        seconds = [one.seconds for one in calls if one.seconds is not None]
        cost.seconds = each * sum(seconds) if len(seconds) == len(calls) else None
        cost.gpu = on_gpu and not all(model.backend == "openai" for model in models)
        cost.usd = rows * each * sum(one.usd for one in calls)
        cost.how = "\n    ".join(one.how for one in calls)
    else:
        cost.gpu, cost.lanes = False, pool.workers
        given = rates.get("seconds", {})
        cost.seconds = given.get(name, stage.core_seconds)
        where = "rates.yaml: seconds" if name in given else f"{type(stage).__name__}.core_seconds"
        cost.how = f"{cost.seconds} s of a core ({where})"
        if cost.seconds is None:
            cost.how = _undeclared(name, stage, "core_seconds", "seconds")
    return cost


def _undeclared(name: str, stage: Stage, what: str, key: str) -> str:
    return (
        f"{type(stage).__name__} does not declare {what}; declare it in the class, and fan() and asks() if a row is not"
        f" one row and one call, or write {key}.{name} in rates.yaml"
    )


@dataclass
class _Call:
    """One call to a model."""

    how: str
    """The arithmetic, or what is missing."""
    seconds: float | None = None
    """Seconds of one GPU; None: unknown."""
    usd: float = 0.0


def _call(
    name: str, stage: Stage, model: Model, each: float, engine: EngineConfig | None, rates: Mapping[str, Any]
) -> _Call:
    """One of *each* calls for a row, at the endpoint's price or at the model's speed in *rates*.

    Args:
        engine: None where the stage's workers have no GPU.
    """
    given = rates.get("tokens", {}).get(name)
    entry, gpu = rates["models"].get(model.name, {}), rates["gpus"].get(engine.gpu) if engine else None
    encodes = model.backend != "openai" and ("seconds" in entry or "tflop" in entry)
    tokens = stage.call_tokens or (Tokens(input=0) if encodes else None)
    if given is not None:
        tokens = Tokens(input=given.get("in", 0), cached=given.get("cached", 0), output=given.get("out", 0))
    if tokens is None:
        return _Call(_undeclared(name, stage, "call_tokens", "tokens"))
    new, asked = tokens.input - tokens.cached, f"{each:g} calls per row x " if each != 1 else ""
    if model.backend == "openai":
        host = urlsplit(model.url or "").hostname or "api.openai.com"
        price = price_of(model.name, host, model.options.get("price"))
        if price is None:
            return _Call(f"no price for {model.name} at {host}: set options.price of the model")
        image = int(entry.get("image", 0)) if stage.kind == "vision" else 0
        new += image
        usd = price.cost(tokens.input + image, tokens.output, cached=tokens.cached)
        cheap = price.input if price.cached is None else price.cached
        hits = f" + {tokens.cached} x {cheap:g} cached" if tokens.cached else ""
        sums = f"{new} tokens x {price.input:g}{hits} + {tokens.output} x {price.output:g}"
        return _Call(f"{asked}({sums}) US$ per million = {usd:.2g} US$", 0.0, usd)
    if gpu is None and "core" in entry:
        items = max(1, tokens.output)
        how = f"{asked}{items} x {entry['core']:g} s of a core; {entry['evidence']}"
        return _Call(how, items * float(entry["core"]))
    if gpu is None:
        return _Call(f"no GPU for {model.name} (engine.pools.{name}.gpus, engine.gpu), and no run has measured it")
    if not entry:
        return _Call(f"rates.yaml has no models.{model.name}")
    seconds, how = _on_gpu(entry, new, tokens.output, gpu, rates)
    return _Call(f"{asked}({how}); {entry['evidence']}" if asked else f"{how}; {entry['evidence']}", seconds)


def _on_gpu(
    entry: Mapping[str, Any], new: int, out: int, gpu: Mapping[str, Any], rates: Mapping[str, Any]
) -> tuple[float, str]:
    """GPU seconds of one call, and the arithmetic. Output is limited by memory bandwidth, input by FLOP/s."""
    faster, peak = gpu["tbs"] / rates["gpus"]["H100"]["tbs"], gpu["tflops"] * rates["mfu"]
    if "seconds" in entry:
        return entry["seconds"] / faster, f"{entry['seconds']:g} s on an H100 / {faster:.2f} (bandwidth)"
    if "tflop" in entry:
        return entry["tflop"] / peak, f"{entry['tflop']:g} TFLOP / ({gpu['tflops']} TFLOP/s x {rates['mfu']:g})"
    new += entry.get("image", 0)
    reads, writes = peak * 1e3 / (2 * entry["active"]), entry["decode"] * (1 if entry.get("by_host") else faster)
    return (
        new / reads + out / writes,
        f"{new} input tokens / {reads:,.0f} per s + {out} output tokens / {writes:,.0f} per s",
    )


def as_text(bill: Estimate) -> str:
    """One line per table and its arithmetic, the slowest pool of each segment, and the totals."""
    price = f" at {bill.gpu_usd:.2f} US$ per hour" if bill.gpu_usd is not None else ""
    where = f"{bill.gpus:g} {bill.gpu or 'GPU'}{price}" if bill.gpus else "an engine without GPUs"
    lines = [f"{bill.images:,} images on {where}; drops are counted only where a run measured them"]
    lines.append(f"{'table':<10} {'rows':>12} {'s/row':>9} {'hours':>13} {'on':>4} {'wall h':>8} {'API US$':>10}")
    for segment in bill.segments:
        for cost in (cost for group in segment for cost in group):
            known = cost.hours is not None
            each = f"{cost.seconds:.3g}" if known else "?"
            hours = f"{cost.hours:,.2f} {'GPU' if cost.gpu else 'CPU'}" if known else "?"
            wall = f"{cost.wall:,.2f}" if known else "?"
            usd = f"{cost.usd:>10,.2f}" if cost.usd else ""
            counts = f"{cost.table:<10} {cost.rows:>12,.0f} {each:>9} {hours:>13}"
            lines += [f"{counts} {cost.lanes:>4g} {wall:>8} {usd}".rstrip(), f"    {cost.how}"]
        slowest = max(segment, key=_wall)
        known, limited = not _unknown([segment]), " + ".join(cost.table for cost in slowest)
        hours = f"{_wall(slowest):,.2f} h for the tables above, limited by {limited}"
        lines.append(f"  {hours if known else '? h for the tables above'}")
    return "\n".join([*lines, *_sums(bill)])


def _wall(group: list[Cost]) -> float:
    return sum(cost.wall for cost in group)


def _sums(bill: Estimate) -> list[str]:
    every = [cost for segment in bill.segments for group in segment for cost in group]
    if unknown := _unknown(bill.segments):
        names = ", ".join(cost.table for cost in unknown)
        said = memory_text(bill.fits) if bill.gpus else []
        said += [f"no total, since it would leave out {names}: the line below each says what is missing"]
        machine = "name the machine that you have, for example engine=one_gpu or engine=node_8gpu (docs/cluster.md)"
        return said + ([machine] if any(cost.how.startswith("no GPU") for cost in unknown) else [])
    wall = sum(max(map(_wall, segment)) for segment in bill.segments)
    work = sum(cost.hours or 0 for cost in every if cost.gpu)
    others = sum(cost.hours or 0 for cost in every if not cost.gpu)
    lines = [
        f"work: {work:,.1f} GPU hours, {others:,.1f} CPU worker hours; endpoints: {sum(c.usd for c in every):,.2f} US$"
    ]
    if bill.gpus:
        held = wall * bill.gpus
        share = f", {work / held:.0%} of them at work" if held else ""
        lines.append(f"time: {wall:,.2f} h x {bill.gpus:g} GPUs = {held:,.1f} GPU hours held{share}")
        if bill.gpu_usd is not None:
            used, paid = work * bill.gpu_usd, held * bill.gpu_usd
            lines.append(f"GPUs: {paid:,.2f} US$ if held throughout, {used:,.2f} US$ if only paid while at work")
        lines += memory_text(bill.fits)
    else:
        lines.append(f"time: {wall:,.2f} h")
    if waits := [cost.table for cost in every if cost.usd and not cost.hours]:
        lines.append(f"not in the time: waiting for endpoints ({', '.join(waits)}); their rate limits decide")
    if bill.budget is not None and (usd := sum(cost.usd for cost in every)) > bill.budget:
        lines.append(f"budget: the run stops at {bill.budget:,.2f} of {usd:,.2f} US$ (options.budget.usd)")
    return lines


def _unknown(segments: list[list[list[Cost]]]) -> list[Cost]:
    return [cost for segment in segments for group in segment for cost in group if cost.hours is None]
