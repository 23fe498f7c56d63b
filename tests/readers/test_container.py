from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mminstruct.readers.container import BadImage, check, sniff, strip_jpeg
from tests.sources.badworld import encode, jpeg, photo

EXIF = Image.Exif()
EXIF[0x010E] = "a secret place"
VARIANTS = {
    "baseline": {},
    "progressive": {"progressive": True},
    "optimised": {"optimize": True},
    "restarts": {"restart_marker_blocks": 4},
    "full colour": {"subsampling": 0},
    "fine": {"quality": 98},
}


def pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


@pytest.mark.parametrize("variant", VARIANTS)
def test_stripping_keeps_the_pixels_and_nothing_else(variant: str) -> None:
    data = (
        jpeg(1, exif=EXIF, comment=b"a secret word", icc_profile=b"p" * 100_000, **VARIANTS[variant]) + b"PK\3\4trailer"
    )
    bare = strip_jpeg(data)
    assert np.array_equal(pixels(bare), pixels(data))
    assert not any(word in bare for word in (b"secret", b"Exif", b"ICC_PROFILE", b"trailer"))
    assert strip_jpeg(bare) == bare


def test_adobe_colour_coding_survives_stripping() -> None:
    data = encode(photo(1).convert("CMYK"))
    assert b"Adobe" in strip_jpeg(data)
    assert np.array_equal(pixels(strip_jpeg(data)), pixels(data))


def test_of_two_pictures_in_one_file_the_first_is_kept() -> None:
    assert strip_jpeg(jpeg(1) + jpeg(2)) == strip_jpeg(jpeg(1))


@settings(max_examples=150, deadline=None)
@given(st.integers(2, len(jpeg(3)) - 1))
def test_a_jpeg_cut_anywhere_is_found(at: int) -> None:
    with pytest.raises(BadImage, match="img_truncated"):
        strip_jpeg(jpeg(3)[:at])


@settings(max_examples=150, deadline=None)
@given(st.integers(8, len(encode(photo(3, 60, 40), "PNG")) - 1), st.integers(1, 255))
def test_a_png_cut_or_changed_in_its_pixels_is_found(at: int, flip: int) -> None:
    data = encode(photo(3, 60, 40), "PNG")
    with pytest.raises(BadImage, match="img_truncated"):
        check(data[:at], "PNG")
    with pytest.raises(BadImage):
        check(data[:at] + bytes((data[at] ^ flip,)) + data[at + 1 :], "PNG")


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400), st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP", b""]))
def test_any_bytes_pass_or_are_a_bad_image(data: bytes, start: bytes) -> None:
    with contextlib.suppress(BadImage):
        check(start + data, sniff(start + data) or "BMP")


@pytest.mark.parametrize(
    "format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "ICO", "JPEG2000", "EPS", "PDF", "PPM"]
)
def test_formats_are_told_by_their_first_bytes(format: str) -> None:
    assert sniff(encode(photo(1, 64, 64), format)) == format


@pytest.mark.parametrize(
    "data", [b"", b"BM is how this text begins", b"<html><body>", b"PK\3\4", b"GIF87", b"\0" * 600]
)
def test_other_bytes_are_no_image(data: bytes) -> None:
    assert sniff(data) is None
