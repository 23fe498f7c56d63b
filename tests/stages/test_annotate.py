"""Annotations of real photographs in all ten formats: what is planted is dropped, all else becomes one sorted table."""

from __future__ import annotations

import json
import os
import pickle
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pycocotools.coco import COCO
from sklearn.datasets import load_sample_images

from mminstruct.annotations import FORMATS
from mminstruct.annotations.keys import image_key
from mminstruct.annotations.sets import AnnotationSet
from mminstruct.annotations.vqa import Vqa
from mminstruct.engine.local import Local
from mminstruct.recipe import Recipe, RecipeError, check
from mminstruct.run import DriftError, FailedUnits, Run, claim, execute
from mminstruct.stage import identity
from mminstruct.stages.annotate import Annotate
from mminstruct.stages.ingest import Ingest
from mminstruct.status.tables import table_statuses
from tests.annotations.written import COUNT, GENOME, IMAGES, PLANTED, Lists, good, planted, save


@dataclass(kw_only=True)
class Alone(Recipe):
    annotate: Annotate


@dataclass(kw_only=True)
class Photographs(Recipe):
    ingest: Ingest
    annotate: Annotate


def photographs(folder: Path) -> None:
    """China's temple and a flower, as scikit-learn ships them, and four crops of them, under names of COCO."""
    folder.mkdir()
    china, flower = (Image.fromarray(pixels) for pixels in load_sample_images().images)
    some = [china, flower, china.crop((0, 0, 320, 427)), china.crop((320, 0, 640, 427)),
            flower.crop((0, 0, 400, 300)), flower.crop((200, 100, 640, 427))]  # fmt: skip
    for name, picture in zip(IMAGES.values(), some, strict=True):
        picture.save(folder / name, quality=92)


def all_planted() -> dict[str, Lists]:
    """The records of every format, with every fault."""
    sets = {format: good(format) for format in FORMATS}
    for fault in PLANTED:
        sets[fault.format] = planted(sets[fault.format], fault)
    return sets


def built(url: Path, recipe: Recipe) -> Run:
    check(recipe)
    run = Run(url=str(url), recipe=recipe)
    claim(run)
    execute(run, Local())
    return run


def rows(url: Path, what: str = "") -> list[dict[str, Any]]:
    files = sorted((url / "annotate" / what).glob("*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def test_of_six_photographs_and_ten_files_exactly_the_planted_faults_drop_and_each_once(tmp_path: Path) -> None:
    photographs(tmp_path / "train2014")
    sets = {name: save(tmp_path / name, name, lists) for name, lists in all_planted().items()}
    recipe = Photographs(ingest=Ingest(path=str(tmp_path / "train2014")), annotate=Annotate(sets=sets))
    built(tmp_path / "run", recipe)

    ingested, annotated = table_statuses(str(tmp_path / "run"), verify=True)
    assert (ingested.kept, annotated.units, annotated.faults) == (6, 10, [])
    assert (annotated.kept, annotated.rows_in) == (10 * COUNT, 10 * COUNT + len(PLANTED))
    dropped = rows(tmp_path / "run", "_dropped")
    assert Counter((str(drop["detail"]).split(",")[0], drop["reason"]) for drop in dropped) == Counter(
        (fault.format, fault.reason) for fault in PLANTED
    )
    assert len(PLANTED) >= 24
    for fault in PLANTED:
        (said,) = [
            drop["detail"] for drop in dropped
            if drop["detail"].startswith(f"{fault.format}, ") and fault.found in drop["detail"]
        ]  # fmt: skip
        assert any(word.rstrip(":").isdigit() for word in said.split())

    found = rows(tmp_path / "run")
    members = {image_key(row["member"]) for row in pq.read_table(next((tmp_path / "run/ingest").glob("*.parquet")),
                                                                columns=["member"]).to_pylist()}  # fmt: skip
    shown = {row["coco_key"] or row["image_key"] for row in found}
    assert members == {f"coco:{number}" for number in IMAGES}
    assert shown == {*members, *(f"vg:{vg}" for vg, coco in GENOME.items() if coco is None)}


def test_pycocotools_reads_the_captions_that_are_read_here_and_instances_are_refused(tmp_path: Path) -> None:
    captions = save(tmp_path / "captions", "coco_captions", good("coco_captions"))
    theirs = COCO(captions.path)
    built(tmp_path / "run", Alone(annotate=Annotate(sets={"captions": captions})))
    ours = Counter(row["image_key"] for row in rows(tmp_path / "run"))
    assert ours == {f"coco:{number}": len(theirs.getAnnIds(imgIds=[number])) for number in IMAGES}

    boxes = [
        {"id": n + 1, "image_id": number, "category_id": 1, "bbox": [4, 4, 20, 20], "area": 400, "iscrowd": 0,
         "segmentation": [[4, 4, 24, 4, 24, 24, 4, 24]]}
        for n, number in enumerate(IMAGES)
    ]  # fmt: skip
    lists = {**good("coco_captions"), "annotations": boxes, "categories": [{"id": 1, "name": "temple"}]}
    instances = save(tmp_path / "instances", "coco_captions", lists)
    assert len(COCO(instances.path).loadAnns(COCO(instances.path).getAnnIds(catIds=[1]))) == 6
    with pytest.raises(FailedUnits, match="none of its 6 records in `annotations` has `caption`"):
        built(tmp_path / "wrong", Alone(annotate=Annotate(sets={"captions": instances})))


def test_the_order_of_records_and_of_sets_changes_no_byte(tmp_path: Path) -> None:
    made = all_planted()
    one = {name: save(tmp_path / "one" / name, name, lists) for name, lists in made.items()}
    turned = {name: {key: some[::-1] for key, some in reversed(lists.items())} for name, lists in made.items()}
    two = {name: save(tmp_path / "two" / name, name, lists) for name, lists in reversed(turned.items())}
    for name, sets in (("a", one), ("b", two)):
        built(tmp_path / name, Alone(annotate=Annotate(sets=sets, rows=7)))
    first, second = (
        {file.name: file.read_bytes() for file in (tmp_path / name / "annotate").glob("*.parquet")} for name in "ab"
    )
    assert first == second
    assert len(first) == 10 * 5  # 30 rows in parts of 7
    reasons = [Counter(drop["reason"] for drop in rows(tmp_path / name, "_dropped")) for name in "ab"]
    assert reasons[0] == reasons[1] == Counter(fault.reason for fault in PLANTED)


def test_a_recipe_without_sets_is_refused_with_the_key() -> None:
    with pytest.raises(ValueError, match=r"recipe\.annotate\.sets is empty: name the annotation sets"):
        Annotate().shards()


def test_the_order_in_which_a_format_finds_records_changes_neither_rows_nor_drops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Annotate(sets={"vqa": save(tmp_path, "vqa", all_planted()["vqa"])})
    (made,) = stage.load()("vqa")
    read = Vqa.read
    monkeypatch.setattr(Vqa, "read", lambda self: reversed(list(read(self))))
    (again,) = stage.load()("vqa")
    assert (made.output.table, made.output.drops) == (again.output.table, again.output.drops)  # type: ignore[union-attr]
    assert len(made.output.drops) == sum(fault.format == "vqa" for fault in PLANTED)  # type: ignore[union-attr]


def test_letters_before_choices_are_left_out_since_the_question_shows_them(tmp_path: Path) -> None:
    lists = good("aokvqa")
    lists["records"][0] |= {"choices": ["A. rain", "B. sport", "C. trade", "D. war"], "correct_choice_idx": 2}
    (made,) = Annotate(sets={"aokvqa": save(tmp_path, "aokvqa", lists)}).load()("aokvqa")
    found = [row for row in made.output.table.to_pylist() if "sport" in row["choices"][1]]  # type: ignore[union-attr]
    assert [(row["choices"], row["answer"]) for row in found] == [(["rain", "sport", "trade", "war"], "trade")]


def test_a_changed_file_of_any_role_is_noticed_and_a_moved_or_touched_one_is_not(tmp_path: Path) -> None:
    def stage(folder: Path) -> Annotate:
        return Annotate(sets={"vqa": AnnotationSet(format="vqa", path=str(folder / "vqa/annotations.json"),
                                                   questions=str(folder / "vqa/questions.json"))})  # fmt: skip

    save(tmp_path / "data/vqa", "vqa", good("vqa"))
    built(tmp_path / "run", Alone(annotate=stage(tmp_path / "data")))
    (tmp_path / "data").rename(tmp_path / "moved")
    for file in (tmp_path / "moved/vqa").iterdir():
        os.utime(file, (1, 1))
    claim(Run(url=str(tmp_path / "run"), recipe=Alone(annotate=stage(tmp_path / "moved"))))
    asked = tmp_path / "moved/vqa/questions.json"
    asked.write_text(asked.read_text().replace("beside?", "behind?"))
    with pytest.raises(DriftError, match="annotate/vqa: content"):
        claim(Run(url=str(tmp_path / "run"), recipe=Alone(annotate=stage(tmp_path / "moved"))))


def test_files_on_a_store_are_read_there_and_their_change_is_noticed_by_its_facts(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    local = save(tmp_path, "vsr", good("vsr"))
    memory.pipe_file("/sets/vsr.jsonl", Path(local.path).read_bytes())
    stage = Annotate(sets={"vsr": AnnotationSet(format="vsr", path="memory://sets/vsr.jsonl")})
    before = stage.shards()
    assert stage.content("vsr") is not None
    (made,) = stage.load()("vsr")
    assert made.output.table.equals(next(iter(Annotate(sets={"vsr": local}).load()("vsr"))).output.table)  # type: ignore[arg-type]
    memory.pipe_file("/sets/vsr.jsonl", Path(local.path).read_bytes()[:-1])
    assert stage.shards() != before
    memory.rm("/sets", recursive=True)


def test_the_identity_of_the_stage_has_formats_and_licences_but_no_paths() -> None:
    made = Annotate(sets={"x": AnnotationSet(format="vsr", path="/a/b.jsonl", licence="CC BY 4.0")})
    assert "/a/b" not in json.dumps(identity(made))
    assert identity(made)["sets"] == {"x": {"format": "vsr", "licence": "CC BY 4.0", "split": None}}
    assert pickle.loads(pickle.dumps(made)) == made


def test_settings_that_cannot_work_are_refused_with_their_keys() -> None:
    sets = {
        "a b": AnnotationSet(format="vsr", path="x"),
        "one": AnnotationSet(format="coco", path="x"),
        "two": AnnotationSet(format="vqa", path="x"),
        "three": AnnotationSet(format="vsr", path="", questions="y", split="val"),
        "four": AnnotationSet(format="no_such_package.module:X", path="x"),
    }
    with pytest.raises(RecipeError) as caught:
        check(Alone(annotate=Annotate(sets=sets, agreement=1.5, rows=0)))
    said = str(caught.value)
    for line in (
        "recipe.annotate: sets.a b: a name has letters", "sets.one: format=coco: take one of coco_captions, vqa,",
        "sets.two: questions is missing: format=vqa needs", "sets.three: path is empty: give a file",
        "sets.three: questions=y: format=vsr has none", "sets.three: split=val: records of format=vsr name no split",
        "sets.four: format=no_such_package.module:X: there is no module", "agreement=1.5: it is a share",
        "rows=0: it must be positive",
    ):  # fmt: skip
        assert line in said


def test_all_missing_files_are_named_together_before_anything_is_read(tmp_path: Path) -> None:
    sets = {name: AnnotationSet(format="vsr", path=str(tmp_path / f"{name}.jsonl")) for name in ("one", "two")}
    with pytest.raises(ValueError, match=r"sets.one: path=.*does not exist.*\n.*sets.two: path=.*does not exist"):
        Annotate(sets=sets).shards()


OWN = '''
from collections.abc import Iterator

from mminstruct.annotations import Annotation, AnnotationFormat, Fault, each


class Titles(AnnotationFormat):
    """``[{file, title}]``."""

    def read(self) -> Iterator[Annotation | Fault]:
        def made(record):
            if not record["title"]:
                raise Fault("empty_answer", "no title")
            return Annotation(image=f"stem:{record['file']}", kind="caption", answer=record["title"])

        yield from each(self.files["path"].records(("file", "title")), made)


class Not:
    pass
'''


def test_a_format_of_ones_own_is_read_from_outside_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_titles.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "t.jsonl").write_text('{"file": "a", "title": "A house."}\n{"file": "b", "title": ""}\n')
    own = AnnotationSet(format="own_titles:Titles", path=str(tmp_path / "t.jsonl"))
    built(tmp_path / "run", Alone(annotate=Annotate(sets={"titles": own})))
    (row,) = rows(tmp_path / "run")
    assert (row["image_key"], row["answer"], row["place"]) == ("stem:a", "A house.", "stem:a 1")
    assert [drop["reason"] for drop in rows(tmp_path / "run", "_dropped")] == ["empty_answer"]
    with pytest.raises(RecipeError, match=r"format=own_titles:Not is no subclass of"):
        check(Alone(annotate=Annotate(sets={"x": AnnotationSet(format="own_titles:Not", path="x")})))


def test_one_failed_set_leaves_the_others(tmp_path: Path) -> None:
    cut = save(tmp_path / "cut", "vqa_e", good("vqa_e"))
    Path(cut.path).write_text(Path(cut.path).read_text()[:-9])
    sets = {"cut": cut, "whole": save(tmp_path / "whole", "vsr", good("vsr"))}
    with pytest.raises(FailedUnits, match=r"annotate/cut: Unreadable: .*record 29 .*broken or cut short"):
        built(tmp_path / "run", Alone(annotate=Annotate(sets=sets)))
    assert {row["set"] for row in rows(tmp_path / "run")} == {"whole"}
