"""Small pictures that differ, and files of questions about them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def picture(seed: int, quality: int = 90) -> bytes:
    """A JPEG of 64 x 64 soft blobs; another seed is another picture, another quality the same one in other bytes."""
    coarse = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(coarse).resize((64, 64), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def lines(path: Path, rows: Iterable[Mapping[str, Any] | str]) -> str:
    """Write JSON lines (a text goes in as it is); the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return str(path)


def images(folder: Path, count: int) -> str:
    """A folder of ``0.jpg``, ``1.jpg`` ...; its path."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(count):
        (folder / f"{seed}.jpg").write_bytes(picture(seed))
    return str(folder)
