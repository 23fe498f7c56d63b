"""Every field of every recipe that names files: the fingerprint covers their content, not their path."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import os
import re
import shutil
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from mminstruct.bench.contestant import Contestant
from mminstruct.bench.juror import Juror
from mminstruct.engine.local import Local
from mminstruct.models.model import Model
from mminstruct.recipe import RecipeError, check, manifests
from mminstruct.recipes import RECIPES
from mminstruct.run import DriftError, Run, claim, execute
from mminstruct.stage import CHANGED, identity, renamed
from mminstruct.stages.ingest import Ingest
from mminstruct.stages.match import Match
from mminstruct.stages.pick import Pick
from mminstruct.stages.retrieve import Retrieve
from mminstruct.stages.select import Select
from mminstruct.training.config import Train
from tests import world
from tests.conftest import mminstruct
from tests.doing_nothing import After, Count, Last, Pass, Small, Sum


def holders(kind: type) -> Iterator[type]:
    """*kind* and the dataclasses in the types of its fields, lists and mappings included."""
    yield kind
    for hint in typing.get_type_hints(kind).values():
        for one in (hint, *typing.get_args(hint)):
            if dataclasses.is_dataclass(one) and isinstance(one, type):
                yield from holders(one)


KINDS = {one.__qualname__: one for kind in (*RECIPES.values(), Train) for one in holders(kind)}


def meanings(kind: type) -> dict[str, str]:
    """Docstrings of a dataclass's own fields."""
    body = ast.parse(inspect.getsource(kind)).body[0]
    assert isinstance(body, ast.ClassDef)
    found, last = {}, ""
    for node in body.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            last = node.target.id
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and last:
            found[last] = str(node.value.value)
    return found


NO_PATHS = ["Ask.form", "Ingest.layout", "Ingest.name", "Train.out"]
"""Fields whose docstring mentions files although they name no file to read."""


def fields() -> Iterator[tuple[str, dict[str, Any], str]]:
    """Every field that may hold a text: its name, metadata and docstring."""
    for kind in KINDS.values():
        hints = typing.get_type_hints(kind)
        said = {name: text for base in reversed(kind.__mro__) if dataclasses.is_dataclass(base) for name, text in meanings(base).items()}  # fmt: skip
        for item in dataclasses.fields(kind):
            if hints[item.name] is Any or "str" in str(hints[item.name]):
                yield f"{kind.__qualname__}.{item.name}", dict(item.metadata), said.get(item.name, "")


def test_every_field_whose_meaning_speaks_of_files_is_marked() -> None:
    speaks = re.compile(r"\b(files?|folders?|paths?|JSONL?)\b", re.IGNORECASE)
    unmarked = [
        name
        for name, marks, meaning in fields()
        if speaks.search(meaning) and not marks.keys() & {"files", "where", "runtime", "prompt", "seeds"}
    ]
    assert sorted(unmarked) == NO_PATHS


def lines(path: Path, *rows: dict[str, Any]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def pictures(folder: Path, colour: str = "red") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for index, name in enumerate(("a.png", "b.png")):
        image = Image.new("RGB", (64, 48), colour)
        image.putpixel((index, 0), (0, 0, 0))
        image.save(folder / name)


def questions(path: Path, text: str = "What is it?") -> None:
    lines(path, {"question_id": "1", "text": text, "image": "a.png", "caption": "red"})


def shards(stage: Any) -> Any:
    """What receipts store about a source's shards: facts, and content digests where facts are not sufficient."""
    facts = stage.shards()
    return {key: ({k: v for k, v in one.items() if k != CHANGED}, stage.content(key)) for key, one in facts.items()}


@dataclass
class Case:
    """A field, a path for its test data, and how the data are changed."""

    name: str
    plant: Callable[[Path], None]
    change: Callable[[Path], None]
    known: Callable[[str], Any]
    """The path's value in the fingerprint."""


def grow(folder: Path) -> None:
    shutil.copy(folder / "a.png", folder / "c.png")


def truth(folder: Path) -> None:
    (folder / "_truth").mkdir(parents=True)
    lines(folder / "_truth" / "scenes.jsonl", {"image_id": "1"})


def weights(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")


def other_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"Weights")


def picked(**paths: Any) -> Any:
    return shards(Pick(**paths))


BESIDE: dict[str, str] = {}
"""A file of questions for cases that also need one."""

CASES = [
    Case("Select.eval_images", pictures, grow, lambda path: identity(Select(eval_images=path))),
    Case("Match.eval_images", pictures, grow, lambda path: identity(Match(model=Model(name="m"), eval_images=path))),
    Case("Retrieve.folders", pictures, grow, lambda path: identity(Retrieve(model=Model(name="m"), folders={"ocr": path}))),
    Case("Select.eval_questions", questions, lambda p: questions(p, "Who?"), lambda path: identity(Select(eval_questions=path))),
    Case("Model.name", weights, other_weights, lambda path: identity(Model(name=path))),
    Case("Contestant.name", weights, other_weights, lambda path: identity(Contestant(name=path))),
    Case("Juror.name", weights, other_weights, lambda path: identity(Juror(name=path))),
    Case("Base.model", weights, other_weights, lambda path: identity(Train(base=_base(model=path)))),
    Case("Base.llm", weights, other_weights, lambda path: identity(Train(base=_base(llm=path)))),
    Case("Base.vision", weights, other_weights, lambda path: identity(Train(base=_base(vision=path)))),
    Case("Contestant.answers", questions, lambda p: questions(p, "Who?"), lambda path: identity(Contestant(answers=path))),
    Case("Contestant.after", questions, lambda p: questions(p, "Who?"), lambda path: identity(Contestant(answers=path, after={"phrase": path}))["after"]),
    Case("Model.options", truth, lambda p: lines(p / "_truth" / "scenes.jsonl", {"image_id": "2"}),
         lambda path: identity(Model(name="oracle", backend="oracle", options={"truth": [path], "batch_size": 3}))),
    Case("Ingest.path", pictures, lambda p: pictures(p, "blue"), lambda path: (identity(Ingest(path=path, name="x")), shards(Ingest(path=path, name="x")))),
    Case("Pick.path", questions, lambda p: questions(p, "Who?"), lambda path: picked(path=path)),
    Case("Pick.images", pictures, grow, lambda path: picked(path=BESIDE["questions"], images=path)),
    Case("Pick.captions", questions, lambda p: questions(p, "Who?"), lambda path: picked(path=BESIDE["questions"], captions=path)),
]  # fmt: skip
ELSEWHERE = {
    "Decide.path": "tests/stages/test_decide.py",
    "AnnotationSet.path": "tests/stages/test_annotate.py",
    "AnnotationSet.questions": "tests/stages/test_annotate.py",
    "AnnotationSet.images": "tests/stages/test_annotate.py",
    "Pick.trained": "test_a_benchmark_knows_the_runs_it_was_trained_on_by_their_tables",
    "Data.path": "tests/training/test_prepare.py",
    "Data.images": "tests/training/test_prepare.py",
    "Data.eval": "tests/training/test_prepare.py",
}
INHERITED = {f"{kind}.{field}" for kind in ("Contestant", "Juror") for field in ("options",)}


def _base(**some: str) -> Any:
    from mminstruct.training.config import Base

    return Base(**some)


def test_no_marked_field_is_without_a_case() -> None:
    marked = {name for name, marks, _ in fields() if marks.keys() & {"files", "where"}}
    assert marked == {case.name for case in CASES} | set(ELSEWHERE) | INHERITED


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_other_content_is_another_and_the_same_elsewhere_is_the_same(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions(tmp_path / "beside")
    BESIDE["questions"] = str(tmp_path / "beside")
    place = tmp_path / "x"
    case.plant(place)
    before = case.known(str(place))
    for path in [place, *place.rglob("*")]:
        os.utime(path, (1, 1))
    monkeypatch.chdir(tmp_path)
    assert case.known("x") == before
    if place.is_dir():
        assert case.known("x/") == before
        shutil.copytree(place, tmp_path / "deep" / "y")
    else:
        (tmp_path / "deep").mkdir()
        shutil.copy(place, tmp_path / "deep" / "y")
    if case.name != "Pick.path":  # a single file or a run is one set of questions, whatever its name
        assert case.known("deep/y") == before
    case.change(place)
    assert case.known("x") != before


def test_a_path_where_nothing_lies_is_refused_at_composition(tmp_path: Path) -> None:
    recipe = world.recipe(tmp_path)
    recipe.select.eval_images = str(tmp_path / "none")
    with pytest.raises(RecipeError, match=r"select\.eval_images: .*none: no such file or folder"):
        check(recipe)
    bench = world.bench(str(tmp_path))
    bench.respond.contestants["given"] = Contestant(answers=str(tmp_path / "none.json"))
    with pytest.raises(RecipeError, match=r"respond\.contestants\.given\.answers: .*none\.json: no such file"):
        check(bench)


def test_a_name_that_only_a_server_knows_is_not_looked_for_on_this_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights(tmp_path / "gpt")
    monkeypatch.chdir(tmp_path)
    assert identity(Model(name="gpt", backend="openai"))["name"] == "gpt"
    assert identity(Model(name="gpt"))["name"].startswith("1 file, digest ")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the whole recipe with model doubles: folders ``run``, ``world`` and ``eval``."""
    folder = tmp_path_factory.mktemp("identity")
    world.draw(folder / "world")
    pictures(folder / "eval")
    run(folder, folder / "run")
    return folder


def recipe(folder: Path, source: str = "world") -> Any:
    made = world.recipe(folder / source)
    made.select.eval_images = str(folder / "eval")
    return made


def run(folder: Path, out: Path, base: Path | None = None, source: str = "world", **more: Any) -> int:
    """Build; returns the number of units executed, without existing and reused ones."""
    one = Run(url=str(out), recipe=recipe(folder, source))
    one.recipe.ingest = dataclasses.replace(one.recipe.ingest, **more)
    one = Run(url=str(out), recipe=one.recipe)
    claim(one, base and str(base))
    fresh = []
    execute(one, Local(), watch=lambda event: fresh.append(event) if event.fresh else None)
    return len(fresh)


def test_a_grown_evaluation_set_is_refused_with_both_counts(built: Path, tmp_path: Path) -> None:
    shutil.copytree(built, tmp_path / "x")
    folder = tmp_path / "x"
    assert run(folder, folder / "run") == 0
    grow(folder / "eval")
    said = r"recipe\.select\.eval_images: '2 files, digest \w+' -> '3 files, digest \w+'\n"
    with pytest.raises(DriftError, match=said):
        run(folder, folder / "run")
    assert run(folder, folder / "new", base=folder / "run") == 1 + 2 * 6, (
        "select, and the merges and exports of its parts"
    )


@pytest.mark.parametrize("how", ["slash", "touched", "copied over itself", "copied elsewhere", "pattern"])
def test_the_same_shards_under_another_path_or_touched_make_nothing_again(
    built: Path, tmp_path: Path, how: str
) -> None:
    shutil.copytree(built, tmp_path / "x")
    folder = tmp_path / "x"
    source, more = "world", {}
    if how == "slash":
        source = "world/"
    elif how == "touched":
        for path in (folder / "world").rglob("*"):
            os.utime(path)
    elif how == "copied over itself":
        for path in list((folder / "world").glob("*.tar")):
            path.write_bytes(path.read_bytes())
    elif how == "copied elsewhere":
        shutil.copytree(folder / "world", folder / "other")
        source, more = "other", {"name": "world"}
    else:
        source = "world/*"
    assert run(folder, folder / "run", source=source, **more) == 0
    assert run(folder, folder / "new", base=folder / "run", source=source, **more) == 0
    assert run(folder, folder / "new", source=source, **more) == 0


def test_a_shard_of_the_same_size_and_other_bytes_is_refused_and_only_it_is_made_again(
    built: Path, tmp_path: Path
) -> None:
    shutil.copytree(built, tmp_path / "x")
    folder = tmp_path / "x"
    shard = sorted((folder / "world").glob("*.tar"))[0]
    data = bytearray(shard.read_bytes())
    place = data.index(b"\xff\xda", 600) + 100  # within the compressed pixels of an image
    data[place] ^= 0x55
    shard.write_bytes(data)
    with pytest.raises(DriftError, match=r"ingest/00000: content: \w{16} -> \w{16}\n"):
        run(folder, folder / "run")
    with pytest.raises(DriftError, match=r"ingest/00000: content: \w{16} -> \w{16}\n"):
        run(folder, folder / "run")


def test_another_name_of_the_collection_is_refused_since_it_is_in_every_row(built: Path, tmp_path: Path) -> None:
    shutil.copytree(built, tmp_path / "x")
    (tmp_path / "x" / "world").rename(tmp_path / "x" / "other")
    with pytest.raises(DriftError, match=r"recipe\.ingest\.name: 'world' -> 'other'"):
        run(tmp_path / "x", tmp_path / "x" / "run", source="other")


def test_a_benchmark_knows_the_runs_it_was_trained_on_by_their_tables(built: Path, tmp_path: Path) -> None:
    shutil.copytree(built, tmp_path / "x")
    one, other = (
        shards(Pick(path=str(built / "run"), trained=[str(where / "run")])) for where in (built, tmp_path / "x")
    )
    assert one == other
    store = Run(url=str(tmp_path / "x" / "run"), recipe=recipe(tmp_path / "x"))
    receipt = next(iter(store.table("select").receipts().values()))
    (tmp_path / "x" / "run" / "select" / "_receipts" / f"{receipt.key}.json").unlink()
    assert shards(Pick(path=str(built / "run"), trained=[str(tmp_path / "x" / "run")])) != one


def test_manifests_hold_where_the_data_lay_and_no_fingerprint_does(tmp_path: Path) -> None:
    world.draw(tmp_path / "world", images=8)
    one, other = (manifests(world.recipe(path)) for path in (tmp_path / "world", f"{tmp_path}/world/"))
    assert one["ingest"]["paths"] != other["ingest"]["paths"]
    assert one["export"]["fingerprint"] == other["export"]["fingerprint"]


@pytest.mark.slow
def test_the_readmes_two_lines_work_word_for_word(world_of_three_parts: Path, tmp_path: Path) -> None:
    """Build with ``units=1``, then all units with ``base=``; and the first command without ``units``."""
    small = ("experiment=demo", "recipe.ingest.rows=8", "recipe.cluster.k=6", "recipe.match.sample_images=8", "engine=local")  # fmt: skip
    source = f"source={world_of_three_parts}"
    mminstruct("build", *small, f"out={tmp_path}/mine", source, "units=1")
    refused = mminstruct("build", *small, f"out={tmp_path}/mine", source, code=2)
    assert "cluster was made from embed, which has 1 part, and 2 of 3 shards are not read yet\n" in refused
    command = refused.splitlines()[-1].split()
    assert command[:4] == ["mminstruct", "build", f"out={tmp_path}/mine-2", f"base={tmp_path}/mine"]
    made = mminstruct(*command[1:])
    assert "caption: 1 units reused from" in made
    assert "Done" in mminstruct("build", *small, f"out={tmp_path}/mine-2", source)
    sums = yaml.safe_load(mminstruct("status", "--json", tmp_path / "mine-2"))
    assert {one["table"]: one["left"] for one in sums} == dict.fromkeys((one["table"] for one in sums), 0)


@pytest.fixture(scope="module")
def world_of_three_parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return world.draw(tmp_path_factory.mktemp("three") / "photos", images=24)


@dataclass(kw_only=True)
class Old(Pass):
    limit: int = 3


@dataclass(kw_only=True)
class New(Pass):
    most: int = renamed("limit", 3)


def test_a_renamed_field_keeps_its_fingerprint_and_is_refused_by_its_new_name(tmp_path: Path) -> None:
    assert identity(Old(limit=4)) == identity(New(most=4))

    def recipe(stage: Pass) -> Small:
        return Small(count=Count(), first=stage, second=After(), sum=Sum(), last=Last())

    New.__name__ = "Old"  # a class keeps its name
    claim(Run(url=str(tmp_path), recipe=recipe(Old())))
    claim(Run(url=str(tmp_path), recipe=recipe(New())))
    with pytest.raises(DriftError, match=r"^recipe\.first\.most: 3 -> 5"):
        claim(Run(url=str(tmp_path), recipe=recipe(New(most=5))))
