"""Columns of every table: name, type, unit and meaning.

``docs/tables.md`` is generated from this package (``python -m mminstruct.schemas``) and a test keeps it true.
The meaning travels in each Parquet file as field metadata; the tag is kept in the table's manifest.
"""

from __future__ import annotations

import pyarrow as pa

from mminstruct.schemas.bench import JUDGE, PICK, RESPOND, SCORE, STANDARD
from mminstruct.schemas.build import (
    ANSWER,
    CAPTION,
    CLUSTER,
    DECIDE,
    DROPPED,
    EMBED,
    EXEMPLIFY,
    EXPORT,
    FILTER,
    FUSE,
    INGEST,
    INSTRUCT,
    MATCH,
    MERGE,
    REVIEW,
    SELECT,
    SUMMARIZE,
)
from mminstruct.schemas.columns import TAGS, column, stored, table, tag, tagged

__all__ = [
    "ANSWER", "CAPTION", "CLUSTER", "DECIDE", "DROPPED", "EMBED", "EXEMPLIFY", "EXPORT", "FILTER", "FUSE", "INGEST",
    "INSTRUCT", "JUDGE", "MATCH", "MERGE", "PICK", "RESPOND", "REVIEW", "SCORE", "SELECT", "STANDARD", "SUMMARIZE",
    "TABLES", "TAGS", "column", "stored", "table", "tag", "tagged",
]  # fmt: skip

TABLES: dict[str, pa.Schema] = {
    "ingest": INGEST,
    "caption": CAPTION,
    "fuse": FUSE,
    "instruct": INSTRUCT,
    "embed": EMBED,
    "cluster": CLUSTER,
    "summarize": SUMMARIZE,
    "match": MATCH,
    "exemplify": EXEMPLIFY,
    "answer": ANSWER,
    "filter": FILTER,
    "decide": DECIDE,
    "review": REVIEW,
    "select": SELECT,
    "merge": MERGE,
    "export": EXPORT,
    "pick": PICK,
    "respond": RESPOND,
    "judge": JUDGE,
    "score": SCORE,
}
"""Schemas by table name."""
