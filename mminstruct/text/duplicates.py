"""Near-duplicate search: 64-bit image hashes by Hamming distance, texts by MinHash.

Both compare only within buckets (locality-sensitive hashing), and both are greedy: rows come in order of preference,
and a row is removed only for a *kept* row that is near, so chains of slightly different rows do not collapse into one.
Work can be spread over a worker group; the result is the same, since near pairs are sorted before the greedy pass.
"""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mminstruct.text.characters import words
from mminstruct.unit import WorkerGroup

_PERMUTATIONS = 128
_MIX = np.uint64(0x9E3779B97F4A7C15)
_LOW = np.uint64(2**32 - 1)
_HALF = np.uint64(32)
_GRAMS = 4096
"""Shingles that are hashed at once: 4 MB of products, which stay in a CPU's cache."""
_ROWS = 1 << 14
"""Signatures that are read at once, 8 MB."""
_KEYS = 1 << 27
"""Keys of bands that are held at once, 1 GB."""
_COMPARED = 1 << 16
"""Pairs that are compared at once."""
_BLOCK = 1 << 20
_SPILLED = np.dtype([("row", np.int64), ("signature", np.uint32, _PERMUTATIONS)])


def near_hashes(hashes_N: np.ndarray, most: int, group: WorkerGroup | None = None) -> np.ndarray:
    """For each 64-bit hash the index of the kept hash that represents it ``(N,)``; its own if it is kept.

    The bits are cut into blocks, ``most`` and some more. Two hashes that differ in at most *most* bits are equal in all
    other blocks, so some combination of that many blocks finds them (Manku, Jain & Das Sarma, WWW 2007). The number of
    blocks is that with the least work for N hashes.
    """
    canonical_N = _first_equal(hashes_N)
    kept_U = np.flatnonzero(canonical_N == np.arange(len(hashes_N))).astype(np.uint32)
    hashes_U = hashes_N[kept_U].astype(np.uint64)
    found = spread(_near_hashes, [(hashes_U, mask, most) for mask in masks(len(kept_U), most)], group)
    return _keepers(canonical_N, [_pack(kept_U[edges & _LOW], kept_U[edges >> _HALF]) for edges in found])


def masks(count: int, most: int) -> list[int]:
    """Bits of each combination of blocks that is compared among *count* different hashes."""
    if count < 2 or not most:
        return []

    def work(blocks: int) -> float:
        bits = min(32, 64 * (blocks - most) // blocks)
        return math.comb(blocks, most) * (count * math.log2(count) + count**2 / float(1 << bits))

    blocks = min(range(most + 1, most + 5), key=work)
    edges = np.linspace(0, 64, blocks + 1).astype(int).tolist()
    parts = [(1 << high) - (1 << low) for low, high in itertools.pairwise(edges)]
    return [sum(chosen) for chosen in itertools.combinations(parts, blocks - most)]


def _near_hashes(hashes_U: np.ndarray, mask: int, most: int) -> np.ndarray:
    """Pairs that agree in the bits of *mask* and are near, packed."""
    found = []
    keys_U = hashes_U & np.uint64(mask)
    keys_U *= _MIX
    for i, j in _pairs(keys_U):
        near = np.bitwise_count(hashes_U[i] ^ hashes_U[j]) <= most
        found.append(_pack(i[near], j[near]))
    return np.concatenate(found) if found else np.empty(0, np.uint64)


def signatures(texts: Iterable[str], shingle: int = 3) -> np.ndarray:
    """MinHash signatures of the texts' word sequences of length *shingle*: uint32 ``(N, 128)``."""
    return _minhash([" ".join(words(text)) for text in texts], shingle)


def signed(texts: Sequence[str], least: int) -> tuple[np.ndarray, np.ndarray]:
    """Places of the texts that have *least* words or more ``(M,)``, and their signatures ``(M, 128)``."""
    tokens = [words(text) for text in texts]
    long = [place for place, some in enumerate(tokens) if len(some) >= least]
    return np.array(long, np.int64), _minhash([" ".join(tokens[place]) for place in long], 3)


def _minhash(joined: Sequence[str], shingle: int) -> np.ndarray:
    """Signatures of texts that are words with single spaces."""
    rng = np.random.default_rng(20240627)  # constants of the hash, so not configurable
    odd_P = rng.integers(0, 2**63, _PERMUTATIONS, np.uint64) * np.uint64(2) + np.uint64(1)
    shift_P = rng.integers(0, 2**63, _PERMUTATIONS, np.uint64)
    made_NP = np.empty((len(joined), _PERMUTATIONS), np.uint32)
    codes: list[int] = []
    starts: list[int] = []
    first = 0
    for place, text in enumerate(joined):
        data = text.casefold().encode("utf-8", "replace")
        tokens = data.split(b" ")
        starts.append(len(codes))
        if len(tokens) < shingle:
            codes.append(zlib.crc32(data))
        else:
            grams = map(b" ".join, zip(*(tokens[n:] for n in range(shingle)), strict=False))
            codes.extend(map(zlib.crc32, grams))
        if len(codes) >= _GRAMS or place == len(joined) - 1:
            hashed_SP = np.array(codes, np.uint64)[:, None] * odd_P
            hashed_SP += shift_P
            hashed_SP >>= _HALF
            made_NP[first : place + 1] = np.minimum.reduceat(hashed_SP, starts, axis=0)
            codes, starts, first = [], [], place + 1
    return made_NP


def near_signatures(
    signatures_NP: np.ndarray, groups_N: np.ndarray, threshold: float, order_N: np.ndarray | None = None
) -> np.ndarray:
    """For each signature the index of the kept one that represents it ``(N,)``; only rows of one group are compared.

    Args:
        signatures_NP: From ``signatures``; may be a file in memory (``np.memmap``), of which blocks are read.
        groups_N: Group number of each row.
        threshold: Estimated Jaccard similarity from which two texts are duplicates, in (0, 1]; the standard error of
            the estimate is about 0.04.
        order_N: All rows in order of preference; None: as they come.
    """
    count = len(signatures_NP)
    order_N = np.arange(count) if order_N is None else order_N
    groups_N = groups_N.astype(np.uint64)
    canonical_N = _first_equal(_band_keys(signatures_NP, groups_N, _PERMUTATIONS, range(1))[0][order_N])
    for start in range(0, count, _ROWS):  # equal keys are nearly always equal rows
        rows, first = order_N[start : start + _ROWS], order_N[canonical_N[start : start + _ROWS]]
        equal = (groups_N[rows] == groups_N[first]) & (signatures_NP[rows] == signatures_NP[first]).all(axis=1)
        canonical_N[start : start + _ROWS][~equal] = np.flatnonzero(~equal) + start
    kept_U = np.flatnonzero(canonical_N == np.arange(count))
    rows_U = order_N[kept_U]
    # the longest bands that still find 99 % of the pairs at the threshold
    size = max(r for r in range(1, 17) if r == 1 or 1 - (1 - threshold**r) ** (_PERMUTATIONS // r) >= 0.99)
    bands = _PERMUTATIONS // size
    at_once = max(1, _KEYS // max(1, count))
    found = []
    for start in range(0, bands, at_once):
        for keys_N in _band_keys(signatures_NP, groups_N, size, range(start, min(bands, start + at_once))):
            for i, j in _pairs(keys_N[rows_U]):
                one, other = rows_U[i], rows_U[j]
                same = groups_N[one] == groups_N[other]
                i, j, one, other = i[same], j[same], one[same], other[same]
                alike = (signatures_NP[one] == signatures_NP[other]).sum(axis=1) / _PERMUTATIONS
                near = alike >= threshold
                found.append(_pack(kept_U[i[near]], kept_U[j[near]]))
    keeper_N = np.empty(count, np.int64)
    keeper_N[order_N] = order_N[_keepers(canonical_N, found)]
    return keeper_N


def _band_keys(signatures_NP: np.ndarray, groups_N: np.ndarray, size: int, bands: range) -> np.ndarray:
    """A 64-bit key of each of these *bands*, of *size* columns each, and the group ``(len(bands), N)``."""
    keys_BN = np.empty((len(bands), len(signatures_NP)), np.uint64)
    for start in range(0, len(signatures_NP), _ROWS):
        rows = slice(start, start + _ROWS)
        block_RP = signatures_NP[rows, bands.start * size : bands.stop * size]
        some_RBS = block_RP.reshape(len(block_RP), len(bands), size)
        key_RB = np.repeat(groups_N[rows, None] + np.uint64(1), len(bands), axis=1)
        for column in range(size):
            key_RB = (key_RB ^ some_RBS[:, :, column]) * _MIX
            key_RB ^= key_RB >> np.uint64(29)
        keys_BN[:, rows] = key_RB.T
    return keys_BN


class Spill:
    """Signatures by partition, in files of a local folder: 520 bytes a row."""

    def __init__(self, folder: str, partitions: int) -> None:
        self._folder, self._partitions = Path(folder), partitions

    def add(self, partition_M: np.ndarray, rows_M: np.ndarray, signatures_MP: np.ndarray) -> None:
        """Append rows, given by number, to their partitions."""
        made = np.empty(len(rows_M), _SPILLED)
        made["row"], made["signature"] = rows_M, signatures_MP
        order = np.argsort(partition_M, kind="stable")
        edges = np.searchsorted(partition_M[order], np.arange(self._partitions + 1)).tolist()
        for partition, (low, high) in enumerate(itertools.pairwise(edges)):
            if low < high:
                with (self._folder / str(partition)).open("ab") as file:
                    made[order[low:high]].tofile(file)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Row numbers and signatures of each partition that is not empty, read from its file as they are used."""
        for partition in range(self._partitions):
            if (path := self._folder / str(partition)).exists():
                rows = np.memmap(path, _SPILLED, "r")
                yield np.array(rows["row"]), rows["signature"]


def spread(work: Callable[..., Any], shares: Sequence[tuple[Any, ...]], group: WorkerGroup | None) -> list[Any]:
    """Results of ``work(*share)``, in order of the shares, computed by the workers of *group*; None: here."""
    if group is None:
        return _several(work, shares)
    found: list[Any] = [None] * len(shares)
    given = [(work, shares[member :: group.size]) for member in range(group.size)]
    for member, results in enumerate(group(_several, given)):
        found[member :: group.size] = results
    return found


def _several(work: Callable[..., Any], shares: Sequence[tuple[Any, ...]]) -> list[Any]:
    return list(itertools.starmap(work, shares))


def _first_equal(values_N: np.ndarray) -> np.ndarray:
    """Index of the first row with the same value ``(N,)``, uint32."""
    order_N = np.argsort(values_N, kind="stable").astype(np.uint32)
    sorted_N = values_N[order_N]
    new_N = np.ones(len(values_N), bool)
    np.not_equal(sorted_N[1:], sorted_N[:-1], out=new_N[1:])
    del sorted_N
    first_N = np.empty(len(values_N), np.uint32)
    first_N[order_N] = np.repeat(order_N[new_N], np.diff(np.flatnonzero(np.append(new_N, True))))
    return first_N


def _pairs(keys_N: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All pairs ``i < j`` whose keys have the same upper half, in batches; *keys_N* is overwritten."""
    blocks = [slice(start, start + _BLOCK) for start in range(0, len(keys_N), _BLOCK)]
    for block in blocks:  # key and row in one number: 8 bytes a row, and sorted several times faster than by argsort
        keys_N[block] &= ~_LOW
        keys_N[block] |= np.arange(block.start, min(block.stop, len(keys_N)), dtype=np.uint64)
    keys_N.sort()
    equal = [
        block.start + np.flatnonzero((keys_N[block][: len(after)] ^ after) <= _LOW)
        for block in blocks
        if len(after := keys_N[block.start + 1 : block.stop + 1])
    ]
    left = np.concatenate(equal) if equal else np.empty(0, np.int64)
    step = 1
    while len(left):
        for start in range(0, len(left), _COMPARED):
            some = left[start : start + _COMPARED]
            yield keys_N[some] & _LOW, keys_N[some + step] & _LOW
        step += 1
        left = left[left + step < len(keys_N)]
        left = left[(keys_N[left] ^ keys_N[left + step]) <= _LOW]


def _pack(i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """Pairs as one number each, which sorts by *j*, then by *i*."""
    return (j.astype(np.uint64) << _HALF) | i.astype(np.uint64)


def _keepers(canonical_N: np.ndarray, found: list[np.ndarray]) -> np.ndarray:
    """Index of the row that represents each row, from packed pairs of near distinct values."""
    keeper_N = np.arange(len(canonical_N), dtype=np.uint32)
    near_E = np.concatenate([np.empty(0, np.uint64), *found])
    near_E.sort()
    for start in range(0, len(near_E), _BLOCK):
        some = near_E[start : start + _BLOCK]
        for i, j in zip((some & _LOW).tolist(), (some >> _HALF).tolist(), strict=True):
            if keeper_N[j] == j and keeper_N[i] == i:
                keeper_N[j] = i
    return np.asarray(keeper_N[canonical_N], np.int64)
