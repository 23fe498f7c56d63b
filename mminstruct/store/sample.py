"""A sample of a table's rows that does not depend on the order of its parts."""

from __future__ import annotations

import math
from typing import Any

import pyarrow.dataset as ds

from mminstruct.stage import content_id, part_key


def sample_rows(table: ds.Dataset, column: str, count: int) -> list[Any]:
    """About *count* values of *column*: the first rows of up to 16 parts, which are chosen by content."""
    fragments = sorted(table.get_fragments(), key=lambda f: content_id(part_key(f.path)))
    each = math.ceil(count / max(1, min(len(fragments), 16)))
    found: list[Any] = []
    for fragment in fragments:
        if len(found) >= count:
            break
        wanted = min(each, count - len(found))
        found += fragment.head(wanted, columns=[column], use_threads=False)[column].to_pylist()
    return found
