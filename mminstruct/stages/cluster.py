"""k-means over all raw instructions: each cluster becomes one instruction of the bank."""

from __future__ import annotations

from collections.abc import Iterator
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
"""Points read and assigned at a time: 8192 x 1024 values are 32 MB."""


@dataclass(kw_only=True)
class Cluster(Stage):
    """Spherical k-means: centroids are normalised to unit length, and points are assigned by cosine."""

    k: int = 300
    """Clusters, about as many as the paper has final instructions; fewer if there are fewer distinct embeddings."""
    iterations: int = 25
    restarts: int = 1
    sample: int | None = 262_144
    """Most points that the centroids are fitted on, chosen by content; None: all. Only these are kept in memory, 1 GB
    at 1024 dimensions; all points are assigned in blocks."""
    seed: int = 0
    backend: str = runtime("auto")
    """cuvs, torch, faiss or numpy; auto: the first that is installed and has its device."""
    ranks: int = runtime(1)
    """Workers that compute one fit, each with the resources of ``engine.pools.cluster``; more than 1 needs torch."""

    reads = {"embed": whole("instruction_id", "embedding"), "instruct": whole("instruction_id")}
    writes = schemas.CLUSTER
    row_key = "instruction_id"
    version = 2
    core_seconds = 0.0002
    """Measured: 25 rounds over 50,000 points of 768 dimensions and 300 centres by faiss on one core, with seeding."""

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
            ids, place_R = _ids(embed)
            count = len(ids)
            if not count:
                return StageOutput(self.writes.empty_table(), [])
            rows_S = self._chosen(ids)
            points_SD = _gather(embed, place_R, rows_S)
            centroids_KD = self._fit(points_SD)
            labels_N, cosines_N = np.empty(count, np.int64), np.empty(count, np.float32)
            every = _blocks(embed, place_R) if len(rows_S) < count else _slices(points_SD)
            for rows_B, points_BD in every:
                labels_N[rows_B], cosines_N[rows_B] = _nearest(points_BD, centroids_KD)
            sizes_K = np.bincount(labels_N, minlength=len(centroids_KD))
            first_K = np.full(len(sizes_K), count)
            np.minimum.at(first_K, labels_N, np.arange(count))
            rank_K = np.empty_like(sizes_K)
            rank_K[np.lexsort((first_K, -sizes_K))] = np.arange(len(sizes_K))  # empty ones come last and are cut
            counted = pc.value_counts(instruct.to_table(columns=["instruction_id"])["instruction_id"])
            columns = {
                "instruction_id": ids,
                "cluster": rank_K[labels_N].astype(np.int32),
                "distance": np.sqrt(np.maximum(0, 2 - 2 * cosines_N)).astype(np.float32),
                "count": counted.field("counts").take(pc.index_in(ids, counted.field("values"))).cast(pa.int32()),
            }
            return StageOutput(pa.table(columns, schema=self.writes), [])

        return cluster

    def _chosen(self, ids: pa.Array) -> np.ndarray:
        """Places ``(S,)`` of the points that the centroids are fitted on, in order: those of the lowest digests."""
        if self.sample is None or self.sample >= len(ids):
            return np.arange(len(ids))
        salt = str(self.seed)
        digests = (int(content_id(salt, key.as_py()), 16) for key in ids)
        digest_N = np.fromiter(digests, np.uint64, len(ids))
        return np.sort(np.argpartition(digest_N, self.sample - 1)[: self.sample])

    def _fit(self, points_ND: np.ndarray) -> np.ndarray:
        """Centroids ``(K, D)`` of unit length."""
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


def _ids(embed: ds.Dataset) -> tuple[pa.StringArray, np.ndarray]:
    """Distinct ids ``(N,)``, sorted so that the order of parts does not matter, and the place among them of each row.

    The place of a row whose id was there before is -1.
    """
    rows = embed.to_table(columns=["instruction_id"])["instruction_id"]
    table = pa.table({"id": rows, "row": np.arange(len(rows))})
    first = table.group_by("id").aggregate([("row", "min")]).sort_by("id")
    place_R = np.full(len(rows), -1)
    place_R[first["row_min"].to_numpy()] = np.arange(first.num_rows)
    return first["id"].combine_chunks(), place_R


def _blocks(embed: ds.Dataset, place_R: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Places and vectors of all distinct points, block by block in the order of the parts."""
    start = 0
    for fragment in embed.get_fragments():
        for batch in fragment.to_batches(columns=["embedding"], batch_size=_BLOCK, batch_readahead=0):
            place_B = place_R[start : start + batch.num_rows]
            start += batch.num_rows
            if batch.num_rows:
                vectors_BD = batch["embedding"].flatten().to_numpy().reshape(batch.num_rows, -1)
                yield place_B[place_B >= 0], vectors_BD[place_B >= 0]


def _slices(points_ND: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for start in range(0, len(points_ND), _BLOCK):
        block_BD = points_ND[start : start + _BLOCK]
        yield np.arange(start, start + len(block_BD)), block_BD


def _gather(embed: ds.Dataset, place_R: np.ndarray, places_S: np.ndarray) -> np.ndarray:
    """The vectors ``(S, D)`` at *places_S*, which are in order."""
    points_SD: np.ndarray | None = None
    for place_B, points_BD in _blocks(embed, place_R):
        if points_SD is None:
            points_SD = np.empty((len(places_S), points_BD.shape[1]), np.float32)
        at_B = np.minimum(np.searchsorted(places_S, place_B), len(places_S) - 1)
        there_B = places_S[at_B] == place_B
        points_SD[at_B[there_B]] = points_BD[there_B]
    assert points_SD is not None
    return points_SD


def _nearest(points_BD: np.ndarray, centroids_KD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nearest centroid of each point, and the cosine between them."""
    similarity_BK = points_BD @ centroids_KD.T
    return similarity_BK.argmax(axis=1), similarity_BK.max(axis=1)
