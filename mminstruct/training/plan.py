"""The rows of each step, and of each worker in it.

A step's rows depend on (seed, epoch, step) alone and not on the number of workers, so a resumed run continues with the
same rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mminstruct.training.config import Training
from mminstruct.training.data import Records

_MEGA = 50
"""Batches whose rows are sorted by length together: enough for similar lengths, few enough for randomness."""


def epoch_plan(
    words_N: np.ndarray[Any, Any], seen_N: np.ndarray[Any, Any], *, batch: int, seed: int, epoch: int, group: bool
) -> list[np.ndarray[Any, Any]]:
    """Rows of each step of an epoch: every row once; the last batch may be smaller.

    With *group*, batches have one modality and similar lengths, and come in random order; leftover rows come last.
    """
    rng = np.random.default_rng([seed, epoch])
    if not group:
        order_N = rng.permutation(len(words_N))
        return [order_N[at : at + batch] for at in range(0, len(order_N), batch)]
    batches, rest = [], []
    for kind in (True, False):
        rows_K = rng.permutation(np.flatnonzero(seen_N == kind))
        whole = len(rows_K) - len(rows_K) % batch
        rest.append(rows_K[whole:])
        for at in range(0, whole, _MEGA * batch):
            some_K = rows_K[at : min(at + _MEGA * batch, whole)]
            some_K = some_K[np.argsort(-words_N[some_K], kind="stable")]
            batches += [some_K[start : start + batch] for start in range(0, len(some_K), batch)]
    batches = [batches[place] for place in rng.permutation(len(batches))]
    rest_K = np.concatenate(rest)
    return batches + [rest_K[at : at + batch] for at in range(0, len(rest_K), batch)]


class Plan:
    """The rows of every step of a run."""

    def __init__(self, records: Records, config: Training, seed: int) -> None:
        self.records, self.seed, self.group, self.batch = records, seed, config.group, config.optim.batch
        self.per_epoch = -(-len(records) // self.batch)
        self.steps = config.optim.steps or max(1, round(config.optim.epochs * self.per_epoch))
        self._epoch = -1
        self._batches: list[np.ndarray[Any, Any]] = []

    def step(self, number: int) -> np.ndarray[Any, Any]:
        """Rows of step *number* (from 0), those with an image and longer ones first."""
        epoch, place = divmod(number, self.per_epoch)
        if epoch != self._epoch:
            r = self.records
            self._epoch = epoch
            self._batches = epoch_plan(
                r.words_N, r.seen_N, batch=self.batch, seed=self.seed, epoch=epoch, group=self.group
            )
        rows_B = self._batches[place]
        order_B = np.lexsort((rows_B, -self.records.words_N[rows_B], ~self.records.seen_N[rows_B]))
        ordered_B: np.ndarray[Any, Any] = rows_B[order_B]
        return ordered_B


def shares(rows_B: np.ndarray[Any, Any], rank: int, world: int, micro: int, batch: int) -> list[list[int]]:
    """Rows of each micro-batch of one worker; rows of similar length go to different workers at the same time.

    Every worker has the same number of micro-batches, since all take part in collective operations; some may be empty.
    """
    width = world * micro
    return [
        [int(row) for row in rows_B[at : at + width][rank::world]] for at in range(0, -(-batch // width) * width, width)
    ]
