"""A file that cannot be read to its end, or that is another file, fails with its name, the place and what to do."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import json
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mminstruct.annotations.sets import AnnotationSet
from mminstruct.errors import InputError
from mminstruct.readers.text import Unreadable
from mminstruct.unit import UNIT, Unit
from tests.annotations.test_formats import rows_and_drops
from tests.annotations.written import COUNT, good, save


def zipped(data: bytes, *names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names or ("annotations.json",):
            archive.writestr(name, data)
    return buffer.getvalue()


def rewritten(
    folder: Path, format: str, change: Callable[[bytes], bytes], name: str = "annotations.json"
) -> AnnotationSet:
    """A good set, one of whose files is changed."""
    found = save(folder, format, good(format))
    (folder / name).write_bytes(change((folder / name).read_bytes()))
    return found


def instances(_: bytes) -> bytes:
    boxes = [{"id": 1, "image_id": 9, "category_id": 2, "bbox": [0, 0, 2, 2], "segmentation": [], "area": 4}]
    images = [{"id": 9, "file_name": "COCO_train2014_000000000009.jpg"}]
    return json.dumps({"images": images, "annotations": boxes, "categories": []}).encode()


def questions(_: bytes) -> bytes:
    return json.dumps({"questions": good("vqa")["questions"]}).encode()


def without_first_line(data: bytes) -> bytes:
    return data.partition(b"\n")[2]


FAILURES = {
    "cut": ("coco_captions", lambda data: data[:-200], r"annotations.json: images \d+ \(line 1\): broken or cut"),
    "cut within a list of records": ("tallyqa", lambda data: data[:-2], r"record \d+ \(line 1\): broken or cut short"),
    "cut JSON lines": ("vsr", lambda data: data[:-30], r"annotations.json line 30: broken or cut short"),
    "empty": ("coco_captions", lambda data: b"", r"annotations.json is empty"),
    "an empty list's place": ("aokvqa", lambda data: b" \n", r"annotations.json is empty"),
    "instances as captions": ("coco_captions", instances, r"none of its 1 records in `annotations` has `caption`"),
    "questions as annotations": ("vqa", questions, r"has no list `annotations`, only questions: give the file"),
    "instances as VQA": ("vqa", instances, r"none of its 1 records in `annotations` has `question_id`"),
    "a list as an object": ("stvqa", lambda data: b"[]", r"begins with '\[', should be a JSON object"),
    "an object as a list": ("paragraph", instances, r"none of its 1 records has `image_id`; the first has images,"),
    "captions as image data": ("vg_qa", instances, r"image_data.json is no file of this format", "image_data.json"),
    "text after the object": ("stvqa", lambda data: data + b"{}", r"something follows the object"),
    "a member twice": ("stvqa", lambda data: b'{"data": [], "data": []}', r"'data' is there twice"),
    "no known encoding": ("vqa_e", lambda data: b'[{"a": "\xc3\xa9 \x81"}]', r"byte 0x81 at \d+ \(line 1\)"),
    "cut gzip": ("vqa_e", lambda data: gzip.compress(data)[:-20], r"annotations.json is a damaged or cut gzip file"),
    "damaged xz": ("vqa_e", lambda data: lzma.compress(data)[:40], r"annotations.json is a damaged or cut xz file"),
    "an archive of two files": (
        "vqa_e", lambda data: zipped(data, "a.json", "b.json"), r"ZIP archive of 2 files \(a.json, b.json\): unpack it",
    ),
    "an unknown compression": ("vqa_e", lambda data: b"7z\xbc\xaf\x27\x1c\0\0", r"compressed as 7z, which cannot be"),
    "lines of unequal number": ("cocoqa", without_first_line, r"answers.txt has 29 lines and .*img_ids.txt has more",
                                "answers.txt"),
}  # fmt: skip


@pytest.mark.parametrize("case", FAILURES)
def test_a_set_fails_as_a_whole_and_says_where_and_why(tmp_path: Path, case: str) -> None:
    format, change, said, *name = FAILURES[case]
    with pytest.raises(Unreadable, match=said):
        rows_and_drops(rewritten(tmp_path, format, change, *name))


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress, zipped])
def test_a_compressed_file_is_read_whatever_its_name(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    plain, _ = rows_and_drops(save(tmp_path / "plain", "coco_captions", good("coco_captions")))
    packed, _ = rows_and_drops(rewritten(tmp_path / "packed", "coco_captions", compress))
    assert packed == plain
    assert len(rows_and_drops(rewritten(tmp_path / "lines", "vsr", compress))[0]) == COUNT


@pytest.mark.parametrize(
    ("encode", "note"),
    [
        (lambda text: codecs.BOM_UTF8 + text.encode(), None),
        (lambda text: text.encode("utf-16"), "text_utf16"),
        (lambda text: text.encode("utf-32"), "text_utf32"),
        (lambda text: text.encode("cp1252"), "text_cp1252"),
    ],
)
def test_other_encodings_are_read_and_noted(tmp_path: Path, encode: Callable[[str], bytes], note: str | None) -> None:
    lists = good("coco_captions")
    lists["annotations"][0]["caption"] = "Ein Café für zwei."
    found = save(tmp_path, "coco_captions", lists)
    Path(found.path).write_bytes(encode(json.dumps(lists, ensure_ascii=False)))
    unit = Unit(table="annotate", key="s")
    token = UNIT.set(unit)
    try:
        rows, drops = rows_and_drops(found)
    finally:
        UNIT.reset(token)
    assert (len(rows), drops) == (COUNT, [])
    assert "Ein Café für zwei." in {row["answer"] for row in rows}
    assert set(unit.notes) == ({note} if note else set())


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    format=st.sampled_from(["coco_captions", "vqa", "tallyqa", "vsr", "vg_qa", "cocoqa"]),
    place=st.floats(0, 1),
    put=st.binary(max_size=3)
    | st.sampled_from([b"", b"\xed\xa0\x80", b"NaN", b"\xed\xa0\xbd", b"\\ud83d", b"]", b'"', b"\0"]),
    cut=st.booleans(),
)
def test_damage_anywhere_fails_by_name_or_leaves_sums_that_close(
    tmp_path: Path, format: str, place: float, put: bytes, cut: bool
) -> None:
    name = "questions.txt" if format == "cocoqa" else "annotations.json"

    def damaged(data: bytes) -> bytes:
        at = int(place * len(data))
        return data[:at] + put + (b"" if cut else data[at + len(put) :])

    try:
        rows, drops = rows_and_drops(rewritten(tmp_path, format, damaged, name))
    except InputError as error:
        assert name in str(error)  # noqa: PT017
        return
    assert 0 < len(rows) + len(drops) <= COUNT + 3


def test_a_missing_file_and_a_folder_are_refused_before_anything_runs(tmp_path: Path) -> None:
    vqa = save(tmp_path / "vqa", "vqa", good("vqa"))
    (tmp_path / "vqa" / "questions.json").unlink()
    with pytest.raises(ValueError, match=r"questions=.*questions.json does not exist"):
        vqa.listings()
    with pytest.raises(ValueError, match=r"path=.* is a folder or a pattern \(annotations.json\): give one file"):
        AnnotationSet(format="tallyqa", path=str(tmp_path / "vqa")).listings()
    cocoqa = save(tmp_path / "cocoqa", "cocoqa", good("cocoqa"))
    (tmp_path / "cocoqa" / "types.txt").unlink()
    with pytest.raises(ValueError, match=r"path=.* lacks types.txt: give the folder"):
        cocoqa.listings()
