from __future__ import annotations

import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mminstruct.text.duplicates import masks, near_hashes, near_signatures, signatures, signed

WORDS = [f"w{n}" for n in range(2000)]


def greedy(hashes: list[int], most: int) -> list[int]:
    """The definition: a row is represented by the first kept one that is near."""
    kept: list[int] = []
    stands = []
    for n, value in enumerate(hashes):
        owner = next((k for k in kept if (hashes[k] ^ value).bit_count() <= most), n)
        kept += [n] if owner == n else []
        stands.append(owner)
    return stands


@st.composite
def crowded(draw: st.DrawFn) -> list[int]:
    """Hashes, many of which differ in a few bits."""
    bases = draw(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=3))
    flips = draw(st.lists(st.tuples(st.sampled_from(bases), st.lists(st.integers(0, 63), max_size=7)), max_size=30))
    hashes = []
    for base, bits in flips:
        for bit in bits:
            base ^= 1 << bit
        hashes.append(base)
    return hashes


@given(crowded(), st.integers(0, 8))
def test_a_hash_is_represented_by_the_first_kept_one_that_is_near(hashes: list[int], most: int) -> None:
    assert near_hashes(np.array(hashes, np.uint64), most).tolist() == greedy(hashes, most)


@given(st.sampled_from([10, 10**4, 10**6, 10**8, 10**9]), st.integers(1, 16), st.data())
def test_hashes_that_are_near_are_equal_in_some_combination_of_blocks(
    count: int, most: int, data: st.DataObject
) -> None:
    flips = data.draw(st.lists(st.integers(0, 63), max_size=most))
    assert any(not mask & sum(1 << bit for bit in set(flips)) for mask in masks(count, most))


def test_more_hashes_are_compared_in_more_bits_at_once() -> None:
    bits = [min(mask.bit_count() for mask in masks(count, 4)) for count in (10**4, 10**6, 10**8)]
    assert bits == sorted(bits)
    assert bits[-1] > bits[0]


def test_many_hashes_are_found_as_by_comparing_all_of_them() -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, 15_000, np.uint64)
    hashes[:2000] = hashes[rng.integers(0, 15_000, 2000)]
    for _ in range(8):
        hashes[:2000] ^= np.uint64(1) << rng.integers(0, 64, 2000).astype(np.uint64)
    assert len(masks(len(hashes), 8)) > 9  # more than one block at a time
    kept = np.ones(len(hashes), bool)
    expected = np.arange(len(hashes))
    for n in range(len(hashes)):
        if kept[n]:
            near = np.flatnonzero(np.bitwise_count(hashes[n + 1 :] ^ hashes[n]) <= 8) + n + 1
            near = near[kept[near]]
            kept[near], expected[near] = False, n
    assert (near_hashes(hashes, 8) == expected).all()
    assert np.count_nonzero(~kept) > 1000


def test_a_chain_of_small_steps_does_not_collapse() -> None:
    chain = np.array([0b0, 0b1, 0b11, 0b111, 0b1111], np.uint64)
    assert near_hashes(chain, 1).tolist() == [0, 0, 2, 2, 4]


def test_a_million_equal_hashes_do_not_take_quadratic_time() -> None:
    hashes = np.zeros(1_000_000, np.uint64)
    assert not near_hashes(hashes, 4).any()


def test_the_estimate_is_near_the_true_similarity() -> None:
    rng = random.Random(0)
    words = [f"w{n}" for n in range(500)]
    for swapped in (0, 5, 20, 60):
        one = rng.choices(words, k=200)
        other = list(one)
        for place in rng.sample(range(200), swapped):
            other[place] = "new"
        grams = [{tuple(text[n : n + 3]) for n in range(198)} for text in (one, other)]
        true = len(grams[0] & grams[1]) / len(grams[0] | grams[1])
        first, second = signatures([" ".join(one), " ".join(other)])
        assert abs((first == second).mean() - true) < 0.15


def test_texts_are_duplicates_from_the_threshold_on_and_only_within_their_group() -> None:
    rng = random.Random(1)
    texts = [" ".join(rng.choices(WORDS, k=100)) for _ in range(300)]
    texts += [text.replace(text.split()[50], "otter", 1) for text in texts[:100]]  # similarity about 0.94
    groups_N = np.array([n % 300 % 7 for n in range(400)])
    found = near_signatures(signatures(texts), groups_N, 0.8)
    assert found.tolist() == [*range(300), *range(100)]
    groups_N[300:] += 1
    assert near_signatures(signatures(texts), groups_N, 0.8).tolist() == list(range(400))


def test_the_order_of_preference_decides_which_text_stays_wherever_the_rows_are() -> None:
    rng = random.Random(2)
    texts = [" ".join(rng.choices(WORDS, k=40)) for _ in range(40)]
    texts += [text.replace(text.split()[20], "otter", 1) for text in texts]
    signatures_NP, groups_N = signatures(texts), np.arange(80) % 40 % 3
    order_N = np.random.default_rng(0).permutation(80)
    expected = near_signatures(signatures_NP[order_N], groups_N[order_N], 0.8)
    found = near_signatures(signatures_NP, groups_N, 0.8, order_N)
    assert (found[order_N] == order_N[expected]).all()
    assert len(set(found.tolist())) < 80


def test_signatures_do_not_depend_on_the_texts_beside_them() -> None:
    rng = random.Random(3)
    texts = [" ".join(rng.choices(WORDS, k=rng.randrange(400))) for _ in range(100)]
    alone = np.concatenate([signatures([text]) for text in texts])
    assert (signatures(texts) == alone).all()
    long, some = signed(texts, 200)
    assert long.tolist() == [n for n, text in enumerate(texts) if len(text.split()) >= 200]
    assert (some == alone[long]).all()


def test_case_and_punctuation_make_no_difference_and_texts_of_a_word_work() -> None:
    one, other, short, empty = signatures(["Two Boats, one pier!", "two boats one pier", "boats", ""])
    assert (one == other).all()
    assert not (short == one).all()
    assert not (short == empty).all()


def test_no_input_gives_no_output() -> None:
    assert near_hashes(np.empty(0, np.uint64), 4).tolist() == []
    assert near_signatures(signatures([]), np.empty(0, np.int64), 0.8).tolist() == []
