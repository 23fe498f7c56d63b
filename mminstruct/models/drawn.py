"""Whether a picture is one of the microworld's drawings, and models that warn of those which are not.

The embedded models know drawn scenes only, and describe a photograph as fluently as a drawing: nothing in their texts
shows that they are wrong. The distance of their features does not tell photographs from drawings either. The test looks
at the picture itself: a support vector machine on histograms of its colours, and of the steps between neighbouring
pixels at three scales. At 64 x 64 pixels, blur, noise, size and JPEG quality change little. ``python -m lab.drawn``
fits it and measures false alarms and misses (docs/models.md).
"""

from __future__ import annotations

import contextlib
import functools
import importlib.resources
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from mminstruct.models.model import Chat, Embed, Reply, images_of
from mminstruct.prompts import Message
from mminstruct.readers.container import BadImage
from mminstruct.readers.image import load
from mminstruct.unit import UNIT, warn

_SIDE = 64
_BLOCKS = 8
"""Colour cells along each of red, green and blue."""
_SCALES = 3
_STEPS = 16
"""Cells of a step between pixels: half octaves of its size."""
_COMMON = 32
"""Shares of the commonest colours, whichever these are: a drawing has few colours."""
_GAMMA = 1.0
WEIGHTS = "drawn.npz"
_DECODED = 256
"""Side to which a picture is decoded; it is faster for large JPEGs."""

SAID = (
    "images are not drawn, and micro: models know drawn scenes only: what they write about these images is wrong. Build"
    " with models that know photographs, in a new folder: mminstruct build out=NEW source=IMAGES models=laptop (or"
    " paper, modern, api: docs/models.md)"
)


def features(images: list[Image.Image]) -> np.ndarray:
    """float32 ``(N, F)``, square roots of shares, from RGB images of any size."""
    size = (_SIDE, _SIDE)
    small = [np.asarray(image.resize(size, Image.Resampling.BOX), np.float32) for image in images]
    pixels_NHWC = np.stack(small) if small else np.empty((0, _SIDE, _SIDE, 3), np.float32)
    cell_NHWC = (pixels_NHWC * _BLOCKS // 256).astype(np.int64)
    colours_NK = _shares(cell_NHWC @ np.array([_BLOCKS**2, _BLOCKS, 1]), _BLOCKS**3)
    found = [colours_NK, -np.sort(-colours_NK, axis=1)[:, :_COMMON]]
    for scale in range(_SCALES):
        across = np.abs(np.diff(pixels_NHWC, axis=2)).max(axis=-1)[:, 1:]
        down = np.abs(np.diff(pixels_NHWC, axis=1)).max(axis=-1)[:, :, 1:]
        for step_NHW in (np.maximum(across, down), np.minimum(across, down)):
            octave_NHW = np.minimum(2 * np.log2(step_NHW + 1), _STEPS - 1).astype(np.int64)
            found.append(_shares(octave_NHW, _STEPS))
        half = _SIDE >> (scale + 1)
        pixels_NHWC = pixels_NHWC.reshape(-1, half, 2, half, 2, 3).mean(axis=(2, 4))
    return np.asarray(np.sqrt(np.concatenate(found, axis=1)), np.float32)


def _shares(cell_NHW: np.ndarray, cells: int) -> np.ndarray:
    """Share of each cell ``(N, cells)`` in each image."""
    count, pixels = len(cell_NHW), cell_NHW[0].size if len(cell_NHW) else 1
    flat_NP = cell_NHW.reshape(count, pixels) + np.arange(count)[:, None] * cells
    return np.bincount(flat_NP.ravel(), minlength=count * cells).reshape(count, cells) / pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A support vector machine with a Gaussian kernel, which gives pictures that are not drawn a sum above 0."""

    vectors: np.ndarray
    """float32 ``(S, F)``: features of single pictures, drawn ones and others, rounded to 1/255."""
    weights: np.ndarray
    """float32 ``(S,)``, below 0 for drawn ones."""
    offset: np.ndarray
    """float32, one number."""

    def sums(self, features_NF: np.ndarray) -> np.ndarray:
        """float32 ``(N,)``."""
        square_NS = (features_NF**2).sum(1)[:, None] + (self.vectors**2).sum(1) - 2 * features_NF @ self.vectors.T
        return np.asarray(np.exp(-_GAMMA * square_NS) @ self.weights + self.offset, np.float32)


@functools.cache
def _machine() -> Machine:
    with importlib.resources.files("mminstruct.models").joinpath(WEIGHTS).open("rb") as file:
        found = np.load(file, allow_pickle=False)
        return Machine(
            vectors=found["vectors"].astype(np.float32) / 255, weights=found["weights"], offset=found["offset"]
        )


def decoded(data: bytes) -> Image.Image:
    """The pixels as ``features`` were fitted on them.

    Raises:
        BadImage: see ``readers.image.load``.
    """
    return load(data, longest=_DECODED)


def not_drawn(images: list[Image.Image]) -> np.ndarray:
    """Bool ``(N,)``, from RGB images as ``decoded`` returns them."""
    return np.asarray(_machine().sums(features(images)) > 0)


def look(images: list[bytes]) -> None:
    """Warn of the images that are not drawn, within a unit; images that cannot be decoded are left to the model."""
    for data in images if UNIT.get() is not None else ():
        with contextlib.suppress(BadImage):
            warn(SAID, int(not_drawn([decoded(data)])[0]), 1)


class WarningChat:
    """An embedded model that warns of images which are not drawn."""

    def __init__(self, model: Chat) -> None:
        self._model = model

    def chat(self, messages: list[list[Message]], **more: Any) -> list[Reply]:
        """See ``Chat``."""
        look([data for transcript in messages for message in transcript for data in images_of(message)])
        return self._model.chat(messages, **more)


class WarningEmbed:
    """The same for an encoder."""

    def __init__(self, model: Embed) -> None:
        self._model = model

    def texts(self, texts: list[str]) -> np.ndarray:
        """See ``Embed``."""
        return self._model.texts(texts)

    def images(self, images: list[bytes]) -> np.ndarray:
        """See ``Embed``."""
        look(images)
        return self._model.images(images)
