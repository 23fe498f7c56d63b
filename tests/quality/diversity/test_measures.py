from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import pairwise

from mminstruct.quality.diversity import measures
from mminstruct.text.duplicates import near_signatures, signatures


def all_of(texts: list[str]) -> np.ndarray:
    return np.arange(len(texts))


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1)[:, None]


def test_distinct_counts_sequences_of_words_without_case_over_all_of_them() -> None:
    texts = ["A cat sat.", "a cat ran", "Sat"]
    assert measures.distinct(texts, 1)(all_of(texts)) == pytest.approx(4 / 7)
    assert measures.distinct(texts, 2)(all_of(texts)) == pytest.approx(3 / 4)  # never across texts
    assert measures.distinct(texts, 2)(np.array([0])) == 1
    assert math.isnan(measures.distinct(texts, 2)(np.array([2])))


@given(st.lists(st.sampled_from("abcde"), min_size=1, max_size=30))
def test_entropy_is_that_of_scipy_in_bits(labels: list[str]) -> None:
    counts = [labels.count(label) for label in set(labels)]
    found = measures.entropy(labels)(all_of(labels))
    assert found == pytest.approx(stats.entropy(counts, base=2), abs=1e-12)
    assert measures.entropy([str(place) for place in all_of(labels)])(all_of(labels)) == pytest.approx(
        math.log2(len(labels))
    )


def test_the_vendi_score_has_its_published_values() -> None:
    assert measures.vendi(np.eye(7)) == pytest.approx(7)
    assert measures.vendi(np.ones((7, 7))) == pytest.approx(1)
    # both examples of the authors' README
    assert measures.vendi(np.array([[1, 0.9, 0], [0.9, 1, 0], [0, 0, 1]])) == pytest.approx(2.1573, abs=5e-5)
    samples = np.array([0, 0, 10, 10, 20, 20])
    assert 2.9999 < measures.vendi(np.exp(-np.abs(samples[:, None] - samples))) < 3  # 2.9999, cut there, not rounded


@pytest.mark.parametrize("size", [3, 8, 40])
def test_vectors_have_the_scores_of_their_similarities(size: int) -> None:
    vectors = unit(np.random.default_rng(size).normal(size=(12, size)))
    part = np.array([7, 1, 2, 9, 4])
    similarity = pairwise.cosine_similarity(vectors[part])
    assert measures.vendi_score(vectors)(part) == pytest.approx(measures.vendi(similarity))
    pairs = np.triu_indices(5, 1)
    assert measures.distance(vectors)(part) == pytest.approx(pairwise.cosine_distances(vectors[part])[pairs].mean())


def test_near_duplicates_are_those_of_the_rule_for_texts() -> None:
    rng = np.random.default_rng(0)
    base = [
        ["write", "a", "short", "poem", "about", "the", "small", "red", "boat", "on", "the", "lake"] for _ in range(4)
    ]
    texts = [" ".join(words[: rng.integers(5, 12)]) for words in base * 5] + ["plan a trip", "sing", "plan a trip now"]
    of = measures.near_duplicates(texts)
    for _ in range(20):
        part = rng.permutation(len(texts))[:12]
        keepers = near_signatures(signatures(texts[place] for place in part), np.zeros(12, int), measures.NEAR)
        assert of(part) == pytest.approx(1 - len(set(keepers.tolist())) / 12)
    assert measures.near_duplicates(["a b c", "d e f"])(np.arange(2)) == 0


def test_length_counts_words() -> None:
    assert measures.length(["One two, three.", "four"])(np.arange(2)) == 2


@pytest.mark.parametrize(
    ("text", "verb"),
    [
        ("Write a haiku.", "write"),
        ("Please describe it.", "describe"),
        ("Could you please list what you see?", "list"),
        ("I'd like you to compare both.", "compare"),
        ("As a tour guide, present the place.", "present"),
        ("Based on the photo, what season is it?", "is"),
        ("What colour are the cups?", "are"),
        ("How many cats?", "how"),
        ("Is there a dog?", "is"),
        ("Please", "please"),
        ("?!", ""),
    ],
)
def test_the_first_verb_is_found_by_its_place(text: str, verb: str) -> None:
    assert measures.first_verb(text) == verb


@settings(max_examples=50)
@given(st.text(max_size=60))
def test_any_text_has_a_first_verb_or_none(text: str) -> None:
    found = measures.first_verb(text)
    assert found == found.casefold()
    assert not found or found in text.casefold()


def test_near_is_as_near_as_the_nearest_of_the_own_pairs() -> None:
    turns = np.deg2rad([0, 10, 90, 180])  # its nearest pair is 10 degrees apart
    own = np.stack([np.cos(turns), np.sin(turns)], axis=1)
    turns = np.deg2rad([5, 101, 265])
    others = np.stack([np.cos(turns), np.sin(turns)], axis=1)
    near = measures.near_pairs(own, others, nearest=0)
    assert near.tolist() == [[True, False, False], [True, False, False], [False, False, False], [False, False, False]]
