"""Trains a CLIP vision tower to classify what every patch shows, with labels from the true masks.

A model of this size does not learn from captions alone, in an hour on two cores, what a dog looks like. It does with
labels for every patch: its group's kind, colour, size, action, number, word and role in a relation. Captioner and CLIP
start from the tower; its classification heads are discarded.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lab.teach.loop import Learner, Losses, precision, quick_attention, teach
from lab.teach.pictures import LOCAL, PATCH, SIDE, WHOLE, Pictures

WIDTH = 192
BATCH = 64
KEPT = 56
"""Patches of a picture used in three of four batches; the fourth has all patches of a third of the pictures."""


def build() -> Any:
    """A CLIP vision tower with 1.9 million parameters."""
    from transformers import CLIPVisionModel

    return CLIPVisionModel(vision_config())


def vision_config() -> Any:
    from transformers import CLIPVisionConfig

    return CLIPVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=3 * WIDTH,
        num_hidden_layers=5,
        num_attention_heads=WIDTH // 64,
        image_size=SIDE,
        patch_size=PATCH,
        hidden_act="gelu",
        projection_dim=WIDTH,
    )


def scaled(pixels: np.ndarray[Any, Any], device: Any = "cpu") -> Tensor:
    """(n, side, side, 3) bytes to (n, 3, side, side), -1 to 1, in the ``precision`` of *device*."""
    return torch.from_numpy(np.array(pixels)).to(device).permute(0, 3, 1, 2).to(precision(device)).div_(127.5).sub_(1)


class Seeing(nn.Module):
    """The tower with a linear classification head for each property of a patch or a picture."""

    def __init__(self, tower: Any) -> None:
        super().__init__()
        self.tower = tower
        self.norm = nn.LayerNorm(WIDTH)
        sizes = {"centre": 2, **{name: len(values) for name, values in (LOCAL | WHOLE).items()}}
        sizes["kind"] += 1  # class 0 is the backdrop
        self.heads = nn.ModuleDict({name: nn.Linear(WIDTH, size) for name, size in sizes.items()})

    def states(self, images: Tensor, keep: Tensor | None = None) -> Tensor:
        """Normalised states (n, 1 + patches, width), class token first; only of the patches *keep* (n, k) if given."""
        inner = self.tower
        parts = inner.embeddings(images)
        if keep is not None:
            at = torch.cat([torch.zeros_like(keep[:, :1]), keep + 1], 1)
            parts = parts.gather(1, at[:, :, None].expand(-1, -1, parts.shape[-1]))
        return self.norm(inner.encoder(inputs_embeds=inner.pre_layrnorm(parts)).last_hidden_state)  # type: ignore[no-any-return]

    def pairs(
        self, pictures: Pictures, rows: np.ndarray[Any, Any], kept: int | None = None, states: Tensor | None = None
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Logits and labels by head, for the pictures in *rows*.

        Args:
            pictures: All pictures.
            rows: Indices of pictures.
            kept: Number of patches to use of each picture, those that show things first. Most patches show the
                backdrop, and training on a third of them is three times as fast.
            states: States of all patches, if they are already computed.
        """
        device = self.norm.weight.device
        owners = torch.from_numpy(pictures.owners[rows]).long().to(device)
        centres = torch.from_numpy(pictures.centres[rows]).long().to(device)
        groups = torch.from_numpy(pictures.groups[rows]).long().to(device)
        wholes = torch.from_numpy(pictures.wholes[rows]).long().to(device)
        keep = None
        if kept:
            keep = ((owners > 0) + torch.rand(owners.shape, device=device)).topk(kept).indices
            owners, centres = owners.gather(1, keep), centres.gather(1, keep)
        states = self.states(scaled(pictures.pixels[rows], device), keep) if states is None else self.norm(states)
        whole, patches = states[:, 0], states[:, 1:]
        where = owners > 0
        its = groups[where.nonzero()[:, 0], owners[where] - 1]  # (patches that show a thing, values)
        shown = patches[where]
        kinds = torch.zeros_like(owners)
        kinds[where] = its[:, 0] + 1
        pairs = {"kind": (self.heads["kind"](patches).flatten(0, 1), kinds.flatten())}
        pairs |= {name: (self.heads[name](shown), its[:, n]) for n, name in enumerate(LOCAL) if name != "kind"}
        pairs["centre"] = (self.heads["centre"](shown), centres[where])
        pairs |= {name: (self.heads[name](whole), wholes[:, n]) for n, name in enumerate(WHOLE)}
        signs = its[:, list(LOCAL).index("word")] > 0
        scores, truth = pairs["word"]
        if bool(signs.any()):  # few patches show signs, and words are hard to learn
            pairs["word"] = (scores[signs], truth[signs])
        return pairs


WEIGHTS = {"kind": 2.0, "count": 1.5, "word": 0.7}
"""Loss weights of heads; 1 for the others."""


def weighed(pairs: dict[str, tuple[Tensor, Tensor]]) -> Losses:
    """Cross-entropy of every head; ``loss`` is their weighted sum."""
    parts = {name: F.cross_entropy(scores.float(), truth) for name, (scores, truth) in pairs.items()}
    return {"loss": sum((WEIGHTS.get(n, 1.0) * p for n, p in parts.items()), torch.zeros(())), **parts}


def draw_rows(count: int, size: int, seed: int) -> Iterator[np.ndarray[Any, Any]]:
    """Row indices of batches: every picture once per epoch, sorted within a batch for sequential reads."""
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(count)
        for at in range(0, count - size + 1, size):
            yield np.sort(order[at : at + size])


def _batches(count: int, seed: int) -> Iterator[tuple[np.ndarray[Any, Any], int | None]]:
    for number, rows in enumerate(draw_rows(count, BATCH, seed)):
        yield (rows, KEPT) if number % 4 else (rows[::3], None)


def accuracy(model: Seeing, pictures: Pictures) -> dict[str, float]:
    """Accuracy of every head over patches or pictures; ``thing`` is ``kind`` over patches that show a thing."""
    right: dict[str, list[Tensor]] = {}
    for at in range(0, len(pictures), 64):
        for name, (scores, truth) in model.pairs(pictures, np.arange(at, min(at + 64, len(pictures)))).items():
            hit = (scores.argmax(-1) == truth).float()
            right.setdefault(name, []).append(hit)
            if name == "kind":
                right.setdefault("thing", []).append(hit[truth > 0])
    return {f"acc_{name}": float(torch.cat(hits).mean()) for name, hits in right.items()}


def train(
    work: Path, minutes: float, pictures: Pictures, held_out: Pictures, device: str = "cpu", resume: bool = False
) -> dict[str, float]:
    """Train, and save the tower to ``work/vision``."""
    tower = build()
    if resume:
        tower.load_state_dict(type(tower).from_pretrained(work / "vision").state_dict())
    if device == "cpu":
        tower.set_attn_implementation(quick_attention())
    model = Seeing(tower).to(device)
    learner = Learner(model, rate=2e-3 if resume else 3e-3)

    def cost(batch: tuple[np.ndarray[Any, Any], int | None]) -> Losses:
        return weighed(model.pairs(pictures, *batch))

    curve = teach(
        learner, lambda steps: _batches(len(pictures), steps), cost, minutes=minutes, name="vision", work=work,
        resume=resume, report=lambda: accuracy(model, held_out),
    )  # fmt: skip
    tower.save_pretrained(work / "vision")
    return curve[-1]
