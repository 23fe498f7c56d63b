"""Pictures on the device, as they are drawn, and batches of them that never look the same twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from lab.teach.learner import Tensors, precision
from lab.teach.pictures import CELLS, FINE, GRID, GROUPS, LOCAL, PATCH, SIDE, WHOLE, Array, Arrays
from lab.teach.words import PAD
from mminstruct.microworld.catalogue import CANVAS

HEADS = {"kind": len(LOCAL["kind"]) + 1, **{n: len(v) for n, v in LOCAL.items() if n != "kind"}, "centre": 2,
         **{n: len(v) for n, v in WHOLE.items()}}  # fmt: skip
"""Heads on the tower's states, with their numbers of classes; class 0 of ``kind`` is the backdrop."""
REACH = 6
"""Pixels by which a picture is moved at most, in each direction."""
COVERED = 0.15
"""Least share of a patch that a group covers if the patch shows it."""
_KINDS = {"uint8": torch.uint8, "int16": torch.int16, "float16": torch.float16}


def patches_of(pixels: Tensor) -> Tensor:
    """(n, SIDE, SIDE, 3) as (n, patches, values), in the order of a convolution's window: row, column, channel."""
    n = len(pixels)
    cut = pixels.view(n, GRID, PATCH, GRID, PATCH, 3).permute(0, 1, 3, 2, 4, 5)
    return cut.reshape(n, GRID * GRID, PATCH * PATCH * 3)


def scaled(pixels: Array | Tensor, device: str | torch.device) -> Tensor:
    """Bytes (n, SIDE, SIDE, 3) as patches from -1 to 1 in the ``precision`` of *device*."""
    there = torch.as_tensor(pixels).to(device)
    return (patches_of(there).float() / 127.5 - 1).to(precision(device))


class Album:
    """Pictures of shared *arrays* on a device, of which those are used that are drawn.

    Args:
        arrays: As ``pictures.empty`` makes them.
        chunks: Index in *ready*, first and last row of each chunk.
        ready: 1 where a chunk is drawn.
        device: Where they go.
        names: The arrays that are needed.
        seed: Of the order of rows.
    """

    def __init__(
        self, arrays: Arrays, chunks: Sequence[tuple[int, int, int]], ready: Array, device: str,
        names: Sequence[str], seed: int = 11,
    ) -> None:  # fmt: skip
        self._arrays = {name: arrays[name] for name in names}
        self._waiting, self._ready, self.device = list(chunks), ready, device
        self.on: Tensors = {
            name: torch.zeros(a.shape, dtype=_KINDS[a.dtype.name], device=device) for name, a in self._arrays.items()
        }
        self._have = self._pending = torch.zeros(0, dtype=torch.long)
        self._rng = torch.Generator().manual_seed(seed)
        edges = [-(-CANVAS * k // GRID) for k in range(GRID + 1)]
        sides = torch.tensor(edges).diff().float()
        self._area = (sides[:, None] * sides[None, :]).to(device)[None, :, :, None]
        role = LOCAL["role"]
        swap = {"left of subject": "left of target", "left of target": "left of subject"}
        self._swap = torch.tensor([role.index(swap.get(str(one), one)) for one in role], device=device)

    def __len__(self) -> int:
        return len(self._have)

    @property
    def complete(self) -> bool:
        return not self._waiting

    def sync(self, most: int = 6) -> int:
        """Load at most *most* chunks that are drawn; how many there were."""
        found = [chunk for chunk in self._waiting if self._ready[chunk[0]]][:most]
        for chunk in found:
            _, start, stop = chunk
            for name, array in self._arrays.items():
                self.on[name][start:stop].copy_(torch.from_numpy(array[start:stop]))
            rows = torch.arange(start, stop)
            self._have, self._pending = torch.cat([self._have, rows]), torch.cat([self._pending, rows])
            self._waiting.remove(chunk)
        return len(found)

    def rows(self, size: int, ahead: int = 16) -> Iterator[Tensor]:
        """Endless rows of batches: each picture once before any comes again, new ones mixed in. Loads what is drawn."""
        while True:
            self.sync()
            while len(self._pending) < size * ahead:
                self._pending = torch.cat([self._pending, self._have])
            order = torch.randperm(len(self._pending), generator=self._rng)
            drawn, self._pending = self._pending[order[: size * ahead]], self._pending[order[size * ahead :]]
            yield from drawn.view(ahead, size).to(self.device)

    def batch(self, rows: Tensor, strength: float) -> tuple[Tensor, Tensors, Tensor]:
        """Patches (n, patches, values), labels of every head, captions (n, tokens; -100 behind their end).

        With *strength* above 0 pictures are moved, mirrored where that is true, and lit differently. Labels of patches
        are (n, patches), -100 where a patch shows nothing of the sort; labels of pictures (n,).
        """
        on, n = self.on, len(rows)
        flip, y, x = self._moved(rows, strength)
        own = torch.arange(n, device=rows.device)[:, None, None]
        pixels = patches_of(on["pixels"][rows][own, y[:, :, None], x[:, None, :]]).float() / 127.5 - 1
        if strength:
            light, shade, grain = (torch.rand(3, n, 1, 1, device=rows.device) * 2 - 1) * strength
            pixels = pixels * (1 + 0.06 * light) + 0.05 * shade + 0.015 * (grain + strength) * torch.randn_like(pixels)
            pixels = pixels.clamp_(-1, 1)
        said = on["captions"][rows, flip.long()].long()
        return pixels.to(precision(rows.device)), self._labels(rows, flip, y, x), torch.where(said == PAD, -100, said)

    def _moved(self, rows: Tensor, strength: float) -> tuple[Tensor, Tensor, Tensor]:
        """Which pictures are mirrored, (n,), and where their rows and columns come from, both (n, SIDE)."""
        n, device = len(rows), rows.device
        line = torch.arange(SIDE, device=device)
        if not strength:
            return torch.zeros(n, dtype=torch.bool, device=device), line.expand(n, -1), line.expand(n, -1)
        reach = REACH if strength > 0.5 else REACH // 3
        move = torch.randint(-reach, reach + 1, (2, n, 1), device=device)
        flip = (torch.rand(n, device=device) < 0.5) & (self.on["flips"][rows] > 0)
        y, x = (line + move).clamp(0, SIDE - 1)
        return flip, y, torch.where(flip[:, None], SIDE - 1 - x, x)

    def _labels(self, rows: Tensor, flip: Tensor, y: Tensor, x: Tensor) -> Tensors:
        on, n = self.on, len(rows)
        middle = torch.arange(CELLS, device=rows.device) * (SIDE // CELLS) + SIDE // CELLS // 2
        at = (
            rows[:, None, None],
            (y[:, middle] // (SIDE // CELLS))[:, :, None],
            (x[:, middle] // (SIDE // CELLS))[:, None],
        )
        cut = (n, GRID, FINE, GRID, FINE)
        most, owner = (on["cells"][at].view(*cut, GROUPS).sum((2, 4)).float() / self._area).max(-1)
        centre = on["centres"][at].view(cut).amax((2, 4)).long()
        owners = torch.where(centre > 0, centre, torch.where(most >= COVERED, owner + 1, 0)).view(n, GRID * GRID)
        shown = owners > 0
        its = on["groups"][rows].long().gather(1, (owners - 1).clamp(min=0)[:, :, None].expand(-1, -1, len(LOCAL)))
        found = dict(zip(LOCAL, its.unbind(-1), strict=True))
        found["role"] = torch.where(flip[:, None], self._swap[found["role"]], found["role"])
        found["centre"] = (centre > 0).view(n, GRID * GRID).long()
        found = {name: torch.where(shown, label, -100) for name, label in found.items()}
        found["kind"] = torch.where(shown, found["kind"] + 1, 0)
        found["word"] = torch.where(found["word"] > 0, found["word"], -100)  # few patches show signs
        found |= dict(zip(WHOLE, on["wholes"][rows].long().unbind(-1), strict=True))
        return {name: found[name] for name in HEADS}


def album_of(plan: Any, kind: str, names: Sequence[str], most: int | None = None) -> Album:
    """The ``train`` or ``held`` pictures of *plan* on its device, *most* of them."""
    chunks = [(at, start, stop) for at, (name, start, stop) in enumerate(plan.chunks) if name == kind]
    count = min(most or len(plan.arrays[kind]["flips"]), len(plan.arrays[kind]["flips"]))
    arrays = {name: array[:count] for name, array in plan.arrays[kind].items()}
    return Album(arrays, [chunk for chunk in chunks if chunk[2] <= count], plan.ready, plan.device, names)
