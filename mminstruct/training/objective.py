"""The loss of a micro-batch, and the learning-rate schedule."""

from __future__ import annotations

import math
from typing import Any

from mminstruct.training.data import Batch
from mminstruct.training.template import IGNORED


def summed_loss(model: Any, batch: Batch, device: Any, dtype: Any) -> Any:
    """Sum of the cross-entropies of all labels; logits are computed only at positions where some row has a label."""
    import torch

    labels_BT = batch.labels.to(device)[:, 1:]
    at = (labels_BT != IGNORED).any(0).nonzero()[:, 0]
    if not len(at):
        at = torch.zeros(1, dtype=torch.long, device=device)
    more = {} if batch.positions is None else {"position_ids": batch.positions.to(device)}
    # no attention mask: padding is on the right, where no token attends
    out = model(
        input_ids=batch.ids.to(device),
        pixel_values=batch.pixels.to(device, dtype),
        logits_to_keep=at,
        use_cache=False,
        **more,
    )
    logits_NV = out.logits.flatten(0, 1).float()
    return torch.nn.functional.cross_entropy(
        logits_NV, labels_BT[:, at].flatten(), ignore_index=IGNORED, reduction="sum"
    )


def rate(step: int, steps: int, warmup: float) -> float:
    """Fraction of the peak learning rate in *step* (from 0): linear warmup, then cosine to 0, as in transformers."""
    rising = math.ceil(steps * warmup)
    if step < rising:
        return step / max(1, rising)
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))
