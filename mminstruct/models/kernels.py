"""Parts of a network of transformers that are faster here than there: KV cache, attention and experts.

A cache with spare room copies no old token for each new one and drops rows in place; attention for grouped queries
repeats no keys; experts gather their tokens once. All compute what transformers computes.
"""

from __future__ import annotations

import functools
from typing import Any


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
                grown = [x.new_empty((*x.shape[:2], end + self.spare, x.shape[3]))  # values can be narrower than keys
                         for x in (key_states, value_states)]  # fmt: skip
                for buffer, held in zip(grown, (self.keys, self.values), strict=True):
                    buffer[:, :, :old] = held
                self.buffers = grown
            for buffer, new in zip(self.buffers, (key_states, value_states), strict=True):
                buffer[:, :, old:end] = new
            self.keys, self.values = (buffer[:, :, :end] for buffer in self.buffers)
            return self.keys, self.values

        def drop(self, holes: list[int], moved: list[int], count: int) -> None:
            """Keep *count* rows: those of *moved*, from behind them, take the places *holes* of rows that ended."""
            if holes:
                for buffer in self.buffers:
                    buffer[holes] = buffer[moved]
            self.buffers = [buffer[:count] for buffer in self.buffers]
            self.keys, self.values = self.keys[:count], self.values[:count]

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


@functools.cache
def sorted_experts() -> str:
    """Name of an implementation of experts that sorts tokens by expert, so that gathering, gating and adding up are
    one operation for all experts. Sums have the order of the plain implementation.
    """
    import torch
    from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS

    def multiplied(x_SD: Any, weight_EFD: Any, counts: list[int]) -> Any:
        out_SF = x_SD.new_empty((x_SD.shape[0], weight_EFD.shape[1]))
        at = 0
        for expert, count in enumerate(counts):
            if count:
                torch.mm(x_SD[at : at + count], weight_EFD[expert].t(), out=out_SF[at : at + count])
            at += count
        return out_SF

    def forward(module: Any, x_ND: Any, expert_NK: Any, share_NK: Any) -> Any:
        if module.has_bias or module.is_transposed or not module.has_gate or x_ND.dtype != module.down_proj.dtype:
            return type(module).forward.__wrapped__(module, x_ND, expert_NK, share_NK)
        counts = torch.bincount(expert_NK.reshape(-1), minlength=module.num_experts).tolist()
        order_S = expert_NK.reshape(-1).argsort(stable=True)
        row_S = order_S // expert_NK.shape[1]
        hidden_SF = module._apply_gate(multiplied(x_ND[row_S], module.gate_up_proj, counts))
        out_SD = multiplied(hidden_SF, module.down_proj, counts) * share_NK.reshape(-1)[order_S, None]
        return torch.zeros_like(x_ND).index_add_(0, row_S, out_SD.to(x_ND.dtype))

    ALL_EXPERTS_FUNCTIONS.register("sorted", forward)
    return "sorted"
