"""Lloyd's iterations for ``kmeans`` by each backend, in one process or in several.

The cuVS backend follows the sources of its wheel (26.10) and has never run.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import numpy as np

from mminstruct.unit import WorkerGroup

Fit = Callable[[np.ndarray, np.ndarray, int], np.ndarray]
"""From points ``(N, D)``, first centroids ``(K, D)`` and a number of iterations to centroids ``(K, D)``."""
_BLOCK = 4096
"""Points compared with all centroids at a time."""
_TOLERANCE = 1e-12
"""Movement of centroids at which cuVS stops; it refuses 0."""
_PATIENCE = datetime.timedelta(minutes=5)
"""Longest wait of a rank for the others."""


def nearest(points_ND: np.ndarray, centroids_KD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nearest centroid of each point ``(N,)``, and its squared distance ``(N,)`` in float64."""
    half_K = np.einsum("kd,kd->k", centroids_KD, centroids_KD) / 2
    labels_N = np.empty(len(points_ND), np.int64)
    squares_N = np.empty(len(points_ND))
    for start in range(0, len(points_ND), _BLOCK):
        some_BD = points_ND[start : start + _BLOCK]
        labels_B = (some_BD @ centroids_KD.T - half_K).argmax(axis=1)
        labels_N[start : start + _BLOCK] = labels_B
        away_BD = some_BD - centroids_KD[labels_B]
        squares_N[start : start + _BLOCK] = np.einsum("bd,bd->b", away_BD, away_BD, dtype=np.float64)
    return labels_N, squares_N


def _means(points_ND: np.ndarray, labels_N: np.ndarray, old_KD: np.ndarray) -> np.ndarray:
    """Means ``(K, D)`` of each label's points, summed in their order; the old centroid for a label without points."""
    from scipy.sparse import csr_matrix  # type: ignore[import-untyped]

    count, k = len(labels_N), len(old_KD)
    member_KN = csr_matrix((np.ones(count, np.float32), (labels_N, np.arange(count))), shape=(k, count))
    sizes_K1 = np.bincount(labels_N, minlength=k)[:, None].astype(np.float32)
    return np.where(sizes_K1 > 0, (member_KN @ points_ND) / np.maximum(sizes_K1, 1), old_KD).astype(np.float32)


def _lloyd(
    points_ND: np.ndarray, centroids_KD: np.ndarray, iterations: int, label: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Lloyd's iterations; *label* assigns the points to given centroids ``(N,)``."""
    last_N: np.ndarray | None = None
    for _ in range(iterations):
        labels_N = label(centroids_KD)
        if last_N is not None and np.array_equal(labels_N, last_N):
            break
        centroids_KD, last_N = _means(points_ND, labels_N, centroids_KD), labels_N
    return centroids_KD


def _numpy(points_ND: np.ndarray, first_KD: np.ndarray, iterations: int) -> np.ndarray:
    return _lloyd(points_ND, first_KD, iterations, lambda centroids_KD: nearest(points_ND, centroids_KD)[0])


def _faiss(points_ND: np.ndarray, first_KD: np.ndarray, iterations: int) -> np.ndarray:
    import faiss

    def label(centroids_KD: np.ndarray) -> np.ndarray:
        index = faiss.IndexFlatL2(centroids_KD.shape[1])
        index.add(centroids_KD)
        return np.asarray(index.search(points_ND, 1)[1][:, 0])

    return _lloyd(points_ND, first_KD, iterations, label)


def _torch(points_ND: np.ndarray, first_KD: np.ndarray, iterations: int) -> np.ndarray:
    from mminstruct.models import kmeans_torch

    return kmeans_torch.fit(points_ND, first_KD, iterations)


def _cuvs(points_ND: np.ndarray, first_KD: np.ndarray, iterations: int) -> np.ndarray:
    import cupy
    from cuvs.cluster.kmeans import KMeansParams, fit

    free, _ = cupy.cuda.runtime.memGetInfo()
    at_once = 0 if points_ND.nbytes < free // 2 else max(1, free // 4 // points_ND[0].nbytes)  # 0: all points
    settings = KMeansParams(
        n_clusters=len(first_KD),
        init_method="Array",
        max_iter=iterations,
        tol=_TOLERANCE,
        device_buffer_samples=at_once,
    )
    points = points_ND if at_once else cupy.asarray(points_ND)  # what does not fit is streamed from host memory
    return np.asarray(cupy.asnumpy(cupy.asarray(fit(settings, points, centroids=cupy.array(first_KD)).centroids)))


FITS: dict[str, Fit] = {"cuvs": _cuvs, "torch": _torch, "faiss": _faiss, "numpy": _numpy}


def spread(group: WorkerGroup) -> Fit:
    """A fit by all processes of *group*, each with its share of the points: torch over NCCL, or gloo without GPUs."""

    def fit(points_ND: np.ndarray, first_KD: np.ndarray, iterations: int) -> np.ndarray:
        from torch.distributed import TCPStore  # type: ignore[attr-defined]

        store = TCPStore(group.address, 0, None, is_master=True, wait_for_workers=False)  # open until all are done
        meeting = (group.address, store.port)
        shares = np.array_split(points_ND, group.size)
        made = group(
            _rank, [(meeting, rank, group.size, some, first_KD, iterations) for rank, some in enumerate(shares)]
        )
        return np.asarray(made[0])

    return fit


def _rank(
    meeting: tuple[str, int], rank: int, size: int, points_ND: np.ndarray, first_KD: np.ndarray, iterations: int
) -> np.ndarray:
    """``kmeans_torch.fit`` on a share of the points; the ranks meet at the store that ``spread`` keeps open."""
    import torch
    from torch import distributed

    from mminstruct.models import kmeans_torch

    def total(tensor: Any) -> Any:
        distributed.all_reduce(tensor)
        return tensor

    store = distributed.TCPStore(*meeting, None, is_master=False, timeout=_PATIENCE)  # type: ignore[attr-defined]
    transport = "nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(transport, store=store, rank=rank, world_size=size, timeout=_PATIENCE)
    try:
        return kmeans_torch.fit(points_ND, first_KD, iterations, total)
    finally:
        distributed.destroy_process_group()  # or the others would wait for a rank that failed
