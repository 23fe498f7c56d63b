from __future__ import annotations

import hashlib
import io
from collections.abc import Callable

import imagehash
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from mminstruct.readers.colour import flatten
from mminstruct.readers.container import BadImage, strip_jpeg
from mminstruct.readers.image import Picture, Rules, load, normalise, phashes
from tests.sources.badworld import encode, hole, jpeg, photo, png_claiming

RULES = Rules()
EVERYTHING = Rules(formats=("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"))


def opened(picture: Picture) -> Image.Image:
    image = Image.open(io.BytesIO(picture.image))
    image.load()
    return image


def distance(a: Image.Image, b: Image.Image) -> float:
    """Mean difference of two pictures, in grey levels."""
    return float(np.abs(np.asarray(a.convert("RGB"), np.float32) - np.asarray(b.convert("RGB"), np.float32)).mean())


def reason(data: bytes, rules: Rules = RULES) -> str | None:
    try:
        normalise(data, rules)
    except BadImage as error:
        return error.reason
    return None


def test_a_small_upright_jpeg_keeps_its_coded_pixels_bit_for_bit() -> None:
    data = jpeg(1, quality=70)
    picture = normalise(data, RULES)
    assert picture.image == strip_jpeg(data)
    assert np.array_equal(np.asarray(opened(picture)), np.asarray(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize("format", EVERYTHING.formats)
def test_every_format_becomes_the_same_picture(format: str) -> None:
    picture = normalise(encode(photo(2), format), EVERYTHING)
    assert picture.format == format
    assert (picture.width, picture.height, picture.original_width, picture.original_height) == (320, 240, 320, 240)
    image = opened(picture)
    assert image.mode == "RGB"
    assert distance(image, photo(2)) < (8 if format == "GIF" else 6)


@pytest.mark.parametrize(("width", "height"), [(2250, 1500), (1500, 2250), (1100, 900), (4400, 3000), (1024, 1024)])
@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_large_pictures_are_scaled_to_the_longest_side_and_look_the_same(width: int, height: int, format: str) -> None:
    original = photo(3).resize((width, height), Image.Resampling.BICUBIC)
    picture = normalise(encode(original, format), RULES)
    image = opened(picture)
    assert max(image.size) == 1024
    assert image.size == (picture.width, picture.height)
    assert abs(image.width / image.height - width / height) < 0.01
    assert (picture.original_width, picture.original_height) == (width, height)
    assert distance(image, original.resize(image.size, Image.Resampling.LANCZOS)) < 3


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("orientation", range(2, 9))
def test_pictures_are_set_upright(orientation: int, large: bool, format: str) -> None:
    upright = photo(4).resize((2400, 1200)) if large else photo(4)
    stored = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    lying = upright.transpose(stored)
    picture = normalise(encode(lying, format, exif=exif), RULES)
    image = opened(picture)
    assert distance(image, upright.resize(image.size, Image.Resampling.LANCZOS)) < 6
    assert (picture.original_width, picture.original_height) == lying.size
    assert not image.getexif()


@pytest.mark.parametrize("exif", [b"Exif\0\0II*\0" + b"\xff" * 40, b"Exif\0\0garbage", b"\0" * 60])
def test_broken_exif_costs_nothing_but_itself(exif: bytes) -> None:
    assert distance(opened(normalise(jpeg(5, exif=exif), RULES)), photo(5)) < 6


def test_cmyk_jpegs_are_not_inverted() -> None:
    assert distance(opened(normalise(encode(photo(6).convert("CMYK")), RULES)), photo(6)) < 8
    large = photo(6).resize((3000, 2000))
    image = opened(normalise(encode(large.convert("CMYK")), RULES))
    assert distance(image, large.resize(image.size)) < 8


@pytest.mark.parametrize("scale", [65535 / 255, 257.0])
def test_sixteen_bit_greys_are_scaled_not_clipped(scale: float) -> None:
    grey = photo(7).convert("L")
    deep = Image.fromarray((np.asarray(grey, np.float32) * scale).astype(np.uint16))
    assert distance(opened(normalise(encode(deep, "PNG"), RULES)), grey.convert("RGB")) < 3


@pytest.mark.parametrize("top", [1.0, 255.0, 65535.0])
def test_floating_greys_are_scaled_by_the_range_that_they_are_in(top: float) -> None:
    grey = np.asarray(photo(7).convert("L"), np.float32)
    grey = grey / grey.max()
    image = Image.fromarray(grey * top)
    found = np.asarray(flatten(image), np.float32)[..., 0]
    assert np.abs(found - grey * 255).max() <= 1


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_transparency_lies_over_white(format: str) -> None:
    clear = photo(8).convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    expected = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear)
    assert distance(opened(normalise(encode(clear, format), RULES)), expected) < 4


def test_a_transparent_palette_lies_over_white() -> None:
    drawn = Image.new("P", (100, 80), 0)
    drawn.putpalette([10, 20, 30, 200, 0, 0])
    drawn.paste(1, (20, 20, 60, 60))
    image = opened(normalise(encode(drawn, "PNG", transparency=0), RULES))
    assert image.getpixel((0, 0)) == (255, 255, 255)
    assert image.getpixel((30, 30)) == (200, 0, 0)


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "PA", "RGBA", "CMYK", "YCbCr", "HSV", "I", "F", "I;16"])
def test_every_mode_becomes_eight_bit_rgb(mode: str) -> None:
    source = photo(9).convert("L") if mode in ("I", "F", "I;16") else photo(9)
    assert flatten(source.convert(mode)).mode == "RGB"


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG"])
def test_of_moving_pictures_the_first_is_kept_and_all_are_counted(format: str) -> None:
    frames = [photo(10), photo(11), photo(12)]
    data = encode(frames[0], format, save_all=True, append_images=frames[1:])
    picture = normalise(data, RULES)
    assert picture.frames == 3
    assert distance(opened(picture), frames[0]) < 8


def wide_gamut() -> bytes:
    """An ICC profile of a display with red and green swapped, which no one can take for sRGB."""
    from PIL.ImageCms import ImageCmsProfile, createProfile

    data = bytearray(ImageCmsProfile(createProfile("sRGB")).tobytes().replace(b"s\0R\0G\0B", b"X\0X\0X\0X"))
    count = int.from_bytes(data[128:132], "big")
    tags = {bytes(data[at : at + 4]): at for at in range(132, 132 + 12 * count, 12)}
    red, green = tags[b"rXYZ"], tags[b"gXYZ"]
    data[red + 4 : red + 12], data[green + 4 : green + 12] = data[green + 4 : green + 12], data[red + 4 : red + 12]
    return bytes(data).replace(b"sRGB", b"swap")


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_colours_follow_the_icc_profile_into_srgb(format: str) -> None:
    swapped = Image.merge("RGB", [photo(13).getchannel(band) for band in ("G", "R", "B")])
    picture = normalise(encode(swapped, format, icc_profile=wide_gamut()), RULES)
    assert distance(opened(picture), photo(13)) < 8
    assert opened(picture).info.get("icc_profile") is None


def test_an_srgb_profile_changes_nothing() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = jpeg(14, icc_profile=profile)
    assert normalise(data, RULES).image == strip_jpeg(data)


@pytest.mark.parametrize("profile", [b"no profile" * 20, b"\0" * 128])
def test_a_broken_profile_costs_nothing_but_itself(profile: bytes) -> None:
    assert distance(opened(normalise(jpeg(15, icc_profile=profile), RULES)), photo(15)) < 6


def test_drawings_of_few_colours_stay_lossless() -> None:
    drawn = Image.new("RGB", (200, 100), "white")
    drawn.paste((200, 30, 60), (20, 20, 90, 90))
    picture = normalise(encode(drawn, "PNG"), RULES)
    assert opened(picture).format == "PNG"
    assert np.array_equal(np.asarray(opened(picture)), np.asarray(drawn))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (png_claiming(8000, 8000), "img_too_large"),
        (png_claiming(60_000, 60_000), "img_too_large"),
        (encode(photo(1, 27, 100)), "img_too_small"),
        (encode(photo(1, 28, 100)), None),
        (encode(photo(1, 301, 30)), "img_aspect"),
        (encode(photo(1, 300, 30)), None),
        (encode(Image.new("RGB", (64, 64), (3, 140, 7)), "PNG"), "img_blank"),
    ],
)
def test_sizes_have_limits(data: bytes, expected: str | None) -> None:
    assert reason(data) == expected


def test_limits_are_those_that_are_set() -> None:
    assert reason(jpeg(1), Rules(pixels=320 * 240)) is None
    assert reason(jpeg(1), Rules(pixels=320 * 240 - 1)) == "img_too_large"
    assert reason(jpeg(1), Rules(formats=("PNG",))) == "img_format"
    assert max(opened(normalise(jpeg(1), Rules(longest=100))).size) == 100


SEEN = {
    "usual codes": (jpeg(16, quality=90), 1.0),
    "own codes": (jpeg(16, quality=90, optimize=True), 0.6),
    "progressive": (jpeg(16, quality=90, progressive=True), 0.7),
}


@pytest.mark.parametrize("kind", SEEN)
def test_holes_inside_a_jpeg_are_found(kind: str) -> None:
    data, least = SEEN[kind]
    start = data.index(b"\xff\xda") + 20
    found = [
        reason(data[:at] + bytes(64) + data[at + 64 :]) is not None
        for at in range(start, len(data) - 200, (len(data) - start) // 60)
    ]
    assert np.mean(found) >= least


def test_damage_passes_where_it_is_said_to_be_let_through() -> None:
    assert reason(hole(jpeg(17))) == "img_corrupt"
    assert reason(hole(jpeg(17)), Rules(strict=False)) is None


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(RULES.formats), st.data())
def test_broken_bytes_are_a_picture_or_a_bad_image_but_never_another_error(format: str, data: st.DataObject) -> None:
    good = bytearray(encode(photo(18, 80, 60), format))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(good) - 1))
        good[at] = data.draw(st.integers(0, 255))
    assert (reason(bytes(good[: data.draw(st.integers(1, len(good)))])) or "img_").startswith("img_")


def test_the_hash_is_the_common_one_and_blind_to_size_and_quality() -> None:
    for seed in range(20, 24):
        original = photo(seed, 800, 600)
        mine = normalise(encode(original, "PNG"), RULES).phash
        theirs = int(str(imagehash.phash(original)), 16)
        assert (mine ^ theirs).bit_count() <= 4
        small = normalise(encode(original.resize((200, 150)), quality=40), RULES).phash
        assert (mine ^ small).bit_count() <= 6


def test_hashes_of_different_pictures_are_far_apart() -> None:
    hashes = [normalise(jpeg(seed), RULES).phash for seed in range(30, 50)]
    apart = [(a ^ b).bit_count() for i, a in enumerate(hashes) for b in hashes[:i]]
    assert min(apart) > 10


def test_the_same_bytes_make_the_same_picture() -> None:
    data = encode(photo(19, 1500, 1100), "PNG")
    first, second = normalise(data, RULES), normalise(data, RULES)
    assert hashlib.sha256(first.image).digest() == hashlib.sha256(second.image).digest()
    assert first.phash == second.phash


def large(seed: int, width: int = 480, height: int = 400, **options: object) -> bytes:
    return encode(photo(seed, width, height), **options)


DAMAGED = [large(1), large(2, progressive=True), large(3, quality=95, subsampling=0, restart_marker_blocks=9)]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(DAMAGED), st.floats(0, 0.999), st.sampled_from([1, 9, 300]),
    st.sampled_from(["flip", "hole", "cut", "end"]),
)  # fmt: skip
def test_an_eighth_of_a_jpeg_shows_the_damage_that_all_pixels_show(
    data: bytes, where: float, size: int, kind: str
) -> None:
    at = int(where * len(data))
    lost = {"flip": bytes([data[at] ^ 16]), "hole": bytes(size), "cut": b"", "end": b"\xff\xd9"}[kind]
    bad = data[:at] + lost + (data[at + (1 if kind == "flip" else size) :] if kind != "end" else b"")

    def said(read: Callable[[bytes, Rules], object]) -> str:
        try:
            read(bad, RULES)
        except BadImage as error:
            return str(error)
        return "whole"

    assert said(normalise) == said(load)


@pytest.mark.parametrize(("width", "height"), [(384, 384), (511, 389), (640, 427), (683, 1024)])
def test_the_hash_of_an_eighth_is_that_of_all_pixels_within_two_bits(width: int, height: int) -> None:
    for seed in range(6):
        data = large(seed, width, height, quality=85)
        both = phashes(load(data))
        assert both is not None
        assert (normalise(data, RULES).phash ^ both[0]).bit_count() <= 2


def test_all_pixels_of_a_faint_large_jpeg_decide_whether_it_is_of_one_colour() -> None:
    reds = np.zeros((400, 400, 3), np.uint8)
    reds[...] = 100
    reds[:, 200:] = (180, 59, 100)  # the grey value of the left half
    data = encode(Image.fromarray(reds), quality=95, subsampling=0)
    both = phashes(load(data))
    assert both is not None
    assert normalise(data, RULES).phash == both[0]
    assert reason(encode(Image.new("RGB", (400, 400), (90, 91, 92)))) == "img_blank"
