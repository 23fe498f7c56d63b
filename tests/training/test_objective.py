from __future__ import annotations

import math

import numpy as np
import pytest

from mminstruct.training.objective import rate


def test_the_rate_rises_in_a_line_and_falls_in_a_cosine() -> None:
    import torch
    from transformers import get_cosine_schedule_with_warmup

    made = [rate(step, 100, 0.03) for step in range(100)]
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = get_cosine_schedule_with_warmup(optimizer, 3, 100)
    wanted = []
    for _ in range(100):
        wanted.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()
    assert made == pytest.approx(wanted)
    assert math.isclose(max(made), 1.0)
    assert np.argmax(made) == 3
