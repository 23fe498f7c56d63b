"""The decoding loop for nets of transformers that cache plain keys and values.

It does what ``generate()`` does for greedy decoding and sampling, and drops a row from the batch and the cache as soon
as it ends. All pictures and texts of a batch go through it together, whatever passes prefilled them.
"""

from __future__ import annotations

import inspect
from typing import Any

from mminstruct.models.kernels import empty_cache
from mminstruct.models.prefixes import Path, filled
from mminstruct.models.sampling import Sampler


def plain(net: Any) -> bool:
    """Whether ``decoded`` can serve *net*: it caches keys and values only, and its inputs are ids, mask and positions
    that count the tokens. ``generate()`` serves the others, such as nets that take no positions.
    """
    from transformers import GenerationMixin

    special = ("generate", "prepare_inputs_for_generation", "_prepare_position_ids_for_generation")
    return (
        {"position_ids", "past_key_values"} <= inspect.signature(type(net).forward).parameters.keys()
        and all(getattr(type(net), name) is getattr(GenerationMixin, name) for name in special)
        and "local" not in (getattr(net.config, "attention_layers", None) or ())  # GPT-Neo: its windows count padding
        and empty_cache(net) is not None
    )


def decoded(
    net: Any, paths: list[Path | None], last: list[int], budgets: list[int], ends: set[int], sampler: Sampler | None
) -> list[list[int]]:
    """New tokens of each row: up to and with its first token of *ends*, or as many as its budget.

    Args:
        paths: of all tokens of a prompt but the last.
        last: that token of each prompt.
        budgets: at least 1.
        sampler: None takes the most probable token.
    """
    import torch

    made: list[list[int]] = [[] for _ in last]
    live = list(range(len(last)))  # the row at each place of the batch
    cache, past_BT = filled(net, paths)
    width = past_BT.shape[1]
    mask_BT = torch.cat([past_BT, past_BT.new_ones((len(last), 1 + max(budgets)))], dim=1)
    position_B1 = past_BT.sum(1, keepdim=True)
    token_B = torch.tensor(last, device=net.device)
    with torch.inference_mode():
        for step in range(max(budgets)):
            scores_BV = net(
                input_ids=token_B[:, None],
                attention_mask=mask_BT[: len(live), : width + step + 1],
                position_ids=position_B1 + step,
                past_key_values=cache,
                use_cache=True,
            ).logits[:, -1].float()  # fmt: skip
            token_B = sampler.draw(scores_BV, step, live) if sampler else scores_BV.argmax(-1)
            ended = set()
            for place, token in enumerate(token_B.tolist()):
                made[live[place]].append(token)
                if token in ends or step + 1 == budgets[live[place]]:
                    ended.add(place)
            count = len(live) - len(ended)
            if not count:
                break
            if ended:
                holes = [place for place in sorted(ended) if place < count]
                moved = [place for place in range(count, len(live)) if place not in ended]
                for hole, place in zip(holes, moved, strict=True):
                    live[hole] = live[place]
                for x_B in (token_B, position_B1, mask_BT) if holes else ():
                    x_B[holes] = x_B[moved]
                live, token_B, position_B1 = live[:count], token_B[:count], position_B1[:count]
                for layer in cache.layers:
                    layer.drop(holes, moved, count)
    return made
