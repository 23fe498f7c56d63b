"""Run-length encoding of masks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from mminstruct.microworld.drawing.rle import Mask, Rle, decode, encode

MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=40))


@given(MASKS)
def test_decoding_undoes_encoding(mask: Mask) -> None:
    assert (decode(encode(mask)) == mask).all()


@given(MASKS)
def test_the_characters_are_those_of_pycocotools(mask: Mask) -> None:
    reference = pytest.importorskip("pycocotools.mask").encode(np.asfortranarray(mask.astype(np.uint8)))
    assert encode(mask) == {"size": reference["size"], "counts": reference["counts"].decode()}


def test_a_known_mask_has_its_known_characters() -> None:
    mask = np.zeros((4, 5), dtype=bool)
    mask[1:3, 1:4] = True
    assert encode(mask) == {"size": [4, 5], "counts": "5220003"}


@given(st.text(alphabet=[chr(code) for code in range(48, 112)], max_size=30))
def test_characters_that_are_not_a_mask_are_refused(counts: str) -> None:
    try:
        mask = decode(Rle(size=[6, 7], counts=counts))
    except ValueError:
        with pytest.raises(ValueError, match="it is damaged"):
            decode(Rle(size=[6, 7], counts=counts))
    else:
        assert mask.shape == (6, 7)


def test_a_cut_off_mask_is_refused() -> None:
    with pytest.raises(ValueError, match="add up to 9 pixels, not to 4 x 5"):
        decode(Rle(size=[4, 5], counts="522"))
