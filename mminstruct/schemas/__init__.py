"""Columns of every table: name, type, unit and meaning.

``docs/tables.md`` is generated from this package (``python -m mminstruct.schemas``); a test checks that it is current.
Each Parquet file stores the meanings as field metadata; the table's manifest stores the tags.
"""

from __future__ import annotations

import pyarrow as pa

from mminstruct.schemas.bench import *  # noqa: F403
from mminstruct.schemas.bench import BENCH
from mminstruct.schemas.build import *  # noqa: F403
from mminstruct.schemas.build import BUILD
from mminstruct.schemas.columns import TAGS as TAGS
from mminstruct.schemas.columns import column as column
from mminstruct.schemas.columns import stored as stored
from mminstruct.schemas.columns import table as table
from mminstruct.schemas.columns import tag as tag
from mminstruct.schemas.columns import tagged as tagged
from mminstruct.schemas.domains import *  # noqa: F403
from mminstruct.schemas.turn import TURN as TURN

TABLES: dict[str, pa.Schema] = {**BUILD, **BENCH}
"""Schemas by table name."""
