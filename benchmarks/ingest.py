"""Measures ingest beside a loop that only decodes, webdataset, Hugging Face's streaming and Ray Data.

    python -m benchmarks.ingest [--images 512] [--copies 8] [--rounds 3]

The images are JPEGs of 640 x 480 to 1024 x 768, about 139 kB each: noisy crops of scikit-learn's two photographs in
WebDataset shards of 128 images with a text each. Shards are hard-linked ``--copies`` times, so the disk's cache holds
them. All ways run alternately on two processes; the median of the rounds counts.

- strict decode: all pixels of each JPEG, decoder warnings are errors, nothing else; the limit of a reader that decodes
- ingest: the whole stage with all checks, hash and tables; engine=local in two processes, and engine=ray, fused. Ray
  also reads a quarter of the shards: the difference of both gives the rates "without start"
- webdataset, Hugging Face, Ray Data: all pixels by Pillow, which finds no damage inside a JPEG, and no tables. Ray Data
  reads one copy of the shards only

CPU seconds are those of all processes (of Ray: driver, workers, raylet and GCS). On a machine with other load, compare
images per CPU second.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import os
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import psutil
import simplejpeg  # type: ignore[import-untyped]
from PIL import Image

from mminstruct.engine.config import EngineConfig, Pool
from mminstruct.engine.data import Ray, connect
from mminstruct.engine.local import Local
from mminstruct.recipe import Recipe
from mminstruct.run import Engine, Run, claim, execute
from mminstruct.stages.ingest import Ingest

SIZES = ((640, 480), (800, 600), (1024, 768), (1024, 683), (768, 1024))
QUALITIES = (88, 92, 85, 80, 90)
SHARD = 128


@dataclass(kw_only=True)
class Only(Recipe):
    """Ingest and nothing else."""

    ingest: Ingest


def photographs(count: int) -> list[bytes]:
    """*count* different JPEGs."""
    from sklearn.datasets import load_sample_images

    rng = np.random.default_rng(0)
    sources = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    made = []
    for number in range(count):
        source, (width, height) = sources[number % 2], SIZES[number % 5]
        high = min(source.height, source.width * height / width) * rng.uniform(0.5, 1)
        wide = high * width / height
        x, y = rng.uniform(0, source.width - wide), rng.uniform(0, source.height - high)
        crop = source.resize((width, height), Image.Resampling.BICUBIC, (x, y, x + wide, y + high))
        noise = rng.normal(0, 2.5, (height, width, 1))
        buffer = io.BytesIO()
        noisy = Image.fromarray((np.asarray(crop) + noise).clip(0, 255).astype(np.uint8))
        noisy.save(buffer, "JPEG", quality=QUALITIES[number * 7 % 5])
        made.append(buffer.getvalue())
    return made


def shards(folder: Path, images: list[bytes], copies: int) -> None:
    """Write the shards into ``0`` and ``1`` of *folder* in turn."""
    for number in range(len(images) // SHARD):
        first = folder / str(number % 2) / f"{number:05d}-0.tar"
        first.parent.mkdir(exist_ok=True)
        with tarfile.open(first, "w") as archive:
            for index in range(number * SHARD, (number + 1) * SHARD):
                for name, data in ((f"{index:07d}.jpg", images[index]), (f"{index:07d}.txt", b"picture %d" % index)):
                    member = tarfile.TarInfo(name)
                    member.size = len(data)
                    archive.addfile(member, io.BytesIO(data))
        for copy in range(1, copies):
            os.link(first, first.with_name(f"{number:05d}-{copy}.tar"))


def tars(folder: Path) -> list[str]:
    return sorted(map(str, folder.rglob("*.tar")))


def strict(folder: Path, scratch: Path) -> int:
    count = 0
    for name in tars(folder):
        with tarfile.open(name) as archive:
            for member in archive:
                if member.name.endswith(".jpg") and (file := archive.extractfile(member)) is not None:
                    simplejpeg.decode_jpeg(file.read(), "RGB", strict=True)
                    count += 1
    return count


def webdataset(folder: Path, scratch: Path) -> int:
    import webdataset as wds

    data = wds.WebDataset(tars(folder), shardshuffle=False, empty_check=False).decode("rgb8").to_tuple("jpg", "txt")
    return sum(1 for _ in data)


def streaming(folder: Path, scratch: Path) -> int:
    import datasets

    data = datasets.load_dataset("webdataset", data_files=tars(folder), split="train", streaming=True)
    return sum(1 for row in data if row["jpg"].convert("RGB"))


def ingest(folder: Path, scratch: Path, engine: Engine | None = None) -> int:
    run = Run(url=tempfile.mkdtemp(dir=scratch), recipe=Only(ingest=Ingest(path=str(folder), name="photos")))
    claim(run)
    execute(run, engine or Local())
    return sum(part.rows for part in run.table("ingest").parts().values())


def ray_data(folder: Path, scratch: Path) -> int:
    import ray

    names = [name for name in tars(folder) if name.endswith("-0.tar")]
    return sum(1 for _ in ray.data.read_webdataset(names).iter_rows())


def _half(work: Callable[[Path, Path], int], folder: Path, scratch: Path) -> tuple[int, float]:
    began = time.process_time()
    return work(folder, scratch), time.process_time() - began


def two_processes(work: Callable[[Path, Path], int], folder: Path, scratch: Path) -> tuple[int, float, float]:
    """Images, seconds and CPU seconds of *work* on both halves of *folder*; imports and start are not counted."""
    with ProcessPoolExecutor(2, get_context("fork")) as pool:
        list(pool.map(_half, [nothing] * 2, [folder] * 2, [scratch] * 2))
        began = time.perf_counter()
        done = list(pool.map(_half, [work] * 2, [folder / "0", folder / "1"], [scratch] * 2))
        return sum(count for count, _ in done), time.perf_counter() - began, sum(cpu for _, cpu in done)


def nothing(folder: Path, scratch: Path) -> int:
    """Nothing, to start a process."""
    time.sleep(0.1)
    return 0


def tree() -> float:
    """CPU seconds so far of this process and all below it. Those of workers that Ray has ended are lost."""
    me = psutil.Process()
    total = 0.0
    for one in (me, *me.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            total += sum(one.cpu_times()[:4])
    return total


def on_ray(work: Callable[[Path, Path], int], folder: Path, scratch: Path) -> tuple[int, float, float]:
    before, began = tree(), time.perf_counter()
    count = work(folder, scratch)
    return count, time.perf_counter() - began, tree() - before


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--images", type=int, default=512, help=f"different images, a multiple of {2 * SHARD}")
    asked.add_argument("--copies", type=int, default=8, help="of each shard, 4 or more")
    asked.add_argument("--rounds", type=int, default=3)
    given = asked.parse_args()
    fused = EngineConfig(fused=True, cpus=2, pool=Pool(workers=2, cpus=0.5))
    with tempfile.TemporaryDirectory() as place:
        whole, quarter, scratch = (Path(place) / name for name in ("whole", "quarter", "scratch"))
        for folder in (whole, quarter, scratch):
            folder.mkdir()
        images = photographs(given.images)
        shards(whole, images, given.copies)
        shards(quarter, images, max(1, given.copies // 4))
        on = partial(ingest, engine=Ray(fused))
        ways: dict[str, Callable[[], tuple[int, float, float]]] = {
            "strict decode": lambda: two_processes(strict, whole, scratch),
            "ingest, local": lambda: two_processes(ingest, whole, scratch),
            "ingest, ray fused": lambda: on_ray(on, whole, scratch),
            "a quarter of it": lambda: on_ray(on, quarter, scratch),
        }
        for name, way in (("webdataset", webdataset), ("datasets", streaming)):
            if importlib.util.find_spec(name):
                ways[name] = partial(two_processes, way, whole, scratch)
            else:
                print(f"{name} is not installed: not measured")
        ways["ray data"] = lambda: on_ray(ray_data, whole, scratch)
        took: dict[str, list[tuple[int, float, float]]] = {name: [] for name in ways}
        loads = []
        for number in range(given.rounds):
            for name, run in ways.items():
                if name == "ingest, ray fused" and number == 0:
                    connect(fused)  # after the first forks: Ray has threads
                loads.append(os.getloadavg()[0])
                took[name].append(run())
                count, wall, cpu = took[name][-1]
                print(f"round {number + 1}: {name}: {count} images, {wall:.1f} s, {cpu:.1f} CPU s", flush=True)
    size = sum(map(len, images)) / len(images) / 1000
    print(f"{len(images) * given.copies} JPEGs of {size:.0f} kB on average, two processes; median of {given.rounds}")
    print(f"{os.cpu_count()} cores, load {min(loads):.1f} to {max(loads):.1f}\n")
    middle = {
        name: (all_[0][0], statistics.median(one[1] for one in all_), statistics.median(one[2] for one in all_))
        for name, all_ in took.items()
    }
    some, (count, wall, cpu) = middle.pop("a quarter of it"), middle["ingest, ray fused"]
    middle["ingest, ray fused, without start"] = (count - some[0], wall - some[1], cpu - some[2])
    limit = middle["strict decode"]
    print(f"{'':<34} {'images':>7} {'a second':>9} {'a CPU s':>8} {'x strict, wall':>15} {'x strict, CPU':>14}")
    for name, (count, wall, cpu) in middle.items():
        rates = count / wall, count / cpu
        print(f"{name:<34} {count:>7} {rates[0]:>9.0f} {rates[1]:>8.0f}"
              f" {rates[0] / (limit[0] / limit[1]):>15.2f} {rates[1] / (limit[0] / limit[2]):>14.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
