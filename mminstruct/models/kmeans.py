"""k-means with one seeding, repair of empty clusters and numbering for all backends.

Centroids are seeded here, by k-means++ on a subsample, so every backend starts from the same ones and, on data with
clear clusters, ends with the same ones. The result depends on the points in their order, the seed and the backend;
callers order the points by content. A CPU backend gives the same bytes at any load on one machine; another machine or
another number of threads may sum in another order. With faiss, centroids are summed here, in the order of the points.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mminstruct.models.kmeans_fits import FITS, Fit, nearest, spread
from mminstruct.unit import WorkerGroup

Assign = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""From points and centroids to the nearest centroid of each point ``(N,)`` and the squared distances ``(N,)``."""
BACKENDS = ("cuvs", "torch", "faiss", "numpy")
"""In the order of preference with a GPU, which cuvs needs; without a GPU, faiss comes before torch."""
_SEEDING = 16
"""Points per cluster that k-means++ reads. With 32 the time doubles and the inertia after 25 iterations is the same;
with 8 it is up to 4 % higher."""
_PRODUCTS = 1 << 28
"""Bytes of all products of the points that k-means++ reads. One product of all is several times as fast as a product
with a few picks at each step; 256 MB are enough for 512 clusters."""


@dataclass(frozen=True, slots=True)
class Clusters:
    """Clusters, numbered by size, the largest first."""

    centroids_KD: np.ndarray
    """float32; K is less than asked for where there are fewer distinct points."""
    labels_N: np.ndarray
    """int32, index of the nearest centroid."""
    distances_N: np.ndarray
    """float32, Euclidean distance to that centroid."""
    inertia: float
    """Sum of the squared distances."""
    backend: str


def kmeans(
    points_ND: np.ndarray,
    k: int,
    *,
    seed: int,
    iterations: int = 25,
    restarts: int = 1,
    backend: str = "auto",
    group: WorkerGroup | None = None,
) -> Clusters:
    """Lloyd's algorithm from k-means++ seeds; the best of *restarts* by inertia.

    Args:
        points_ND: float32, in an order that depends on content only.
        k: Clusters, at least 1.
        seed: Seed of the seeding, 0 or more.
        iterations: Upper limit; backends stop at convergence.
        restarts: Seedings to try.
        backend: One of ``BACKENDS``, or ``auto``: the first that is installed and has its device.
        group: Processes that fit together, each on a share of the points; needs backend torch.

    Raises:
        ValueError: for rows that are not finite or zero, by number; for no points; for a backend that is unknown or
            cannot run here.
    """
    points_ND = np.ascontiguousarray(points_ND, np.float32)
    _check(points_ND, k)
    name = backend_for(backend)
    if group is not None and name != "torch":
        raise ValueError(f"k-means backend {name} runs in one process; for several, use torch")
    fit = FITS[name] if group is None else spread(group)
    near: Callable[[np.ndarray], Near] = Near
    assign: Assign = nearest
    if name in ("cuvs", "torch") and _gpu():  # else its CPU would seed and assign while the GPU waits
        from mminstruct.models import kmeans_torch

        near, assign = kmeans_torch.Near, kmeans_torch.nearest  # type: ignore[assignment]
    distinct = len(np.unique(points_ND, axis=0)) if len(points_ND) <= 4 * k else k + 1
    best: Clusters | None = None
    for restart in range(max(1, restarts)):
        first_KD = plus_plus(points_ND, min(k, distinct), np.random.default_rng([seed, restart]), near)
        found = _settle(points_ND, first_KD, fit, assign, iterations, name)
        if best is None or found.inertia < best.inertia:
            best = found
    assert best is not None
    return best


def backend_for(backend: str) -> str:
    """*backend*, or the first of ``BACKENDS`` that can run here.

    Raises:
        ValueError: for one that is unknown, not installed, or lacks its GPU.
    """
    if backend == "auto":
        order = BACKENDS if _gpu() else ("faiss", "torch", "numpy")
        return next(name for name in order if _runs(name))
    if backend not in BACKENDS:
        raise ValueError(f"k-means backend {backend!r} is not one of auto, {', '.join(BACKENDS)}")
    if not _runs(backend):
        raise ValueError(f"k-means backend {backend} cannot run here (not installed, or no GPU); use auto")
    return backend


def _gpu() -> bool:
    """Whether torch can use a GPU here; torch is imported only where a driver is installed."""
    import ctypes

    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()


def _runs(name: str) -> bool:
    if importlib.util.find_spec(name) is None:  # a backend has the name of its module
        return False
    if name != "cuvs":
        return True
    try:
        import cupy

        return int(cupy.cuda.runtime.getDeviceCount()) > 0
    except Exception:  # an old driver, or none: any error means that no GPU can be used
        return False


class Near:
    """Squared distance of each point to the nearest of the points that are chosen so far."""

    def __init__(self, points_ND: np.ndarray) -> None:
        self._points_ND = points_ND
        self._squares_N = np.einsum("nd,nd->n", points_ND, points_ND)
        few = 4 * len(points_ND) ** 2 <= _PRODUCTS
        self._products_NN = points_ND @ points_ND.T if few else None
        self._near_CN = self._near_N = np.full(len(points_ND), np.inf, np.float32)

    def tried(self, picks_C: np.ndarray) -> np.ndarray:
        """Sum ``(C,)`` of the distances if one of the points *picks_C* were chosen, for each of them.

        Points that are equal up to rounding have distance 0.
        """
        known, points_ND = self._products_NN, self._points_ND
        products_CN = (points_ND @ points_ND[picks_C].T).T if known is None else known[picks_C]
        sums_CN = self._squares_N[picks_C, None] + self._squares_N
        far_CN = sums_CN - 2 * products_CN
        self._near_CN = np.minimum(self._near_N, np.where(far_CN < 1e-6 * sums_CN, 0, far_CN))
        return np.asarray(self._near_CN.sum(axis=1, dtype=np.float64))

    def take(self, pick: int) -> np.ndarray:
        """Choose the pick of this number in the last trial; the distances ``(N,)`` after it."""
        self._near_N = self._near_CN[pick]
        return np.asarray(self._near_N)


def plus_plus(
    points_ND: np.ndarray, k: int, random: np.random.Generator, near: Callable[[np.ndarray], Near] = Near
) -> np.ndarray:
    """*k* distinct points ``(K, D)`` by greedy k-means++ (Arthur & Vassilvitskii 2007).

    Reads at most 16 points per cluster, or 1024 where that is more. Returns fewer than *k* where there are fewer
    distinct ones.
    """
    count = min(len(points_ND), max(k * _SEEDING, 1024))
    if count < len(points_ND):
        points_ND = points_ND[np.sort(random.choice(len(points_ND), count, replace=False))]
    distances = near(points_ND)
    chosen = [int(random.integers(count))]
    distances.tried(np.array(chosen))
    near_N = distances.take(0)
    tries = 2 + int(np.log(k))
    while len(chosen) < k:
        edges_N = np.cumsum(near_N, dtype=np.float64)
        if edges_N[-1] <= 0:
            break
        picks_C = np.minimum(np.searchsorted(edges_N, random.random(tries) * edges_N[-1], side="right"), count - 1)
        winner = int(distances.tried(picks_C).argmin())
        chosen.append(int(picks_C[winner]))
        near_N = distances.take(winner)
    return points_ND[chosen].copy()


def _settle(
    points_ND: np.ndarray, first_KD: np.ndarray, fit: Fit, assign: Assign, iterations: int, name: str
) -> Clusters:
    """Fit, move centroids without points to the farthest points, and number the clusters."""
    centroids_KD = np.ascontiguousarray(fit(points_ND, first_KD, iterations), np.float32)
    labels_N, squares_N = assign(points_ND, centroids_KD)
    for _ in range(4):
        empty = np.flatnonzero(np.bincount(labels_N, minlength=len(centroids_KD)) == 0)
        if not len(empty) or squares_N.max() <= 0:
            break
        for cluster in empty:
            centroids_KD[cluster] = points_ND[squares_N.argmax()]
            away_ND = points_ND - centroids_KD[cluster]
            squares_N = np.minimum(squares_N, np.einsum("nd,nd->n", away_ND, away_ND, dtype=np.float64))
        centroids_KD = np.ascontiguousarray(fit(points_ND, centroids_KD, 2), np.float32)
        labels_N, squares_N = assign(points_ND, centroids_KD)
    sizes_K = np.bincount(labels_N, minlength=len(centroids_KD))
    order = sorted(np.flatnonzero(sizes_K), key=lambda cluster: (-sizes_K[cluster], centroids_KD[cluster].tobytes()))
    rank_K = np.full(len(sizes_K), -1)
    rank_K[order] = np.arange(len(order))
    return Clusters(
        centroids_KD[order],
        rank_K[labels_N].astype(np.int32),
        np.sqrt(squares_N).astype(np.float32),
        float(squares_N.sum(dtype=np.float64)),
        name,
    )


def _check(points_ND: np.ndarray, k: int) -> None:
    if points_ND.ndim != 2 or not points_ND.size:
        raise ValueError(f"k-means needs points (N, D) with N and D above 0, not shape {points_ND.shape}")
    if k < 1:
        raise ValueError(f"k-means with k={k}: need at least one cluster")
    for bad_N, what in (
        (~np.isfinite(points_ND).all(axis=1), "are not finite"),
        (~points_ND.any(axis=1), "are zero, so their embedding failed"),
    ):
        if bad_N.any():
            rows = np.flatnonzero(bad_N)
            more = f" and {len(rows) - 10} more" if len(rows) > 10 else ""
            raise ValueError(f"k-means: points in rows {', '.join(map(str, rows[:10]))}{more} {what}")
