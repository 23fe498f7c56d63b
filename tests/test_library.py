"""``import mminstruct``: the public names, reading a run, and the documentation page about both."""

from __future__ import annotations

import re
import subprocess
import sys
import types
from pathlib import Path

import pytest
from PIL import Image

import mminstruct
from mminstruct import report
from tests.report import runs
from tests.report.reading import read

ROOT = Path(__file__).parents[1]


@pytest.fixture
def run(tmp_path: Path) -> mminstruct.OpenRun:
    runs.build(str(tmp_path / "run"), [runs.HOSTILE, "A blue square."])
    return mminstruct.open(str(tmp_path / "run"))


def test_the_import_is_light_and_every_public_name_is_there() -> None:
    code = (
        "import sys, mminstruct;"
        " print([name for name in sys.modules if name.startswith(('pyarrow', 'numpy', 'mminstruct.')) and name != 'mminstruct.version']);"
        " [getattr(mminstruct, name) for name in mminstruct.__all__];"
        " print(sorted(set(mminstruct.__all__) - set(dir(mminstruct))))"
    )
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert said.split() == ["[]", "[]"]
    with pytest.raises(AttributeError, match="no attribute 'opne'"):
        mminstruct.opne  # noqa: B018


def test_the_names_that_type_checkers_see_are_the_public_names() -> None:
    declared = re.findall(r"^    from \S+ import (\w+) as \1$", Path(mminstruct.__file__).read_text(), re.MULTILINE)
    assert sorted([*declared, "__version__"]) == sorted(mminstruct.__all__)
    assert Path(mminstruct.__file__).with_name("py.typed").is_file()


def test_a_row_is_shown_with_its_picture_and_no_text_becomes_markup(run: mminstruct.OpenRun) -> None:
    image = run["ingest"].to_arrow(["image_id"])["image_id"][0].as_py()
    shown = run.show(image)
    page = read(shown._repr_html_())
    assert page.tags["img"] == 1
    assert page.unbalanced == []
    assert runs.HOSTILE in page.text
    assert "script" not in page.tags
    assert repr(shown) == str(run.trace(image))
    assert [value[:23] for _, name, value in page.attributes if name == "src"] == ["data:image/jpeg;base64,"]


def test_an_instruction_of_several_images_has_no_picture(run: mminstruct.OpenRun) -> None:
    shown = run.show(runs.digest("i"))
    assert shown.picture is None
    assert "Write a poem." in shown._repr_html_()
    assert "<img" not in shown._repr_html_()


def test_a_row_that_left_says_where(run: mminstruct.OpenRun) -> None:
    assert "left at ingest, unit a-0000: truncated" in read(run.show("broken.jpg")._repr_html_()).text


def test_the_report_and_the_status_are_those_of_the_commands(run: mminstruct.OpenRun, tmp_path: Path) -> None:
    assert run.report(str(tmp_path / "page.html")) == str(tmp_path / "page.html")
    assert report.write(run.url) == f"{run.url}/report.html"
    assert (tmp_path / "page.html").read_bytes() == Path(run.url, "report.html").read_bytes()
    assert [status.table for status in run.status(verify=True)] == list(run)


def test_every_snippet_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs.build(str(tmp_path / "runs" / "demo"), ["A red square.", "A blue one."])
    (tmp_path / "images").mkdir()
    for name, size in (("wide", (64, 48)), ("tall", (48, 64))):
        Image.linear_gradient("L").convert("RGB").resize(size).save(tmp_path / "images" / f"{name}.jpg")
    monkeypatch.chdir(tmp_path)
    page = types.ModuleType("library_page")
    monkeypatch.setitem(sys.modules, page.__name__, page)
    text = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
    snippets = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(snippets) == 6
    for snippet in snippets:
        exec(snippet, vars(page))
    assert sorted(page.shapes["size"].to_pandas()["shape"]) == ["tall", "wide"]
    assert page.page == "report.html"
