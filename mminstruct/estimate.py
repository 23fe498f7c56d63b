"""What so many images cost: for each stage rows x time of one row, GPU hours, money; the arithmetic is shown.

A stage that a run has done with the same model goes by that run's receipts; the others by conf/rates.yaml, which says
where its numbers are from. What neither knows is named, never guessed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from mminstruct.engine.config import EngineConfig, Pool, pools
from mminstruct.models.model import Model
from mminstruct.models.prices import price_of
from mminstruct.recipe import Recipe, inputs
from mminstruct.stage import Stage, identity
from mminstruct.stages.cluster import Cluster
from mminstruct.stages.exemplify import Exemplify
from mminstruct.stages.instruct import Instruct
from mminstruct.stages.match import Match
from mminstruct.store import Receipt, Store


@dataclass
class Cost:
    """One table's share of the bill."""

    table: str
    rows: float
    """Rows that go in."""
    how: str
    """The arithmetic, or what is missing."""
    seconds: float | None = None
    """Of one GPU, or of one worker without GPUs, for a row; None where nobody knows."""
    gpu: bool = False
    lanes: float = 1
    """GPUs, or workers, that the engine has at it."""
    usd: float = 0.0
    """For endpoints."""

    @property
    def hours(self) -> float | None:
        """Of GPUs or workers, all rows together."""
        return None if self.seconds is None else self.rows * self.seconds / 3600

    @property
    def wall(self) -> float:
        """Hours on this engine, where its lanes are all busy."""
        return (self.hours or 0) / self.lanes


@dataclass
class Estimate:
    """The bill. Segments run one after the other, a segment's pools side by side, a pool's tables share its workers."""

    images: int
    segments: list[list[list[Cost]]]
    """Segment, pool, table."""
    gpus: float
    """That the engine holds: the most that any segment's pools have together."""
    gpu: str
    gpu_usd: float | None
    """One GPU for an hour; None where the engine names no GPU."""


@dataclass
class _Seen:
    """What a run's receipts tell of one table."""

    url: str
    manifest: dict[str, Any]
    receipts: list[Receipt]
    in_flight: int
    """Units that one worker had in hand at once: so many times longer does each look than it kept the worker busy."""

    def per_row(self, name: str) -> float:
        return float(sum(getattr(r, name) for r in self.receipts) / max(1, sum(r.taken for r in self.receipts)))


def estimate(
    recipe: Recipe, engine: EngineConfig, images: int, rates: Mapping[str, Any], runs: Iterable[str] = ()
) -> Estimate:
    """The bill for *images* images.

    Args:
        rates: conf/rates.yaml.
        runs: Folders of runs; a stage goes by the first that did it with the same model.

    Raises:
        ValueError: for fewer than 1 image, or a GPU that *rates* do not know.
    """
    if images < 1:
        raise ValueError(f"images={images}: take 1 or more")
    if engine.gpu and engine.gpu not in rates["gpus"]:
        raise ValueError(f"engine.gpu={engine.gpu}: rates.yaml knows {', '.join(rates['gpus'])}; add it there")
    stages = recipe.stages()
    costs: dict[str, Cost] = {}
    made: dict[str, float] = {}
    segments = pools(engine, recipe)
    for group, pool in (item for segment in segments for item in segment):
        for name in group:
            stage = stages[name]
            first = next((table for table, _ in inputs(stage).values()), None)
            rows = float(images) if first is None else made[first]
            seen = next((one for url in runs if (one := _look(url, name, recipe)) and _same(stage, one)), None)
            costs[name] = _cost(name, stage, rows, pool, engine, rates, seen)
            made[name] = min(rows, stage.k) if isinstance(stage, Cluster) else rows * _growth(stage, seen)
    return Estimate(
        images=images,
        segments=[[[costs[name] for name in group] for group, _ in segment] for segment in segments],
        gpus=max(sum(pool.workers * pool.gpus for _, pool in segment) for segment in segments),
        gpu=engine.gpu,
        gpu_usd=rates["gpus"].get(engine.gpu, {}).get("usd") if engine.gpu_usd is None else engine.gpu_usd,
    )


def _look(url: str, name: str, recipe: Recipe) -> _Seen | None:
    """What the run at *url* did of a table; None where that is nothing."""
    store = Store(url)
    manifest, receipts = store.table(name).manifest(), list(store.table(name).receipts().values())
    if manifest is None or not receipts:
        return None
    facts = store.config() or {}
    engine = {**dataclasses.asdict(EngineConfig()), **facts.get("config", {}).get("engine", {})}
    if engine["kind"] == "local":
        return _Seen(url, manifest, receipts, 1)
    shape = EngineConfig(fused=engine["fused"])
    leader = next(group[0] for segment in pools(shape, recipe) for group, _ in segment if name in group)
    pool = {**dataclasses.asdict(Pool()), **(engine["pools"].get(leader) or engine["pool"])}
    workers = pool["workers"] if isinstance(pool["workers"], int) else 1  # as composed: it may be ${replicas:...}
    return _Seen(url, manifest, receipts, max(1, min(int(pool["in_flight"]), len(receipts) // workers)))


def _models(stage: Stage) -> dict[str, Model]:
    values = {item.name: getattr(stage, item.name) for item in dataclasses.fields(stage)}
    return {name: value for name, value in values.items() if isinstance(value, Model)}


def _same(stage: Stage, seen: _Seen) -> bool:
    """Whether the run did this stage, with the same models: then a row took it as long."""
    config = seen.manifest["config"]
    return seen.manifest["stage"] == type(stage).__name__ and all(
        config.get(name) == identity(model) for name, model in _models(stage).items()
    )


def _fan(stage: Stage) -> float:
    """Rows that a row becomes, where none is dropped."""
    if isinstance(stage, Instruct):
        return stage.share * stage.per_image
    if isinstance(stage, Match):
        return stage.per_image
    return stage.per_instruction if isinstance(stage, Exemplify) else 1


def _growth(stage: Stage, seen: _Seen | None) -> float:
    """Rows that come out for one that goes in: as measured where the stage was configured so, else nothing dropped."""
    same = seen is not None and seen.manifest["config"] == identity(stage)
    return seen.per_row("rows") if seen is not None and same else _fan(stage)


def _cost(
    name: str, stage: Stage, rows: float, pool: Pool, engine: EngineConfig, rates: Mapping[str, Any], seen: _Seen | None
) -> Cost:
    on_gpu = pool.gpus > 0
    lanes = pool.workers * (pool.gpus if on_gpu else 1)
    cost = Cost(name, rows, "", gpu=on_gpu, lanes=lanes)
    if seen is not None:
        busy = seen.per_row("seconds") / seen.in_flight
        cost.seconds, cost.usd = busy * (pool.gpus if on_gpu else 1), seen.per_row("cost") * rows
        cost.how = f"measured in {seen.url}: {seen.per_row('seconds'):.4g} s a row / {seen.in_flight} in flight"
        cost.how += f" x {pool.gpus:g} GPUs" if on_gpu else ""
        return cost
    if models := list(_models(stage).values()):
        each = 1 if isinstance(stage, Match) else _fan(stage)
        return _of_model(cost, models[0], rows * each * rates["asked"].get(name, 1), engine, rates)
    cost.seconds = rates["seconds"].get(name)
    cost.gpu, cost.lanes = False, pool.workers
    cost.how = f"{cost.seconds} s of a core (rates.yaml: seconds)" if cost.seconds else f"no rates.yaml: seconds.{name}"
    return cost


def _of_model(cost: Cost, model: Model, calls: float, engine: EngineConfig, rates: Mapping[str, Any]) -> Cost:
    """By the tokens of one call, and the price of an endpoint or what *rates* say of the model."""
    tokens = {"in": 0, "cached": 0, "out": 0, **rates["tokens"].get(cost.table, {})}
    new, cached, out = tokens["in"] - tokens["cached"], tokens["cached"], tokens["out"]
    each = calls / cost.rows if cost.rows else 0.0
    asked = f"{each:g} calls a row x " if each != 1 else ""
    entry, gpu = rates["models"].get(model.name), rates["gpus"].get(engine.gpu)
    if model.backend == "openai":
        host = urlsplit(model.url or "").hostname or "api.openai.com"
        price = price_of(model.name, host, model.options.get("price"))
        if price is None:
            cost.how = f"no price of {model.name} at {host}: say its options.price"
            return cost
        one = price.cost(tokens["in"], out, cached=cached)
        hits = f" + {cached} x {price.input if price.cached is None else price.cached:g} cached" if cached else ""
        cost.seconds, cost.gpu, cost.usd = 0.0, False, calls * one
        cost.how = (
            f"{asked}({new} tokens x {price.input:g}{hits} + {out} x {price.output:g}) US$ a million = {one:.2g} US$"
        )
    elif not (cost.gpu and gpu):
        cost.how = (
            f"engine gives {model.name} no GPU (engine.pools.{cost.table}.gpus, engine.gpu), and no run was measured"
        )
    elif entry is None:
        cost.how = f"rates.yaml has no models.{model.name}"
    else:
        one, how = _on_gpu(entry, new, out, gpu, rates)
        cost.seconds = one * each
        cost.how = f"{asked}({how})" if asked else how
        cost.how += f"; {entry['evidence']}"
    return cost


def _on_gpu(
    entry: Mapping[str, Any], new: int, out: int, gpu: Mapping[str, Any], rates: Mapping[str, Any]
) -> tuple[float, str]:
    """GPU seconds of one call, and how they come about. Writing goes by memory bandwidth, reading by arithmetic."""
    faster, peak = gpu["tbs"] / rates["gpus"]["H100"]["tbs"], gpu["tflops"] * rates["mfu"]
    if "seconds" in entry:
        return entry["seconds"] / faster, f"{entry['seconds']:g} s on an H100 / {faster:.2f} (bandwidth)"
    if "tflop" in entry:
        return entry["tflop"] / peak, f"{entry['tflop']:g} TFLOP / ({gpu['tflops']} TFLOP/s x {rates['mfu']:g})"
    new += entry.get("image", 0)
    reads, writes = peak * 1e3 / (2 * entry["active"]), entry["decode"] * faster
    return new / reads + out / writes, f"{new} tokens read / {reads:,.0f} a s + {out} written / {writes:,.0f} a s"


def as_text(bill: Estimate) -> str:
    """A line a table with its arithmetic below it, the slowest pool of each segment, and the sums."""
    price = f" at {bill.gpu_usd:.2f} US$ an hour" if bill.gpu_usd is not None else ""
    where = f"{bill.gpus:g} {bill.gpu or 'GPU'}{price}" if bill.gpus else "an engine without GPUs"
    lines = [f"{bill.images:,} images on {where}; rows are dropped only where a run measured it"]
    lines.append(f"{'table':<10} {'rows':>12} {'s a row':>9} {'hours':>13} {'on':>4} {'wall h':>8} {'API US$':>10}")
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
        lines.append(
            f"  {_wall(slowest):,.2f} h until all of these are done, set by {' + '.join(c.table for c in slowest)}"
        )
    return "\n".join([*lines, *_sums(bill)])


def _wall(group: list[Cost]) -> float:
    return sum(cost.wall for cost in group)


def _sums(bill: Estimate) -> list[str]:
    every = [cost for segment in bill.segments for group in segment for cost in group]
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
    else:
        lines.append(f"time: {wall:,.2f} h")
    unknown = [cost.table for cost in every if cost.seconds is None]
    return lines + ([f"WITHOUT {', '.join(unknown)}: what is missing stands below each"] if unknown else [])
