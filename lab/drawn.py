"""Fit and measure the test whether a picture is drawn (``mminstruct.models.drawn``).

``python -m lab.drawn --drawn easy hard --others a b --to drawn.npz`` takes folders of drawn scenes as ``mminstruct
microworld`` writes them, and folders of other pictures, one for each source, in which each kind has a folder. Every
picture is also shown in another size and JPEG quality; of other pictures, also parts. Drawn scenes are split by
content: a share is fitted, a share sets the limit at one false alarm in 2000, and on the rest false alarms are counted.
Misses are counted on each source after a fit without it.
"""

from __future__ import annotations

import argparse
import io
import random
import sys
import tarfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from mminstruct.bench.intervals import rate
from mminstruct.models.drawn import Machine, decoded, features
from mminstruct.stage import content_id

_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
_FIT, _LIMIT = 0.35, 0.65
"""Ends of the shares of drawn scenes that are fitted, and that set the limit."""
_ALARMS = 1 / 2000
_PARTS = 5
"""Views of each other picture."""


def pictures(folder: Path) -> Iterator[bytes]:
    """The bytes of all image files in *folder* and its tars."""
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in _SUFFIXES:
            yield path.read_bytes()
        elif path.suffix == ".tar":
            with tarfile.open(path) as tar:
                for member in tar:
                    if member.name.lower().endswith(_SUFFIXES) and (file := tar.extractfile(member)):
                        yield file.read()


def again(image: Image.Image, rng: random.Random) -> bytes:
    """*image* at half to double size, as JPEG of quality 25 to 95."""
    scale = rng.uniform(0.5, 2.0)
    size = (max(64, int(image.width * scale)), max(64, int(image.height * scale)))
    method = rng.choice((Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS))
    buffer = io.BytesIO()
    image.resize(size, method).save(buffer, "JPEG", quality=rng.randint(25, 95))
    return buffer.getvalue()


def part(image: Image.Image, rng: random.Random) -> Image.Image:
    """A part of *image*, 45 to 100 % of its sides, half of the time mirrored."""
    width, height = (int(side * rng.uniform(0.45, 1.0)) for side in image.size)
    x, y = rng.randint(0, image.width - width), rng.randint(0, image.height - height)
    cut = image.crop((x, y, x + width, y + height))
    return ImageOps.mirror(cut) if rng.random() < 0.5 else cut


def views(data: bytes, parts: int) -> tuple[float, np.ndarray]:
    """A number in [0, 1) by content, and features of the picture, of it encoded again, and of *parts* of it."""
    key = content_id(data)
    rng, image = random.Random(key), decoded(data)
    seen = [image, decoded(again(image, rng))]
    seen += [decoded(again(part(image, rng), rng)) for _ in range(parts)]
    return int(key, 16) / 16**16, features(seen)


def fit(drawn_NF: np.ndarray, others_NF: np.ndarray, limit_NF: np.ndarray) -> Machine:
    """The machine whose sum is above 0 for one of 2000 pictures in *limit_NF*, which are drawn."""
    from sklearn.svm import SVC

    found = SVC(C=10.0, gamma=1.0).fit(
        np.concatenate([drawn_NF, others_NF]), np.repeat([0, 1], [len(drawn_NF), len(others_NF)])
    )
    machine = Machine(
        vectors=np.round(found.support_vectors_ * 255).astype(np.float32) / 255,
        weights=found.dual_coef_[0].astype(np.float32),
        offset=found.intercept_.astype(np.float32),
    )
    return replace(machine, offset=machine.offset - np.float32(np.quantile(machine.sums(limit_NF), 1 - _ALARMS)))


def _said(what: str, alarms: np.ndarray) -> str:
    found = rate(alarms.astype(float), np.ones(len(alarms)))
    return f"{what}: {alarms.sum()} of {len(alarms)} not drawn, {found.value:.4f} [{found.low:.4f}, {found.high:.4f}]"


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m lab.drawn", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--drawn", type=Path, nargs="+", required=True, help="folders of drawn scenes")
    parser.add_argument("--others", type=Path, nargs="+", required=True, help="folders of other pictures, by source")
    parser.add_argument("--to", type=Path, help="file for the weights")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args(words)
    with ProcessPoolExecutor(given.workers) as pool:
        drawn = {path: list(pool.map(partial(views, parts=0), pictures(path), chunksize=32)) for path in given.drawn}
        others = {
            path: {
                kind.name: np.stack([s for _, s in pool.map(partial(views, parts=_PARTS), pictures(kind), chunksize=8)])
                for kind in sorted(path.iterdir())
            }
            for path in given.others
        }

    def some(low: float, high: float, *folders: Path) -> np.ndarray:
        return np.stack([seen for folder in folders for place, seen in drawn[folder] if low <= place < high])

    def flat(views_NVF: np.ndarray) -> np.ndarray:
        return views_NVF.reshape(-1, views_NVF.shape[-1])

    fitted, limit = flat(some(0, _FIT, *drawn)), flat(some(_FIT, _LIMIT, *drawn))

    def not_drawn(*folders: Path) -> np.ndarray:
        return np.concatenate([flat(views_NVF) for folder in folders for views_NVF in others[folder].values()])

    for left in others:
        if rest := [folder for folder in others if folder != left]:
            machine = fit(fitted, not_drawn(*rest), limit)
            for kind, views_NVF in others[left].items():
                print(_said(f"{left}/{kind}, not fitted", machine.sums(views_NVF[:, 0]) > 0))
                print(_said(f"{left}/{kind}, not fitted, encoded again", machine.sums(views_NVF[:, 1]) > 0), flush=True)
    machine = fit(fitted, not_drawn(*others), limit)
    for path in drawn:
        tested = some(_LIMIT, 1, path)
        print(_said(f"{path}, as written", machine.sums(tested[:, 0]) > 0))
        print(_said(f"{path}, encoded again", machine.sums(tested[:, 1]) > 0), flush=True)
    if given.to:
        vectors = np.round(machine.vectors * 255).astype(np.uint8)
        np.savez_compressed(given.to, vectors=vectors, weights=machine.weights, offset=machine.offset)
        print(f"{len(machine.weights)} vectors in {given.to}, {given.to.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
