from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from mminstruct.readers import colour
from mminstruct.readers.container import BadImage, strip_jpeg
from mminstruct.readers.image import Rules, load, normalise
from mminstruct.unit import UNIT, Unit
from tests.sources.badworld import encode, jpeg, photo

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def distance(a: Image.Image, b: Image.Image) -> float:
    return float(np.abs(np.asarray(a, np.float32) - np.asarray(b, np.float32)).mean())


def light(image: Image.Image, exponent: float | None = None) -> Image.Image:
    """*image* with its levels as linear light to the power of *exponent* (None: 1)."""
    values = np.asarray(image, np.float64) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return Image.fromarray(np.rint(255 * linear ** (exponent or 1)).astype(np.uint8))


def profile(name: str, gamma: float | None, primaries: int = 1) -> bytes:
    """A profile whose description tag says *name*, whatever its curves."""
    made = colour._made(colour._PRIMARIES[primaries], gamma)
    assert made is not None
    said = b"desc\0\0\0\0" + struct.pack(">I", len(name) + 1) + name.encode() + bytes(79)
    count = int.from_bytes(made[128:132], "big")
    table = bytearray(made[132 : 132 + 12 * count])
    for at in range(4, len(table), 12):
        table[at : at + 4] = struct.pack(">I", int.from_bytes(table[at : at + 4], "big") + 12)
    table += b"desc" + struct.pack(">II", len(made) + 12, len(said))
    whole = made[:128] + struct.pack(">I", count + 1) + bytes(table) + made[132 + 12 * count :] + said
    return struct.pack(">I", len(whole)) + whole[4:]


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(image: Image.Image, **chunks: bytes) -> bytes:
    data = encode(image, "PNG")
    return data[:33] + b"".join(chunk(kind.encode(), body) for kind, body in chunks.items()) + data[33:]


def gamma(value: float) -> bytes:
    return struct.pack(">I", round(value * 100_000))


P3 = struct.pack(">8I", *(round(value * 100_000) for value in colour._PRIMARIES[12]))
SWAPPED = struct.pack(">8I", 31270, 32900, 30000, 60000, 64000, 33000, 15000, 6000)
"""Chromaticities of sRGB with red and green exchanged."""


@pytest.mark.parametrize("name", ["GIMP built-in Linear sRGB", "sRGB", "Linear Rec709"])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_a_linear_profile_is_linear_whatever_its_name(name: str, format: str) -> None:
    data = encode(light(photo(1)), format, icc_profile=profile(name, 1.0), quality=95)
    assert distance(load(data), photo(1)) < 8


@pytest.mark.parametrize("name", ["sRGB", "Unnamed", "GIMP built-in Linear sRGB"])
def test_a_profile_that_moves_no_colour_is_srgb_whatever_its_name(name: str) -> None:
    data = jpeg(2, icc_profile=profile(name, None))
    assert normalise(data, Rules()).image == strip_jpeg(data)


def test_a_grey_picture_follows_a_profile_of_colours() -> None:
    grey = photo(3).convert("L")
    data = encode(light(grey), "PNG", icc_profile=profile("sRGB", 1.0))
    assert distance(load(data), grey.convert("RGB")) < 3


def test_a_profile_for_other_pixels_is_noted_and_changes_nothing() -> None:
    unit = Unit(table="ingest", key="all")
    token = UNIT.set(unit)
    try:
        found = load(encode(photo(4).convert("CMYK"), icc_profile=SRGB))
    finally:
        UNIT.reset(token)
    assert distance(found, photo(4)) < 8
    assert unit.notes == {"icc_bad": 1}


@pytest.mark.parametrize("exponent", [1.0, 1 / 1.4, 0.2])
def test_png_gamma_counts(exponent: float) -> None:
    data = png(light(photo(5), exponent), gAMA=gamma(exponent))
    assert distance(load(data), photo(5)) < 4


@pytest.mark.parametrize("value", [0.45455, 0.45, 0.0, 4e4])
def test_png_gamma_of_srgb_and_one_without_sense_change_nothing(value: float) -> None:
    assert distance(load(png(photo(5), gAMA=gamma(value))), photo(5)) == 0


def test_of_what_a_png_says_about_colours_the_strongest_counts() -> None:
    linear, plain = light(photo(6)), photo(6)
    icc = b"x\0\0" + zlib.compress(profile("x", 1.0))
    swapped = Image.merge("RGB", [plain.getchannel(band) for band in "GRB"])
    for said, stored in (
        ({"gAMA": gamma(0.45455), "cHRM": SWAPPED}, swapped),
        ({"sRGB": b"\0", "gAMA": gamma(1.0), "cHRM": SWAPPED}, plain),
        ({"iCCP": icc, "gAMA": gamma(0.45455), "cHRM": SWAPPED}, linear),
        ({"cICP": bytes((1, 13, 0, 1)), "iCCP": icc, "gAMA": gamma(1.0)}, plain),
        ({"cICP": bytes((1, 8, 0, 1)), "sRGB": b"\0"}, linear),
    ):
        assert distance(load(png(stored, **said)), plain) < 3, said


def test_display_p3_is_the_same_by_chunks_code_points_and_profile() -> None:
    by_chunks = load(png(photo(7), gAMA=gamma(0.45455), cHRM=P3))
    by_codes = load(png(photo(7), cICP=bytes((12, 13, 0, 1))))
    by_profile = load(encode(photo(7), "PNG", icc_profile=profile("x", None, primaries=12)))
    assert distance(by_codes, photo(7)) > 3
    assert max(distance(by_codes, other) for other in (by_chunks, by_profile)) < 0.5


@pytest.mark.parametrize(("transfer", "said"), [(16, "PQ"), (18, "HLG"), (99, "99")])
def test_colours_that_need_tone_mapping_are_refused(transfer: int, said: str) -> None:
    with pytest.raises(BadImage, match=rf"img_colour.*{said}"):
        load(png(photo(8), cICP=bytes((9, transfer, 0, 1))))
    data = encode(photo(8), "AVIF")
    at = data.index(b"colrnclx") + 10
    with pytest.raises(BadImage, match="img_colour"):
        load(data[:at] + struct.pack(">H", transfer) + data[at + 2 :])


@pytest.mark.parametrize("body", [bytes(32), b"\xff" * 32, struct.pack(">8I", *[33333] * 8)])
def test_chromaticities_without_sense_cost_nothing_but_themselves(body: bytes) -> None:
    assert distance(load(png(light(photo(9)), gAMA=gamma(1.0), cHRM=body)), photo(9)) < 3


def test_sixteen_bits_with_a_transparent_value_lie_over_white() -> None:
    deep = np.full((60, 80), 20_000, np.uint16)
    deep[:, :40] = 1000
    data = encode(Image.fromarray(deep), "PNG", transparency=1000)
    found = load(data)
    assert found.getpixel((5, 5)) == (255, 255, 255)
    assert found.getpixel((60, 5)) == (78, 78, 78)


def test_two_colours_of_equal_grey_are_a_picture() -> None:
    """Both are grey level 93, and so would be any picture of them."""
    flags = []
    for box in ((0, 0, 40, 80), (0, 0, 80, 40)):
        image = Image.new("RGB", (80, 80), (255, 29, 0))
        image.paste((0, 158, 0), box)
        assert np.ptp(np.asarray(image.convert("L"))) < 2
        flags.append(normalise(encode(image, "PNG"), Rules()).phash)
    assert (flags[0] ^ flags[1]).bit_count() > 10


@settings(max_examples=80, deadline=None)
@given(st.binary(min_size=1, max_size=300), st.booleans())
def test_any_profile_is_followed_or_noted(noise: bytes, sane: bool) -> None:
    whole = bytearray(profile("sRGB", 1.0))
    if sane:
        whole[len(whole) - len(noise) :] = noise
    data = encode(photo(10, 60, 40), "PNG", icc_profile=bytes(whole) if sane else noise)
    assert load(data).size == (60, 40)


def test_the_cube_of_colours_tells_how_far_a_profile_is_from_srgb() -> None:
    assert colour.conversion(SRGB, "RGB") is None
    assert colour.conversion(profile("sRGB", 1 / 2.2), "RGB") is not None
    assert colour.conversion(None, "RGB") is None
    assert colour.conversion(None, "LAB") is not None
