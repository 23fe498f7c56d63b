"""Rows of several questions: what is told of each, and what is left of a row when one is deleted."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from mminstruct import export, schemas
from mminstruct.engine.local import Local
from mminstruct.export.mix import mix
from mminstruct.models.model import Model
from mminstruct.recipe import Method, Recipe
from mminstruct.run import Run, claim, execute
from mminstruct.schemas import AXES
from mminstruct.stage import Rows, Stage, StageOutput, Transform, output
from mminstruct.stages.export import SCHEMA
from mminstruct.store.deletion import delete
from tests.export.conftest import question, row, turns


def dialogue(n: int) -> dict[str, Any]:
    """A row of three questions about one image."""
    said = [(f"Question {n}.{k}?", f"Answer {n}.{k}.") for k in range(3)]
    texts = [(who, text) for asked, told in said for who, text in (("human", asked), ("gpt", told))]
    texts[0] = ("human", f"<image>\n{said[0][0]}")
    kinds = ("number", "short", "long")
    facts = [question(f"p{n}{k}", f"i{k}", kind=kinds[k], domain="ponds" if n else "lakes") for k in range(3)]
    return row(n, conversations=turns(*texts), turns=facts, instruction_id=None, split="train", pair_id=f"talk{n}")


@dataclass(kw_only=True)
class Chats(Stage):
    """Stands for all that comes before: three dialogues."""

    viewer: Model = dataclasses.field(default_factory=lambda: Model(name="micro:captioner", revision="r1"))
    answers: dict[str, Model] = dataclasses.field(default_factory=lambda: {"x": Model(name="micro:llm")})

    reads = {}
    writes = schemas.EXPORT
    row_key = "pair_id"

    def shards(self) -> dict[str, dict[str, Any]]:
        return {"a": {"bytes": 1}}

    def load(self) -> Transform:
        def draw(key: str) -> Iterator[Rows]:
            yield Rows(3, StageOutput(pa.Table.from_pylist([dialogue(n) for n in range(3)], schema=SCHEMA), []))

        return draw


@dataclass(kw_only=True)
class Texts(Stage):
    """The table in which a real run has the questions of its dialogues."""

    reads = {}
    writes = schemas.REVIEW
    row_key = "pair_id"

    def shards(self) -> dict[str, dict[str, Any]]:
        return {"a": {"bytes": 1}}

    def load(self) -> Transform:
        def draw(key: str) -> Iterator[Rows]:
            rest = {"image_id": "x", "question": "Q?", "answer": "A.", "decision": "unseen", "people": 0}
            rows = [{**rest, **one} for n in range(3) for one in dialogue(n)["turns"]]
            yield Rows(9, output(schemas.REVIEW, rows))

        return draw


@dataclass(kw_only=True)
class Talks(Recipe):
    """A recipe from outside, with what it says of itself."""

    method = Method(
        title="Pond Talks",
        paper="Talks about Ponds, arXiv:2601.01234",
        made="people asked and a duck answered",
        limits="Ducks are often wrong.",
        tags=("ponds",),
    )

    review: Texts
    export: Chats


def make(folder: Path) -> str:
    run = Run(url=str(folder), recipe=Talks(review=Texts(), export=Chats()))
    claim(run)
    execute(run, Local())
    return str(folder)


def written(run: str, to: Path, format: str = "llava") -> dict[str, dict[str, Any]]:
    export.write(run, format, to)
    return {one["id"]: one for one in json.loads((to / "train.json").read_text(encoding="utf-8"))}


def test_a_deleted_question_leaves_its_dialogue_and_the_others_stay(tmp_path: Path) -> None:
    run = make(tmp_path / "run")
    before = written(run, tmp_path / "before")
    delete(run, ["talk2"], "wrong image")
    delete(run, ["i1"], "ambiguous")
    after = written(run, tmp_path / "after")
    assert after.keys() == {"talk0", "talk1"}
    for id_, one in after.items():
        was = before[id_]
        assert one["conversations"] == was["conversations"][:2] + was["conversations"][4:]
        assert one["turns"] == [was["turns"][0], was["turns"][2]]
    facts = json.loads((tmp_path / "after" / "export.json").read_text())
    assert facts["funnel"][-2:] == [
        {"table": "delete", "in": 3, "kept": 2, "dropped": {"wrong image": 1}},
        {"table": "delete (questions of dialogues)", "in": 6, "kept": 4, "dropped": {"ambiguous": 2}},
    ]


def test_the_image_moves_to_the_first_question_that_is_left(tmp_path: Path) -> None:
    run = make(tmp_path / "run")
    delete(run, ["i0"], "ambiguous")
    talk = written(run, tmp_path / "out")["talk1"]["conversations"]
    assert [turn["value"] for turn in talk][:2] == ["<image>\nQuestion 1.1?", "Answer 1.1."]
    assert len(talk) == 4


def test_a_dialogue_of_which_all_is_deleted_leaves_and_the_command_counts_both(tmp_path: Path) -> None:
    run = make(tmp_path / "run")
    delete(run, ["talk0", "i0"], "first")
    delete(run, ["i1"], "second")
    assert "1 rows left out as deleted; 4 questions cut out of dialogues as deleted" in export.write(
        run, "hf", tmp_path / "hf"
    )
    delete(run, ["i2"], "third")
    with pytest.raises(export.ExportError, match="3 rows are left out as deleted"):
        export.write(run, "hf", tmp_path / "none")


def test_a_mixture_counts_what_was_cut_out_of_a_run_s_dialogues(tmp_path: Path) -> None:
    run = make(tmp_path / "run")
    delete(run, ["i1"], "ambiguous")
    (tmp_path / "mix.yaml").write_text(json.dumps({"sources": {"ours": {"path": run}}}))
    mix(tmp_path / "mix.yaml", "llava", tmp_path / "out")
    facts = json.loads((tmp_path / "out" / "export.json").read_text())
    assert facts["mixture"][0]["mended"] == {"question deleted (ambiguous)": 3}
    rows = json.loads((tmp_path / "out" / "train.json").read_text())
    assert all(len(one["turns"]) == 2 and len(one["conversations"]) == 4 for one in rows)


def test_the_card_tells_of_the_recipe_that_made_the_run_and_not_of_another(tmp_path: Path) -> None:
    export.write(make(tmp_path / "run"), "hf", tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    head = yaml.safe_load(card.split("---\n")[1])
    assert head["tags"] == ["visual-instruction-tuning", "llava", "ponds"]
    assert head["annotations_creators"] == ["other"]
    assert "after the method of [Pond Talks](https://arxiv.org/abs/2601.01234): people asked and a duck" in card
    assert "Ducks are often wrong." in card
    assert "MM-Instruct" not in card
    croissant = json.loads((tmp_path / "out" / "croissant.json").read_text(encoding="utf-8"))
    assert croissant["citeAs"] == Talks.method.paper
    assert croissant["keywords"][-1] == "ponds"


def test_the_card_counts_questions_by_domain_and_kind(tmp_path: Path) -> None:
    export.write(make(tmp_path / "run"), "hf", tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "| domain | long | number | short |" in card
    assert "| ponds | 2 | 2 | 2 |" in card


def test_a_model_is_named_whatever_its_field_is_called(tmp_path: Path) -> None:
    export.write(make(tmp_path / "run"), "llava", tmp_path / "out")
    facts = json.loads((tmp_path / "out" / "export.json").read_text())
    assert facts["models"].keys() == {"export.viewer", "export.answers.x"}
    assert facts["models"]["export.viewer"] == "micro:captioner@r1"


def test_files_for_the_hub_have_no_metadata_of_ours_but_what_a_column_means(tmp_path: Path) -> None:
    export.write(make(tmp_path / "run"), "hf", tmp_path / "out")
    (file,) = (tmp_path / "out" / "data").glob("*.parquet")
    schema = pq.read_schema(file)
    assert {key for field in schema for key in field.metadata or {}} <= {b"meaning", b"PARQUET:field_id"}
    assert pq.read_table(file)["turns"].to_pylist()[0] == [
        {**one, **dict.fromkeys(AXES)} for one in dialogue(0)["turns"]
    ]


PLAIN = '''
"""Conversations as lines of text."""
import json
from mminstruct.export.row import Image, Row

FILES = "{split}.txt"
USE = "read it"

def write(rows, folder, split):
    with open(folder / f"{split}.txt", "w") as file:
        for row in rows:
            images = [[one.name, one.read().hex()] for one in row.images]
            told = row.provenance()
            told["questions"] = told.pop("turns", None)
            file.write(json.dumps([row.id, row.turns, images, told]) + "\\\\n")

def read(folder, split):
    for line in open(folder / f"{split}.txt"):
        id_, turns, images, told = json.loads(line)
        yield Row(id=id_, turns=turns, images=tuple(Image(n, bytes.fromhex(d)) for n, d in images), **told)
'''.replace("\\\\", "\\")


def test_a_format_from_outside_the_package_is_written_proved_and_mixed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "libs" / "pond_formats"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "plain.py").write_text(PLAIN)
    (package / "half.py").write_text("FILES = 'x'\ndef read(folder, split): ...\n")
    monkeypatch.syspath_prepend(str(tmp_path / "libs"))
    run = make(tmp_path / "run")
    assert "3 rows of train" in export.write(run, "pond_formats.plain", tmp_path / "out")
    with pytest.raises(export.ExportError, match=r"pond_formats\.half: its module lacks USE, write"):
        export.write(run, "pond_formats.half", tmp_path / "no")
    with pytest.raises(export.ExportError, match=r"there is no module pond_formats\.none"):
        export.write(run, "pond_formats.none", tmp_path / "no")
    assert not (tmp_path / "no").exists()
    source = {"path": str(tmp_path / "out")}
    (tmp_path / "mix.yaml").write_text(json.dumps({"sources": {"ours": source}}))
    with pytest.raises(export.ExportError, match="not built in: give its module"):
        mix(tmp_path / "mix.yaml", "llava", tmp_path / "mixed")
    (tmp_path / "mix.yaml").write_text(json.dumps({"sources": {"ours": {**source, "format": "pond_formats.plain"}}}))
    mix(tmp_path / "mix.yaml", "llava", tmp_path / "mixed")
    assert len(json.loads((tmp_path / "mixed" / "train.json").read_text())) == 3
