from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mminstruct import schemas
from mminstruct.prompts import fill
from mminstruct.stage import Drop
from mminstruct.stages.template import PHRASES, Template

Row = dict[str, Any]
INGEST = pa.schema([schemas.INGEST.field(name) for name in ("image_id", "member", "source")])


def annotation(id_: str, question: str | None = "Is it red?", answer: str = "yes", **change: Any) -> Row:
    told = {"set": "vqa", "image_key": "coco:9", "kind": "short", "place": id_}
    return {"annotation_id": id_, "question": question, "answer": answer, **told, **change}


def parts(folder: Path, schema: pa.Schema, rows: dict[str, list[Row]]) -> ds.Dataset:
    folder.mkdir(parents=True, exist_ok=True)
    for key, some in rows.items():
        pq.write_table(pa.Table.from_pylist(some, schema=schema), folder / f"{key}.0123abcd.parquet")
    files = [str(folder / f"{key}.0123abcd.parquet") for key in rows]
    return ds.dataset(files, schema=schema, format="parquet")


IMAGES = {
    "a.v1-0000": [{"image_id": "nine", "member": "COCO_val2014_000000000009.jpg", "source": "val2014"}],
    "a.v2-0000": [
        {"image_id": "vg nine", "member": "9.jpg", "source": "VG_100K"},
        {"image_id": "boat", "member": "x/boat.png", "source": "mine"},
    ],
    "c-0000": [],
}


def templated(
    folder: Path,
    annotations: dict[str, list[Row]],
    images: dict[str, list[Row]] = IMAGES,
    stage: Template | None = None,
) -> tuple[dict[str, list[Row]], list[Drop]]:
    """Rows by part, and the drops."""
    stage = stage or Template()
    stage.check()
    tables = {
        "annotate": parts(folder / "annotate", schemas.ANNOTATE, annotations),
        "ingest": parts(folder / "ingest", INGEST, images),
    }
    made = dict(stage.load(**tables)())  # type: ignore[arg-type]
    assert all(one.table.schema == schemas.TEMPLATE for one in made.values())
    return {key: one.table.to_pylist() for key, one in made.items()}, [
        drop for one in made.values() for drop in one.drops
    ]


def one(folder: Path, **change: Any) -> Row:
    """The row of one annotation."""
    made, drops = templated(folder, {"s": [annotation("1", **change)]})
    assert drops == []
    (row,) = made["a.v1-0000"]
    return row


def test_an_annotation_becomes_a_turn_in_the_part_of_its_image(tmp_path: Path) -> None:
    rows = [
        annotation("1"),
        annotation("2", image_key="vg:9", set="vg_qa"),
        annotation("3", image_key="stem:boat"),
        annotation("4", image_key="vg:77", coco_key="coco:9"),
    ]
    made, drops = templated(tmp_path, {"s": rows})
    assert drops == []
    places = {row["annotation_id"]: (key, row["image_id"]) for key, some in made.items() for row in some}
    assert places == {
        "1": ("a.v1-0000", "nine"), "2": ("a.v2-0000", "vg nine"), "3": ("a.v2-0000", "boat"), "4": ("a.v1-0000", "nine"),
    }  # fmt: skip
    assert made["c-0000"] == []
    assert made["a.v2-0000"][0]["origin"] == "vg_qa"


@pytest.mark.parametrize(
    ("kind", "question", "answer", "shown"),
    [
        ("short", "what is  it", "two dogs.", ("What is it?", "Two dogs", PHRASES["short"])),
        ("short", "Where?", "the U.S.", ("Where?", "The U.S.", PHRASES["short"])),
        ("short", "What does it cost?", "$3.50.", ("What does it cost?", "$3.50", PHRASES["short"])),
        ("number", "How many?", "3.", ("How many?", "3", PHRASES["number"])),
        ("short", "Is it?", "no.", ("Is it?", "No", PHRASES["short"])),
        ("short", "Which phone?", "iPhone", ("Which phone?", "iPhone", PHRASES["short"])),
        ("number", "How many?", "two", ("How many?", "2", PHRASES["number"])),
        ("judgement", "the cat is on the mat", "no", ("The cat is on the mat.", "No", PHRASES["judgement"])),
        ("caption", None, " a man\non a horse", (PHRASES["caption"], "A man on a horse.", None)),
        ("paragraph", None, "One. Two!", (PHRASES["paragraph"], "One. Two!", None)),
    ],
)
def test_each_kind_has_its_phrase_and_its_form_of_answer(
    kind: str, question: str | None, answer: str, shown: tuple[str, str, str | None], tmp_path: Path
) -> None:
    row = one(tmp_path, kind=kind, question=question, answer=answer)
    assert (row["question"], row["answer"], row["phrase"]) == shown


def test_explained_answers_say_the_answer_or_the_letter_and_then_why(tmp_path: Path) -> None:
    row = one(tmp_path, kind="explained", answer="yes", rationale="the sky  is grey")
    assert row["answer"] == "Yes. The sky is grey."
    choices = {"choices": ["red", "a sad cat", "2", "x"], "right": 1}
    row = one(tmp_path, kind="choice_explained", answer="a sad cat", rationale="It looks down.", **choices)
    assert (row["answer"], row["choices"], row["right"]) == ("B. It looks down.", choices["choices"], 1)


def test_the_wording_of_phrases_and_answers_can_be_changed(tmp_path: Path) -> None:
    stage = Template(
        phrases={"short": "", "explained": "Why?"}, answers={"explained": "{{ rationale }} So: {{ answer }}."}
    )
    rows = [annotation("1"), annotation("2", kind="explained", rationale="it rains"), annotation("3", kind="caption")]
    made, drops = templated(tmp_path, {"s": rows}, stage=stage)
    assert [(row["phrase"], row["answer"]) for row in made["a.v1-0000"]] == [
        (None, "Yes"),
        ("Why?", "It rains. So: Yes."),
    ]
    assert drops == [Drop("3", "unknown_kind", "vqa: caption has no phrase")]


def test_an_annotation_without_an_image_or_with_two_is_dropped(tmp_path: Path) -> None:
    twin = [{"image_id": "other nine", "member": "000000000009.png", "source": "train"}]
    again = [{"image_id": "boat", "member": "boat.png", "source": "copy"}]  # the same bytes in another shard
    rows = [
        annotation("1"),
        annotation("2", image_key="coco:10"),
        annotation("3", image_key="vg:5", coco_key="coco:11"),
        annotation("4", image_key="stem:boat"),
        annotation("5", image_key="vg:5", coco_key="coco:9"),
    ]
    made, drops = templated(tmp_path, {"s": rows}, IMAGES | {"d-0000": twin, "e-0000": again})
    assert drops == [
        Drop("1", "image_ambiguous", "vqa: coco:9 is both nine and other nine"),
        Drop("2", "no_image", "vqa: no image is coco:10"),
        Drop("3", "no_image", "vqa: no image is vg:5 or coco:11"),
        Drop("5", "image_ambiguous", "vqa: coco:9 is both nine and other nine"),
    ]
    assert [row["annotation_id"] for row in made["a.v2-0000"]] == ["4"]
    assert made["e-0000"] == []


def test_images_of_another_collection_are_an_error_that_names_both(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"none of 2 annotations .*no image is coco:10; table ingest has coco:9, .*ingest\.path"
    ):
        templated(tmp_path, {"s": [annotation(id_, image_key="coco:10") for id_ in "12"]})


def test_an_annotation_of_60_000_images_with_one_name_names_two_of_them(tmp_path: Path) -> None:
    images = [  # 0.3 s; with a list of all images of a name it took a minute
        {"image_id": f"{number:06d}", "member": f"{number}/view.jpg", "source": "mine"} for number in range(60_000)
    ]
    _, drops = templated(tmp_path, {"s": [annotation("1", image_key="stem:view")]}, {"a.v1-0000": images})
    assert drops == [Drop("1", "image_ambiguous", "vqa: stem:view is both 000000 and 000001")]


def test_annotations_without_any_image_are_an_error_that_says_so(tmp_path: Path) -> None:
    for number, images in enumerate(({}, {"c-0000": []})):
        with pytest.raises(ValueError, match=r"none of 1 annotations .* table ingest has no images at all"):
            templated(tmp_path / str(number), {"s": [annotation("1")]}, images)


def test_a_template_that_cannot_work_is_refused_with_its_key() -> None:
    stage = Template(phrases={"caption": " "}, answers={"short": "{{ anwser }}", "explained": "{% if %}"})
    with pytest.raises(ValueError, match=r"phrases\.caption is empty") as error:
        stage.check()
    assert "answers.short uses anwser; there is answer, letter, rationale" in str(error.value)
    assert "answers.explained: line 1: " in str(error.value)


KEYS = st.sampled_from(["coco:9", "vg:9", "stem:boat", "coco:10", "vg:5"])
TEXT = st.text(min_size=1, max_size=20).filter(str.strip)
ANNOTATIONS = st.lists(
    st.builds(
        lambda key, also, kind, question, answer: {
            "image_key": key, "coco_key": also, "kind": kind, "answer": answer,
            "question": None if kind in ("caption", "paragraph") else question,
        },
        KEYS, st.none() | KEYS, st.sampled_from(["odd", *PHRASES]), TEXT, TEXT,
    ),
    max_size=25,
)  # fmt: skip


@settings(max_examples=20)
@given(found=ANNOTATIONS, rng=st.randoms(use_true_random=False))
def test_every_annotation_is_kept_or_dropped_and_the_order_of_records_and_sets_changes_nothing(
    found: list[Row], rng: random.Random, tmp_path_factory: pytest.TempPathFactory
) -> None:
    found = [*found, {"image_key": "stem:boat"}]  # one has its image, or all are refused
    rows = [annotation(f"{number:02d}", **row) for number, row in enumerate(found)]
    made, drops = templated(tmp_path_factory.mktemp("one"), {"s": rows[:9], "t": rows[9:]})
    kept = [row for some in made.values() for row in some]
    assert sorted([row["annotation_id"] for row in kept] + [drop.id for drop in drops]) == [
        row["annotation_id"] for row in rows
    ]
    assert {drop.reason for drop in drops} <= {"no_image", "unknown_kind"}
    assert len({row["pair_id"] for row in kept}) == len(kept)
    assert all(row["question"] and row["answer"] and "\n" not in row["question"] for row in kept)
    rng.shuffle(rows)
    cut = rng.randint(0, len(rows))
    again = templated(
        tmp_path_factory.mktemp("two"), {"t": rows[:cut], "s": rows[cut:]}, dict(reversed(IMAGES.items()))
    )
    assert ({key: made[key] for key in sorted(made)}, drops) == ({key: again[0][key] for key in sorted(made)}, again[1])


def test_a_text_with_braces_stays_text() -> None:
    assert fill("{{ answer }}!", answer="{{ 7 * 7 }}") == "{{ 7 * 7 }}!"
