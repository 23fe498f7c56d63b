"""Measures k-means beside faiss and scikit-learn: equal points, equal numbers of clusters and iterations.

    python -m benchmarks.kmeans [--points 50000] [--width 768] [--clusters 300] [--repeats 3]

Each side seeds, iterates and assigns all points. faiss seeds with random points, scikit-learn and ours with greedy
k-means++. Sides alternate; CPU seconds are those of the whole process. Where other work shares the machine, set
OMP_NUM_THREADS=1: waiting threads count as CPU time. *inertia* is the sum of squared distances relative to the lowest.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable

import faiss
import numpy as np
from sklearn.cluster import KMeans

from benchmarks.match import seconds
from mminstruct.models.kmeans import backend_for, kmeans
from mminstruct.models.kmeans_fits import nearest

ITERATIONS = 25


def points(count: int, width: int, centres: int) -> np.ndarray:
    """Unit vectors ``(count, width)`` around *centres* centres, with noise twice as long as the centres."""
    random = np.random.default_rng(0)
    middle = random.standard_normal((centres, width)).astype(np.float32)
    made = middle[random.integers(0, centres, count)] + 2 * random.standard_normal((count, width)).astype(np.float32)
    return np.ascontiguousarray(made / np.linalg.norm(made, axis=1, keepdims=True), np.float32)


def sides(points_ND: np.ndarray, clusters: int, backends: list[str]) -> dict[str, Callable[[], np.ndarray]]:
    """Name -> a function that returns centroids ``(K, D)``."""

    def theirs() -> np.ndarray:
        found = faiss.Kmeans(
            points_ND.shape[1], clusters, niter=ITERATIONS, seed=1, max_points_per_centroid=len(points_ND)
        )
        found.train(points_ND)
        found.index.search(points_ND, 1)
        return np.asarray(found.centroids)

    def sklearn() -> np.ndarray:
        found = KMeans(clusters, n_init=1, max_iter=ITERATIONS, tol=0, random_state=1).fit(points_ND)
        return np.asarray(found.cluster_centers_, np.float32)

    def ours(name: str) -> Callable[[], np.ndarray]:
        return lambda: kmeans(points_ND, clusters, seed=0, iterations=ITERATIONS, backend=name).centroids_KD

    return {"faiss.Kmeans": theirs, "scikit-learn": sklearn, **{f"ours, {name}": ours(name) for name in backends}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--points", type=int, default=50_000)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--clusters", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--backends", nargs="+", default=[backend_for("auto")])
    args = parser.parse_args()
    points_ND = points(args.points, args.width, 4 * args.clusters)
    took: dict[str, list[tuple[float, float]]] = {}
    inertia: dict[str, float] = {}
    for _ in range(args.repeats):
        for name, call in sides(points_ND, args.clusters, args.backends).items():
            made: list[np.ndarray] = []
            took.setdefault(name, []).append(seconds(lambda call=call, made=made: made.append(call())))
            inertia[name] = float(nearest(points_ND, made[0])[1].sum())
    print(f"{args.points} points, {args.width} dimensions, {args.clusters} clusters, {ITERATIONS} iterations")
    print(f"{'':16}{'wall s':>9}{'CPU s':>9}{'x faiss, wall':>15}{'x faiss, CPU':>14}{'inertia':>9}")
    middle = {name: [statistics.median(column) for column in zip(*runs, strict=True)] for name, runs in took.items()}
    base = middle["faiss.Kmeans"]
    for name, (wall, cpu) in middle.items():
        relative = inertia[name] / min(inertia.values())
        print(f"{name:16}{wall:>9.2f}{cpu:>9.2f}{wall / base[0]:>15.2f}{cpu / base[1]:>14.2f}{relative:>9.3f}")


if __name__ == "__main__":
    main()
