"""Measures matching beside faiss: images ranked against the bank and sampled, from finished embeddings.

    python -m benchmarks.match [--images 20000] [--width 512] [--repeats 5]

faiss finds the ten nearest instructions of each image (``faiss.knn``) and does no more. Ours finds the ten best after
prices and draws two of them without replacement; the stage's own function also makes ids, two a pair, and the table.
Encoding is left out on all sides. The sides alternate; CPU seconds are those of the whole process. Where other work
shares the machine, set OMP_NUM_THREADS=1: waiting threads count as CPU time.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from mminstruct.models.model import Model
from mminstruct.stage import content_id
from mminstruct.stages.match import Match, _hashes

FAISS = "faiss.knn, top 10"
PART = 4096
"""Images of a unit."""


@dataclass(kw_only=True)
class Finished(Model):
    """Embeddings that are already there: an image is its vector, a text the number of its row."""

    def embed(self) -> Any:
        return self

    def texts(self, texts: list[str]) -> np.ndarray:
        return BANK[len(texts)]

    def images(self, images: list[bytes]) -> np.ndarray:
        return np.frombuffer(b"".join(images), np.float32).reshape(len(images), -1)


BANK: dict[int, np.ndarray] = {}


def units(count: int, width: int, seed: int) -> np.ndarray:
    """Unit vectors ``(count, width)`` around one direction, as CLIP's are: cosines have a mean of about 0.2."""
    rng = np.random.default_rng(seed)
    made = rng.standard_normal((count, width)).astype(np.float32)
    made[:, 0] += 0.5 * width**0.5
    return np.asarray(made / np.linalg.norm(made, axis=1, keepdims=True))


def seconds(call: Callable[[], Any]) -> tuple[float, float]:
    """Wall and CPU seconds."""
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    call()
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(size: int, count: int, width: int, repeats: int, folder: Path) -> list[str]:
    """One line for each side, for a bank of *size* instructions."""
    BANK[size], images_ND = units(size, width, 1), units(count, width, 2)
    ids = [content_id(str(n)) for n in range(count)]
    parts = []
    for start in range(0, count, PART):
        vectors = [vector.tobytes() for vector in images_ND[start : start + PART]]
        parts.append(pa.table({"image_id": ids[start : start + PART], "image": pa.array(vectors, pa.large_binary())}))
        pq.write_table(parts[-1].slice(0, 64), folder / f"s-{start:06d}.0123abcd.parquet")
    names = [content_id("bank", str(n)) for n in range(size)]
    bank = ds.dataset(pa.table({"instruction_id": names, "instruction": [str(n) for n in range(size)]}))
    stage = Match(model=Finished(name="finished"))
    work: list[Any] = []
    load = seconds(lambda: work.append(stage.load(summarize=bank, sample=ds.dataset(folder))))

    def ours() -> None:
        for part in parts:
            made = work[0](ingest=part, fuse=part.select(["image_id"]))
            assert made.table.num_rows == 2 * part.num_rows

    def theirs() -> None:
        faiss.knn(images_ND, BANK[size], 10, metric=faiss.METRIC_INNER_PRODUCT)

    prices_M, hash_M = np.linspace(0, 0.01, size), _hashes(0, names)

    def drawn() -> None:
        for start in range(0, count, 1024):
            index_NK, logits_NK = stage.choices(images_ND[start : start + 1024] @ BANK[size].T, prices_M)
            stage._draw(_hashes(0, ids[start : start + 1024]), hash_M[index_NK], logits_NK)

    sides: dict[str, Callable[[], None]] = {FAISS: theirs, "rank and draw": drawn, "the stage": ours}
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for call in sides.values():
        call()
    for _ in range(repeats):
        for name, call in sides.items():
            took[name].append(seconds(call))
    middle = {name: [statistics.median(column) for column in zip(*runs, strict=True)] for name, runs in took.items()}
    lines = []
    for name, (wall, cpu) in middle.items():
        of = [theirs / mine for theirs, mine in zip(middle[FAISS], (wall, cpu), strict=True)]
        rate = count * size / 1e6
        lines.append(f"{size:>6}  {name:20}{rate / wall:>9.1f}{rate / cpu:>9.1f}{of[0]:>8.2f}{of[1]:>8.2f}")
    return [*lines, f"{size:>6}  prices, once a worker: {load[0]:.2f} s wall, {load[1]:.2f} s CPU"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    print(f"{args.images} images, {args.width} dimensions; million pairs a second, and as a share of faiss's")
    print(f"{'bank':>6}  {'':20}{'wall':>9}{'CPU s':>9}{'of wall':>8}{'of CPU':>8}")
    for size in (300, 3000):
        with tempfile.TemporaryDirectory() as folder:
            print("\n".join(measure(size, args.images, args.width, args.repeats, Path(folder))), flush=True)


if __name__ == "__main__":
    main()
