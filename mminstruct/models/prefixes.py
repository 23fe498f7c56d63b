"""Prefill: tokens of a prefix that many prompts share are computed once for all of them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from mminstruct.models.kernels import empty_cache

_MIN_SHARED = 16
"""Tokens that prompts must share to be computed once for all of them."""
_PREFILL = 1024
"""Tokens, with padding, of one forward pass of a prefill: few enough that its rows have about equal lengths."""

Path = list[tuple[Any, Any]]
"""Keys and values ``(H, T, D)`` of each layer for the tokens of one row, without padding."""


@dataclass(slots=True, eq=False)
class Node:
    """Tokens that follow those of *parent* in each of *rows*; computed once for all of them."""

    tokens: list[int]
    parent: Node | None
    rows: list[int]
    path: Path | None = None
    """From the prompt's first token to the last of *tokens*."""


def batches(prompts: list[list[int]], size: int, *, share: bool = True) -> list[list[int]]:
    """Rows of *prompts* in batches of at most *size*: neighbours in the order of their tokens, so that long common
    prefixes come together; without *share*, prompts of about equal length.

    Equal sets of prompts give equal batches, whatever their order.
    """
    order = sorted(range(len(prompts)), key=lambda row: (0 if share else -len(prompts[row]), prompts[row], row))
    return [order[at : at + size] for at in range(0, len(order), size)]


def levels(prompts: list[list[int]]) -> list[list[Node]]:
    """The tree of the common prefixes of *prompts*, by depth: each token is in one node, unless fewer than
    ``_MIN_SHARED`` are shared.
    """
    order = sorted(range(len(prompts)), key=prompts.__getitem__)
    alike = [_common(prompts[a], prompts[b]) for a, b in pairwise(order)]
    made: list[list[Node]] = []
    todo: list[tuple[int, int, int, Node | None, int]] = [(0, len(order), 0, None, 0)] if order else []
    while todo:
        first, end, base, parent, depth = todo.pop()
        prompt = prompts[order[first]]
        shared = min(alike[first : end - 1], default=len(prompt))
        if shared - base >= (_MIN_SHARED if end - first > 1 else 1):
            parent = Node(prompt[base:shared], parent, order[first:end])
            made += [[]] if depth == len(made) else []
            made[depth].append(parent)
            base, depth = shared, depth + 1
        if end - first > 1:
            cuts = [place + 1 for place in range(first, end - 1) if alike[place] - base < _MIN_SHARED]
            todo += [(a, b, base, parent, depth) for a, b in pairwise([first, *cuts, end])]
    return made


def _common(one: list[int], other: list[int]) -> int:
    """Length of the common prefix of two prompts, in tokens."""
    short = min(len(one), len(other))
    return next((place for place in range(short) if one[place] != other[place]), short)


def prefilled(net: Any, prompts: list[list[int]], pad: int) -> list[Path | None]:
    """The path of each prompt; tokens of a common prefix are computed once. None for an empty prompt."""
    paths: list[Path | None] = [None] * len(prompts)
    for nodes in levels(prompts):
        nodes.sort(key=lambda node: -len(node.tokens))  # stable: the order of the tree decides ties
        while nodes:
            count = max(1, _PREFILL // len(nodes[0].tokens))
            _extend(net, nodes[:count], pad)
            for node in nodes[:count]:
                for row in node.rows:
                    paths[row] = node.path
            del nodes[:count]
    return paths


def _extend(net: Any, nodes: list[Node], pad: int) -> None:
    """Compute the paths of *nodes*, whose parents have theirs. A row: ``[pad | parent's path | pad | tokens]``."""
    import torch

    before = [node.parent.path if node.parent else None for node in nodes]
    ids_BT, mask_BT = padded([node.tokens for node in nodes], pad, net.device)
    cache, mask_BP = filled(net, before)
    mask_BT = torch.cat([mask_BP, mask_BT], dim=1)
    for node, path in zip(nodes, computed(net, cache, mask_BT, input_ids=ids_BT), strict=True):
        node.path = path


def computed(net: Any, cache: Any, mask_BT: Any, **inputs: Any) -> list[Path]:
    """Paths of the rows of *inputs*, which follow what *cache* has; *mask_BT* is 1 for their tokens."""
    import torch

    positions_BT = (mask_BT.cumsum(-1) - 1).clamp_min(0)[:, cache.get_seq_length() :]
    with torch.inference_mode():
        net(
            **inputs,
            attention_mask=mask_BT,
            position_ids=positions_BT,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
    keep = mask_BT.bool()
    return [
        [(layer.keys[row][:, keep[row]], layer.values[row][:, keep[row]]) for layer in cache.layers]
        for row in range(len(mask_BT))
    ]


def filled(net: Any, paths: list[Path | None]) -> tuple[Any, Any]:
    """A cache that has *paths*, padded on the left with zeros, and its mask ``(B, T)``; None is a row of no tokens."""
    import torch

    cache = empty_cache(net)
    lengths = [path[0][0].shape[1] if path else 0 for path in paths]
    width = max(lengths)
    some = paths[lengths.index(width)]
    for layer, both in enumerate(some or ()):
        held = [x_HTD.new_zeros((len(paths), *x_HTD.shape)) for x_HTD in both]
        for row, path in enumerate(paths):
            for held_BHTD, x_HTD in zip(held, path[layer] if path else (), strict=False):
                held_BHTD[row, :, width - x_HTD.shape[1] :] = x_HTD
        cache.update(*held, layer)
    mask_BT = torch.arange(width, device=net.device) >= width - torch.tensor(lengths, device=net.device)[:, None]
    return cache, mask_BT.long()


def padded(rows: list[list[int]], pad: int, device: Any) -> tuple[Any, Any]:
    """Token ids and mask ``(B, T)``, padded on the left."""
    import torch

    width = max(map(len, rows))
    ids_BT = torch.tensor([[pad] * (width - len(row)) + row for row in rows], dtype=torch.long, device=device)
    mask_BT = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], dtype=torch.long, device=device)
    return ids_BT, mask_BT
