"""The base and the arms of the experiment, taught and asked on a device."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lab.headline.arms import Pair
from lab.headline.model import Learner, Net, Size, costs, repeated
from lab.headline.scenes import Array, Asked, Words
from lab.teach.learner import Tensors, precision
from lab.teach.words import PAD
from mminstruct.microworld.language import caption

_MIX = (0.4, 0.25, 0.35)
"""Shares of the rows of ``scenes.base_rows``: captions, short answers, instructions in text."""
_SHORT = 8
"""Most tokens of a short answer."""


class Tower:
    """The frozen vision tower of the captioner in *folder*."""

    def __init__(self, folder: Path, device: str) -> None:
        from transformers import LlavaForConditionalGeneration

        whole = LlavaForConditionalGeneration.from_pretrained(folder, dtype=precision(device))
        self.inner, self.device = whole.model.vision_tower.to(device).eval(), device

    @torch.no_grad()
    def states(self, pixels: Array, at_once: int = 256) -> Tensor:
        """States (n, S, width) of pictures (n, side, side, 3), uint8."""
        made = []
        for some in torch.from_numpy(pixels).split(at_once):
            x = some.to(self.device).permute(0, 3, 1, 2).to(precision(self.device)) / 127.5 - 1
            made.append(self.inner(pixel_values=x).last_hidden_state)
        return torch.cat(made)


class Album:
    """States of the pictures on the device: the sets' first, then the base's as they are drawn, with their rows."""

    def __init__(self, tower: Tower, drawn: Array, chunks: list[Future[tuple[Array, Array, Array]]], most: int) -> None:
        first = tower.states(drawn)
        self.tower, self.chunks, self.sets, self.scenes = tower, chunks, len(first), 0
        self.states = first.new_zeros(len(first) + most, *first.shape[1:])
        self.states[: len(first)] = first
        self.ids = self.at = torch.zeros(0, dtype=torch.int16)
        self.most = most

    def sync(self, wait: bool = False) -> int:
        """Take over the chunks that are drawn; with *wait*, at least one. Returns how many scenes there are."""
        while self.chunks and self.scenes < self.most and (wait or self.chunks[0].done()):
            pixels, ids, at = self.chunks.pop(0).result()
            start, count = self.scenes, min(len(pixels), self.most - self.scenes)
            self.states[self.sets + start : self.sets + start + count] = self.tower.states(pixels[:count])
            if not start:
                self.ids, self.at = (
                    torch.zeros((self.most, *x.shape[1:]), dtype=torch.int16, device=self.tower.device)
                    for x in (ids, at)
                )
            for there, new in ((self.ids, ids), (self.at, at)):
                there[start : start + count] = torch.from_numpy(new[:count]).to(self.tower.device)
            self.scenes, wait = start + count, False
        return self.scenes

    def close(self) -> int:
        """Cancel what is not drawn yet; returns how many scenes there are."""
        for one in self.chunks:
            one.cancel()
        return self.scenes

    def batch(self, rows: int, chance: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Random rows of the base for one model: ids, states, shown, places."""
        device = self.states.device
        scene = torch.randint(self.scenes, (rows,), generator=chance, device=device)
        mix = torch.tensor(_MIX, device=device)
        kind = torch.multinomial(mix, rows, replacement=True, generator=chance)
        ids, at = (x[scene, kind].long()[None] for x in (self.ids, self.at))
        return ids, self.states[self.sets + scene][None], (kind < 2)[None], at


@dataclass(frozen=True, slots=True)
class School:
    """What teaches: the device, the shape of the models, batch and rate."""

    device: str
    size: Size
    batch: int
    rate: float
    new: int
    """Most tokens of an answer to an instruction."""

    def step(self, learner: Learner, batch: tuple[Tensor, Tensor, Tensor, Tensor], share: float) -> Tensor:
        """One update of all models; returns their losses (M,)."""
        ids, states, shown, at = batch
        total, count = costs(Net(learner.p, self.size).scores(ids, states, shown, at), ids, at)
        loss = total.sum(1) / count.sum(1).clamp(min=1)
        loss.sum().backward()  # type: ignore[no-untyped-call]
        learner.step(share)
        return loss.detach()


def base(
    school: School, start: Tensors, album: Album, end: float, note: Callable[[dict[str, float]], None]
) -> tuple[Tensors, Tensors, int]:
    """Teach *start* until the clock shows *end*.

    Returns:
        Its tensors in fp32 and in the precision of the device, and the number of steps.
    """
    learner, chance = Learner(start, school.device, school.rate), torch.Generator(device=school.device).manual_seed(1)
    album.sync(wait=True)
    began = shown = time.monotonic()
    total, last = torch.zeros(1, device=school.device), 0
    while (now := time.monotonic()) < end:
        if learner.steps % 8 == 0:
            album.sync()
            _wait(school.device)
        total += school.step(learner, album.batch(school.batch, chance), share_of((now - began) / (end - began)))
        if now - shown > 5:
            note({"steps": learner.steps, "scenes": album.scenes, "loss": float(total) / (learner.steps - last)})
            total.zero_()
            shown, last = now, learner.steps
    return learner.full, {name: p.detach() for name, p in learner.p.items()}, learner.steps


def share_of(progress: float, warm: float = 0.02, hold: float = 0.4) -> float:
    """Share of the peak rate at *progress* (0 to 1): warmup, constant, then linear decay to 0."""
    return min(progress / warm, 1.0) if progress < hold else max(0.0, (1 - progress) / (1 - hold))


def _wait(device: str) -> None:
    """Until all that was sent to *device* is done; otherwise the clock would show when a step is sent."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()


def timed(school: School, start: Tensors, album: Album, models: int, steps: int = 3) -> float:
    """Seconds of a step of *models* copies of *start*."""
    learner, chance = (
        Learner(repeated(start, models), school.device, school.rate),
        torch.Generator(device=school.device),
    )
    parts = [album.batch(school.batch * models, chance) for _ in range(steps + 1)]
    began = 0.0
    for number, part in enumerate(parts):
        if number == 1:
            _wait(school.device)
            began = time.monotonic()
        ids, states, shown, at = (x.view(models, school.batch, *x.shape[2:]) for x in part)
        school.step(learner, (ids, states, shown, at), 0.0)
    _wait(school.device)
    return (time.monotonic() - began) / steps


def taught(
    school: School, start: Mapping[str, Tensor], album: Album, plans: Sequence[tuple[Array, Array, Array]], stop: float
) -> tuple[Tensors, list[float], int]:
    """Teach one model for each plan, side by side, from *start*.

    Returns:
        Tensors of the models, their mean losses over the last tenth, and the steps made: fewer than planned if the
        clock showed *stop*.
    """
    device = school.device
    ids, at = (torch.from_numpy(np.stack([plan[n] for plan in plans])).to(device) for n in (0, 1))
    scene = torch.from_numpy(np.stack([plan[2] for plan in plans])).to(device)
    scene = torch.where(scene < 0, -1 - scene, scene + album.sets)
    learner = Learner(repeated(start, len(plans)), device, school.rate)
    steps = ids.shape[1]
    losses: list[Tensor] = []
    for step in range(steps):
        if step % 8 == 0:
            _wait(device)
            if time.monotonic() > stop:
                break
        where = scene[:, step]
        batch = (ids[:, step].long(), album.states[where], torch.ones_like(where, dtype=torch.bool), at[:, step].long())
        losses.append(school.step(learner, batch, share_of((step + 1) / steps, warm=0.05)))
    tail = torch.stack(losses[-max(1, len(losses) // 10) :]).mean(0) if losses else torch.zeros(len(plans))
    return {name: p.detach() for name, p in learner.p.items()}, tail.tolist(), len(losses)


def answers(
    school: School, p: Tensors, asked: Sequence[Asked], states: Tensor, words: Words, told: bool = False
) -> list[list[str]]:
    """Greedy answers of each model to *asked*, in their order.

    Args:
        school: For the shape and the device.
        p: Tensors of the models.
        asked: Questions.
        states: Of the exam's pictures, by scene.
        words: Tokenizer.
        told: Whether they get the true caption instead of the picture.
    """
    net = Net(p, school.size)
    said = [["" for _ in asked] for _ in range(net.models)]
    for kind in dict.fromkeys(one.kind for one in asked):
        mine = [n for n, one in enumerate(asked) if one.kind == kind]
        prompts = [words.prompt(asked[n].text, caption(asked[n].scene) if told else None) for n in mine]
        longest = max(map(len, prompts))
        ids = torch.tensor([[PAD] * (longest - len(prompt)) + prompt for prompt in prompts], device=school.device)
        pads = torch.tensor([longest - len(prompt) for prompt in prompts], device=school.device)
        some = states[torch.tensor([asked[n].index for n in mine], device=school.device)]
        ids, pads, some = (x.expand(net.models, *x.shape) for x in (ids, pads, some))
        made = net.answers(ids, some, pads, _SHORT if kind == "short" else school.new, shown=not told).tolist()
        for model, rows in enumerate(made):
            for n, row in zip(mine, rows, strict=True):
                said[model][n] = words.said(row)
    return said


@torch.no_grad()
def gains(school: School, p: Tensors, album: Album, pairs: Sequence[Pair], words: Words) -> list[float]:
    """How much the picture helps a model (M = 1) to predict each answer, nats a token: the blind test."""
    net, found = Net(p, school.size), []
    for start in range(0, len(pairs), school.batch):
        some = pairs[start : start + school.batch]
        both = []
        for told in (None, ""):
            rows = [words.row([(pair.asked, pair.said)], told) for pair in some]
            ids, at = (torch.from_numpy(x).long()[None].to(school.device) for x in words.arrays(rows))
            states = album.states[torch.tensor([pair.scene for pair in some], device=school.device)][None]
            shown = torch.full(ids.shape[:2], told is None, device=school.device)
            total, count = costs(net.scores(ids, states, shown, at), ids, at)
            both.append(total[0] / count[0].clamp(min=1))
        found += (both[1] - both[0]).tolist()
    return found
