"""Every way by which pixels come in goes through one reader: the same picture, and no other errors."""

from __future__ import annotations

import ast
import base64
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import mminstruct
from mminstruct.bench.sets import FileSet
from mminstruct.export.row import InvalidRow, check_image
from mminstruct.models.transcript import Unanswerable, picture
from mminstruct.readers import evaluation
from mminstruct.readers.container import BadImage
from mminstruct.readers.image import GIVEN, Rules, load, normalise
from mminstruct.report import page
from tests.readers.test_colour import chunk, gamma, light, profile
from tests.sources.badworld import encode, jpeg, photo, png_claiming

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(%pipe%id) (w) file\nshowpage\n"


def shown(data: bytes) -> Image.Image:
    address = page.picture(data, longest=4096)
    if address is None:
        raise BadImage("none", "")
    return Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])), formats=["JPEG"])


def benched(data: bytes, folder: Path) -> Image.Image:
    (folder / "a.jpg").write_bytes(data)
    (folder / "q.jsonl").write_text(json.dumps({"question_id": "1", "image": "a.jpg", "text": "What?"}))
    found = FileSet(str(folder / "q.jsonl"), str(folder), None)._picture("a.jpg")
    if isinstance(found, str):
        raise BadImage("none", found)
    return load(found.image)


def evaluated(data: bytes, folder: Path) -> Image.Image:
    (folder / "a.jpg").write_bytes(data)
    (folder / "q.jsonl").write_text("")
    try:
        ((_, found),) = evaluation.pictures(str(folder), "stop", "")
    except ValueError as error:
        raise BadImage("none", str(error)) from error
    return found


def exported(data: bytes) -> Image.Image:
    check_image(data)
    return load(data)


DOORS: dict[str, Callable[[bytes, Path], Image.Image]] = {
    "ingest": lambda data, _: load(normalise(data, Rules()).image),
    "models and training": lambda data, _: picture(data),
    "report": lambda data, _: shown(data),
    "mix and export": lambda data, _: exported(data),
    "benchmark": benched,
    "evaluation": evaluated,
}
REFUSALS = (BadImage, Unanswerable, InvalidRow)


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 8
    return encode(photo(1).transpose(Image.Transpose.ROTATE_270), exif=exif, quality=95)


def deep() -> bytes:
    return encode(Image.fromarray(np.asarray(photo(1).convert("L"), np.uint16) * 257), "PNG")


def clear() -> bytes:
    over = Image.new("RGBA", (400, 300), (9, 9, 9, 0))
    over.paste(photo(1), (40, 30))
    return encode(over, "PNG")


def on_white() -> Image.Image:
    over = Image.new("RGB", (400, 300), "white")
    over.paste(photo(1), (40, 30))
    return over


def with_gamma() -> bytes:
    data = encode(light(photo(1)), "PNG")
    return data[:33] + chunk(b"gAMA", gamma(1.0)) + data[33:]


PICTURES: dict[str, tuple[Callable[[], bytes], Callable[[], Image.Image]]] = {
    "turned": (turned, lambda: photo(1)),
    "linear": (lambda: encode(light(photo(1)), icc_profile=profile("sRGB", 1.0), quality=95), lambda: photo(1)),
    "gamma": (with_gamma, lambda: photo(1)),
    "sixteen bits": (deep, lambda: photo(1).convert("L").convert("RGB")),
    "alpha": (clear, on_white),
    "cmyk": (lambda: encode(photo(1).convert("CMYK"), quality=95), lambda: photo(1)),
}


@pytest.mark.parametrize("kind", PICTURES)
@pytest.mark.parametrize("door", DOORS)
def test_a_picture_is_the_same_by_every_door(door: str, kind: str, tmp_path: Path) -> None:
    make, expected = PICTURES[kind]
    found = DOORS[door](make(), tmp_path)
    assert found.mode == "RGB"
    assert found.size == expected().size
    apart = np.abs(np.asarray(found, np.float32) - np.asarray(expected(), np.float32)).mean()
    assert apart < 10


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    "data",
    [EPS, b"", b"no image", png_claiming(13_300, 13_300), png_claiming(60_000, 60_000), b"%PDF-1.7\n" + bytes(90)],
    ids=["eps", "empty", "text", "177 megapixels", "3.6 gigapixels", "pdf"],
)
def test_what_no_door_may_take_is_refused_by_all(door: str, data: bytes, tmp_path: Path) -> None:
    with pytest.raises(REFUSALS):
        DOORS[door](data, tmp_path)


@pytest.mark.parametrize("door", [door for door in DOORS if door != "evaluation"])
@pytest.mark.parametrize("data", [jpeg(1)[:-2], jpeg(1)[:2000], encode(photo(1), "PNG")[:-30]])
def test_a_picture_that_ends_early_is_refused_but_for_evaluation(door: str, data: bytes, tmp_path: Path) -> None:
    with pytest.raises(REFUSALS):
        DOORS[door](data, tmp_path)


def test_a_refusal_says_the_size_and_the_limit_and_no_address_of_an_object() -> None:
    with pytest.raises(Unanswerable, match="13300 x 13300 pixels; at most 50000000"):
        picture(png_claiming(13_300, 13_300))
    for data in (EPS, jpeg(1)[:900], b"RIFF\x10\0\0\0WEBPVP8 nonsense", b"GIF89a" + bytes(30)):
        with pytest.raises(Unanswerable) as error:
            picture(data)
        assert "0x" not in str(error.value).replace("0x ", "")


@settings(max_examples=150, deadline=None)
@given(st.sampled_from((*GIVEN.formats, "JPEG2000", "ICO", "PPM", "TGA", "PCX")), st.data())
def test_hostile_bytes_are_a_picture_or_a_refusal_by_every_door(
    tmp_path_factory: pytest.TempPathFactory, format: str, data: st.DataObject
) -> None:
    good = bytearray(encode(photo(18, 64, 48), format))
    for _ in range(data.draw(st.integers(1, 8))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    hostile = bytes(good[: data.draw(st.integers(1, len(good)))])
    folder = tmp_path_factory.mktemp("door")
    for door in DOORS.values():
        try:
            found = door(hostile, folder)
        except REFUSALS:
            continue
        assert found.mode == "RGB"


def test_only_the_reader_decodes_pictures() -> None:
    package = Path(mminstruct.__file__).parent
    root = package.parent
    files = [*package.rglob("*.py"), *(root / "docs").glob("*.py"), *(root / "benchmarks").glob("*.py")]
    texts = {str(path.relative_to(root)): path.read_text() for path in files}
    for path in (root / "notebooks").glob("*.ipynb"):
        cells = json.loads(path.read_text())["cells"]
        texts[path.name] = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    found = {name for name, text in texts.items() if _decodes(ast.parse(text))}
    assert found == {"mminstruct/readers/image.py", "benchmarks/ingest.py"}  # the latter is compared with Pillow alone


def _decodes(tree: ast.Module) -> bool:
    """Whether code opens a picture by Pillow, or decodes one by anything else that is installed for that."""
    names = {
        (alias.asname or alias.name, alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "PIL"
        for alias in node.names
    }
    opens = {mine for mine, theirs in names if theirs in ("Image", "ImageFile")}
    return any(
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and ((node.value.id in opens and node.attr in ("open", "Parser")) or node.attr in ("decode_jpeg", "imread"))
        for node in ast.walk(tree)
    )
