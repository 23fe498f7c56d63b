from __future__ import annotations

import functools
import os
import subprocess
import sys
from typing import cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from mminstruct.models import kmeans as module
from mminstruct.models import kmeans_fits
from mminstruct.models.kmeans import Clusters, backend_for, kmeans, plus_plus
from mminstruct.unit import WorkerGroup

CPU = [name for name in module.BACKENDS if name != "cuvs"]
HERE = [name for name in module.BACKENDS if name in CPU or module._runs(name)]
"""Where there is a GPU, what runs on it is compared too."""


def blobs(count: int = 1200, k: int = 12, width: int = 16, spread: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    truth = random.integers(0, k, count)
    points = random.normal(size=(k, width))[truth] + spread * random.normal(size=(count, width))
    return (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32), truth


def equal(one: Clusters, other: Clusters) -> bool:
    return one.centroids_KD.tobytes() == other.centroids_KD.tobytes() and bool((one.labels_N == other.labels_N).all())


@pytest.mark.parametrize("backend", HERE)
def test_clear_clusters_are_found(backend: str) -> None:
    points, truth = blobs()
    found = kmeans(points, 12, seed=3, restarts=3, backend=backend)
    assert found.backend == backend
    assert adjusted_rand_score(truth, found.labels_N) > 0.98
    assert found.centroids_KD.dtype == np.float32
    assert found.centroids_KD.shape == (12, 16)


@pytest.mark.parametrize("backend", HERE)
def test_backends_agree_even_without_clear_clusters(backend: str) -> None:
    points, _ = blobs(spread=0.5)
    ours, numpy = kmeans(points, 15, seed=1, backend=backend), kmeans(points, 15, seed=1, backend="numpy")
    assert adjusted_rand_score(ours.labels_N, numpy.labels_N) > 0.98
    assert ours.inertia == pytest.approx(numpy.inertia, rel=1e-3)


@pytest.mark.parametrize("backend", CPU)
def test_equal_calls_give_equal_bytes_and_seeds_matter(backend: str) -> None:
    points, _ = blobs(spread=0.5)
    assert equal(kmeans(points, 15, seed=1, backend=backend), kmeans(points, 15, seed=1, backend=backend))
    assert not equal(kmeans(points, 15, seed=1, backend=backend), kmeans(points, 15, seed=2, backend=backend))


def test_faiss_gives_the_same_bytes_with_any_number_of_threads() -> None:
    code = (
        "import hashlib, sys; from tests.models.test_kmeans import *;"
        "found = kmeans(blobs(spread=0.5)[0], 15, seed=1, backend='faiss');"
        "print(hashlib.sha256(found.centroids_KD.tobytes() + found.labels_N.tobytes()).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "OMP_NUM_THREADS": threads, "PYTHONPATH": os.getcwd()},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for threads in ("1", "2")
    }
    assert len(digests) == 1


@pytest.mark.parametrize("backend", HERE)
def test_centroids_labels_distances_and_inertia_are_consistent(backend: str) -> None:
    points, _ = blobs(spread=0.4)
    found = kmeans(points, 9, seed=0, iterations=3, backend=backend)
    away = np.linalg.norm(points[:, None] - found.centroids_KD[None], axis=2)
    assert (found.labels_N == away.argmin(axis=1)).all()
    assert found.distances_N == pytest.approx(away.min(axis=1), abs=1e-5)
    assert found.inertia == pytest.approx(float((away.min(axis=1) ** 2).sum()), rel=1e-5)
    sizes = np.bincount(found.labels_N)
    assert len(sizes) == len(found.centroids_KD)
    assert (np.diff(sizes) <= 0).all()
    assert sizes.min() > 0


def test_more_restarts_are_never_worse() -> None:
    points, _ = blobs(spread=0.5)
    inertias = [kmeans(points, 20, seed=0, restarts=count).inertia for count in (1, 2, 4, 8)]
    assert inertias == sorted(inertias, reverse=True)
    assert inertias[-1] < inertias[0]


@pytest.mark.parametrize("backend", HERE)
def test_fewer_distinct_points_than_clusters_give_fewer_clusters(backend: str) -> None:
    distinct = np.eye(5, 8, dtype=np.float32)
    found = kmeans(np.repeat(distinct, [1, 2, 3, 4, 5], axis=0), 12, seed=0, backend=backend)
    assert len(found.centroids_KD) == 5
    assert found.inertia < 1e-9
    assert np.bincount(found.labels_N).tolist() == [5, 4, 3, 2, 1]
    alone = kmeans(distinct[:1], 3, seed=0, backend=backend)
    assert alone.labels_N.tolist() == [0]
    assert alone.centroids_KD.tolist() == distinct[:1].tolist()


def test_an_empty_cluster_gets_a_new_centroid(monkeypatch: pytest.MonkeyPatch) -> None:
    points, truth = blobs()

    def forgetful(points_ND: np.ndarray, first_KD: np.ndarray, iterations: int) -> np.ndarray:
        made = kmeans_fits._numpy(points_ND, first_KD, iterations)
        if iterations == 25:
            made[:3] = 100.0  # far from every point
        return made

    monkeypatch.setitem(kmeans_fits.FITS, "numpy", forgetful)
    found = kmeans(points, 12, seed=3, restarts=3, backend="numpy")
    assert len(found.centroids_KD) == 12
    assert adjusted_rand_score(truth, found.labels_N) > 0.9


@pytest.mark.parametrize(("value", "words"), [(np.nan, "not finite"), (np.inf, "not finite"), (0.0, "zero")])
def test_rows_that_are_zero_or_not_finite_are_named(value: float, words: str) -> None:
    points, _ = blobs()
    points[[7, 700]] = value
    with pytest.raises(ValueError, match=f"rows 7, 700 .*{words}"):
        kmeans(points, 3, seed=0)


def test_what_cannot_be_clustered_is_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        kmeans(np.zeros((0, 4), np.float32), 3, seed=0)
    with pytest.raises(ValueError, match="at least one"):
        kmeans(np.ones((3, 4), np.float32), 0, seed=0)
    with pytest.raises(ValueError, match="not one of auto"):
        backend_for("spark")
    with pytest.raises(ValueError, match="numpy runs in one process; for several, use torch"):
        kmeans(np.ones((3, 4), np.float32), 1, seed=0, backend="numpy", group=cast(WorkerGroup, "two"))


@pytest.mark.parametrize(
    ("gpu", "there", "chosen"),
    [
        (True, ("cuvs", "torch", "faiss", "numpy"), "cuvs"),
        (True, ("torch", "faiss", "numpy"), "torch"),
        (True, ("faiss", "numpy"), "faiss"),
        (False, ("torch", "faiss", "numpy"), "faiss"),
        (False, ("torch", "numpy"), "torch"),
    ],
)
def test_auto_prefers_a_gpu_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, gpu: bool, there: tuple[str, ...], chosen: str
) -> None:
    monkeypatch.setattr(module, "_gpu", lambda: gpu)
    monkeypatch.setattr(module, "_runs", lambda name: name in there)
    assert backend_for("auto") == chosen


def test_a_gpu_is_what_torch_can_compute_on() -> None:
    import torch

    assert module._gpu() == torch.cuda.is_available()


def test_torch_seeds_fits_and_assigns_as_numpy_does() -> None:
    from mminstruct.models import kmeans_torch

    points, _ = blobs(count=3000, k=30, spread=0.2)
    first = plus_plus(points, 30, np.random.default_rng(0))
    on_cpu = functools.partial(kmeans_torch.Near, on="cpu")
    assert (plus_plus(points, 30, np.random.default_rng(0), on_cpu) == first).all()
    ours, theirs = kmeans_torch.fit(points, first, 25, on="cpu"), kmeans_fits.FITS["numpy"](points, first, 25)
    assert ours.tobytes() == theirs.tobytes()
    for one, other in zip(kmeans_torch.nearest(points, ours, "cpu"), kmeans_fits.nearest(points, ours), strict=True):
        assert one == pytest.approx(other, rel=1e-5)


def test_what_a_gpu_computes_is_the_same_on_a_cpu_the_rescored_pair_and_the_ordered_sums() -> None:
    import torch

    from mminstruct.models import kmeans_torch

    points = torch.from_numpy(blobs(count=3000, spread=0.5)[0])
    centroids = points[:40].clone()
    centroids[20] = centroids[3]  # of two equal ones, the first
    half_K = centroids.square().sum(1) / 2
    plain, quick = (kmeans_torch._labels(points, centroids, half_K, quick) for quick in (False, True))
    assert (plain == quick).all()
    assert not (quick == 20).any()
    sums = [torch.zeros(40, 16) for _ in range(2)]
    for ordered, into in enumerate(sums):
        kmeans_torch._add(into, points, plain, bool(ordered))
    assert torch.equal(*sums)
    assert not sums[1][20].any()
    assert torch.allclose(sums[1][3], points[plain == 3].sum(0), atol=1e-4)


def test_a_gpu_seeds_and_assigns_for_the_backends_that_run_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from mminstruct.models import kmeans_torch

    used: list[str] = []
    near, nearest = kmeans_torch.Near, kmeans_torch.nearest
    monkeypatch.setattr(kmeans_torch, "Near", lambda points: used.append("seeding") or near(points, "cpu"))
    monkeypatch.setattr(kmeans_torch, "nearest", lambda *a: used.append("assignment") or nearest(*a, "cpu"))
    points, _ = blobs()
    alone = kmeans(points, 12, seed=0, backend="torch")
    monkeypatch.setattr(module, "_gpu", lambda: True)
    kmeans(points, 12, seed=0, backend="faiss")
    assert not used
    assert adjusted_rand_score(kmeans(points, 12, seed=0, backend="torch").labels_N, alone.labels_N) == 1
    assert used == ["seeding", "assignment"]


def test_seeding_spreads_over_the_clusters() -> None:
    points, truth = blobs(spread=0.01)
    for seed in range(5):
        chosen = plus_plus(points, 12, np.random.default_rng(seed))
        owner = truth[(points[None] == chosen[:, None]).all(axis=2).argmax(axis=1)]
        assert len(set(owner)) == 12


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 30),
    st.integers(1, 12),
    st.integers(1, 5),
    st.integers(0, 2**31 - 1),
    st.sampled_from(["faiss", "numpy"]),
)
def test_any_small_cloud_is_partitioned(count: int, k: int, kinds: int, seed: int, backend: str) -> None:
    random = np.random.default_rng(seed)
    points = random.normal(size=(kinds, 3)).astype(np.float32)[random.integers(0, kinds, count)]
    found = kmeans(points, k, seed=seed, backend=backend)
    distinct = len(np.unique(points, axis=0))
    assert len(found.centroids_KD) == min(k, distinct) == found.labels_N.max() + 1
    assert len(found.labels_N) == count
    assert np.isfinite(found.distances_N).all()
