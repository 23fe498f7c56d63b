"""Id columns, which have the same type and meaning in all tables."""

from __future__ import annotations

import pyarrow as pa

from mminstruct.schemas.columns import column


def image_id(tag: str = "parent") -> pa.Field:
    return column("image_id", pa.string(), "first 16 hex digits of SHA-256 of the image's original bytes", tag=tag)


def instruction_id(tag: str = "parent") -> pa.Field:
    meaning = "first 16 hex digits of SHA-256 of the normalised instruction"
    return column("instruction_id", pa.string(), meaning, tag=tag)


def pair_id(tag: str = "id") -> pa.Field:
    return column("pair_id", pa.string(), "first 16 hex digits of SHA-256 of image_id and instruction_id", tag=tag)


def question_id(tag: str = "parent") -> pa.Field:
    return column("question_id", pa.string(), "of the set; the pair_id where a run was picked from", tag=tag)
