"""Lloyd's iterations for ``kmeans``, by whichever library does the work, in one process or in several.

What stands here of cuVS and cuML was written by the sources of their wheels (26.10) and has not run: no GPU was there.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import numpy as np

from mminstruct.stage import WorkerGroup

Fit = Callable[[np.ndarray, np.ndarray, int], np.ndarray]
"""Points ``(N, D)``, first centroids ``(K, D)`` and a number of iterations to better centroids ``(K, D)``."""
_BLOCK = 16384
"""Points compared with all centroids at a time."""
_STILL = 1e-12
"""How little cuVS and cuML may move before they stop; they refuse 0."""


def nearest(points_ND: np.ndarray, centroids_KD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nearest centroid ``(N,)`` of each point, and its squared distance ``(N,)`` in float64, by differences."""
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
    """Means ``(K, D)`` of the points of each label, summed in their order; the old centroid where there are none."""
    from scipy.sparse import csr_matrix  # type: ignore[import-untyped]

    count, k = len(labels_N), len(old_KD)
    member_KN = csr_matrix((np.ones(count, np.float32), (labels_N, np.arange(count))), shape=(k, count))
    sizes_K1 = np.bincount(labels_N, minlength=k)[:, None].astype(np.float32)
    return np.where(sizes_K1 > 0, (member_KN @ points_ND) / np.maximum(sizes_K1, 1), old_KD).astype(np.float32)


def _lloyd(
    points_ND: np.ndarray, centroids_KD: np.ndarray, iterations: int, label: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Iterations with somebody's labels ``(N,)`` of given centroids."""
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


def _torch(
    points_ND: np.ndarray, first_KD: np.ndarray, iterations: int, total: Any = lambda tensor: tensor
) -> np.ndarray:
    """*total* adds a tensor up over all processes that hold a share of the points."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    blocks = torch.split(torch.from_numpy(points_ND), _BLOCK)
    if points_ND.nbytes < 8 << 30:
        blocks = tuple(block.to(device) for block in blocks)  # else a block at a time, in every iteration
    centroids_KD = torch.from_numpy(first_KD).to(device)
    last_N = torch.full((len(points_ND),), -1, device=device)
    with torch.inference_mode():
        for _ in range(iterations):
            half_K = centroids_KD.square().sum(1) / 2
            sums_KD = torch.zeros_like(centroids_KD)
            labels = []
            for block in blocks:
                block_BD = block.to(device)
                labels_B = (block_BD @ centroids_KD.T - half_K).argmax(1)
                # a product instead of index_add: its sums come in one order, on a GPU too
                member_BK = torch.nn.functional.one_hot(labels_B, len(centroids_KD)).to(block_BD.dtype)
                sums_KD += member_BK.T @ block_BD
                labels.append(labels_B)
            labels_N = torch.cat(labels)
            if not total((labels_N != last_N).sum()):
                break
            sizes_K1 = total(torch.bincount(labels_N, minlength=len(centroids_KD)))[:, None]
            centroids_KD = torch.where(sizes_K1 > 0, total(sums_KD) / sizes_K1.clamp_min(1), centroids_KD)
            last_N = labels_N
    return np.asarray(centroids_KD.cpu().numpy())


def _sklearn(points_ND: np.ndarray, first_KD: np.ndarray, iterations: int) -> np.ndarray:
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(1):  # its threads add their sums in the order in which they finish
        found = KMeans(len(first_KD), init=first_KD, n_init=1, max_iter=iterations, tol=0.0).fit(points_ND)
    return np.asarray(found.cluster_centers_)


def _at_once(points_ND: np.ndarray, gpus: int = 1) -> int:
    """Points that a GPU shall hold at a time, of those that are shared out among *gpus*; 0: all of its share."""
    import cupy

    free, _ = cupy.cuda.runtime.memGetInfo()
    return 0 if points_ND.nbytes // gpus < free // 2 else max(1, free // 4 // points_ND[0].nbytes)


def _cuml(points_ND: np.ndarray, first_KD: np.ndarray, iterations: int) -> np.ndarray:
    from cuml.cluster import KMeans

    found = KMeans(device_buffer_samples=_at_once(points_ND), **_cumls(first_KD, iterations)).fit(points_ND)
    return np.asarray(found.cluster_centers_)


def _cumls(first_KD: np.ndarray, iterations: int) -> dict[str, Any]:
    return {
        "n_clusters": len(first_KD), "init": first_KD, "n_init": 1, "max_iter": iterations, "tol": _STILL,
        "random_state": 0, "output_type": "numpy",
    }  # fmt: skip


def _cuvs(points_ND: np.ndarray, first_KD: np.ndarray, iterations: int) -> np.ndarray:
    """On all GPUs of this process."""
    import cupy
    from cuvs.cluster.kmeans import KMeansParams, fit

    gpus = cupy.cuda.runtime.getDeviceCount()
    at_once = _at_once(points_ND, gpus)
    settings = KMeansParams(
        n_clusters=len(first_KD), init_method="Array", max_iter=iterations, tol=_STILL, device_buffer_samples=at_once
    )
    if gpus > 1:
        from cuvs.cluster.mg.kmeans import fit as fit_on_all

        return np.asarray(fit_on_all(settings, points_ND, centroids=first_KD.copy()).centroids)
    points = points_ND if at_once else cupy.asarray(points_ND)  # what does not fit is streamed from here
    return np.asarray(cupy.asnumpy(cupy.asarray(fit(settings, points, centroids=cupy.array(first_KD)).centroids)))


FITS: dict[str, Fit] = {
    "cuvs": _cuvs,
    "cuml": _cuml,
    "faiss": _faiss,
    "sklearn": _sklearn,
    "torch": _torch,
    "numpy": _numpy,
}


def spread(backend: str, crew: WorkerGroup) -> Fit:
    """A fit by all of *crew*, each with its share of the points: torch over gloo or NCCL, cuML over NCCL."""
    rank_of, meeting_at = SPREAD[backend]

    def fit(points_ND: np.ndarray, first_KD: np.ndarray, iterations: int) -> np.ndarray:
        meeting, _open = meeting_at(crew.address)
        shares = np.array_split(points_ND, crew.size)
        made = crew(
            rank_of, [(meeting, rank, crew.size, some, first_KD, iterations) for rank, some in enumerate(shares)]
        )
        return np.asarray(made[0])

    return fit


def _torchs_meeting(address: str) -> tuple[tuple[str, int], Any]:
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    store = TCPStore(address, 0, None, is_master=True, wait_for_workers=False)
    return (address, store.port), store


def _torchs_rank(
    meeting: tuple[str, int], rank: int, size: int, points_ND: np.ndarray, first_KD: np.ndarray, iterations: int
) -> np.ndarray:
    """``_torch`` on a share of the points; the store where the ranks meet is kept by whoever called the crew."""
    import torch
    from torch import distributed

    def total(tensor: Any) -> Any:
        distributed.all_reduce(tensor)
        return tensor

    store = distributed.TCPStore(*meeting, None, is_master=False, timeout=_PATIENCE)  # type: ignore[attr-defined]
    how = "nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(how, store=store, rank=rank, world_size=size, timeout=_PATIENCE)
    try:
        return _torch(points_ND, first_KD, iterations, total)
    finally:
        distributed.destroy_process_group()  # or the others would wait for a rank that failed


def _cumls_meeting(address: str) -> tuple[bytes, None]:
    from raft_dask.common.nccl import nccl

    return nccl.get_unique_id(), None


def _cumls_rank(
    meeting: bytes, rank: int, size: int, points_ND: np.ndarray, first_KD: np.ndarray, iterations: int
) -> np.ndarray:
    from cuml.cluster.kmeans_mg import KMeansMG
    from pylibraft.common.handle import Handle
    from raft_dask.common.comms_utils import inject_comms_on_handle_coll_only
    from raft_dask.common.nccl import nccl

    comm, handle = nccl(), Handle(n_streams=0)
    comm.init(size, meeting, rank)
    try:
        inject_comms_on_handle_coll_only(handle, comm, size, rank, False)
        settings = {"device_buffer_samples": _at_once(points_ND), **_cumls(first_KD, iterations)}
        return np.asarray(KMeansMG(handle=handle, **settings).fit([points_ND]).cluster_centers_)
    finally:
        comm.destroy()


_PATIENCE = datetime.timedelta(minutes=5)
SPREAD: dict[str, tuple[Callable[..., np.ndarray], Callable[[str], tuple[Any, Any]]]] = {
    "torch": (_torchs_rank, _torchs_meeting),
    "cuml": (_cumls_rank, _cumls_meeting),
}
"""Backends that can work in several processes: what a rank does, and where they meet (and what holds that open)."""
