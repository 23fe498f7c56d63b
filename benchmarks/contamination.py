"""Measures how many edited copies of evaluation images are found in a training set, by detection method.

    python -m benchmarks.contamination [--scenes 100] [--photos DIR] [--clip micro:clip] [--to FILE]

Each image is edited in twelve ways (two crops among them); first the evaluation file is the edited one, then the
training file. Methods:

- strict: perceptual hash, only of evaluation files that pass ingest's rules (the first version of ``select``)
- hash: perceptual hash of all readable evaluation files
- edits: hashes of the evaluation image and of common edits of it (the present ``select``)
- embedding: cosine of at least ``match.eval_cosine``, with the given CLIP model

The last lines count false positives: pairs of different images that were found.
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from mminstruct.microworld.drawing.render import render
from mminstruct.microworld.scene import draw_scene
from mminstruct.models.model import Model
from mminstruct.readers.container import BadImage
from mminstruct.readers.evaluation import LONGEST, hashes
from mminstruct.readers.image import EVALUATION, Rules, encode, load, normalise, phashes
from mminstruct.stages.match import Match
from mminstruct.stages.select import Select

BITS, COSINE = Select.eval_phash_bits, Match.eval_cosine
INGEST = Rules(formats=(*Rules().formats, "TIFF", "AVIF"))
WAYS = ("strict", "hash", "edits", "embedding")


def saved(image: Image.Image, format: str = "JPEG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **({"quality": 90} if format == "JPEG" else {}) | options)
    return buffer.getvalue()


def turned(image: Image.Image) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(image.transpose(Image.Transpose.ROTATE_90), exif=exif)


def cropped(image: Image.Image, share: float) -> bytes:
    x, y = round(image.width * share), round(image.height * share)
    return saved(image.crop((x, y, image.width - x, image.height - y)))


def stray(image: Image.Image) -> bytes:
    data = saved(image)
    at = data.index(b"\xff\xda")
    return data[:at] + b"abc" + data[at:]


CHANGES: dict[str, Callable[[Image.Image], bytes]] = {
    "TIFF": lambda image: saved(image, "TIFF"),
    "AVIF": lambda image: saved(image, "AVIF"),
    "progressive JPEG": lambda image: saved(image, progressive=True),
    "resized to 1/4": lambda image: saved(
        image.resize((image.width // 4, image.height // 4), Image.Resampling.LANCZOS)
    ),
    "JPEG quality 30": lambda image: saved(image, quality=30),
    "turned by EXIF": turned,
    "grey": lambda image: saved(image.convert("L")),
    "crop, 2 % a side": lambda image: cropped(image, 0.02),
    "crop, 5 % a side": lambda image: cropped(image, 0.05),
    "border, 5 %, white": lambda image: saved(ImageOps.expand(image, round(min(image.size) * 0.05), "white")),
    "mirrored": lambda image: saved(ImageOps.mirror(image)),
    "JPEG without its end": lambda image: saved(image)[:-2],
    "stray bytes": stray,
}


def near(one: Iterable[int], other: int) -> bool:
    return min((value ^ other).bit_count() for value in one) <= BITS


def trained(data: bytes) -> tuple[int, bytes] | None:
    """Hash and stored bytes of a file after ingest; None if ingest drops it."""
    try:
        picture = normalise(data, INGEST)
    except BadImage:
        return None
    return picture.phash, picture.image


def known(data: bytes) -> dict[str, list[int]]:
    """Hashes of an evaluation file, by method."""
    try:
        strict = [normalise(data, Rules()).phash]
    except BadImage:
        strict = []
    image = load(data, EVALUATION, LONGEST)
    return {"strict": strict, "hash": [(phashes(image) or (0,))[0]], "edits": list(hashes(image).values())}


def measured(pictures: list[Image.Image], clip: Any) -> dict[str, Any]:
    """Copies found by edit, direction and method; and false positives."""

    def vectors(files: list[bytes]) -> np.ndarray:
        return np.asarray(clip.images(files))

    plain = [saved(picture, "PNG") for picture in pictures]
    plain_trained = [trained(data) for data in plain]
    plain_known = [known(data) for data in plain]
    plain_ND = vectors([kept[1] for kept in plain_trained if kept])
    result: dict[str, Any] = {"pictures": len(pictures), "found": {}}
    for name, change in CHANGES.items():
        files = [change(picture) for picture in pictures]
        seen = [known(data) for data in files]
        read = vectors([encode(load(data, EVALUATION, LONGEST), lossless=False) for data in files])
        copies = [trained(data) for data in files]
        rows: dict[str, Any] = {
            "evaluation": {
                way: sum(
                    bool(one[way]) and near(one[way], kept[0])
                    for one, kept in zip(seen, plain_trained, strict=True)
                    if kept
                )
                for way in WAYS[:3]
            },
            "training": {
                way: sum(near(one[way], copy[0]) for one, copy in zip(plain_known, copies, strict=True) if copy)
                for way in WAYS[:3]
            },
        }
        rows["evaluation"]["embedding"] = int(((read * plain_ND).sum(axis=1) >= COSINE).sum())
        left = [n for n, copy in enumerate(copies) if copy]
        copies_ND = vectors([copy[1] for copy in copies if copy])
        cosines = (copies_ND * plain_ND[left]).sum(axis=1) if left else np.empty(0)
        rows["training"]["embedding"] = int((cosines >= COSINE).sum())
        rows["training"]["dropped by ingest"] = len(files) - len(left)
        result["found"][name] = rows
    wrong = dict.fromkeys(WAYS[1:], 0)
    for n, one in enumerate(plain_known):
        for m, kept in enumerate(plain_trained):
            if n != m and kept:
                for way in WAYS[1:3]:
                    wrong[way] += near(one[way], kept[0])
    cosines = plain_ND @ plain_ND.T
    wrong["embedding"] = int((cosines >= COSINE).sum() - (np.diag(cosines) >= COSINE).sum())
    return result | {"pairs of different pictures": len(pictures) * (len(pictures) - 1), "found wrongly": wrong}


def table(result: dict[str, Any]) -> str:
    lines = []
    for side in ("evaluation", "training"):
        extra = ("dropped by ingest",) if side == "training" else ()
        lines += [f"the {side} file is the changed one ({result['pictures']} pictures)", ""]
        lines += ["| change | " + " | ".join(WAYS + extra) + " |", "|---" * (1 + len(WAYS + extra)) + "|"]
        for name, rows in result["found"].items():
            lines.append(f"| {name} | " + " | ".join(str(rows[side][way]) for way in WAYS + extra) + " |")
        lines.append("")
    lines.append(f"of {result['pairs of different pictures']} pairs of different pictures: {result['found wrongly']}")
    return "\n".join(lines)


def photographs(folder: str | None) -> list[Image.Image]:
    """The two photographs of scikit-learn, and those in *folder*."""
    from sklearn.datasets import load_sample_images

    mine = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    files = sorted(Path(folder).iterdir()) if folder else []
    return mine + [load(path.read_bytes(), EVALUATION, LONGEST) for path in files]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=100)
    parser.add_argument("--photos", help="folder of photographs")
    parser.add_argument("--clip", default="micro:clip")
    parser.add_argument("--to", type=Path, help="JSON file for the numbers")
    given = parser.parse_args()
    clip = Model(name=given.clip, backend="open_clip", options={"threads": 1}).embed()
    kinds = {
        "photographs": photographs(given.photos),
        "drawn scenes": [render(draw_scene(index, 7)).image.convert("RGB") for index in range(given.scenes)],
    }
    found = {}
    for kind, pictures in kinds.items():
        found[kind] = measured(pictures, clip)
        print(f"## {kind}\n\n{table(found[kind])}\n")
    if given.to:
        given.to.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
