"""Measures what captions and answers of a finished run cost to decode: by ``decoding.decoded``, and by ``generate()``.

    python -m benchmarks.decoding [--run runs/demo] [--units 2] [--rounds 3]

The prompts are those that the stages ``caption`` and ``answer`` asked in the run, unit by unit. "generate" is the
former way: rows that ended stay in the batch, pictures are decoded 16 at a time, each expert gathers its own tokens;
the prefill is the same on both sides. The sides alternate on one thread, and CPU seconds are medians; the replies must
be equal.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from mminstruct import schemas
from mminstruct.models import transformers
from mminstruct.models.kernels import sorted_experts
from mminstruct.models.model import Model, Reply
from mminstruct.models.prefixes import filled
from mminstruct.prompts import Message
from mminstruct.stages.answer import Answer
from mminstruct.stages.caption import Caption
from mminstruct.store.tables import Store

Call = tuple[list[list[Message]], list[int]]


class Listener:
    """A backend that keeps what it is asked."""

    heard: list[Call] = []  # of the stage in hand

    def __init__(self, model: Model) -> None:
        pass

    def chat(self, messages: list[list[Message]], *, seeds: list[int], **_: Any) -> list[Reply]:
        from benchmarks.decoding import Listener as Loaded  # this module is __main__, too

        Loaded.heard.append((messages, seeds))
        return [Reply("A boat.", "stop") for _ in messages]


def calls(url: str, name: str, units: int) -> tuple[Model, list[Call]]:
    """The model of the stage *name* of the run at *url*, and the calls of its first *units* units."""
    from benchmarks.decoding import Listener as Loaded

    Loaded.heard = []
    store = Store(url)
    config = (store.table(name).manifest() or {})["config"]
    told = {key: config["model"][key] for key in ("name", "temperature", "top_p", "max_tokens")}
    ear = Model(name="none", backend="benchmarks.decoding:Listener")
    {"caption": _captions, "answer": _answers}[name](store, config, ear, units)
    return Model(**told, options={"threads": 1}), Loaded.heard


def _captions(store: Store, config: dict[str, Any], ear: Model, units: int) -> None:
    ingest = store.table("ingest")
    caption = Caption(model=ear, prompt=config["prompt"], seed=config["seed"]).load()
    for part in list(ingest.parts().values())[:units]:
        caption(ingest=ingest.load(part, ("image_id", "image")))


def _answers(store: Store, config: dict[str, Any], ear: Model, units: int) -> None:
    match, fuse = store.table("match"), store.table("fuse")
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


@contextmanager
def former(chatter: Any) -> Iterator[None]:
    """Within it, *chatter* decodes by ``generate()``."""
    import torch

    def decode(paths: Any, last: list[int], counts: dict[int, int], seeds: list[int]) -> dict[int, Reply]:
        cache, past_BT = filled(chatter._net, paths)
        pad = chatter._tokenizer.pad_token_id
        ids_BT = torch.cat([torch.full_like(past_BT, pad), torch.tensor(last)[:, None]], dim=1)
        mask_BT = torch.cat([past_BT, past_BT.new_ones((len(last), 1))], dim=1)
        inputs = {"input_ids": ids_BT, "attention_mask": mask_BT, "past_key_values": cache}
        made: dict[int, Reply] = chatter._generate(inputs, counts, seeds)
        return made

    batch = chatter._batch
    chatter._decode, chatter._batch = decode, 16 if chatter._sees else batch
    chatter._net.set_experts_implementation("eager")
    try:
        yield
    finally:
        del chatter._decode
        chatter._batch = batch
        chatter._net.set_experts_implementation(sorted_experts())


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
    for name in ("caption", "answer"):
        model, asked = calls(given.run, name, given.units)
        chatter = transformers.Chatter(model)
        costs: dict[str, list[Cost]] = {"generate": [], "loop": []}
        for _ in range(given.rounds):
            with former(chatter):
                cost, before = measured(chatter, asked)
            costs["generate"].append(cost)
            cost, after = measured(chatter, asked)
            costs["loop"].append(cost)
            assert after == before, "the replies differ"
        rows = sum(len(messages) for messages, _ in asked)
        prompts = sum(reply.tokens_in for replies in after for reply in replies)
        print(f"{rows} x {name}, {prompts} prompt tokens, CPU milliseconds each")
        print(f"{'':10}{'prefill tokens':>16}{'decode rows':>13}{'prefill':>9}{'decode':>8}{'all':>7}")
        for side, found in costs.items():
            prefill, decode, total = (
                statistics.median(getattr(cost, key) for cost in found) * 1000 / rows
                for key in ("prefill", "decode", "total")
            )
            print(f"{side:10}{found[0].prefilled:16}{found[0].decoded:13}{prefill:9.1f}{decode:8.1f}{total:7.1f}")


if __name__ == "__main__":
    main()
