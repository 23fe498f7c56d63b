"""How well ratings by models (the table ``rate``) tell the rows that people keep from those that they reject."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mminstruct.bench.coefficients import auc
from mminstruct.bench.intervals import Estimate, bootstrap, estimate
from mminstruct.schemas import AXES
from mminstruct.store.reader import RunReader

MEAN = "mean"
"""Name of the mean of the axes, over the rows that have a rating on all of them."""


def against_people(run: RunReader, kept: Mapping[str, bool], resamples: int) -> dict[str, Estimate]:
    """Probability that a kept row has a higher rating than a rejected one, ties half (AUC); by axis, and for the mean.

    Args:
        kept: Whether people keep a row (accept or edit it) or reject it, by its id.
        resamples: Bootstrap resamples over rows.

    Returns:
        Empty if the run has no ratings of these rows. ``n`` is the number of rows with a rating. The value is None if
        all of them are kept, or all rejected.
    """
    if "rate" not in run or not kept:
        return {}
    rows = run["rate"].to_arrow(["pair_id", *AXES], pc.field("pair_id").isin(pa.array(sorted(kept), pa.string())))
    given = [axis for axis in AXES if rows[axis].null_count < rows.num_rows]
    found = {}
    for name, axes in {**{axis: [axis] for axis in given}, MEAN: given}.items():
        if not axes:
            continue
        whole = rows.select(["pair_id", *axes]).drop_null().sort_by("pair_id")
        rating_G = np.mean([whole[axis].to_numpy() for axis in axes], axis=0)
        kept_G = np.array([kept[one] for one in whole["pair_id"].to_pylist()], float)
        if not len(kept_G):
            found[name] = Estimate(None, None, None, 0)
            continue
        value, low, high = bootstrap(auc(rating_G, kept_G), np.eye(len(kept_G)), resamples=resamples)
        found[name] = estimate(value[0], low[0], high[0], len(kept_G))
    return found
