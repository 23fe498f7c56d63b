"""The coverage map: rows by domain and kind, what is missing, and commands that fill it."""

from __future__ import annotations

import base64
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from hydra import compose, initialize_config_dir

from mminstruct import config, schemas
from mminstruct.checksum import seal_text
from mminstruct.engine.local import Local
from mminstruct.readers.domains import KINDS as KINDS_OF_QUESTIONS
from mminstruct.recipes import Domains
from mminstruct.report import build
from mminstruct.report.coverage import coverage
from mminstruct.run import Run, claim, execute
from mminstruct.store.reader import RunReader
from mminstruct.store.tables import Store
from tests.report.reading import read
from tests.report.runs import HOSTILE
from tests.store.test_reader import put
from tests.world import domains, draw, some_domains

DOMAINS = [["ocr", ["a sign"]], ["artwork", ["a painting"]], ["posters", ["a poster"]]]
KINDS = ["judgement", "choice"]
QUESTIONS = schemas.table("Questions.", schemas.column("question_id", pa.string(), "", tag="id"),
                          schemas.column("domain", pa.string(), ""), schemas.column("kind", pa.string(), ""),
                          schemas.column("question", pa.string(), "", tag="text"))  # fmt: skip
IMAGES = schemas.table("Images.", schemas.column("image_id", pa.string(), "", tag="id"),
                       schemas.column("domain", pa.string(), ""))  # fmt: skip
SELECTED = schemas.table("Pairs.", schemas.column("question_id", pa.string(), "", tag="id"))


def table(
    store: Store, name: str, schema: pa.Schema, order: int, rows: list[dict[str, object]], **settings: Any
) -> None:
    arrow = {"arrow": base64.b64encode(schema.serialize()).decode()}
    store.table(name).begin({"config": settings, "inputs": {}, "primary": None, "order": order} | arrow)
    put(store, name, schema, rows)


def asked(folder: Path, *, images: str, cells: dict[tuple[str, str], int], words: list[str] | None = None,
          per_domain: int | None = None, pairs: int | None = None, only: tuple[str, ...] = ()) -> RunReader:  # fmt: skip
    """A run that chose *images* (a letter for each, by domain) and has rows in *cells*."""
    store = Store(str(folder))
    names = {name[0]: name for name, _ in DOMAINS}
    chosen: list[dict[str, object]] = [{"image_id": f"i{n}", "domain": names[one]} for n, one in enumerate(images)]
    table(store, "retrieve", IMAGES, 0, chosen, domains=DOMAINS, only=list(only), per_domain=per_domain)
    rows: list[dict[str, object]] = [
        {"question_id": f"{domain}{kind}{n}", "domain": domain, "kind": kind, "question": f"Question {n}?"}
        for (domain, kind), count in cells.items()
        for n in range(count)
    ]
    table(store, "ask", QUESTIONS, 1, rows, number={"judgement": 4, "choice": 3, "short": 0})
    table(store, "select", SELECTED, 2, [], per_domain=pairs)
    if words is not None:
        store.write(seal_text(yaml.safe_dump({"config": {}, "command": words})), "config.yaml")
    return RunReader(store)


def found(run: RunReader) -> dict[str, Any]:
    map_ = coverage(run)
    assert map_ is not None
    return map_


def gaps(map_: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    rows = zip(map_["domains"], map_["gaps"], strict=True)
    return {(domain, gap["kind"]): gap for domain, some in rows for gap in some if gap}


FEW = {("ocr", "judgement"): 8, ("ocr", "choice"): 4, ("artwork", "judgement"): 2}


def test_every_domain_and_kind_of_the_recipe_is_listed_whether_it_has_rows_or_not(tmp_path: Path) -> None:
    map_ = found(asked(tmp_path, images="ooooa", cells=FEW))
    assert (map_["table"], map_["domains"], map_["kinds"]) == ("ask", ["ocr", "artwork", "posters"], KINDS)
    assert map_["rows"] == [[8, 4], [2, 0], [0, 0]]
    assert map_["images"] == [4, 1, 0]
    only = found(asked(tmp_path / "only", images="oo", cells=FEW, only=("ocr",)))
    assert only["domains"] == ["ocr", "artwork"]  # rows of another domain are shown, but none are wanted
    assert gaps(only).keys() <= {("ocr", "judgement"), ("ocr", "choice")}


@pytest.mark.parametrize(
    ("given", "wanted", "rule"),
    [
        ({}, 14 // 12, "half of an equal share, since no quota is set"),
        ({"per_domain": 5}, 5, "one row for each image of recipe.retrieve.per_domain=5"),
        ({"per_domain": 5, "pairs": 12}, 6, "recipe.select.per_domain=12, shared by 2 kinds"),
    ],
)
def test_wanted_is_the_quota_of_pairs_else_of_images_else_half_of_an_equal_share(
    tmp_path: Path, given: dict[str, int], wanted: int, rule: str
) -> None:
    map_ = found(asked(tmp_path, images="ooooa", cells=FEW, **given))
    assert (map_["wanted"], map_["rule"]) == (wanted, rule)
    assert {cell: gap["rows"] for cell, gap in gaps(map_).items()} == {
        (domain, kind): wanted - FEW.get((domain, kind), 0)
        for domain, _ in DOMAINS
        for kind in KINDS
        if FEW.get((domain, kind), 0) < wanted
    }


def test_images_to_add_follow_what_an_image_gave_in_the_cell_else_in_its_kind(tmp_path: Path) -> None:
    needed = {
        cell: gap["images"] for cell, gap in gaps(found(asked(tmp_path, images="ooooa", cells=FEW, pairs=20))).items()
    }
    assert needed == {
        ("ocr", "judgement"): 1,  # 2 more, 2 an image
        ("ocr", "choice"): 6,  # 6 more, 1 an image
        ("artwork", "judgement"): 4,  # 8 more, 2 an image
        ("artwork", "choice"): 13,  # 10 more, 4 from 5 images
        ("posters", "judgement"): 5,  # 10 more, 10 from 5 images
        ("posters", "choice"): 13,
    }  # fmt: skip


def test_a_command_repeats_the_build_but_for_one_cell_and_other_images(tmp_path: Path) -> None:
    words = ["--config-dir", "my conf", "experiment=demo", "source=old", "out=old", "base=older", "units=1", "seed=3"]
    words += ["recipe.retrieve.per_domain=9", "recipe.ask.number.choice=6"]
    made = gaps(found(asked(tmp_path / "run", images="ooooa", cells=FEW, words=words, pairs=20)))
    assert shlex.split(made["artwork", "choice"]["command"]) == [
        "mminstruct", "build", "--config-dir", "my conf", "experiment=demo", "seed=3",
        "recipe.ask.number.choice=6",
        f"out={tmp_path}/run-artwork-choice", "source=MORE_IMAGES", "recipe.retrieve.only=[artwork]",
        "recipe.retrieve.per_domain=13", "recipe.ask.number.judgement=0", "recipe.converse.rounds=0",
    ]  # fmt: skip
    without = gaps(found(asked(tmp_path / "script", images="o", cells=FEW, pairs=20)))
    assert "build recipe=domains out=" in without["posters", "choice"]["command"]


def test_the_page_has_a_table_whose_gaps_are_told_in_words_and_whose_commands_are_whole(tmp_path: Path) -> None:
    url = asked(tmp_path, images="ooooa", cells=FEW, words=[f"source={HOSTILE}", f"x={HOSTILE}"], pairs=20).url
    json.dumps(build.facts(url))
    said = read(build.page(url))
    assert not said.unbalanced
    scopes = [value for tag, name, value in said.attributes if (tag, name) == ("th", "scope")]
    assert scopes == ["col"] * 4 + ["row"] * 3
    assert "14 rows in 3 domains and 2 kinds; 6 of 6 cells have too few" in said.text
    assert re.search(r"artwork\s+1\s+2 of 10\s+0 of 10", said.text)
    assert shlex.quote(f"x={HOSTILE}") in said.text
    assert "script" not in said.tags
    assert "ocr: judgement needs 2, choice needs 6" in said.text


def test_runs_that_choose_no_images_have_a_plain_table_if_rows_differ(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "ours"))
    kinds = [("ocr", "short"), ("ocr", "short"), ("charts", "choice")]
    rows: list[dict[str, object]] = [
        {"question_id": str(n), "domain": domain, "kind": kind, "question": f"Question {n}?"}
        for n, (domain, kind) in enumerate(kinds)
    ]
    table(store, "ask", QUESTIONS, 0, rows)
    map_ = found(RunReader(store))
    assert (map_["domains"], map_["kinds"], map_["rows"]) == (["charts", "ocr"], ["choice", "short"], [[1, 0], [0, 2]])
    assert map_["wanted"] is map_["gaps"] is map_["images"] is None
    page = read(build.page(store.url))
    assert "Rows of table ask by domain and kind." in page.text
    assert not page.tags["small"]
    assert "Question 1?" in page.text
    alike = Store(str(tmp_path / "alike"))
    table(alike, "ask", QUESTIONS, 0, [rows[0] | {"domain": ""}])
    assert build.facts(alike.url)["coverage"] is None
    assert "Coverage" not in read(build.page(alike.url)).text


@pytest.mark.slow
def test_the_commands_for_a_real_run_compose_and_choose_its_domain_and_kind(tmp_path: Path) -> None:
    recipe = domains(draw(tmp_path / "world", images=8))
    recipe.select.per_domain = 400
    made = Run(url=str(tmp_path / "run"), recipe=recipe)
    claim(made)
    given = ["recipe=domains", "models=laptop", "out=run", "source=here"]
    Store(made.url).write(seal_text(yaml.safe_dump({"config": {}, "command": given})), "config.yaml")
    execute(made, Local())
    map_ = found(RunReader(made.url))
    assert (map_["table"], map_["domains"]) == ("select", [one.name for one in some_domains()])
    assert map_["kinds"] == list(KINDS_OF_QUESTIONS)
    assert sum(map(sum, map_["rows"])) == RunReader(made.url)["select"].num_rows > 0
    page = read(build.page(made.url)).text
    assert "Words per answer" in page  # from filter: `words` of transcribe is a list
    assert f"all 8, {RunReader(made.url)['ask'].num_rows} rows" in page
    config.register()
    missing = gaps(map_)
    assert len(missing) == 3 * 4
    for domain, kind in (("signs", "choice"), ("colours", "long")):
        gap = missing[domain, kind]
        words = shlex.split(gap["command"])[2:]
        with initialize_config_dir(str(config.conf()), version_base="1.3"):
            _, run = config.build(compose("build", config.opened("build", words)), [Path(__file__).parents[1]])
        assert isinstance(run.recipe, Domains)
        assert run.recipe.ask.model.name.startswith("Qwen/")
        assert (run.recipe.retrieve.only, run.recipe.retrieve.per_domain) == ([domain], gap["images"])
        assert [name for name, number in run.recipe.ask.number.items() if number] == [kind]
        assert (run.recipe.converse.rounds > 0) == (kind == "long")
