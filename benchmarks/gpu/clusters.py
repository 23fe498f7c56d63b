"""k-means by each backend that runs here, beside the one product that an iteration needs."""

from __future__ import annotations

import functools

import numpy as np

from benchmarks.gpu.section import NotRun, Section
from mminstruct.models.kmeans import BACKENDS, Clusters, backend_for
from mminstruct.models.kmeans import kmeans as fit


def points(count: int, width: int, centres: int) -> np.ndarray:
    """Unit vectors ``(N, D)`` around random centres."""
    rng = np.random.default_rng(0)
    around = rng.standard_normal((centres, width), np.float32)
    made = around[rng.integers(centres, size=count)]
    made += 2 * rng.standard_normal((count, width), np.float32)
    return np.asarray(made / np.linalg.norm(made, axis=1, keepdims=True), np.float32)


def kmeans(section: Section) -> None:
    section.add("auto", backend_for("auto"), note="the backend that backend=auto takes here")
    sizes = ((2000, 32, 20),) if section.smoke else ((50_000, 768, 300), (500_000, 768, 3000))
    for count, width, k in sizes:
        some = points(count, width, 4 * k)
        found: dict[str, Clusters] = {}
        for backend in BACKENDS:
            # only small data for backends of the CPU: an iteration of the large set takes minutes
            if section.cuda and backend not in ("cuvs", "torch") and count > 50_000:
                continue
            what = f"{count:,} x {width}, k={k}, {backend}"
            with section.part(what):
                section.wants(15)
                _runs(backend)
                few, more = 2, 12

                def work(iterations: int, backend: str = backend) -> None:
                    found[backend] = fit(some, k, seed=0, iterations=iterations, backend=backend)  # noqa: B023

                short = section.seconds_of(functools.partial(work, few), 1)
                long = section.seconds_of(functools.partial(work, more), 1, 0)
                each = (long - short) / (more - few)
                rate = section.ceilings["tf32" if section.cuda else "fp32"] * 1e12
                section.add(f"{what}: an iteration", each, "s", ceiling=2 * count * k * width / rate,
                            note=f"ceiling: its product; {section.memory() or 'CPU'}")  # fmt: skip
                section.add(f"{what}: seeding, assignment, numbering", short - few * each, "s")
        for backend, one in list(found.items())[1:]:
            first, other = next(iter(found.items()))
            same = one.inertia / other.inertia
            section.add(f"{count:,} x {width}: inertia of {backend} / {first}", same, ceiling=1.0)


def _runs(backend: str) -> None:
    try:
        backend_for(backend)
    except ValueError as error:
        raise NotRun(str(error)) from error
