"""Measures what the answers of a finished run cost to decode: prompts cut into a tree of prefixes, and as before.

    python -m benchmarks.decoding [--run runs/demo] [--units 2] [--rounds 3]

The prompts are those that stage ``answer`` asked in the run, unit by unit. "batches" is the former way: batches by
total length, one common prefix for each group of rows. "tree" is that of ``mminstruct.models.decoding``. The sides
alternate on one thread, and CPU seconds are medians; the replies must be equal.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from mminstruct import schemas
from mminstruct.models import decoding, transformers
from mminstruct.models.model import Model, Reply
from mminstruct.prompts import Message
from mminstruct.stages.answer import Answer
from mminstruct.store.tables import Store

Call = tuple[list[list[Message]], list[int]]


class Listener:
    """A backend that keeps what it is asked."""

    heard: list[Call] = []  # of the only run in this process

    def __init__(self, model: Model) -> None:
        pass

    def chat(self, messages: list[list[Message]], *, seeds: list[int], **_: Any) -> list[Reply]:
        from benchmarks.decoding import Listener as Loaded  # this module is __main__, too

        Loaded.heard.append((messages, seeds))
        return [Reply("A boat.", "stop") for _ in messages]


def calls(url: str, units: int) -> tuple[Model, list[Call]]:
    """The answerer of the run at *url*, and the calls of its first *units* units."""
    store = Store(url)
    match, fuse = store.table("match"), store.table("fuse")
    config = (store.table("answer").manifest() or {})["config"]
    told = {key: config["model"][key] for key in ("name", "temperature", "top_p", "max_tokens")}
    ear = Model(name="none", backend="benchmarks.decoding:Listener")
    stage = Answer(model=ear, prompt=config["prompt"], shots=config["shots"], seed=config["seed"])
    answer = stage.load(
        exemplify=store.table("exemplify").dataset(schemas.EXEMPLIFY),
        summarize=store.table("summarize").dataset(schemas.SUMMARIZE),
    )
    for key, part in list(match.parts().items())[:units]:
        described = fuse.find(key)
        assert described is not None
        answer(
            match=match.load(part, ("pair_id", "image_id", "instruction_id")),
            fuse=fuse.load(described, ("image_id", "description")),
        )
    from benchmarks.decoding import Listener as Loaded

    return Model(**told, options={"threads": 1}), Loaded.heard


@dataclass
class Group:
    """Rows of a batch that share a prefix, and its length."""

    rows: list[int]
    shared: int


def former_batches(prompts: list[list[int]], size: int) -> list[list[Group]]:
    """Groups by common prefix, packed by total length."""
    common = decoding._common
    order = sorted(range(len(prompts)), key=lambda row: (prompts[row], row))
    alike = [common(prompts[a], prompts[b]) for a, b in pairwise(order)]
    runs: list[list[int]] = []
    for place, row in enumerate(order):
        before = alike[place - 1] if place else 0
        around = max(alike[max(place - 2, 0) : place - 1] + alike[place : place + 1], default=0)
        if not place or before < 16 or 2 * before < around:
            runs.append([])
        runs[-1].append(row)
    pieces = [sorted(run, key=lambda row: (-len(prompts[row]), row)) for run in runs]
    pieces = [piece[at : at + size] for piece in pieces for at in range(0, len(piece), size)]
    pieces.sort(key=lambda piece: (-len(prompts[piece[0]]), piece))
    made: list[list[Group]] = []
    room = 0
    for piece in pieces:
        if len(piece) > room:
            made.append([])
            room = size
        room -= len(piece)
        start = min(common(prompts[piece[0]], prompts[row]) for row in piece) if len(piece) > 1 else 0
        start = min(start, min(len(prompts[row]) for row in piece) - 1)
        made[-1].append(Group(piece, start if start >= 16 else 0))
    return made


def former_prefilled(net: Any, prompts: list[list[int]], groups: list[Group], pad: int) -> dict[str, Any]:
    """Prefixes are prefilled together, the rest of each prompt is left to ``generate``."""
    import torch

    starts = [prompts[group.rows[0]][: group.shared] for group in groups if group.shared]
    which, count = [], -1
    for group in groups:
        count += bool(group.shared)
        which += [max(count, 0)] * len(group.rows)
    rests = [prompts[row][group.shared :] for group in groups for row in group.rows]
    rest, rest_mask = decoding._padded(rests, pad, net.device)
    cache = decoding.empty_cache(net)
    if not starts:
        return {"input_ids": rest, "attention_mask": rest_mask, "past_key_values": cache}
    start, mask = decoding._padded(starts, pad, net.device)
    with torch.inference_mode():
        positions = (mask.cumsum(-1) - 1).clamp_min(0)
        net(input_ids=start, attention_mask=mask, position_ids=positions, past_key_values=cache, logits_to_keep=1)
    own = torch.tensor([[bool(group.shared)] for group in groups for _ in group.rows])
    index = torch.tensor(which)
    cache.reorder_cache(index)
    return {
        "input_ids": torch.cat([start[index], rest], dim=1),
        "attention_mask": torch.cat([mask[index] * own, rest_mask], dim=1),
        "past_key_values": cache,
    }


@contextmanager
def former() -> Iterator[None]:
    """Within it, ``Chatter`` works as before."""
    kept = transformers.batches, transformers.prefilled
    plans: dict[int, tuple[list[list[int]], list[Group]]] = {}

    def batches(prompts: list[list[int]], size: int, *, share: bool = True) -> list[list[int]]:
        made = []
        for groups in former_batches(prompts, size):
            rows = [row for group in groups for row in group.rows]
            plans[len(plans)] = [prompts[row] for row in rows], groups
            made.append(rows)
        return made

    def prefilled(net: Any, prompts: list[list[int]], pad: int) -> dict[str, Any]:
        at = iter(range(len(prompts)))
        _, groups = next(plan for plan in plans.values() if plan[0] == prompts)
        return former_prefilled(net, prompts, [Group([next(at) for _ in g.rows], g.shared) for g in groups], pad)

    transformers.batches, transformers.prefilled = batches, prefilled  # type: ignore[assignment]
    try:
        yield
    finally:
        transformers.batches, transformers.prefilled = kept


@dataclass
class Cost:
    """CPU seconds and tokens of forward passes, padding included."""

    total: float = 0.0
    prefill: float = 0.0
    decode: float = 0.0
    prefilled: int = 0
    decoded: int = 0


def measured(chatter: Any, asked: list[Call]) -> tuple[Cost, list[list[Reply]]]:
    """What the calls cost, and their replies."""
    cost = Cost()
    plain: Callable[..., Any] = chatter._net.forward

    @functools.wraps(plain)
    def forward(*args: Any, **given: Any) -> Any:
        began = time.process_time()
        made = plain(*args, **given)
        spent, ids = time.process_time() - began, given["input_ids"]
        if ids.shape[1] > 1:
            cost.prefill, cost.prefilled = cost.prefill + spent, cost.prefilled + ids.numel()
        else:
            cost.decode, cost.decoded = cost.decode + spent, cost.decoded + ids.numel()
        return made

    chatter._net.forward = forward
    began = time.process_time()
    try:
        replies = [chatter.chat(messages, seeds=seeds) for messages, seeds in asked]
    finally:
        chatter._net.forward = plain
    cost.total = time.process_time() - began
    return cost, replies


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", default="runs/demo", help="a finished run of the embedded models (make demo)")
    parser.add_argument("--units", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    model, asked = calls(given.run, given.units)
    chatter = transformers.Chatter(model)
    costs: dict[str, list[Cost]] = {"batches": [], "tree": []}
    for _ in range(given.rounds):
        with former():
            cost, before = measured(chatter, asked)
        costs["batches"].append(cost)
        cost, after = measured(chatter, asked)
        costs["tree"].append(cost)
        assert after == before, "the replies differ"
    answers = sum(len(messages) for messages, _ in asked)
    prompts = sum(reply.tokens_in for replies in after for reply in replies)
    print(f"{answers} answers to {prompts} prompt tokens, CPU milliseconds an answer")
    print(f"{'':10}{'prefill tokens':>16}{'decode rows':>13}{'prefill':>9}{'decode':>8}{'all':>7}")
    for name, found in costs.items():
        prefill, decode, total = (
            statistics.median(getattr(cost, key) for cost in found) * 1000 / answers
            for key in ("prefill", "decode", "total")
        )
        print(f"{name:10}{found[0].prefilled:16}{found[0].decoded:13}{prefill:9.1f}{decode:8.1f}{total:7.1f}")


if __name__ == "__main__":
    main()
