"""Id columns, which have the same type and meaning in all tables, and ids as numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from mminstruct.schemas.columns import column

_HEX = b"0123456789abcdef"
_LENGTH = 16


def image_id(tag: str = "parent") -> pa.Field:
    return column("image_id", pa.string(), "first 16 hex digits of SHA-256 of the image's original bytes", tag=tag)


def instruction_id(tag: str = "parent") -> pa.Field:
    meaning = "first 16 hex digits of SHA-256 of the normalised instruction"
    return column("instruction_id", pa.string(), meaning, tag=tag)


def pair_id(tag: str = "id") -> pa.Field:
    return column("pair_id", pa.string(), "first 16 hex digits of SHA-256 of image_id and instruction_id", tag=tag)


def question_id(tag: str = "parent") -> pa.Field:
    return column("question_id", pa.string(), "of the set; the pair_id where a run was picked from", tag=tag)


def numbers(ids: pa.Array) -> np.ndarray:
    """*ids* in a form that takes little memory and sorts like the strings ``(N,)``.

    uint64 (8 bytes each, a twelfth of a Python string) if all are 16 lower-case hex digits, as all ids that a stage
    makes are; otherwise their UTF-8 bytes, padded to the longest, since a user's own source may have other ids.

    Raises:
        ValueError: an id is null or ends with a zero byte.
    """
    ids = ids.cast(pa.string())
    if ids.null_count:
        raise ValueError(f"{ids.null_count} of {len(ids)} ids are null")
    if not len(ids):
        return np.empty(0, np.uint64)
    _, offsets, data = ids.buffers()
    edges = np.frombuffer(offsets, np.int32)[ids.offset : ids.offset + len(ids) + 1]
    if (np.diff(edges) == _LENGTH).all():
        values = np.full(256, 255, np.uint8)
        values[np.frombuffer(_HEX, np.uint8)] = np.arange(16)
        digits = values[np.frombuffer(data, np.uint8)[edges[0] : edges[-1]]].reshape(-1, _LENGTH)
        if digits.max() < 16:
            return ((digits[:, ::2] << 4) | digits[:, 1::2]).view(">u8").ravel().astype(np.uint64)
    found = [one.encode() for one in ids.to_pylist()]
    if any(one.endswith(b"\0") for one in found):
        raise ValueError("an id ends with a zero byte")
    return np.array(found, np.bytes_)


def texts(numbers_N: np.ndarray) -> pa.Array:
    """The ids of which these are the ``numbers``."""
    if numbers_N.dtype != np.uint64:
        return pa.array([one.decode() for one in numbers_N.tolist()], pa.string())
    octets = np.ascontiguousarray(numbers_N, ">u8").view(np.uint8)
    digits = np.frombuffer(_HEX, np.uint8)[np.stack([octets >> 4, octets & 15], axis=1)]
    edges = np.arange(len(numbers_N) + 1, dtype=np.int32) * _LENGTH
    return pa.StringArray.from_buffers(len(numbers_N), pa.py_buffer(edges), pa.py_buffer(digits.tobytes()))


def alike(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Several ``numbers`` in one form, so that they can be compared: uint64 if all are, otherwise bytes."""
    if _hex(arrays):
        return list(arrays)
    return [np.array([id_.encode() for id_ in texts(one).to_pylist()], np.bytes_) for one in arrays]


def joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Several ``numbers`` one after the other."""
    return np.concatenate([np.empty(0, np.uint64), *arrays]) if _hex(arrays) else np.concatenate(alike(arrays))


def places(sorted_N: np.ndarray, wanted_M: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of ids *wanted_M* the first place in *sorted_N*, and whether they are there ``(M,)`` each."""
    sorted_N, wanted_M = alike([sorted_N, wanted_M])
    place_M = np.searchsorted(sorted_N, wanted_M)
    there_M = place_M < len(sorted_N)
    there_M[there_M] = sorted_N[place_M[there_M]] == wanted_M[there_M]
    return place_M, there_M


def _hex(arrays: Sequence[np.ndarray]) -> bool:
    return all(one.dtype == np.uint64 for one in arrays)
