"""Measures of how varied a set of texts is, each of any part of the set.

A measure prepares the whole set once and returns a function of the places of a part ``(n,)``, so that hundreds of
parts cost little. All of them depend on how many texts a part has: compare parts of equal size only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from scipy import special

from mminstruct.bench.intervals import Array
from mminstruct.text.characters import words
from mminstruct.text.duplicates import signatures

Places = npt.NDArray[np.int64]
Measured = Callable[[Places], float]
NEAR = 0.5
"""Jaccard similarity of the sets of three-word sequences from which two texts are near-duplicates. Two texts of ten
words that differ in one of them have 0.45 or more."""

_LEAD = re.compile(
    r"(?:as|based|given|according|from|in|on|for|with|if|after|before|when)\b[^,.?!]*,\s*", re.IGNORECASE
)
_POLITE = re.compile(
    r"(?:please|kindly|now|then|(?:can|could|will|would) (?:you|we)|(?:i|we)(?: want|'d like| would like) you to|"
    r"your task is to)\b[\s,]*",
    re.IGNORECASE,
)
_ASKING = re.compile(r"\b(?:what|which|who|whom|whose|where|when|why|how)\b", re.IGNORECASE)
_AUXILIARY = re.compile(
    r"\b(?:is|are|was|were|am|be|been|do|does|did|has|have|had|can|could|may|might|must|shall|should|will|would)\b",
    re.IGNORECASE,
)


def first_verb(text: str) -> str:
    """The first verb of an instruction, in lower case, by its place: no grammar or list of verbs is used.

    It is the first word of an order (``Please write`` is ``write``, ``As a guide, describe`` is ``describe``), and of
    a question the first auxiliary verb (``What colour is it?`` is ``is``), or its first word where there is none.
    """
    rest = text.strip()
    rest = rest[found.end() :] if (found := _LEAD.match(rest)) else rest
    while (found := _POLITE.match(rest)) and found.end() < len(rest):
        rest = rest[found.end() :]
    first = next(iter(words(rest)), "")
    asked = _AUXILIARY.search(rest) if _ASKING.fullmatch(first) else None
    return (asked[0] if asked else first).casefold()


def distinct(texts: Sequence[str], size: int) -> Measured:
    """Distinct sequences of *size* words over all of them (Li et al. 2016, arXiv:1510.03055), 0 to 1.

    The paper divides by the number of words; like later work, this divides by the number of sequences, so that texts
    without a repetition have 1. Texts shorter than *size* have no sequence; NaN where no text has one.
    """
    numbers: dict[tuple[str, ...], int] = {}
    grams = []
    for text in texts:
        tokens = [word.casefold() for word in words(text)]
        runs = (tuple(tokens[start : start + size]) for start in range(len(tokens) - size + 1))
        grams.append(np.array([numbers.setdefault(run, len(numbers)) for run in runs], np.int64))

    def of(part_n: Places) -> float:
        found = np.concatenate([grams[place] for place in part_n])
        return len(np.unique(found)) / len(found) if len(found) else float("nan")

    return of


def entropy(labels: Sequence[str]) -> Measured:
    """Shannon entropy of the labels' shares, in bits: 0 if all are equal, log2(n) if all differ."""
    _, label_N = np.unique(np.array(labels, dtype=str), return_inverse=True)

    def of(part_n: Places) -> float:
        share = np.bincount(label_N[part_n]) / len(part_n)
        return max(0.0, float(special.entr(share).sum() / np.log(2)))

    return of


def distance(vectors_ND: Array) -> Measured:
    """Mean cosine distance of two different texts, 0 to 2, from unit vectors."""

    def of(part_n: Places) -> float:
        total_D, n = vectors_ND[part_n].sum(axis=0), len(part_n)
        return float(1 - (total_D @ total_D - n) / (n * (n - 1)))

    return of


def vendi(similarity_NN: Array) -> float:
    """Vendi score of a similarity matrix with ones on its diagonal: 1 if all are equal, N if nothing is alike.

    The exponential of the entropy of the eigenvalues of ``similarity / N``: an effective number of different texts
    (Friedman and Dieng 2023, arXiv:2210.02410, definition 3.1).
    """
    values_N = np.clip(np.linalg.eigvalsh(similarity_NN / len(similarity_NN)), 0, None)
    return float(np.exp(special.entr(values_N).sum()))


def vendi_score(vectors_ND: Array) -> Measured:
    """``vendi`` of cosine similarities, from unit vectors. Both Gram matrices have the same eigenvalues beside 0."""

    def of(part_n: Places) -> float:
        some_nD = vectors_ND[part_n]
        n, size = some_nD.shape
        return vendi(some_nD @ some_nD.T) if n <= size else vendi(some_nD.T @ some_nD * (size / n))

    return of


def near_duplicates(texts: Sequence[str]) -> Measured:
    """Share of texts that are near-duplicates of a kept one, from ``NEAR``, 0 to 1; the rule of ``text.duplicates``."""
    signatures_NP = signatures(texts)
    near_NN = np.array([(signatures_NP == one_P).mean(axis=1) >= NEAR for one_P in signatures_NP])

    def of(part_n: Places) -> float:
        near_nn, kept = near_NN[np.ix_(part_n, part_n)], np.zeros(len(part_n), bool)
        for place, near_n in enumerate(near_nn):
            kept[place] = not near_n[kept].any()
        return float(1 - kept.mean())

    return of


def length(texts: Sequence[str]) -> Measured:
    """Mean number of words."""
    length_N = np.array([len(words(text)) for text in texts], np.float64)
    return lambda part_n: float(length_N[part_n].mean())


def near_pairs(vectors_ND: Array, others_MD: Array, nearest: float = 0.05) -> npt.NDArray[np.bool_]:
    """Which of the others ``(N, M)`` are as near to a text as the nearest pairs of the texts themselves.

    The limit is the cosine distance below which *nearest* of all pairs of the N texts are. All vectors are of unit
    length.
    """
    own_NN = 1 - vectors_ND @ vectors_ND.T
    limit = np.quantile(own_NN[np.triu_indices(len(own_NN), 1)], nearest)
    return np.asarray(1 - vectors_ND @ others_MD.T <= limit)
