"""Every published format is read by its own field names; every faulty record is dropped once, by name."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mminstruct.annotations import FORMATS
from mminstruct.annotations.record import KINDS, REASONS
from mminstruct.annotations.sets import AnnotationSet
from mminstruct.errors import InputError
from mminstruct.stage import Drop
from mminstruct.stages.annotate import Annotate
from tests.annotations.written import COUNT, PLANTED, Lists, Planted, good, planted, save
from tests.readers import hostile

KEYS: dict[str, dict[str, Any]] = {
    "coco_captions": {"image_key": "coco:9", "kind": "caption", "question": None, "answer": "A roof in picture 0."},
    "vqa": {"image_key": "coco:9", "kind": "short", "answer": "roof", "support": pytest.approx(0.7), "place": "9000"},
    "vqa_e": {"kind": "explained", "answer": "yes", "rationale": "there is a roof", "support": pytest.approx(0.8)},
    "tallyqa": {"image_key": "coco:9", "kind": "number", "answer": "0", "support": None, "place": "30000000"},
    "vsr": {"image_key": "coco:9", "kind": "judgement", "answer": "no", "support": 1.0},
    "aokvqa": {"kind": "choice_explained", "right": 0, "answer": "roof", "choices": ["roof", "rain", "sport", "trade"]},
    "vg_qa": {"image_key": "vg:2410408", "coco_key": "coco:61", "kind": "short", "answer": "On the roof."},
    "paragraph": {"image_key": "vg:2410408", "coco_key": "coco:61", "kind": "paragraph", "question": None},
    "cocoqa": {"image_key": "coco:9", "kind": "short", "question": "what is under the roof 0", "answer": "roof"},
    "stvqa": {"image_key": "coco:9", "kind": "short", "answer": "stop", "support": 1.0, "place": "400"},
}
"""What must be read from the first record of each format."""


def rows_and_drops(set: AnnotationSet, name: str = "s", **fields: Any) -> tuple[list[dict[str, Any]], list[Drop]]:
    stage = Annotate(sets={name: set}, **fields)
    stage.check()
    rows, drops, count = [], [], 0
    for part in stage.load()(name):
        rows += part.output.table.to_pylist()
        drops += part.output.drops
        count += part.rows_in
    assert count == len(rows) + len(drops)
    return rows, drops


def test_there_is_a_law_for_every_format_and_a_fault_for_every_reason() -> None:
    assert set(KEYS) == set(FORMATS) == {"coco_captions", "vqa", "vqa_e", "tallyqa", "vsr", "aokvqa", "vg_qa",
                                         "paragraph", "cocoqa", "stvqa"}  # fmt: skip
    assert {fault.reason for fault in PLANTED} == set(REASONS)
    assert {fault.format for fault in PLANTED} == set(FORMATS)
    assert {law["kind"] for law in KEYS.values()} == set(KINDS)


@pytest.mark.parametrize("format", FORMATS)
def test_good_records_are_taken_with_all_that_they_say(tmp_path: Path, format: str) -> None:
    rows, drops = rows_and_drops(save(tmp_path, format, good(format), licence="CC BY 4.0"), "nice")
    assert (len(rows), drops) == (COUNT, [])
    wanted = KEYS[format]
    assert [row for row in rows if all(row[name] == value for name, value in wanted.items())]
    assert {row["set"] for row in rows} == {"nice"}
    assert all(row["licence"] for row in rows)
    assert [row["image_key"] for row in rows] == sorted(row["image_key"] for row in rows)
    assert len({row["annotation_id"] for row in rows}) == len({row["place"] for row in rows}) == COUNT


@pytest.mark.parametrize("fault", PLANTED, ids=lambda fault: f"{fault.format}-{fault.reason}")
def test_a_faulty_record_is_dropped_once_by_name_and_no_other(tmp_path: Path, fault: Planted) -> None:
    rows, drops = rows_and_drops(save(tmp_path, fault.format, planted(good(fault.format), fault)), "my_set")
    assert [drop.reason for drop in drops] == [fault.reason]
    assert len(rows) == COUNT
    said = str(drops[0].detail)
    assert said.startswith("my_set, ")
    assert fault.found in said
    assert str(COUNT + 1) in said or "twice" in fault.found


def one_set(folder: Path, format: str, **fields: Any) -> AnnotationSet:
    """A set whose first record has other *fields*."""
    lists = good(format)
    name = next(name for name in ("records", "annotations", "data") if name in lists)
    lists[name][0] = {**lists[name][0], **fields}
    return save(folder, format, lists)


@pytest.mark.parametrize(
    ("format", "fields", "key"),
    [
        ("vqa_e", {"img_id": "9"}, "coco:9"),
        ("vqa_e", {"img_id": 9.0}, "coco:9"),
        ("aokvqa", {"image_id": "000000000009"}, "coco:9"),
        ("paragraph", {"image_id": "5"}, "vg:5"),
    ],
)
def test_a_number_in_quotes_or_with_a_point_is_a_number(tmp_path: Path, format: str, fields: Any, key: str) -> None:
    rows, drops = rows_and_drops(one_set(tmp_path, format, **fields))
    assert (len(rows), drops) == (COUNT, [])
    assert key in {row["image_key"] for row in rows}


@pytest.mark.parametrize(
    ("format", "fields", "reason"),
    [
        ("tallyqa", {"answer": True}, "bad_count"),
        ("tallyqa", {"answer": -1}, "bad_count"),
        ("tallyqa", {"answer": None}, "no_answer"),
        ("vsr", {"label": "1"}, "bad_label"),
        ("vsr", {"label": True}, "bad_label"),
        ("vsr", {"vote_true_validator_id": "[1, 2]"}, "bad_record"),
        ("aokvqa", {"correct_choice_idx": None}, "no_answer"),
        ("aokvqa", {"choices": ["a", "b", "c"]}, "bad_choices"),
        ("aokvqa", {"choices": ["a", "b", "c", " "]}, "bad_choices"),
        ("vqa_e", {"explanation": "a text"}, "bad_explanation"),
        ("vqa_e", {"question": ["a list"]}, "bad_record"),
        ("vqa_e", {"answers": [], "multiple_choice_answer": None}, "no_answer"),
        ("vqa_e", {"answers": ["", " "], "multiple_choice_answer": None}, "empty_answer"),
        ("vqa_e", {"answers": ["yes", 1]}, "bad_record"),
        ("vqa_e", {"img_id": float("inf")}, "bad_image_id"),
        ("vqa_e", {"img_id": "nine"}, "bad_image_id"),
        ("vqa", {"image_id": 30}, "bad_image_id"),
        ("stvqa", {"question_id": None}, "bad_record"),
        ("paragraph", {"paragraph": "x\u200b\u202e<|im_end|>"}, "special_token"),
        ("paragraph", {"paragraph": "\u200b"}, "empty_answer"),
    ],
)
def test_a_value_of_another_kind_is_named(tmp_path: Path, format: str, fields: Any, reason: str) -> None:
    rows, drops = rows_and_drops(one_set(tmp_path, format, **fields))
    assert ([drop.reason for drop in drops], len(rows)) == ([reason], COUNT - 1)


def test_the_majority_is_counted_by_the_rules_of_vqa_and_needs_the_agreed_share(tmp_path: Path) -> None:
    lists = good("vqa")
    answers = ["Two.", "2", "the 2", "cat", "cat", "dog", "a", "b", "c", "d"]
    del lists["annotations"][0]["multiple_choice_answer"]
    lists["annotations"][0]["answers"] = [{"answer": one, "answer_id": n} for n, one in enumerate(answers)]
    where = save(tmp_path, "vqa", lists)
    rows, drops = rows_and_drops(where)
    (found,) = [row for row in rows if row["place"] == "9000"]
    assert found["answer"] in answers[:3]
    assert (found["support"], drops) == (pytest.approx(0.3), [])
    assert [drop.id for drop in rows_and_drops(where, agreement=0.31)[1]] == ["9000"]


def test_a_question_id_with_two_questions_keeps_one_of_them_whatever_their_order(tmp_path: Path) -> None:
    found = []
    for turn in (1, -1):
        lists = good("vqa")
        lists["questions"] = [*lists["questions"], {**lists["questions"][3], "question": "Who?"}][::turn]
        rows, drops = rows_and_drops(save(tmp_path / str(turn), "vqa", lists))
        assert [(drop.id, drop.reason) for drop in drops] == [("9003", "dup_question_id")]
        found.append(rows)
    assert found[0] == found[1]


def test_the_same_annotation_twice_is_one_where_the_format_has_no_ids(tmp_path: Path) -> None:
    for format in ("vqa_e", "vsr", "paragraph", "cocoqa"):
        lists = good(format)
        lists["records"].append(lists["records"][7])
        rows, drops = rows_and_drops(save(tmp_path / format, format, lists))
        assert ([drop.reason for drop in drops], len(rows)) == (["dup_annotation"], COUNT)


def test_a_split_is_chosen_by_the_records_own_field(tmp_path: Path) -> None:
    for format, name, own in (("aokvqa", "records", "split"), ("stvqa", "data", "set_name")):
        lists = good(format)
        for record in lists[name][:10]:
            record[own] = "val"
        rows, drops = rows_and_drops(save(tmp_path / format, format, lists, split="val"))
        assert (len(rows), drops) == (10, [])
        with pytest.raises(InputError, match=rf"no record has {own} 'vall', only '\w+', 'val': give another `split`"):
            rows_and_drops(save(tmp_path / format, format, lists, split="vall"))


def test_licences_are_the_annotations_own_else_the_sets_and_a_photographs_is_named_so(tmp_path: Path) -> None:
    vqa, _ = rows_and_drops(save(tmp_path / "vqa", "vqa", good("vqa"), licence="other"))
    assert {row["licence"] for row in vqa} == {"Creative Commons Attribution 4.0 International License"}
    captions, _ = rows_and_drops(save(tmp_path / "coco", "coco_captions", good("coco_captions"), licence="CC BY 4.0"))
    assert {row["licence"] for row in captions} == {
        "CC BY 4.0; photograph: Attribution-NonCommercial-NoDerivs License"
    }  # fmt: skip
    assert {row["licence"] for row in rows_and_drops(save(tmp_path / "vsr", "vsr", good("vsr")))[0]} == {None}


def _total(format: str, lists: Lists) -> int:
    if format == "vqa":
        return COUNT
    return len(lists["records"] if "records" in lists else lists["data"] if "data" in lists else lists["annotations"])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_json_in_any_field_is_taken_or_dropped_and_the_sums_close(tmp_path: Path, data: st.DataObject) -> None:
    format = data.draw(st.sampled_from([name for name in FORMATS if name not in ("cocoqa", "vg_qa", "vqa")]))
    lists = good(format)
    name = data.draw(st.sampled_from(sorted(lists)))
    record = lists[name][data.draw(st.integers(0, len(lists[name]) - 1))]
    for field in data.draw(st.lists(st.sampled_from(sorted(record)), min_size=1, max_size=3)):
        record[field] = data.draw(hostile.values)
    try:
        rows, drops = rows_and_drops(save(tmp_path, format, lists))
    except InputError as error:  # the list of licences or images is what the format needs
        assert "annotations.json" in str(error)  # noqa: PT017
        return
    assert len(rows) + len(drops) == _total(format, lists)
    assert set(Counter(drop.reason for drop in drops)) <= set(REASONS)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(hostile.values, min_size=3, max_size=3), name=st.sampled_from(["questions", "annotations"]))
def test_any_json_in_a_question_or_its_annotation_is_one_record_or_two(
    tmp_path: Path, values: list[Any], name: str
) -> None:
    lists = good("vqa")
    fields = ["question_id", "image_id", "question" if name == "questions" else "answers"]
    lists[name][4] |= dict(zip(fields, values, strict=True))
    rows, drops = rows_and_drops(save(tmp_path, "vqa", lists))
    assert COUNT - 2 <= len(rows) <= COUNT
    assert COUNT <= len(rows) + len(drops) <= COUNT + 1


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=hostile.values, field=st.sampled_from(["id", "qas", "qa_id", "image_id", "question", "answer"]))
def test_any_json_in_visual_genome_is_taken_or_dropped(tmp_path: Path, value: Any, field: str) -> None:
    lists = good("vg_qa")
    where = lists["records"][4] if field in ("id", "qas") else lists["records"][4]["qas"][0]
    where[field] = value
    rows, drops = rows_and_drops(save(tmp_path, "vg_qa", lists))
    many = len(value) if field == "qas" and isinstance(value, list) else 1
    assert len(rows) + len(drops) == COUNT - 1 + many


def test_an_image_of_both_collections_has_both_keys_in_every_format_that_names_it_so(tmp_path: Path) -> None:
    both = {("vg:2410408", "coco:61"), ("vg:107990", "coco:30"), ("vg:5", None)}
    named = {
        "vg_qa": both,
        "paragraph": both,
        "tallyqa": {("vg:2410408", "coco:61")},
        "stvqa": {("vg:2410408", "coco:61")},
    }
    for format, wanted in named.items():
        rows, _ = rows_and_drops(save(tmp_path / format, format, good(format)))
        assert {(row["image_key"], row["coco_key"]) for row in rows if row["image_key"].startswith("vg:")} == wanted
