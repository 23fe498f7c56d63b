from __future__ import annotations

import base64
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mminstruct.report import bench, build, page
from tests.report import runs
from tests.report.reading import read

MARKS = st.text(st.sampled_from("<>&\"'{}%#/=;-!ax \n\x00\u2028é漢"), max_size=40)
"""What HTML, Jinja, SVG and style sheets are made of."""


@given(MARKS.filter(str.strip))
@settings(max_examples=8)
def test_no_text_in_a_run_becomes_markup(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.mktemp("pages")
    pages = []
    for name, said in (("plain", "plain"), ("text", text)):
        runs.build(str(folder / name / "build"), [said, "two"])
        runs.bench(str(folder / name / "bench"), {"q1": ("a", "a"), "q2": ("a", "b")}, text=said)
        pages.append((build.page(str(folder / name / "build")), bench.page(str(folder / name / "bench"), [])))
    for plain, hostile in zip(*pages, strict=True):
        found = read(hostile)
        assert found.tags == read(plain).tags
        assert found.unbalanced == []
        assert {(tag, name) for tag, name, _ in found.attributes} == {
            (tag, name) for tag, name, _ in read(plain).attributes
        }


def test_a_page_needs_nothing_from_outside_and_forbids_it(tmp_path: Path) -> None:
    runs.build(str(tmp_path / "build"), [runs.HOSTILE])
    runs.bench(str(tmp_path / "bench"), {"q1": ("a", "a")}, text=runs.HOSTILE)
    for html in (build.page(str(tmp_path / "build")), bench.page(str(tmp_path / "bench"), [])):
        found = read(html)
        assert runs.HOSTILE in found.text
        assert not {"script", "link", "iframe", "object"} & set(found.tags)
        values = {name: value for _, name, value in found.attributes}
        assert not [name for name in values if name.startswith("on") or name in ("href", "srcset")]
        sources = [value for tag, name, value in found.attributes if name == "src"]
        assert sources
        assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
        policy = next(value for _, name, value in found.attributes if value.startswith("default-src"))
        assert "default-src 'none'" in policy
        assert "url(" not in html
        assert "prefers-color-scheme: dark" in html


def test_a_picture_is_a_small_jpeg_and_what_is_none_is_none() -> None:
    shown = page.picture(runs.jpeg(size=(1024, 512)))
    assert shown is not None
    with Image.open(io.BytesIO(base64.b64decode(shown.partition(",")[2]))) as image:
        assert (image.format, image.size) == ("JPEG", (256, 128))
    whole = runs.jpeg()
    assert [page.picture(data) for data in (None, b"", b"no image", whole[:200])] == [None] * 4


@pytest.mark.parametrize(
    ("value", "said"), [(None, "–"), (12345, "12,345"), (0.0123456, "0.0123"), (0, "0"), (1234.5, "1,234")]
)
def test_numbers_are_short(value: float | None, said: str) -> None:
    assert page.number(value) == said
