"""The parts of ``kmeans`` in torch: seeding, iterations and assignment, on a GPU where there is one.

Sums have a fixed order, so that a device repeats its result to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

_BLOCK = 65536
"""Points compared with all centroids at a time: 786 MB of similarities for 3,000 centroids."""
_RESIDENT = 8 << 30
"""Bytes of points that stay on the device; more are copied block by block in every iteration."""


def device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


class Near:
    """``kmeans.Near`` on *on*. Only the picks go there, and one distance a point comes back."""

    def __init__(self, points_ND: np.ndarray, on: str = "cuda") -> None:
        import torch

        self._points_ND = torch.from_numpy(points_ND).to(on)
        self._squares_N = self._points_ND.square().sum(1)
        self._near_N = torch.full_like(self._squares_N, torch.inf)
        self._near_NC = self._near_N[:, None]

    def tried(self, picks_C: np.ndarray) -> np.ndarray:
        import torch

        index_C = torch.from_numpy(np.asarray(picks_C, np.int64)).to(self._points_ND.device)
        sums_NC = self._squares_N[:, None] + self._squares_N[index_C]
        far_NC = sums_NC - 2 * (self._points_ND @ self._points_ND[index_C].T)
        far_NC = torch.where(far_NC < 1e-6 * sums_NC, 0, far_NC)
        self._near_NC = torch.minimum(self._near_N[:, None], far_NC)
        return np.asarray(self._near_NC.sum(0, dtype=torch.float64).cpu().numpy())

    def take(self, pick: int) -> np.ndarray:
        self._near_N = self._near_NC[:, pick].contiguous()
        return np.asarray(self._near_N.cpu().numpy())


def nearest(points_ND: np.ndarray, centroids_KD: np.ndarray, on: str = "cuda") -> tuple[np.ndarray, np.ndarray]:
    """Nearest centroid of each point ``(N,)``, and its squared distance ``(N,)`` in float64."""
    import torch

    centroids = torch.from_numpy(centroids_KD).to(on)
    half_K = centroids.square().sum(1) / 2
    labels, squares = [], []
    with torch.inference_mode():
        for block in torch.split(torch.from_numpy(points_ND), _BLOCK):
            block_BD = block.to(on)
            labels_B = _labels(block_BD, centroids, half_K, quick=False)
            labels.append(labels_B.cpu().numpy())
            squares.append((block_BD - centroids[labels_B]).double().square().sum(1).cpu().numpy())
    return np.concatenate(labels), np.concatenate(squares)


def fit(
    points_ND: np.ndarray,
    first_KD: np.ndarray,
    iterations: int,
    total: Callable[[Any], Any] = lambda tensor: tensor,
    on: str | None = None,
) -> np.ndarray:
    """Lloyd's iterations.

    Args:
        total: Sums a tensor over all processes that hold a share of the points.
        on: The device; None: a GPU if there is one.
    """
    import torch

    on = on or device()
    gpu = on != "cpu"
    blocks = torch.split(torch.from_numpy(points_ND), _BLOCK)
    if points_ND.nbytes < _RESIDENT:
        blocks = tuple(block.to(on) for block in blocks)
    centroids_KD = torch.from_numpy(first_KD).to(on)
    last_N = torch.full((len(points_ND),), -1, device=on)
    with torch.inference_mode():
        for _ in range(iterations):
            half_K = centroids_KD.square().sum(1) / 2
            sums_KD = torch.zeros_like(centroids_KD)
            labels = []
            for block in blocks:
                block_BD = block.to(on)
                labels.append(_labels(block_BD, centroids_KD, half_K, gpu))
                _add(sums_KD, block_BD, labels[-1], gpu)
            labels_N = torch.cat(labels)
            if not total((labels_N != last_N).sum()):
                break
            sizes_K1 = total(torch.bincount(labels_N, minlength=len(centroids_KD)))[:, None]
            centroids_KD = torch.where(sizes_K1 > 0, total(sums_KD) / sizes_K1.clamp_min(1), centroids_KD)
            last_N = labels_N
    return np.asarray(centroids_KD.cpu().numpy())


def _labels(block_BD: Any, centroids_KD: Any, half_K: Any, quick: bool) -> Any:
    """Nearest centroid of each point.

    *quick* takes the two best of a product in TF32, which is eight times as fast on an H200, and compares those two in
    float32: its error is a thousandth, too much to choose between neighbours.
    """
    import torch

    if not quick or len(centroids_KD) == 1:
        return (block_BD @ centroids_KD.T - half_K).argmax(1)
    with _tf32():
        scores_BK = block_BD @ centroids_KD.T - half_K
    first_B = scores_BK.argmax(1)
    second_B = scores_BK.scatter_(1, first_B[:, None], -torch.inf).argmax(1)
    low_B, high_B = torch.minimum(first_B, second_B), torch.maximum(first_B, second_B)
    low, high = ((block_BD * centroids_KD[index]).sum(1) - half_K[index] for index in (low_B, high_B))
    return torch.where(high > low, high_B, low_B)


def _add(sums_KD: Any, block_BD: Any, labels_B: Any, ordered: bool) -> None:
    """Add each point to the sum of its label, in the order of the points.

    *ordered* sorts the points first: ``index_add_`` on a GPU adds in any order, and on a CPU in theirs.
    """
    import torch

    if not ordered:
        sums_KD.index_add_(0, labels_B, block_BD)
        return
    sizes_K = torch.bincount(labels_B, minlength=len(sums_KD))
    rows_BD = block_BD[torch.argsort(labels_B, stable=True)]
    sums_KD += torch.segment_reduce(rows_BD, "sum", lengths=sizes_K, axis=0, initial=0)


@contextmanager
def _tf32() -> Iterator[None]:
    import torch

    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
