"""The optimizer of all models, and the schedule by the clock.

Forward and backward are computed in a fast precision, updates in fp32. Matrices are updated by Muon (Jordan 2024:
momentum orthogonalised by Newton-Schulz steps, scaled to the root mean square of Adam's updates as in Liu et al. 2025),
other parameters by Adam. A model learns until a time; its learning rate depends on the share of it that has passed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

Tensors = dict[str, Tensor]
Losses = dict[str, Tensor]
"""Losses of a batch by name; ``loss`` is minimised, the others are only recorded."""

_BY_ADAM = ("embed", "lm_head", "gate.weight", "class_embedding", "head", "projection", "token_embedding", "logit",
            "position")  # fmt: skip
"""Parts of names of matrices that do not map between hidden states; Muon would equalise their rows."""
_ALIGNED = 64
"""Adam's tensors start at multiples of so many elements of their one row, so that kernels find them aligned."""
_EVERY, _SHARE = 10, 0.03
"""The running mean takes *_SHARE* of the parameters every so many steps: it is over about 300 steps."""


def precision(device: str | torch.device = "cpu") -> torch.dtype:
    """bfloat16 where *device* has hardware for it, else float32.

    A Zen 3 core without it makes 1.2 GFLOP/s in bfloat16 and 57 in float32; a Zen 5 core with it 490 and 110.
    """
    fast = torch.device(device).type != "cpu" or torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if fast else torch.float32


def orthogonal(matrices: Tensor) -> Tensor:
    """Approximate nearest semi-orthogonal matrices (n, rows, columns), singular values 0.7 to 1.2."""
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


@dataclass
class _Group:
    """Parameters that are updated together: all matrices of one shape as a stack, or all others as one row."""

    shape: tuple[int, ...]
    """Of a matrix; empty for the row."""
    spans: list[tuple[str, int, int, torch.Size]]
    """Name, start, end and shape of each tensor."""
    full: Tensor
    low: Tensor
    """What the model computes with, in the fast precision."""
    first: Tensor
    second: Tensor
    mean: Tensor
    factor: Tensor


class Learner:
    """Parameters by name, and their optimizer, with few kernels and no synchronising.

    Args:
        tensors: Initial values by name.
        device: Where they learn.
        rate: Peak learning rate of Muon and Adam.
        decay: Weight decay of matrices.
        factor: From a name to what its learning rate is multiplied by.
    """

    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        device: str | torch.device = "cpu",
        rate: float = 4e-3,
        decay: float = 0.02,
        factor: Callable[[str], float] = lambda name: 1.0,
    ) -> None:
        self.rate, self.decay, self.steps = rate, decay, 0
        self.p: Tensors = {}
        """Leaves of the graph, in the fast precision."""
        shapes: dict[tuple[int, ...], list[str]] = {}
        for name, tensor in tensors.items():
            matrix = tensor.ndim in (2, 3) and not any(part in name for part in _BY_ADAM)
            shapes.setdefault(tuple(tensor.shape[-2:]) if matrix else (), []).append(name)
        self._groups = [
            self._group(shape, {name: tensors[name].to(device).float() for name in names}, factor)
            for shape, names in shapes.items()
        ]

    def _group(self, shape: tuple[int, ...], tensors: Tensors, factor: Callable[[str], float]) -> _Group:
        rows = [self._row(tensor, shape) for tensor in tensors.values()]
        full = torch.cat(rows)
        low = full.to(precision(full.device))
        spans, at = [], 0
        for (name, tensor), row in zip(tensors.items(), rows, strict=True):
            stop = at + (len(row) if shape else tensor.numel())
            spans.append((name, at, stop, tensor.shape))
            self.p[name] = low[at:stop].view(tensor.shape).detach().requires_grad_()
            at += len(row)
        factors = [torch.full((len(row),), factor(name)) for name, row in zip(tensors, rows, strict=True)]
        its = torch.cat(factors).to(full.device)
        second = torch.zeros(0 if shape else len(full), device=full.device)
        return _Group(shape, spans, full, low, torch.zeros_like(full), second, full.clone(),
                      its[:, None, None] if shape else its)  # fmt: skip

    @staticmethod
    def _row(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
        if shape or tensor.numel() % _ALIGNED == 0:
            return tensor.reshape(-1, *shape)
        return F.pad(tensor.reshape(-1), (0, -tensor.numel() % _ALIGNED))

    @torch.no_grad()
    def step(self, share: float) -> None:
        """Update with *share* of the peak rate and clear the gradients. Gradients that are not finite count as 0."""
        self.steps += 1
        for g in self._groups:
            leaves = [self.p[name] for name, *_ in g.spans]
            grads = [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in leaves]
            grad = torch.cat([self._row(one, g.shape) for one in grads]).float().nan_to_num_(0.0, 0.0, 0.0)
            for leaf in leaves:
                leaf.grad = None
            if g.shape:
                g.first.mul_(0.95).add_(grad)
                update = orthogonal(grad.add_(g.first, alpha=0.95)) * (0.2 * math.sqrt(max(g.shape)))
                pace = g.factor * (self.rate * share)
                g.full.mul_(1 - pace * self.decay).sub_(update * pace)
            else:
                g.first.lerp_(grad, 0.1)
                g.second.lerp_(grad.square_(), 0.02)
                mean = g.first / (1 - 0.9**self.steps)
                root = (g.second / (1 - 0.98**self.steps)).sqrt_().add_(1e-8)
                g.full.sub_(mean.div_(root).mul_(g.factor), alpha=self.rate * share)
            g.low.copy_(g.full)
            if self.steps % _EVERY == 0:
                g.mean.lerp_(g.full, _SHARE)

    def tensors(self, mean: bool = False) -> Tensors:
        """fp32 copies by name; of the running mean if *mean*."""
        found: Tensors = {}
        for g in self._groups:
            whole = g.mean if mean else g.full
            found |= {name: whole[at:stop].reshape(shape).clone() for name, at, stop, shape in g.spans}
        return found


class Clock:
    """Where a model is in its time: warmup, constant rate, then linear decay to 0."""

    def __init__(self, end: float, hold: float, report: float, save: float, warm: float = 0.03) -> None:
        self.start, self.end, self.hold, self.warm = time.monotonic(), end, hold, warm
        self._every = {"report": report, "save": save}
        self._last = dict.fromkeys(self._every, self.start)

    @property
    def minutes(self) -> float:
        return (time.monotonic() - self.start) / 60

    @property
    def progress(self) -> float:
        """0 at the start, 1 at the end."""
        return (time.monotonic() - self.start) / max(1e-3, self.end - self.start)

    def share(self, progress: float) -> float:
        """Share of the peak rate at *progress*."""
        if progress < self.hold:
            return min(progress / self.warm, 1.0)
        return max(0.0, (1 - progress) / (1 - self.hold))

    def due(self, what: str) -> bool:
        """Whether it is time for a ``report`` or to ``save``; seconds before the end it is not."""
        now = time.monotonic()
        due = now - self._last[what] > self._every[what] and self.end - now > 0.1 * self._every[what]
        if due:
            self._last[what] = now
        return due


class Mean:
    """Mean losses since the last report, added up on the device."""

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()
        self._sums, self._count = torch.zeros(()), 0

    def add(self, losses: Losses) -> None:
        self._names = tuple(losses)
        self._sums = torch.stack([value.detach().float() for value in losses.values()]) + (
            self._sums if self._count else 0.0
        )
        self._count += 1

    def take(self) -> dict[str, float]:
        """The means; the next ones start anew."""
        means = (self._sums / self._count).tolist() if self._count else []
        self._count = 0
        return dict(zip(self._names, means, strict=False))
