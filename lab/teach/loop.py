"""The training loop of all models: forward and backward in a fast precision, updates in fp32.

Matrices are updated by Muon (Jordan 2024: momentum orthogonalised by Newton-Schulz steps, scaled to the root mean
square of Adam's updates as in Liu et al. 2025), other parameters by Adam. Training ends after a time in minutes; the
learning rate depends on the share of it that has passed.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

Losses = dict[str, Tensor]
"""Losses of a batch by name; ``loss`` is minimised, the others are only recorded."""

_BY_ADAM = ("embed", "lm_head", "gate.weight", "class_embedding", "head", "projection", "token_embedding", "logit")
"""Parts of names of matrices that do not map between hidden states; Muon would equalise their rows."""


def precision(device: str | torch.device = "cpu") -> torch.dtype:
    """bfloat16 where *device* has hardware for it, else float32.

    A Zen 3 core without it makes 1.2 GFLOP/s in bfloat16 and 57 in float32; a Zen 5 core with it 490 and 110.
    """
    fast = torch.device(device).type != "cpu" or torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if fast else torch.float32


def _orthogonal(matrices: Tensor) -> Tensor:
    """Approximate nearest semi-orthogonal matrices, singular values 0.7 to 1.2. Shape (n, rows, columns)."""
    x = matrices.to(precision(matrices.device))
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        square = x @ x.mT
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    made: Tensor = (x.mT if tall else x).float()
    return made


class Learner:
    """Optimizer of *model*, which computes in the ``precision`` of its device; updates go to fp32 copies.

    Args:
        model: On its device; converted to that precision.
        rate: Peak learning rate of Muon and Adam.
        decay: Weight decay of matrices.
        slow: Part of the names of parameters that have a quarter of the rate.
    """

    def __init__(self, model: nn.Module, rate: float = 4e-3, decay: float = 0.02, slow: str | None = None) -> None:
        self.model = model.to(precision(next(model.parameters()).device))
        self.rate, self.decay, self.slow = rate, decay, slow
        self.named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        self.full = {name: p.detach().float().clone() for name, p in self.named}
        self.first = {name: torch.zeros_like(p) for name, p in self.full.items()}
        self.second = {name: torch.zeros_like(self.full[name]) for name, _ in self.named if not self._is_matrix(name)}
        self.steps = 0

    def _is_matrix(self, name: str) -> bool:
        return self.full[name].ndim in (2, 3) and not any(part in name for part in _BY_ADAM)

    def _rate(self, name: str) -> float:
        return self.rate * (0.25 if self.slow and self.slow in name else 1.0)

    @torch.no_grad()
    def step(self, share: float) -> None:
        """Update with *share* of the peak rate and clear the gradients; non-finite gradients are skipped."""
        self.steps += 1
        alike: dict[tuple[int, ...], list[tuple[str, Tensor]]] = {}
        for name, p in self.named:
            if p.grad is None:
                continue
            grad = p.grad.float()
            p.grad = None
            if not bool(torch.isfinite(grad.sum())):
                continue
            first = self.first[name]
            if self._is_matrix(name):
                first.mul_(0.95).add_(grad)
                flat = grad.add(first, alpha=0.95).reshape(-1, *grad.shape[-2:])
                alike.setdefault(tuple(flat.shape[-2:]), []).append((name, flat))
            else:
                second = self.second[name]
                first.lerp_(grad, 0.1)
                second.lerp_(grad.square(), 0.02)
                mean = first / (1 - 0.9**self.steps)
                update = mean / ((second / (1 - 0.98**self.steps)).sqrt() + 1e-8)
                self.full[name].sub_(update, alpha=self._rate(name) * share)
        for shape, members in alike.items():
            updates = _orthogonal(torch.cat([flat for _, flat in members])) * (0.2 * math.sqrt(max(shape)))
            for (name, _), update in zip(members, updates.split([len(f) for _, f in members]), strict=True):
                full, rate = self.full[name], self._rate(name) * share
                full.mul_(1 - rate * self.decay).sub_(update.reshape(full.shape), alpha=rate)
        for name, p in self.named:
            p.copy_(self.full[name])

    def save(self, path: Path) -> None:
        """Write a checkpoint atomically."""
        state = {"full": self.full, "first": self.first, "second": self.second, "steps": self.steps}
        torch.save(state, path.with_suffix(".new"))
        path.with_suffix(".new").replace(path)

    @torch.no_grad()
    def load(self, path: Path) -> None:
        """Load the checkpoint *path*. Parameters that it lacks, or has in another shape, stay as they are."""
        state = torch.load(path, map_location=next(iter(self.full.values())).device, weights_only=True)
        self.steps = state["steps"]
        for kept in ("full", "first", "second"):
            mine = getattr(self, kept)
            mine.update({k: v for k, v in state[kept].items() if k in mine and v.shape == mine[k].shape})
        for name, p in self.named:
            p.copy_(self.full[name])


def share_of(progress: float, warm: float = 0.02, hold: float = 0.4) -> float:
    """Share of the peak rate at *progress* (0 to 1): warmup, constant, then linear decay to 0."""
    return min(progress / warm, 1.0) if progress < hold else max(0.0, (1 - progress) / (1 - hold))


def teach(
    learner: Learner,
    batches: Callable[[int], Iterable[Any]],
    cost: Callable[[Any], Losses],
    *,
    minutes: float,
    name: str,
    work: Path,
    report: Callable[[], dict[str, float]] | None = None,
    resume: bool = False,
) -> list[dict[str, float]]:
    """Train for *minutes*. Each minute, write a row to ``work/name.jsonl`` and a checkpoint to ``work/name.pt``.

    Args:
        learner: Model and optimizer.
        batches: From the number of earlier steps to an endless iterator; time to load a batch counts.
        cost: Losses of a batch; ``loss`` has a graph.
        minutes: Training time.
        name: Of the files.
        work: Folder of the files.
        report: Scores to record with the losses, five times in all.
        resume: Whether to start from ``work/name.pt`` if it exists.

    Returns:
        The rows.
    """
    checkpoint, curve = work / f"{name}.pt", []
    if resume and checkpoint.exists():
        learner.load(checkpoint)
    start = shown = time.monotonic()
    sums: dict[str, float] = {}
    seen, reports, stream = 0, 0, iter(batches(learner.steps))
    learner.model.train()
    while (progress := (time.monotonic() - start) / (60 * minutes)) < 1:
        losses = cost(next(stream))
        losses["loss"].backward()  # type: ignore[no-untyped-call]
        learner.step(share_of(progress))
        seen += 1
        for key, value in losses.items():
            sums[key] = sums.get(key, 0.0) + float(value.detach())
        if time.monotonic() - shown > 60 or learner.steps == 1:
            row = {
                "minutes": (time.monotonic() - start) / 60,
                "steps": learner.steps,
                **{k: v / seen for k, v in sums.items()},
            }
            if report and progress > (reports + 1) / 5:
                reports += 1
                row |= scored(learner.model, report)
            curve.append(_write(work / f"{name}.jsonl", row))
            learner.save(checkpoint)
            shown, seen, sums = time.monotonic(), 0, {}
    learner.save(checkpoint)
    row = {"minutes": minutes, "steps": learner.steps} | (scored(learner.model, report) if report else {})
    curve.append(_write(work / f"{name}.jsonl", row))
    return curve


def scored(model: nn.Module, report: Callable[[], dict[str, float]]) -> dict[str, float]:
    """Scores of *model* in evaluation mode, without gradients."""
    model.eval()
    with torch.no_grad():
        scores = report()
    model.train()
    return scores


def _write(path: Path, row: dict[str, float]) -> dict[str, float]:
    rounded = {key: round(value, 4) for key, value in row.items()}
    with path.open("a") as file:
        file.write(json.dumps(rounded) + "\n")
    print(path.stem, json.dumps(rounded), flush=True)
    return rounded


def quick_attention() -> str:
    """Register an attention that trains faster on a CPU than PyTorch's own, and return its name.

    Two batched products and a softmax in bfloat16 take a third of the time of the fused kernel's backward pass at the
    lengths of these models (100 to 300 tokens). It is causal where the module is. It has no padding mask, so pad on
    the right.
    """
    from transformers import AttentionInterface

    def attend(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float, **_: object
    ) -> tuple[Tensor, None]:
        rows, heads, length, width = query.shape
        groups = heads // key.shape[1]
        key, value = (x.repeat_interleave(groups, 1) if groups > 1 else x for x in (key, value))
        bias = torch.zeros(length, length, dtype=query.dtype, device=query.device)
        if getattr(module, "is_causal", False):
            bias = torch.full_like(bias, float("-inf")).triu(1)
        q, k, v = (x.reshape(rows * heads, length, width) for x in (query, key, value))
        scores = torch.baddbmm(bias.expand(rows * heads, length, length), q, k.mT, alpha=scaling).softmax(-1)
        return (scores @ v).view(rows, heads, length, width).transpose(1, 2), None

    AttentionInterface.register("two_products", attend)
    return "two_products"
