"""Run-length encoding of masks in the format of COCO and SA-1B (``maskApi.c`` of pycocotools), using only numpy."""

from __future__ import annotations

from typing import Any, TypedDict

import numpy as np

Mask = np.ndarray[Any, np.dtype[np.bool_]]


class Rle(TypedDict):
    """A compressed mask."""

    size: list[int]
    """Height and width."""
    counts: str
    """Run lengths in column-major order, background first, five bits per character."""


def encode(mask: Mask) -> Rle:
    """Encode a mask of shape (height, width). Run k > 2, counted from 0, is stored as its difference to run k - 2."""
    flat = np.concatenate(([False], np.asarray(mask, dtype=bool).ravel(order="F"), [False]))
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    runs = np.diff(np.concatenate(([0], edges, [mask.size])))
    if len(runs) > 1 and runs[-1] == 0:
        runs = runs[:-1]
    steps = runs.copy()
    steps[3:] -= runs[1:-2]
    letters = []
    for step in steps.tolist():
        while True:
            bits = step & 31
            step >>= 5
            more = step != (-1 if bits & 16 else 0)
            letters.append(chr(48 + bits + (32 if more else 0)))
            if not more:
                break
    return {"size": [int(side) for side in mask.shape], "counts": "".join(letters)}


def decode(rle: Rle) -> Mask:
    """Decode to a mask of shape (height, width).

    Raises:
        ValueError: If the runs do not add up to the size.
    """
    runs: list[int] = []
    value = shift = 0
    for letter in rle["counts"]:
        code = ord(letter) - 48
        value |= (code & 31) << shift
        shift += 5
        if not code & 32:
            if code & 16:
                value -= 1 << shift
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    height, width = rle["size"]
    if shift or sum(runs) != height * width or min(runs, default=0) < 0:
        raise ValueError(
            f"the runs of this mask add up to {sum(runs)} pixels, not to {height} x {width}: it is damaged"
        )
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return flat.reshape(height, width, order="F")
