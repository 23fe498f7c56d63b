"""Near-duplicate search: 64-bit image hashes by Hamming distance, texts by MinHash.

Both compare only within buckets (locality-sensitive hashing), and both are greedy: rows come in order of preference,
and a row is removed only for a *kept* row that is near, so chains of slightly different rows do not collapse into one.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterable, Iterator

import numpy as np

from mminstruct.text.characters import words

_PERMUTATIONS = 128


def near_hashes(hashes_N: np.ndarray, most: int) -> np.ndarray:
    """For each 64-bit hash the index of the kept hash that represents it ``(N,)``; its own if it is kept.

    Two hashes that differ in at most *most* bits are equal in one of ``most + 1`` bands; only those are compared.
    """
    unique_U, canonical_N = _collapse(hashes_N)
    kept_U = hashes_N[unique_U]
    edges = np.linspace(0, 64, most + 2).astype(np.uint64)
    found = []
    for low, high in itertools.pairwise(edges):
        band_U = (kept_U >> low) & np.uint64(2 ** int(high - low) - 1)
        for i, j in _pairs(band_U):
            near = np.bitwise_count(kept_U[i] ^ kept_U[j]) <= most
            found.append(np.stack([i[near], j[near]]))
    return _keepers(unique_U, canonical_N, found)


def signatures(texts: Iterable[str], shingle: int = 3) -> np.ndarray:
    """MinHash signatures of the texts' word sequences of length *shingle*: uint32 ``(N, 128)``."""
    rng = np.random.default_rng(20240627)  # constants of the hash, so not configurable
    odd_P = rng.integers(0, 2**63, _PERMUTATIONS, np.uint64) * np.uint64(2) + np.uint64(1)
    shift_P = rng.integers(0, 2**63, _PERMUTATIONS, np.uint64)
    rows = []
    for text in texts:
        tokens = [word.casefold() for word in words(text)]
        grams = {" ".join(tokens[n : n + shingle]) for n in range(max(1, len(tokens) - shingle + 1))}
        codes_S = np.fromiter((zlib.crc32(gram.encode("utf-8", "replace")) for gram in grams), np.uint64, len(grams))
        rows.append(((codes_S[:, None] * odd_P + shift_P) >> np.uint64(32)).min(axis=0).astype(np.uint32))
    return np.stack(rows) if rows else np.empty((0, _PERMUTATIONS), np.uint32)


def near_signatures(signatures_NP: np.ndarray, groups_N: np.ndarray, threshold: float) -> np.ndarray:
    """For each signature the index of the kept one that represents it ``(N,)``; only rows of one group are compared.

    Args:
        signatures_NP: From ``signatures``.
        groups_N: Group number of each row.
        threshold: Estimated Jaccard similarity from which two texts are duplicates, in (0, 1]; the standard error of
            the estimate is about 0.04.
    """
    if not len(signatures_NP):
        return np.arange(0)
    rows_NB = np.ascontiguousarray(np.column_stack([groups_N.astype(np.uint32), signatures_NP]))
    unique_U, canonical_N = _collapse(rows_NB.view(np.dtype((np.void, rows_NB.strides[0]))).ravel())
    kept_UP, groups_U = signatures_NP[unique_U], groups_N[unique_U].astype(np.uint64)
    # the longest bands that still find 99 % of the pairs at the threshold
    size = max(r for r in range(1, 17) if r == 1 or 1 - (1 - threshold**r) ** (_PERMUTATIONS // r) >= 0.99)
    found = []
    for start in range(0, _PERMUTATIONS - size + 1, size):
        key_U = groups_U + np.uint64(1)
        for column in range(start, start + size):
            key_U = (key_U ^ kept_UP[:, column]) * np.uint64(0x9E3779B97F4A7C15)
            key_U ^= key_U >> np.uint64(29)
        for i, j in _pairs(key_U):
            near = (groups_U[i] == groups_U[j]) & ((kept_UP[i] == kept_UP[j]).mean(axis=1) >= threshold)
            found.append(np.stack([i[near], j[near]]))
    return _keepers(unique_U, canonical_N, found)


def _collapse(values_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the first row of each distinct value, in order ``(U,)``, and each row's number among them ``(N,)``."""
    _, first_U, inverse_N = np.unique(values_N, return_index=True, return_inverse=True)
    order_U = np.argsort(first_U)
    rank_U = np.empty_like(order_U)
    rank_U[order_U] = np.arange(len(order_U))
    return first_U[order_U], rank_U[inverse_N.ravel()]


def _pairs(keys_N: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All pairs ``i < j`` of equal keys, in batches."""
    order_N = np.argsort(keys_N, kind="stable")
    sorted_N = keys_N[order_N]
    left = np.arange(len(keys_N))
    for step in range(1, len(keys_N)):
        left = left[left + step < len(keys_N)]
        left = left[sorted_N[left] == sorted_N[left + step]]
        if not len(left):
            return
        yield order_N[left], order_N[left + step]


def _keepers(unique_U: np.ndarray, canonical_N: np.ndarray, found: list[np.ndarray]) -> np.ndarray:
    """Index of the row that represents each row, from pairs ``(2, E)`` of near distinct values."""
    keeper_U = np.arange(len(unique_U))
    if found:
        near_2E = np.unique(np.concatenate(found, axis=1), axis=1)
        near_2E = near_2E[:, np.lexsort((near_2E[0], near_2E[1]))]
        for i, j in near_2E.T.tolist():
            if keeper_U[j] == j and keeper_U[i] == i:
                keeper_U[j] = i
    return np.asarray(unique_U[keeper_U[canonical_N]])
