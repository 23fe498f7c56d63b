"""The documentation builds without a warning, and its generated pages are current."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from mminstruct import cli, config, job
from mminstruct.preview import Preview
from mminstruct.training.config import check

ROOT = Path(__file__).parents[1]


def test_the_configuration_reference_is_what_the_code_says() -> None:
    made = subprocess.run(
        [sys.executable, "docs/configuration.py"], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert made.stdout == (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8"), "run `make docs`"


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "-q", "docs", str(tmp_path / "site")],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr[-3000:]
    pages = {page.stem for page in (tmp_path / "site").glob("*.html")}
    assert {page.stem for page in (ROOT / "docs").glob("*.md")} <= pages


def test_every_page_is_in_the_table_of_contents() -> None:
    listed = (ROOT / "docs" / "index.md").read_text(encoding="utf-8").split()
    assert {page.stem for page in (ROOT / "docs").glob("*.md")} - {"index"} <= set(listed)


def commands() -> Iterator[tuple[str, list[str]]]:
    """(page, words) of every mminstruct command in a code block of README.md and docs/, parsed as by a shell."""
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        fenced = re.findall(r"^```[^\n]*\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
        for line in "".join(fenced).replace("\\\n", " ").split("\n"):
            said = re.sub(r"\$\([^)]*\)", "x", line.removeprefix("$ "))
            if not re.search(r"\bmminstruct [a-z-]|\bpython (-m (mminstruct|benchmarks)\.|jobs/)", said):
                continue
            for one in re.split(r" (?:&&|\|) ", said):
                words = [word.replace("…", "x") for word in shlex.split(one, comments=True) if word not in ("…", "...")]
                if "jobs/" in one:  # after `ray job submit ... --`
                    place = next(n for n, word in enumerate(words) if word.startswith("jobs/"))
                    words[: place + 1] = ["mminstruct", Path(words[place]).stem]
                while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                    del words[0]
                if words[:1] == ["mminstruct"] or (
                    words[:2] == ["python", "-m"] and re.match("mminstruct|benchmarks", words[2])
                ):
                    yield page.name, words


COMMANDS = sorted({(page, shlex.join(words)) for page, words in commands()})


def test_the_commands_of_the_docs_are_found() -> None:
    assert len(COMMANDS) > 30
    assert {shlex.split(line)[1] for _, line in COMMANDS} >= {"build", "plan", "bench", "serve", "train", "export"}


@pytest.mark.parametrize(("page", "line"), COMMANDS, ids=lambda word: str(word)[:60])
def test_a_command_of_the_docs_composes(page: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first, command, *words = shlex.split(line)
    if first == "python":  # command is -m
        assert importlib.util.find_spec(words[0]), words[0]
    elif command in job.COMMANDS:
        _compose(command, words)
    else:
        monkeypatch.setattr(cli, f"_{command.replace('-', '_')}", lambda given: 0)
        assert cli.main([command, *words]) == 0


def _compose(command: str, words: list[str]) -> None:
    """Compose and check the configuration of *words*, like the command; for a sweep, that of its first job."""
    if "--help" in words:
        return
    sweep = "--multirun" in words
    if command == "preview":
        words = Preview.of(words)[1]
        sweep = "--multirun" in words
    given = [word for word in words if "=" in word and not word.startswith(("base=", "--config-dir"))]
    given = [word for word in given if not word.endswith("mine.md")]  # a prompt that the reader writes
    given = [re.sub(r"=([^,\[{(]*),[^\[{(]*$", r"=\1", word) if sweep else word for word in given]
    keys = {word.lstrip("+").partition("=")[0] for word in given}
    needed = {"train": ["out=x", "data.path=x"], "serve": []}.get(command, ["out=x", "source=x"])
    given += [word for word in needed if word.partition("=")[0] not in keys]
    config.register()
    file = job.COMMANDS[command]
    with initialize_config_dir(str(config.conf()), version_base="1.3"):
        composed = compose(file, config.opened(file, given))
    if command == "train":
        check(config.train(composed))
    elif command == "serve":
        config.serve(composed)
    elif command == "bench" and not {"judges", "experiment"} & keys:
        assert composed.out  # who takes part is left out on this line
    else:
        config.build(composed, estimated=True)
