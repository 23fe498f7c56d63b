"""k-means behind one function: the same seeding, repair and numbering around whichever library does the work.

Centroids are seeded here (k-means++ on a subsample: scikit-learn's own on all points costs more than all iterations
together), so every backend starts from the same ones and ends, on data that has clusters, with the same. Results are a
function of the points in their order, the seed and the backend; callers hand points over in an order of content.
CPU backends give the same bytes at any load, but not on every machine nor with every number of threads: sums
are taken in another order there. faiss is held to one thread's order of sums by adding up the centroids here.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

import numpy as np

from mminstruct.models.kmeans_fits import FITS, SPREAD, Fit, nearest, spread
from mminstruct.stage import WorkerGroup

BACKENDS = ("cuvs", "cuml", "torch", "faiss", "sklearn", "numpy")
"""Best first where a GPU is. The first two need one; without one, torch comes after scikit-learn."""
_SEEDING = 32
"""Points a cluster that k-means++ looks at."""


@dataclass(frozen=True, slots=True)
class Clusters:
    """What k-means found; clusters are numbered by size, the largest first."""

    centroids_KD: np.ndarray
    """float32; K is smaller than asked for where there are fewer distinct points."""
    labels_N: np.ndarray
    """int32, of the nearest centroid."""
    distances_N: np.ndarray
    """float32, Euclidean, to that centroid."""
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
    crew: WorkerGroup | None = None,
) -> Clusters:
    """Lloyd's algorithm from k-means++ seeds; of *restarts*, the one with the lowest inertia.

    Args:
        points_ND: float32, one point a row, in an order that depends on content alone.
        k: Clusters, at least 1.
        seed: Of the seeding; 0 or more.
        iterations: At most so many; backends stop where nothing moves any more.
        restarts: Seedings to try.
        backend: One of ``BACKENDS``, or ``auto``: the best that is installed and has its device.
        crew: Fits together, each process on a share of the points; for the backends in ``SPREAD``.

    Raises:
        ValueError: naming the rows, where points are not finite or zero; where there are no points; for a backend
            that is unknown or cannot run here.
    """
    points_ND = np.ascontiguousarray(points_ND, np.float32)
    _check(points_ND, k)
    name = backend_for(backend)
    if crew is not None and name not in SPREAD:
        raise ValueError(f"k-means backend {name} works in one process: for several take {' or '.join(SPREAD)}")
    fit = FITS[name] if crew is None else spread(name, crew)
    distinct = len(np.unique(points_ND, axis=0)) if len(points_ND) <= 4 * k else k + 1
    best: Clusters | None = None
    for restart in range(max(1, restarts)):
        first_KD = plus_plus(points_ND, min(k, distinct), np.random.default_rng([seed, restart]))
        found = _settle(points_ND, first_KD, fit, iterations, name)
        if best is None or found.inertia < best.inertia:
            best = found
    assert best is not None
    return best


def backend_for(backend: str) -> str:
    """*backend*, or the best that can run here.

    Raises:
        ValueError: where it is unknown, not installed, or without its GPU.
    """
    if backend == "auto":
        order = BACKENDS if _gpu() else ("faiss", "sklearn", "torch", "numpy")
        return next(name for name in order if _runs(name))
    if backend not in BACKENDS:
        raise ValueError(f"k-means backend {backend!r} is not one of auto, {', '.join(BACKENDS)}")
    if not _runs(backend):
        raise ValueError(f"k-means backend {backend} cannot run here (not installed, or no GPU): take auto")
    return backend


def _gpu() -> bool:
    """Whether torch can compute on a GPU here; torch is imported only where there is a driver of one."""
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
    if importlib.util.find_spec(name) is None:  # each is called as the module it needs
        return False
    if name not in ("cuvs", "cuml"):
        return True
    try:
        import cupy

        return int(cupy.cuda.runtime.getDeviceCount()) > 0
    except Exception:  # a driver too old, or none: any error means that there is no GPU to use
        return False


def plus_plus(points_ND: np.ndarray, k: int, random: np.random.Generator) -> np.ndarray:
    """*k* distinct points ``(K, D)`` by k-means++ (Arthur & Vassilvitskii 2007), greedy over a few candidates each.

    Looks at 32 points a cluster at most (1024 in all where k is small). Fewer than *k* come back where there are fewer
    distinct ones.
    """
    count = min(len(points_ND), max(k * _SEEDING, 1024))
    if count < len(points_ND):
        points_ND = points_ND[np.sort(random.choice(len(points_ND), count, replace=False))]
    squares_N = np.einsum("nd,nd->n", points_ND, points_ND)
    chosen = [int(random.integers(count))]
    near_N = _far(points_ND, squares_N, chosen)[:, 0]
    tries = 2 + int(np.log(k))
    while len(chosen) < k:
        edges_N = np.cumsum(near_N, dtype=np.float64)
        if edges_N[-1] <= 0:
            break
        picks_C = np.minimum(np.searchsorted(edges_N, random.random(tries) * edges_N[-1], side="right"), count - 1)
        near_NC = np.minimum(near_N[:, None], _far(points_ND, squares_N, picks_C))
        winner = int(near_NC.sum(axis=0, dtype=np.float64).argmin())
        chosen.append(int(picks_C[winner]))
        near_N = near_NC[:, winner]
    return points_ND[chosen].copy()


def _far(points_ND: np.ndarray, squares_N: np.ndarray, index_C: np.ndarray | list[int]) -> np.ndarray:
    """Squared distances ``(N, C)`` to some of the points; 0 between points that are equal up to rounding."""
    sums_NC = squares_N[:, None] + squares_N[index_C]
    far_NC = sums_NC - 2 * (points_ND @ points_ND[index_C].T)
    return np.where(far_NC < 1e-6 * sums_NC, 0, far_NC)


def _settle(points_ND: np.ndarray, first_KD: np.ndarray, fit: Fit, iterations: int, name: str) -> Clusters:
    """Fit, give centroids without points a new place, and number what comes out."""
    centroids_KD = np.ascontiguousarray(fit(points_ND, first_KD, iterations), np.float32)
    labels_N, squares_N = nearest(points_ND, centroids_KD)
    for _ in range(4):
        empty = np.flatnonzero(np.bincount(labels_N, minlength=len(centroids_KD)) == 0)
        if not len(empty) or squares_N.max() <= 0:
            break
        for cluster in empty:
            centroids_KD[cluster] = points_ND[squares_N.argmax()]
            away_ND = points_ND - centroids_KD[cluster]
            squares_N = np.minimum(squares_N, np.einsum("nd,nd->n", away_ND, away_ND, dtype=np.float64))
        centroids_KD = np.ascontiguousarray(fit(points_ND, centroids_KD, 2), np.float32)
        labels_N, squares_N = nearest(points_ND, centroids_KD)
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
        (~points_ND.any(axis=1), "are zero: whatever embedded them failed"),
    ):
        if bad_N.any():
            rows = np.flatnonzero(bad_N)
            more = f" and {len(rows) - 10} more" if len(rows) > 10 else ""
            raise ValueError(f"k-means: points in rows {', '.join(map(str, rows[:10]))}{more} {what}")
