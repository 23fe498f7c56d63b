"""Sampling of tokens that is independent of the batch."""

from __future__ import annotations

from typing import Any

import numpy as np


class Sampler:
    """A logits processor that samples each row's token and masks all other tokens.

    The random number of a step is a hash of (seed, step), so a row's tokens do not depend on the other rows.
    """

    def __init__(self, seeds: list[int], start: int, temperature: float, top_p: float) -> None:
        self._seeds = np.array(seeds, np.uint64)
        self._start, self._temperature, self._top_p = start, temperature, top_p

    def __call__(self, input_ids: Any, scores_BV: Any) -> Any:
        """Scores ``(B, V)``: 0 for the sampled token, minus infinity for all others."""
        import torch

        token_B = self.draw(scores_BV, input_ids.shape[1] - self._start)
        return torch.full_like(scores_BV, -torch.inf).scatter_(1, token_B[:, None], 0.0)

    def draw(self, scores_BV: Any, step: int, rows: list[int] | None = None) -> Any:
        """Tokens ``(B,)`` of a step for scores ``(B, V)``, which are those of *rows* (all seeds by default)."""
        import torch

        seeds_B = self._seeds if rows is None else self._seeds[rows]
        uniform_B1 = torch.from_numpy(uniforms(seeds_B, step)[:, None]).to(scores_BV.device)
        mass_BV = torch.softmax(scores_BV.double() / self._temperature, dim=-1)
        if self._top_p < 1:
            mass_BV, order_BV = mass_BV.sort(dim=-1, descending=True, stable=True)
            mass_BV = mass_BV * (mass_BV.cumsum(dim=-1) - mass_BV < self._top_p)
        edges_BV = mass_BV.cumsum(dim=-1)
        token_B1 = torch.searchsorted(edges_BV, uniform_B1 * edges_BV[:, -1:], right=True)
        if self._top_p < 1:
            token_B1 = order_BV.gather(1, token_B1)
        return token_B1[:, 0]


def uniforms(seeds_B: np.ndarray, step: int) -> np.ndarray:
    """Numbers in [0, 1) ``(B,)`` by SplitMix64 (Steele et al. 2014) of each uint64 seed and *step*."""
    with np.errstate(over="ignore"):
        x_B = seeds_B * np.uint64(0xD1342543DE82EF95) + np.uint64(step + 1) * np.uint64(0x9E3779B97F4A7C15)
        for _ in range(2):
            x_B = (x_B ^ (x_B >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            x_B = (x_B ^ (x_B >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            x_B = x_B ^ (x_B >> np.uint64(31))
    return np.asarray((x_B >> np.uint64(24)) * 2.0**-40)  # few enough bits that u * total stays below total
