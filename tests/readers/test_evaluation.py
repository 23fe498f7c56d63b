from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from mminstruct.readers import evaluation
from mminstruct.readers.image import Rules, normalise
from mminstruct.unit import UNIT, Unit
from tests.sources.badworld import encode, jpeg, photo

NEAR = 6
"""Bits, as ``select.eval_phash_bits``."""


@pytest.fixture
def unit() -> Iterator[Unit]:
    unit = Unit(table="select", key="all")
    token = UNIT.set(unit)
    yield unit
    UNIT.reset(token)


def names(folder: Path, unreadable: str = "stop") -> list[str]:
    return [name for name, _ in evaluation.pictures(str(folder), unreadable, "recipe.select.eval_unreadable")]


def turned(image: Image.Image) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encode(image.transpose(Image.Transpose.ROTATE_90), exif=exif)


def cropped(image: Image.Image, share: float = 0.02) -> bytes:
    x, y = round(image.width * share), round(image.height * share)
    return encode(image.crop((x, y, image.width - x, image.height - y)))


def stray(image: Image.Image) -> bytes:
    data = encode(image)
    at = data.index(b"\xff\xda")
    return data[:at] + b"abc" + data[at:]


CHANGES: dict[str, Callable[[Image.Image], bytes]] = {
    "tiff": lambda image: encode(image, "TIFF"),
    "avif": lambda image: encode(image, "AVIF", quality=60),
    "jpeg 2000": lambda image: encode(image, "JPEG2000"),
    "progressive": lambda image: encode(image, progressive=True),
    "a quarter": lambda image: encode(image.resize((image.width // 4, image.height // 4))),
    "a thumbnail": lambda image: encode(image.resize((26, 20)), "PNG"),
    "quality 30": lambda image: encode(image, quality=30),
    "turned": turned,
    "grey": lambda image: encode(image.convert("L")),
    "cropped": cropped,
    "border": lambda image: encode(ImageOps.expand(image, 26, "white")),
    "mirrored": lambda image: encode(ImageOps.mirror(image)),
    "no end": lambda image: encode(image)[:-2],
    "stray bytes": stray,
    "half": lambda image: encode(image, "PNG")[:-3],
}


@pytest.mark.parametrize("change", CHANGES)
def test_an_evaluation_image_is_recognised_after_everyday_changes(change: str, tmp_path: Path) -> None:
    caught = 0
    for seed in range(40, 50):
        (tmp_path / "one").write_bytes(CHANGES[change](photo(seed)))
        ((_, picture),) = evaluation.pictures(str(tmp_path), "stop", "")
        trained = normalise(jpeg(seed), Rules()).phash
        caught += min((trained ^ value).bit_count() for value in evaluation.hashes(picture).values()) <= NEAR
    assert caught >= (8 if change == "cropped" else 10)


EDITS = {
    "cropped": lambda image: cropped(image, 0.05),
    "border": lambda image: encode(ImageOps.expand(image, 20, "black")),
    "mirrored": CHANGES["mirrored"],
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_training_image_made_from_an_evaluation_image_is_recognised(edit: str) -> None:
    caught = 0
    for seed in range(50, 60):
        trained = normalise(EDITS[edit](photo(seed)), Rules()).phash
        caught += min((trained ^ value).bit_count() for value in evaluation.hashes(photo(seed)).values()) <= NEAR
    assert caught >= 9


def test_other_pictures_are_not_recognised() -> None:
    trained = [normalise(jpeg(seed), Rules()).phash for seed in range(60, 90)]
    apart = [
        (value ^ other).bit_count()
        for seed in range(90, 110)
        for value in evaluation.hashes(photo(seed)).values()
        for other in trained
    ]
    assert min(apart) > NEAR


def test_every_file_is_read_passed_by_or_named(tmp_path: Path, unit: Unit) -> None:
    (tmp_path / "deep").mkdir()
    good = jpeg(1)
    files = {
        "a.jpg": good, "deep/b.png": encode(photo(2), "PNG"), "no_ending": encode(photo(3), "WEBP"), "._a.jpg": b"\0\5\x16\7" + bytes(50),
        "annotations.json": b"{}", "paper.pdf": b"%PDF-1.7 ...", ".hidden.jpg": jpeg(4), "_under.jpg": jpeg(5),
        "white.png": encode(Image.new("RGB", (64, 64), "white"), "PNG"), "empty.jpg": b"", "phone.heic": b"\0\0\0\x18ftypheic" + bytes(40),
        "vector.svg": b"<svg xmlns='x'/>", "more.tar": bytes(2048), "lying.jpg": b"<html>not found</html>",
        "ghost.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    }  # fmt: skip
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "dangling.jpg").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "deep" / "circle").symlink_to(tmp_path)
    unreadable = {
        "empty.jpg",
        "phone.heic",
        "vector.svg",
        "more.tar",
        "lying.jpg",
        "ghost.eps",
        "dangling.jpg",
        "pipe.jpg",
    }
    with pytest.raises(ValueError, match="8 files in") as error:
        names(tmp_path)
    assert all(name in str(error.value) for name in unreadable)
    assert "recipe.select.eval_unreadable=note" in str(error.value)
    unit.notes.clear()
    assert names(tmp_path, "note") == [".hidden.jpg", "_under.jpg", "a.jpg", "deep/b.png", "no_ending"]
    assert unit.notes == {
        "eval_images_read": 5, "eval_images_unreadable": 8, "eval_files_passed_by": 3, "eval_images_one_colour": 1
    }  # fmt: skip
    assert sum(unit.notes.values()) == len(files) + 2


def test_folders_behind_links_are_looked_at_once(tmp_path: Path) -> None:
    (tmp_path / "eval").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.jpg").write_bytes(jpeg(1))
    (tmp_path / "eval" / "link").symlink_to(tmp_path / "elsewhere")
    assert names(tmp_path / "eval") == ["link/a.jpg"]


def test_a_folder_without_an_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "readme.md").write_text("none here")
    with pytest.raises(ValueError, match="holds no image"):
        names(tmp_path)


def test_pages_after_the_first_are_counted(tmp_path: Path, unit: Unit) -> None:
    pages = io.BytesIO()
    photo(1).save(pages, "TIFF", save_all=True, append_images=[photo(2), photo(3)])
    (tmp_path / "pages.tif").write_bytes(pages.getvalue())
    assert names(tmp_path) == ["pages.tif"]
    assert unit.notes["eval_frames_passed_by"] == 2


def test_a_frame_is_taken_off_and_a_picture_on_white_stays() -> None:
    framed = ImageOps.expand(photo(7), 20, (250, 250, 250))
    assert np.array_equal(np.asarray(evaluation._unframed(framed)), np.asarray(photo(7)))
    drawn = Image.new("RGB", (300, 300), "white")
    drawn.paste(photo(8, 60, 60), (100, 100))
    assert evaluation._unframed(drawn) is drawn
