"""How captioners and CLIP learn. Each runs in a process of its own; *attempt* is 1 after a first one failed."""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch
from torch import Tensor

from lab.teach import captioner, clip
from lab.teach.album import Album, album_of, scaled
from lab.teach.learner import Learner, Losses, Tensors
from lab.teach.pictures import LONG, SHORT
from lab.teach.plan import WATCHED, Plan
from lab.teach.pupil import Row, begin, device_of, learn, saved
from lab.teach.words import Words, row_of
from mminstruct.microworld.catalogue import LEVELS
from mminstruct.microworld.families import FAMILIES
from mminstruct.microworld.questions.domains import DOMAINS
from mminstruct.microworld.scene import draw_scene

TOLD = 0.5, 0.1
"""Weight of the heads' losses in the first half of the time, and at its end."""
HEADS_FIRST = 0.03
"""Share of the time in which new heads learn on a tower that is known and stays as it is."""
FIXED = "vision_model.post_layernorm"
"""Part of the tower that no state of the image tokens depends on."""


def see(plan: Plan, attempt: int, name: str) -> None:
    """A captioner: tower, heads, projector and text model, all at once."""
    device = device_of(plan, attempt)
    small, size = name == "captioner_small", plan.sizes.batch // (1 + attempt)
    fresh = not begin(plan, name, lambda folder: captioner.start(name, plan.work / "llm", folder))
    words, tensors = Words(plan.work / "llm"), saved(plan.work / name)
    fixed = {n: tensors.pop(n) for n in list(tensors) if FIXED in n}
    before, behind = (torch.tensor(ids, device=device) for ids in captioner.frame(words))
    head = captioner.SIZES[name].head
    names = ("pixels", "cells", "centres", "groups", "wholes", "captions", "flips")
    album = album_of(plan, "train", names, plan.sizes.images * 2 // 5 if small else None)
    held = album_of(plan, "held", names)
    while not held.complete or (len(album) < size and time.monotonic() < plan.window(name)[1]):
        time.sleep(0.0 if held.sync() + album.sync() else 0.1)
    rows = album.rows(size)
    heads = captioner.new_heads(captioner.SIZES[name].width)
    strength = 0.0 if attempt else 1.0
    if not fresh:
        heads = _heads_first(plan, tensors, heads, album, rows, plan.window(name))
    learner = Learner(
        tensors | heads, device, 3e-3 if fresh else 2e-3, 0.1,
        lambda part: 0.6 if part.startswith(captioner.VISION) and not fresh else 1.0,
    )  # fmt: skip
    p = learner.p

    def costs(book: Album, some: Tensor, weight: float, strength: float, detail: bool = False) -> Losses:
        patches, labels, said = book.batch(some, strength)
        states = captioner.tower(p, patches)
        parts = captioner.told(p, states, labels, detail)
        scores = captioner.read(p, states, before, behind, said, head)
        parts["caption"] = captioner.mean_loss(scores.flatten(0, 1), said.flatten())
        if detail:
            right = (scores.argmax(-1) == said) | (said == -100)
            parts["perfect"] = right.all(-1).float().mean()
        parts["loss"] = parts["caption"] + weight * parts["heads"]
        return parts

    def cost(progress: float) -> Losses:
        weight = TOLD[0] if progress < 0.5 else TOLD[0] + (TOLD[1] - TOLD[0]) * (2 * progress - 1)
        late = 1.0 if progress < 0.7 else max(0.02, (1 - progress) / 0.3)
        return costs(album, next(rows), 2 * weight if fresh else weight, strength * late)

    def watch() -> Row:
        found: Row = {}
        shown = ("caption", "perfect", "acc_kind", "acc_count", "acc_word", "acc_role")
        for k, level in enumerate(LEVELS):
            every = torch.arange(k, len(held), len(LEVELS), device=device)
            parts = [costs(held, some, TOLD[0], 0.0, True) for some in every.split(100)]
            found |= {f"{level}_{n}": sum(float(one[n]) for one in parts) / len(parts) for n in shown}
        return found | (written() if small else {})

    def written() -> Row:
        some = range(min(len(held), plan.sizes.asked))
        pixels = scaled(held.on["pixels"][: len(some)], device)
        ids = captioner.captions(p, pixels, before, behind, head, LONG)
        scenes = [draw_scene(index, WATCHED, LEVELS[index % len(LEVELS)]) for index in some]
        scores = captioner.judged([words.text(row) for row in ids.tolist()], scenes)
        return {key: scores[key] for key in ("objects_precision", "objects_recall", "count_precision")}

    def shipped(state: Tensors) -> Tensors:
        return {n: tensor for n, tensor in state.items() if not n.startswith("heads.")} | fixed

    learn(plan, name, learner, cost, shipped, watch, facts=lambda: {"images": len(album)})


def _heads_first(
    plan: Plan, tensors: Tensors, heads: Tensors, album: Album, rows: Iterator[Tensor], window: tuple[float, float]
) -> Tensors:
    """*heads* taught while the tower of *tensors* stays as it is."""
    learner = Learner(heads, plan.device, 5e-3, 0.0)
    still = {n: tensor.to(plan.device, next(iter(learner.p.values())).dtype) for n, tensor in tensors.items()}
    begun, last = time.monotonic(), HEADS_FIRST * (window[1] - window[0])
    while (done := (time.monotonic() - begun) / last) < 1:
        patches, labels, _ = album.batch(next(rows), 1.0)
        with torch.no_grad():
            states = captioner.tower(still, patches)
        captioner.told(learner.p, states, labels)["heads"].backward()  # type: ignore[no-untyped-call]
        learner.step(min(1.0, 2 * (1 - done)))
    plan.say(f"captioner: {learner.steps} steps for the heads")
    return learner.tensors()


def match(plan: Plan, attempt: int, name: str = "clip") -> None:
    """CLIP, with the captioner's tower as it was last saved."""
    device = device_of(plan, attempt)
    begin(plan, name, clip.start)
    tower = saved(plan.work / "captioner") if list((plan.work / "captioner").glob("*.safetensors")) else None
    tensors = saved(plan.work / name) | (clip.opened(tower) if tower else {})
    learner = Learner(
        clip.split(tensors), device, 2e-3, 0.05,
        lambda part: 0.25 if tower and part.startswith("visual.") and part != "visual.proj" else 1.0,
    )  # fmt: skip
    p, words = learner.p, Words(plan.work / "llm")

    def ids(said: list[str]) -> Tensor:
        return torch.tensor([row_of(row[: SHORT - 1], SHORT) for row in words.ids(said)], device=device)

    def table(said: list[tuple[str, ...]]) -> Tensor:
        """Token ids (most, n, SHORT) of n lists of texts; shorter lists come again from their start."""
        return torch.stack([ids([some[k % len(some)] for some in said]) for k in range(max(map(len, said)))])

    def one_of_each(texts: Tensor) -> Tensor:
        return texts[torch.randint(len(texts), (texts.shape[1],)), torch.arange(texts.shape[1])]

    wordings = table([family.wordings_train for family in FAMILIES.values()])
    looks = table([topic.looks for topic in DOMAINS.values()])
    names = ("pixels", "short", "wanted", "domains", "flips")
    album, held = album_of(plan, "train", names), album_of(plan, "held", names)
    size = min(2 * plan.sizes.batch, plan.sizes.images // 4) // (1 + attempt)
    while not held.complete or (len(album) < size and time.monotonic() < plan.window(name)[1]):
        time.sleep(0.0 if held.sync() + album.sync(1000) else 0.1)
    rows = album.rows(size)

    def cost(progress: float) -> Losses:
        row = next(rows)
        flip = (torch.rand(len(row), device=device) < 0.5) & (album.on["flips"][row] > 0)
        pixels = album.on["pixels"][row]
        pixels = torch.where(flip[:, None, None, None], pixels.flip(2), pixels)
        asked, said = one_of_each(wordings), one_of_each(looks)
        short, wanted, fits = (album.on[part][row] for part in ("short", "wanted", "domains"))
        return clip.cost(p, scaled(pixels, device), short.long(), (asked, wanted), (said, fits))

    def watch() -> Row:
        found: Row = {}
        for k, level in enumerate(LEVELS):
            every = torch.arange(k, len(held), len(LEVELS), device=device)
            seen = torch.cat([clip.images(p, scaled(held.on["pixels"][some], device)) for some in every.split(100)])
            scenes = [draw_scene(int(index), WATCHED, level) for index in every]
            scores = clip.matched(seen, lambda said: clip.texts(p, ids(said)), scenes)
            found |= {f"{level}_{key}": value for key, value in scores.items()}
        return found

    learn(plan, name, learner, cost, clip.joined, watch, hold=0.3, facts=lambda: {"images": len(album)})
