"""Training pictures with the truth of every patch, drawn into memory that all processes share. Needs no PyTorch."""

from __future__ import annotations

import dataclasses
import functools
import io
import mmap
from typing import Any

import numpy as np
from PIL import Image

from lab.teach.words import Words, row_of
from mminstruct.microworld.catalogue import (
    CANVAS,
    COLOURS,
    KINDS,
    LEVELS,
    RELATIONS,
    SETTINGS,
    SIZES,
    TIMES,
    WEATHERS,
    WORDS,
)
from mminstruct.microworld.drawing.layout import _NOT_MIRRORED
from mminstruct.microworld.drawing.render import render
from mminstruct.microworld.families import FAMILIES
from mminstruct.microworld.language import caption, facts_of
from mminstruct.microworld.questions.domains import DOMAINS, fitting
from mminstruct.microworld.scene import Scene, draw_scene

SIDE = 192
"""Side of a model's input, in pixels."""
PATCH = 16
"""Side of a patch, in pixels."""
GRID = SIDE // PATCH
FINE = 4
"""Cells along a side of a patch. Truth is kept by cell, so that a picture can be moved by cells and counted anew."""
CELLS = GRID * FINE
GROUPS = 6
"""Most groups of a scene."""
LONG, SHORT = 120, 48
"""Tokens of a caption, of which 20,000 have at most 107, and of a text for CLIP."""
SUITED = 4.0
"""Target probability of an instruction about a thing in the picture, relative to one that fits any picture."""

Array = np.ndarray[Any, Any]
Arrays = dict[str, Array]
"""Pictures and what is known of them, by name: see ``empty``."""

LOCAL: dict[str, tuple[str | None, ...]] = {
    "kind": tuple(KINDS),
    "colour": COLOURS,
    "size": SIZES,
    "action": (None, *dict.fromkeys(action for kind in KINDS.values() for action in kind.actions)),
    "count": ("1", "2", "3", "4", "5", "6"),
    "word": (None, *WORDS),
    "role": (None, *(f"{name} {end}" for name in RELATIONS for end in ("subject", "target"))),
}
"""Classes of the group that a patch shows, by head."""
WHOLE: dict[str, tuple[str | None, ...]] = {
    "setting": tuple(SETTINGS),
    "time": (None, *TIMES),
    "weather": (None, *WEATHERS),
}
"""Classes of the whole picture, by head."""
_PLACES = {name: {value: at for at, value in enumerate(values)} for name, values in (LOCAL | WHOLE).items()}
_AXIS = np.arange(CANVAS) * CELLS // CANVAS
_CELL = ((_AXIS[:, None] * CELLS + _AXIS[None, :]) * (GROUPS + 1)).ravel()


def level_of(index: int) -> str:
    """The level of training scene *index*: four by four, since JPEG or not goes by ``index % 4``."""
    return LEVELS[index // 4 % len(LEVELS)]


def shared(*shape: int, dtype: Any = np.uint8) -> Array:
    """Zeros that every process forked later sees and may write."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer(mmap.mmap(-1, max(size, 1)), dtype)[: int(np.prod(shape))].reshape(shape)


def empty(count: int) -> Arrays:
    """Shared arrays for *count* pictures.

    ``pixels`` (n, SIDE, SIDE, 3); ``cells`` (n, CELLS, CELLS, GROUPS), pixels of the canvas that a cell shows of each
    group; ``centres`` (n, CELLS, CELLS), g + 1 where the visible part of a thing of group g has its centre; ``groups``
    (n, GROUPS, len(LOCAL)) and ``wholes`` (n, len(WHOLE)), class indices; ``captions`` (n, 2, LONG), of the picture and
    of its mirror image; ``flips`` (n), whether the mirror image is true; ``short`` (n, SHORT), a caption for
    CLIP; ``wanted`` (n, families) and ``domains`` (n, domains), target probabilities of their instructions and texts.
    """
    ids = functools.partial(shared, dtype=np.int16)
    return {
        "pixels": shared(count, SIDE, SIDE, 3),
        "cells": shared(count, CELLS, CELLS, GROUPS),
        "centres": shared(count, CELLS, CELLS),
        "groups": shared(count, GROUPS, len(LOCAL)),
        "wholes": shared(count, len(WHOLE)),
        "captions": ids(count, 2, LONG),
        "flips": shared(count),
        "short": ids(count, SHORT),
        "wanted": shared(count, len(FAMILIES), dtype=np.float16),
        "domains": shared(count, len(DOMAINS), dtype=np.float16),
    }


def seen(scene: Scene) -> dict[str, Array]:
    """``pixels``, ``cells``, ``centres``, ``groups`` and ``wholes`` of *scene*, one row of each."""
    drawn = render(scene)
    image = drawn.image
    if scene.index % 4:  # most shards hold JPEG
        packed = io.BytesIO()
        image.save(packed, "JPEG", quality=70 + scene.index % 29)
        image = Image.open(packed, formats=("JPEG",))
    pixels = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    masks = drawn.masks.ravel()
    shown = drawn.group_map().ravel()
    cells = np.bincount(_CELL + shown, minlength=CELLS * CELLS * (GROUPS + 1))
    centres = np.zeros((CELLS, CELLS), np.uint8)
    number = len(drawn.owners) + 1
    flat = np.flatnonzero(masks)
    area = np.bincount(masks[flat], minlength=number)
    rows, columns = (np.bincount(masks[flat], at, number) for at in (flat // CANVAS, flat % CANVAS))
    for thing in range(1, number):
        if area[thing]:
            at = (_AXIS[int(axis[thing] / area[thing])] for axis in (rows, columns))
            centres[tuple(at)] = drawn.owners[thing - 1] + 1
    roles = {}
    for relation in scene.relations:
        roles[relation.subject], roles[relation.target] = f"{relation.name} subject", f"{relation.name} target"
    groups = np.zeros((GROUPS, len(LOCAL)), np.uint8)
    for place, group in enumerate(scene.groups):
        said = {"kind": group.kind, "colour": group.colour, "size": group.size, "action": group.action,
                "count": str(group.count), "word": group.word, "role": roles.get(place)}  # fmt: skip
        groups[place] = [_PLACES[name][said[name]] for name in LOCAL]
    return {
        "pixels": pixels,
        "cells": cells.reshape(CELLS, CELLS, GROUPS + 1)[..., 1:],
        "centres": centres,
        "groups": groups,
        "wholes": np.array([_PLACES[name][getattr(scene, name)] for name in WHOLE]),
    }


def mirrorable(scene: Scene) -> bool:
    """Whether the mirror image could have been drawn: it has no letters, and no sun that tells the time."""
    sun = scene.weather in ("sunny", "foggy") and scene.time in ("morning", "evening")
    return not sun and all(group.kind != "sign" and group.action not in _NOT_MIRRORED for group in scene.groups)


def mirrored(scene: Scene) -> Scene:
    """*scene* as its mirror image shows it."""
    relations = tuple(
        dataclasses.replace(one, subject=one.target, target=one.subject) if one.name == "left of" else one
        for one in scene.relations
    )
    return dataclasses.replace(scene, relations=relations)


def suits(scene: Scene) -> list[float]:
    """Target probability of each family's instruction for the picture of *scene*; sums to 1."""
    facts = facts_of(scene)
    wanted = [(1.0 if f.topic == "any" else SUITED) if f.applies(facts) else 0.0 for f in FAMILIES.values()]
    return [share / sum(wanted) for share in wanted]


def draw(arrays: Arrays, at: int, scene: Scene, words: Words) -> None:
    """Draw *scene* into row *at* of *arrays*."""
    for name, part in seen(scene).items():
        arrays[name][at] = part
    texts = [caption(scene), caption(mirrored(scene)), caption(scene, detail="short")]
    said, turned, short = words.ids(texts)
    arrays["captions"][at] = row_of(said, LONG), row_of(turned, LONG)
    arrays["short"][at] = row_of(short[: SHORT - 1], SHORT)
    arrays["wanted"][at] = suits(scene)
    fits = fitting(scene)
    arrays["domains"][at] = [(name in fits) / len(fits) for name in DOMAINS]
    arrays["flips"][at] = mirrorable(scene)


def pixels_of(count: int, seed: int, level: str) -> Array:
    """(count, SIDE, SIDE, 3): the first pictures of world *seed* at *level*."""
    return np.stack([seen(draw_scene(index, seed, level))["pixels"] for index in range(count)])
