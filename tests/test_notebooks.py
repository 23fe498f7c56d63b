"""The notebooks run on the tables of small runs, and have no output in git."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_carries_no_output(path: Path) -> None:
    for cell in nbformat.read(path, as_version=4).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_on_the_tables_of_its_recipe(
    path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = path.read_text(encoding="utf-8")
    if "demo_coco" in text:
        folder = request.getfixturevalue("coco_run").url
    else:
        folder = request.getfixturevalue("domains_run" if "demo_domains" in text else "demo")
    monkeypatch.setenv("MMINSTRUCT_RUN", str(folder))
    book = nbformat.read(path, as_version=4)
    NotebookClient(book, timeout=120, resources={"metadata": {"path": str(path.parent)}}).execute()
    outputs = [output.get("data", {}) for cell in book.cells for output in cell.get("outputs", [])]
    assert [data for data in outputs if "image/png" in data or '<img src="data:image' in data.get("text/html", "")]
