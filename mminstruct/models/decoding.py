"""For ``generate()`` of transformers: sampling that is independent of the batch, and faster decoding on a CPU.

Three things take most of a small model's time on a CPU and are avoided here: prefilling a prefix that many prompts
share, copying the whole KV cache for each new token, and repeating its heads for grouped queries. 200 answers of the
microworld's model (361 tokens in, 21 out, 20 shared prefixes) take 6 seconds on one core instead of 20, with identical
text.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

_MIN_SHARED = 16
"""Tokens that a shared prefix must have to be prefilled separately."""


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

        step = input_ids.shape[1] - self._start
        uniform_B1 = torch.from_numpy(uniforms(self._seeds, step)[:, None]).to(scores_BV.device)
        mass_BV = torch.softmax(scores_BV.double() / self._temperature, dim=-1)
        if self._top_p < 1:
            mass_BV, order_BV = mass_BV.sort(dim=-1, descending=True, stable=True)
            mass_BV = mass_BV * (mass_BV.cumsum(dim=-1) - mass_BV < self._top_p)
        edges_BV = mass_BV.cumsum(dim=-1)
        token_B1 = torch.searchsorted(edges_BV, uniform_B1 * edges_BV[:, -1:], right=True)
        if self._top_p < 1:
            token_B1 = order_BV.gather(1, token_B1)
        return torch.full_like(scores_BV, -torch.inf).scatter_(1, token_B1, 0.0)


def uniforms(seeds_B: np.ndarray, step: int) -> np.ndarray:
    """Numbers in [0, 1) ``(B,)`` by SplitMix64 (Steele et al. 2014) of each uint64 seed and *step*."""
    with np.errstate(over="ignore"):
        x_B = seeds_B * np.uint64(0xD1342543DE82EF95) + np.uint64(step + 1) * np.uint64(0x9E3779B97F4A7C15)
        for _ in range(2):
            x_B = (x_B ^ (x_B >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            x_B = (x_B ^ (x_B >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            x_B = x_B ^ (x_B >> np.uint64(31))
    return np.asarray((x_B >> np.uint64(24)) * 2.0**-40)  # few enough bits that u * total stays below total


@dataclass(frozen=True, slots=True)
class Group:
    """Numbers of the prompts in one batch that share a prefix, and its length in tokens."""

    rows: list[int]
    shared: int


def batches(prompts: list[list[int]], size: int, *, share: bool = True) -> list[list[Group]]:
    """Split prompts into batches of at most *size*; prompts with a common prefix go together, so do similar lengths.

    The prompts are sorted by their tokens and split between two neighbours whose common prefix is less than half of
    that of the pairs beside them. So a few prompts with a long common prefix share all of it, and not only what every
    prompt has in common.
    """
    order = sorted(range(len(prompts)), key=lambda row: (prompts[row], row))
    alike = [_common(prompts[a], prompts[b]) for a, b in pairwise(order)] if share else [0] * (len(order) - 1)
    runs: list[list[int]] = []
    for place, row in enumerate(order):
        before = alike[place - 1] if place else 0
        around = max(alike[max(place - 2, 0) : place - 1] + alike[place : place + 1], default=0)
        if not place or before < _MIN_SHARED or 2 * before < around:
            runs.append([])
        runs[-1].append(row)
    pieces = [sorted(run, key=lambda row: (-len(prompts[row]), row)) for run in runs]
    pieces = [piece[at : at + size] for piece in pieces for at in range(0, len(piece), size)]
    pieces.sort(key=lambda piece: (-len(prompts[piece[0]]), piece))
    made: list[list[Group]] = []
    room = 0
    for piece in pieces:
        if len(piece) > room:
            made.append([])
            room = size
        room -= len(piece)
        start = min(_common(prompts[piece[0]], prompts[row]) for row in piece) if len(piece) > 1 else 0
        start = min(start, min(len(prompts[row]) for row in piece) - 1)
        made[-1].append(Group(piece, start if start >= _MIN_SHARED else 0))
    return made


def _common(one: list[int], other: list[int]) -> int:
    """Length of the common prefix of two prompts, in tokens."""
    short = min(len(one), len(other))
    return next((place for place in range(short) if one[place] != other[place]), short)


def prefilled(net: Any, prompts: list[list[int]], groups: list[Group], pad: int) -> dict[str, Any]:
    """Arguments of ``generate`` for one batch, rows in the order of *groups*; shared prefixes are already in the cache.

    A row in the tensors: ``[pad | shared prefix | pad | rest of the prompt]``.
    """
    import torch

    starts = [prompts[group.rows[0]][: group.shared] for group in groups if group.shared]
    which = np.cumsum([bool(group.shared) for group in groups]) - 1
    rests = [prompts[row][group.shared :] for group in groups for row in group.rows]
    rest_BT, rest_mask_BT = _padded(rests, pad, net.device)
    if not starts:
        return {"input_ids": rest_BT, "attention_mask": rest_mask_BT, "past_key_values": empty_cache(net)}
    start_GT, start_mask_GT = _padded(starts, pad, net.device)
    cache = empty_cache(net)
    with torch.inference_mode():
        net(
            input_ids=start_GT,
            attention_mask=start_mask_GT,
            position_ids=(start_mask_GT.cumsum(-1) - 1).clamp_min(0),
            past_key_values=cache,
            logits_to_keep=1,
        )
    of_row = [max(int(which[n]), 0) for n, group in enumerate(groups) for _ in group.rows]
    has_start_B1 = torch.tensor([[bool(group.shared)] for group in groups for _ in group.rows], device=net.device)
    index_B = torch.tensor(of_row, device=net.device)
    cache.reorder_cache(index_B)
    return {
        "input_ids": torch.cat([start_GT[index_B], rest_BT], dim=1),
        "attention_mask": torch.cat([start_mask_GT[index_B] * has_start_B1, rest_mask_BT], dim=1),
        "past_key_values": cache,
    }


def _padded(rows: list[list[int]], pad: int, device: Any) -> tuple[Any, Any]:
    """Token ids and mask ``(B, T)``, padded on the left."""
    import torch

    width = max(map(len, rows))
    ids_BT = torch.tensor([[pad] * (width - len(row)) + row for row in rows], device=device)
    mask_BT = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device)
    return ids_BT, mask_BT


def empty_cache(net: Any) -> Any:
    """An empty KV cache with spare room; None if *net* caches anything else than all keys and values."""
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    cache = DynamicCache(config=net.config)
    if not cache.layers or any(type(layer) is not DynamicLayer for layer in cache.layers):
        return None  # sliding windows, states of recurrent layers
    cache.layers = [_preallocated()() for _ in cache.layers]
    return cache


@functools.cache
def _preallocated() -> type:
    """The class of cache layers that write new tokens into spare room instead of copying the old ones."""
    import torch
    from transformers.cache_utils import DynamicLayer

    class Preallocated(DynamicLayer):
        spare = 64

        def lazy_initialization(self, key_states: Any, value_states: Any) -> None:
            super().lazy_initialization(key_states, value_states)
            self.keys = key_states[:, :, :0]
            self.values = value_states[:, :, :0]
            self.buffers: list[Any] = []

        def update(self, key_states: Any, value_states: Any, *_: Any, **__: Any) -> tuple[Any, Any]:
            if not self.is_initialized:
                self.lazy_initialization(key_states, value_states)
            old, end = self.keys.shape[2], self.keys.shape[2] + key_states.shape[2]
            if not self.buffers or end > self.buffers[0].shape[2]:
                rows, heads, _, width = key_states.shape
                grown = [torch.empty((rows, heads, end + self.spare, width), dtype=x.dtype, device=x.device)
                         for x in (key_states, value_states)]  # fmt: skip
                for buffer, held in zip(grown, (self.keys, self.values), strict=True):
                    buffer[:, :, :old] = held
                self.buffers = grown
            for buffer, new in zip(self.buffers, (key_states, value_states), strict=True):
                buffer[:, :, old:end] = new
            self.keys, self.values = (buffer[:, :, :end] for buffer in self.buffers)
            return self.keys, self.values

        def reorder_cache(self, beam_idx: Any) -> None:
            super().reorder_cache(beam_idx)
            self.buffers = []  # the rows have changed: the next update allocates anew

    return Preallocated


@functools.cache
def grouped_attention() -> str:
    """Name of an attention that does not repeat keys for grouped queries when it decodes one token.

    All queries of a group attend to the same keys under the same mask, so they are computed as one longer query.
    """
    import torch
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.integrations.sdpa_attention import sdpa_attention_forward
    from transformers.masking_utils import sdpa_mask

    def attend(module: Any, query: Any, key: Any, value: Any, attention_mask: Any, **rest: Any) -> tuple[Any, None]:
        rows, heads, length, width = query.shape
        if length > 1 or heads == key.shape[1] or rest.get("position_bias") is not None:
            made: tuple[Any, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **rest)
            return made
        query = query.reshape(rows, key.shape[1], -1, width)
        out = torch.nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=attention_mask, scale=rest.get("scaling")
        )
        return out.reshape(rows, 1, heads, -1), None

    AttentionInterface.register("sdpa_grouped", attend)
    AttentionMaskInterface.register("sdpa_grouped", sdpa_mask)
    return "sdpa_grouped"
