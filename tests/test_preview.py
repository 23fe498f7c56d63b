"""`mminstruct preview`: a stage's rows on few images, without a run folder; the loop in which prompts are written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mminstruct.cli import main
from mminstruct.preview import Preview
from tests import world


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return world.draw(tmp_path_factory.mktemp("source"), 8)


def preview(source: Path, folder: Path, capfd: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str, str]:
    """Exit code, output, log, page."""
    page = folder / "page.html"
    code = main(["preview", *words, f"source={source}", f"to={page}", "models.captioner.name=micro:captioner_small"])
    said = capfd.readouterr()
    return code, said.out, said.err + said.out, page.read_text() if page.exists() else ""


def test_a_preview_shows_rows_prompts_and_replies_and_runs_only_the_changed_stage_again(
    source: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "short.md").write_text("## user\nWhat is here?")
    code, out, log, page = preview(source, tmp_path, capfd, "caption", "rows=2")
    assert code == 0
    assert re.search("ingest: 1/1 units", log)
    assert out.count("\n  caption: ") == 2
    assert "2 rows kept, 0 dropped; 2 calls of a model" in out
    assert "## user\n  (image)\n  Describe this image in detail" in out
    assert page.count('<img src="data:image/jpeg') == 2
    code, out, log, page = preview(
        source, tmp_path, capfd, "caption", "rows=2", "recipe.caption.prompt=caption,short.md"
    )
    assert code == 0
    assert "ingest: 1/1 units" not in log  # it was kept
    assert "== recipe.caption.prompt=caption" in out
    assert "== recipe.caption.prompt=short.md" in out
    assert "(image)\n  What is here?" in out
    assert page.count('class="two"') == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "page.html", "short.md"]  # no run folder


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["source=x"], "name one stage: mminstruct preview answer"),
        (["caption", "fuse", "source=x"], "name one stage"),
        (["caption", "rows=0", "source=x"], "rows=0: take a number of images"),
        (["captoin", "source=."], "no stage captoin: this recipe has ingest, caption"),
    ],
)
def test_a_slip_is_told_in_one_line(
    words: list[str], said: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, source: Path
) -> None:
    monkeypatch.chdir(source)
    assert main(["preview", *words]) == 2
    assert said in capfd.readouterr().err


def test_a_named_engine_is_taken_and_a_list_in_brackets_is_one_value() -> None:
    made, words = Preview.of(["answer", "rows=7", "engine=ray", "recipe.instruct.seeds=[a,b]", "source=x"])
    assert (made.stage, made.rows, made.to) == ("answer", 7, None)
    assert words == ["out=preview", "engine=ray", "recipe.instruct.seeds=[a,b]", "source=x"]
    assert "--multirun" in Preview.of(["answer", "recipe.answer.prompt=a,b", "source=x"])[1]
