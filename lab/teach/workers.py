"""What forked processes do without PyTorch: draw pictures, make a tokenizer, write lessons."""

from __future__ import annotations

import itertools
import os
import queue
import random
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from lab.teach import llm
from lab.teach.pictures import Array, draw, level_of
from lab.teach.plan import WATCHED, WEAK, WEIGHTS, Plan
from lab.teach.words import EOS, PAD, VOCABULARY, Coded, Words, make_tokenizer
from mminstruct.microworld.catalogue import LEVELS
from mminstruct.microworld.scene import draw_scene

LONGEST = 1024
"""Most tokens of a lesson; longer ones are left out."""
STEP = 16
"""Rows of a batch have a multiple of so many tokens: fewer shapes to plan kernels for."""
PROMPT_SHARE = 0.06
"""Share of prompt tokens that also get a loss; copying is learned there first. Less where the answer is short: the
prompt would outweigh it."""
LONG = 30
"""Tokens of an answer from which the prompt gets its whole share."""

COPIES = 0.08
"""Extra lessons, as a share, that only repeat random tokens: untaught models learn exact copying fastest by them."""

Batch = tuple[Array, Array, Array]
"""Token ids (rows, length); places in the flat batch whose next token is learned; these tokens."""


def guarded(plan: Plan, name: str, work: Callable[..., None], *given: Any) -> None:
    """Run *work* and end this process: with 0 if it was done, else with 1 and the traceback in the log."""
    code = 1
    try:
        work(plan, *given)
        code = 0
    except Exception:
        plan.say(f"{name} failed\n{traceback.format_exc()[-4000:]}")
    finally:
        sys.stdout.flush()
        os._exit(code)


def drawer(plan: Plan, number: int) -> None:
    """Draw one chunk of the pictures after another; when all are drawn, write lessons."""
    os.nice(5)
    folder = plan.tokens_of("captioner")
    assert folder
    words = Words(folder)
    while time.monotonic() < plan.taught:
        with plan.next.get_lock():
            at = plan.next.value
            plan.next.value += 1
        if at >= len(plan.chunks):
            break
        name, start, stop = plan.chunks[at]
        for index in range(start, stop):
            seed, level = (0, level_of(index)) if name == "train" else (WATCHED, LEVELS[index % len(LEVELS)])
            scene = draw_scene(index, seed, level)
            draw(plan.arrays[name], index, scene, words)
        plan.ready[at] = 1
    writer(plan, number)


def tokeniser(plan: Plan, number: int = 3000) -> None:
    """Train the asker's tokenizer on *number* of its lessons, where it has none."""
    if plan.tokens_of("asker"):
        return
    lessons = itertools.islice(llm.lessons_of("asker", random.Random("words")), number)
    texts = ("\n".join([*(str(m["content"]) for m in messages), target]) for messages, target in lessons)
    make_tokenizer(texts, plan.work / "asker", WEIGHTS / "llm")
    plan.say("asker: tokenizer made")


def writer(plan: Plan, number: int) -> None:
    """Write batches of lessons, always for the model that has fewest waiting."""
    os.nice(3)
    rng, chance = random.Random(f"lessons {number}"), np.random.default_rng(number)
    streams: dict[str, tuple[Iterator[llm.Lesson], Words]] = {}
    pool = plan.sizes.pool
    while time.monotonic() < plan.taught:
        wanted = [(plan.queues[model].qsize(), rng.random(), model) for model in plan.queues if _wanted(plan, model)]
        _, _, model = min(wanted, default=(0, 0.0, None))
        if model is None:
            time.sleep(0.2)
            continue
        if model not in streams:
            folder = plan.tokens_of(model)
            assert folder
            streams[model] = llm.lessons_of(model, rng), Words(folder)
        stream, words = streams[model]
        pairs = [pair for pair in words.coded(itertools.islice(stream, pool)) if sum(map(len, pair)) <= LONGEST]
        if model in WEAK or not plan.resume:
            pairs += [_copy(rng) for _ in range(int(COPIES * pool))]
        batches = list(packed(pairs, plan.sizes.tokens))
        rng.shuffle(batches)
        try:
            for batch in batches:
                plan.queues[model].put(arrays(batch, chance), timeout=10)
        except queue.Full:  # the model has ended, or others have none
            continue
        pool = 2 * plan.sizes.pool


def _wanted(plan: Plan, model: str) -> bool:
    """Whether *model* learns now, or in some seconds, and fewer batches than its queue holds wait for it."""
    first, last = plan.window(model)
    return first - 20 < time.monotonic() < last and plan.tokens_of(model) is not None and not plan.queues[model].full()


def _copy(rng: random.Random) -> Coded:
    row = [rng.randrange(4, VOCABULARY) for _ in range(rng.randint(10, 50))]
    return [0, *row, EOS], [*row, EOS]


def packed(pairs: Sequence[Coded], tokens: int) -> Iterator[list[Coded]]:
    """Batches of pairs of similar length; rows times the longest row, rounded up to ``STEP``, is at most *tokens*."""
    batch: list[Coded] = []
    for pair in sorted(pairs, key=lambda pair: sum(map(len, pair))):
        if batch and (len(batch) + 1) * _rounded(pair) > tokens:
            yield batch
            batch = []
        batch.append(pair)
    if batch:
        yield batch


def _rounded(pair: Coded) -> int:
    return -(-sum(map(len, pair)) // STEP) * STEP


def arrays(batch: Sequence[Coded], chance: np.random.Generator, share: float = PROMPT_SHARE) -> Batch:
    """*batch* as a model takes it. Answers are learned, and a *share* of the tokens of prompts."""
    length = max(map(_rounded, batch))
    ids = np.full((len(batch), length), PAD, np.int16)
    where, labels = [], []
    for row, (prompt, target) in enumerate(batch):
        whole = np.array(prompt + target, np.int16)
        ids[row, : len(whole)] = whole
        early = np.flatnonzero(chance.random(len(prompt) - 1) < share * min(1.0, len(target) / LONG))
        at = np.concatenate([early, np.arange(len(prompt) - 1, len(whole) - 1)])
        where.append(at + row * length)
        labels.append(whole[at + 1])
    return ids, np.concatenate(where).astype(np.int32), np.concatenate(labels)
