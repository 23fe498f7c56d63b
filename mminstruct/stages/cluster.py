"""k-means over all raw instructions: each cluster becomes one instruction of the bank."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from mminstruct import schemas
from mminstruct.models.kmeans import BACKENDS, kmeans
from mminstruct.stage import Stage, StageOutput, Transform, content_id, runtime, whole
from mminstruct.unit import WORKER_GROUP, WorkerGroup

_BLOCK = 8192
"""Points assigned at a time: 8192 x 300 similarities are 10 MB."""


@dataclass(kw_only=True)
class Cluster(Stage):
    """Spherical k-means: centroids are normalised to unit length, and points are assigned by cosine."""

    k: int = 300
    """Clusters, about as many as the paper has final instructions; fewer if there are fewer distinct embeddings."""
    iterations: int = 25
    restarts: int = 1
    sample: int | None = None
    """Points that the centroids are fitted on, sampled by content; None: all."""
    seed: int = 0
    backend: str = runtime("auto")
    """cuvs, torch, faiss or numpy; auto: the first that is installed and has its device."""
    ranks: int = runtime(1)
    """Workers that compute one fit, each with the resources of ``engine.pools.cluster``; more than 1 needs torch."""

    reads = {"embed": whole("instruction_id", "embedding"), "instruct": whole("instruction_id")}
    writes = schemas.CLUSTER
    row_key = "instruction_id"
    core_seconds = 0.0001
    """25 rounds of 0.2 s over 50,000 points of 1024 dimensions and 300 centres: measured with faiss on two cores."""

    def most(self) -> int:
        return self.k

    def check(self) -> None:
        if self.k < 1:
            raise ValueError(f"cluster.k={self.k}: take 1 or more")
        if self.backend not in ("auto", *BACKENDS):
            raise ValueError(f"cluster.backend={self.backend}: take auto, {', '.join(BACKENDS)}")
        if self.sample is not None and self.sample < self.k:
            raise ValueError(f"cluster.sample={self.sample} is below k={self.k}: take more points, or null for all")

    def load(self, *, embed: ds.Dataset, instruct: ds.Dataset) -> Transform:
        def cluster() -> StageOutput:
            ids, points_ND = _points(embed)
            if not ids:
                return StageOutput(self.writes.empty_table(), [])
            centroids_KD = self._fit(ids, points_ND)
            labels_N, cosines_N = _nearest(points_ND, centroids_KD)
            sizes_K = np.bincount(labels_N, minlength=len(centroids_KD))
            first_K = np.full(len(sizes_K), len(ids))
            np.minimum.at(first_K, labels_N, np.arange(len(ids)))
            rank_K = np.empty_like(sizes_K)
            rank_K[np.lexsort((first_K, -sizes_K))] = np.arange(len(sizes_K))  # empty ones come last and are cut
            counted = pc.value_counts(instruct.to_table(columns=["instruction_id"])["instruction_id"])
            counts = dict(zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True))
            columns = {
                "instruction_id": ids,
                "cluster": rank_K[labels_N].astype(np.int32),
                "distance": np.sqrt(np.maximum(0, 2 - 2 * cosines_N)).astype(np.float32),
                "count": np.array([counts[key] for key in ids], np.int32),
            }
            return StageOutput(pa.table(columns, schema=self.writes), [])

        return cluster

    def _fit(self, ids: list[str], points_ND: np.ndarray) -> np.ndarray:
        """Centroids ``(K, D)`` of unit length."""
        if self.sample is not None and self.sample < len(ids):
            order = sorted(range(len(ids)), key=lambda n: content_id(str(self.seed), ids[n]))
            points_ND = points_ND[sorted(order[: self.sample])]
        with self._group() as group:
            found = kmeans(
                points_ND,
                self.k,
                seed=self.seed,
                iterations=self.iterations,
                restarts=self.restarts,
                backend=self.backend,
                group=group,
            )
        norms_K = np.linalg.norm(found.centroids_KD, axis=1, keepdims=True)
        return np.asarray(found.centroids_KD / np.maximum(norms_K, 1e-12), np.float32)

    def _group(self) -> AbstractContextManager[WorkerGroup | None]:
        if self.ranks == 1:
            return nullcontext()
        lend = WORKER_GROUP.get()
        if lend is None:
            raise ValueError(f"cluster.ranks={self.ranks}: this engine has one process; take engine=ray, or ranks=1")
        return lend(self.ranks)


def _points(embed: ds.Dataset) -> tuple[list[str], np.ndarray]:
    """Distinct ids, sorted so that the order of parts does not matter, and their unit vectors ``(N, D)``."""
    ids: list[str] = []
    blocks = []
    for fragment in embed.get_fragments():  # one at a time: offsets of one list array end at 2**31 values
        table = fragment.to_table(columns=["instruction_id", "embedding"])
        if table.num_rows:
            ids += table["instruction_id"].to_pylist()
            flat = table["embedding"].combine_chunks().flatten().to_numpy()
            blocks.append(flat.reshape(table.num_rows, -1))
    if not ids:
        return [], np.empty((0, 0), np.float32)
    distinct, first = np.unique(np.array(ids), return_index=True)
    return distinct.tolist(), np.concatenate(blocks)[first]


def _nearest(points_ND: np.ndarray, centroids_KD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nearest centroid of each point, and the cosine between them."""
    labels, cosines = [], []
    for start in range(0, len(points_ND), _BLOCK):
        similarity_BK = points_ND[start : start + _BLOCK] @ centroids_KD.T
        labels.append(similarity_BK.argmax(axis=1))
        cosines.append(similarity_BK.max(axis=1))
    return np.concatenate(labels), np.concatenate(cosines)
