"""The annotation sets of the ``coco`` layout, and their truth."""

from __future__ import annotations

import json
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from pycocotools.coco import COCO

from mminstruct.microworld.annotated.faults import FAULTS
from mminstruct.microworld.annotated.layout import annotation_files
from mminstruct.microworld.annotated.questions import is_true, plain
from mminstruct.microworld.scene import draw_scene

SEED, IMAGES = 31, 80
Files = dict[str, str]
Lines = list[dict[str, Any]]

FIELDS = {
    "captions.json": "id image_id caption",
    "v2_OpenEnded_questions.json": "question_id image_id question",
    "v2_annotations.json": "question_id image_id question_type answer_type multiple_choice_answer answers",
    "okvqa_questions.json": "question_id image_id question",
    "okvqa_annotations.json": "question_id image_id question_type answer_type answers confidence",
    "vqa_e.json": "img_id question answers multiple_choice_answer question_type answer_type explanation",
    "tallyqa.json": "image image_id question question_id answer issimple data_source",
    "vsr.jsonl": "image image_link caption label relation annotator_id vote_true_validator_id vote_false_validator_id",
    "aokvqa.json": "split image_id question_id question choices correct_choice_idx direct_answers "
    "difficult_direct_answer rationales",
    "vg_question_answers.json": "id qas",
    "vg_image_data.json": "image_id url width height coco_id flickr_id",
    "paragraphs.json": "image_id url paragraph",
    "stvqa.json": "question_id question question_tokens answers file_path file_name dataset set_name image_height "
    "image_width",
}
LISTS = {"captions": "annotations", "questions": "questions", "annotations": "annotations", "stvqa": "data"}


@pytest.fixture(scope="module")
def written() -> tuple[Files, Lines]:
    return annotation_files([draw_scene(index, SEED) for index in range(IMAGES)], SEED)


def records(files: Files, name: str) -> list[Any]:
    if name.endswith(".jsonl"):
        return [json.loads(line) for line in files[name].split("\n")[:-1]]
    found = json.loads(files[name])
    return found[LISTS[name.split(".")[0].split("_")[-1]]] if isinstance(found, dict) else found


def test_every_format_has_the_fields_of_the_published_one(written: tuple[Files, Lines]) -> None:
    files, _ = written
    assert {*files} == {*FIELDS, *(f"cocoqa/{part}.txt" for part in ("img_ids", "questions", "answers", "types"))}
    for name, fields in FIELDS.items():
        shapes = Counter(" ".join(sorted(one)) for one in records(files, name) if isinstance(one, dict))
        assert shapes.most_common(1)[0][0] == " ".join(sorted(fields.split())), name
    [(answer, _)] = Counter(
        " ".join(one) for a in records(files, "okvqa_annotations.json") if isinstance(a, dict)
        for one in a.get("answers", [])
    ).items()  # fmt: skip
    assert set(answer.split()) == {"answer", "raw_answer", "answer_confidence", "answer_id"}
    qa = records(files, "vg_question_answers.json")[0]["qas"][0]
    assert set(qa) == {"qa_id", "image_id", "question", "answer", "a_objects", "q_objects"}
    lines = [files[f"cocoqa/{part}.txt"].count("\n") for part in ("img_ids", "questions", "answers", "types")]
    assert len(set(lines)) == 1
    assert {path.split("/")[0] for path in (one["image"] for one in records(files, "tallyqa.json")
            if isinstance(one, dict) and "image" in one)} == {"VG_100K_2", "train2014"}  # fmt: skip


def test_every_annotation_has_one_line_of_truth(written: tuple[Files, Lines]) -> None:
    files, truth = written
    counts = {
        "coco_captions": len(records(files, "captions.json")),
        "paragraph": len(records(files, "paragraphs.json")),
        "vqa_e": len(records(files, "vqa_e.json")),
        "tallyqa": len(records(files, "tallyqa.json")),
        "vsr": len(records(files, "vsr.jsonl")),
        "aokvqa": len(records(files, "aokvqa.json")),
        "vg_qa": sum(len(entry["qas"]) for entry in records(files, "vg_question_answers.json")),
        "cocoqa": files["cocoqa/types.txt"].count("\n"),
        "stvqa": len(records(files, "stvqa.json")),
    }
    for name, count in counts.items():
        mine = [line for line in truth if line["set"] == name]
        what = "line" if name == "cocoqa" else "record"
        assert sorted(int(line["where"][0].split()[1]) for line in mine) == list(range(1, count + 1)), name
        assert all(line["where"][0].startswith(what) for line in mine)
    for name, file in (("vqa", "v2_{}.json"), ("okvqa", "okvqa_{}.json")):
        asked = records(files, file.format("OpenEnded_questions" if name == "vqa" else "questions"))
        said = records(files, file.format("annotations"))
        where = [line["where"] for line in truth if line["set"] == name and not str(line["planted"]).startswith("dup_")]
        where += [line["where"][:1] for line in truth
                  if line["set"] == name and str(line["planted"]).startswith("dup_")]  # fmt: skip
        assert sorted(place for places in where for place in places) == sorted(
            [*(f"question {n}" for n in range(1, len(asked) + 1)),
             *(f"annotation {n}" for n in range(1, len(said) + 1))]
        )  # fmt: skip


def test_faults_and_relations_are_planted_in_proportion(written: tuple[Files, Lines]) -> None:
    _, truth = written
    planted = Counter(line["planted"] for line in truth)
    share = IMAGES / 400
    assert {name: planted[name] for name in (*FAULTS, "no_image")} == dict.fromkeys((*FAULTS, "no_image"), 30 * share)
    groups = Counter(name for name, _ in {(line["planted"], line["group"]) for line in truth if line["group"]})
    assert groups == {"contradiction": 100 * share, "near_equal": 100 * share}
    for fault, (sets, _) in FAULTS.items():
        found = {line["set"] for line in truth if line["planted"] == fault}
        assert found <= set(sets.split())
        assert len(found) >= min(3, len(sets.split()))


@pytest.mark.parametrize("images", [1, 12])
def test_a_small_world_has_some_of_each_fault(images: int) -> None:
    _, truth = annotation_files([draw_scene(index, 5) for index in range(40, 40 + images)], 5)
    assert {*FAULTS, "no_image"} - {line["planted"] for line in truth} <= (set() if images == 12 else {*FAULTS})
    assert sum(line["planted"] is None for line in truth) > 3 * len(FAULTS) * images / 12


def support(files: Files, line: dict[str, Any]) -> float | None:
    """Share of the annotators who gave the answer."""
    if line["set"] not in ("vqa", "okvqa"):
        return None
    name = "v2_annotations.json" if line["set"] == "vqa" else "okvqa_annotations.json"
    [found] = [one for one in records(files, name)
               if isinstance(one, dict) and str(one["question_id"]) == line["place"]]  # fmt: skip
    said = [plain(one["answer"]) for one in found["answers"]]
    assert Counter(said).most_common(1)[0][0] == plain(line["answer"])
    return said.count(plain(line["answer"])) / len(said)


def test_what_is_expected_of_a_group_follows_from_its_answers_and_their_support(written: tuple[Files, Lines]) -> None:
    files, truth = written
    for group in {line["group"] for line in truth if line["group"]}:
        one, two = sorted((line for line in truth if line["group"] == group), key=lambda line: line["expected"])
        assert one["image"] == two["image"]
        same = plain(one["answer"]) == plain(two["answer"])
        assert same == (one["planted"] == "near_equal")
        shares = [support(files, line) for line in (one, two)]
        expected = [line["expected"] for line in (one, two)]
        if shares == [None, None]:
            assert expected == (["one_of_group"] * 2 if same else ["contradiction"] * 2)
        elif same:
            assert expected == ["dup_question", "kept"]
            assert shares[0] < shares[1]  # type: ignore[operator]
        else:
            low, high = sorted(shares)  # type: ignore[type-var]
            assert expected == (["contradiction", "kept"] if high >= 2 * low else ["contradiction"] * 2)  # type: ignore[operator]
            assert two["true"] or expected[1] != "kept"


EMPTY = {"is", "are", "was", "do", "does", "there", "this", "that", "these", "the", "a", "an", "in", "it", "picture",
         "image", "than", "how", "what", "where"}  # fmt: skip


def content(question: str) -> set[str]:
    """The words that say what is asked, in the singular."""
    words = [word for word in plain(question).split() if word not in EMPTY]
    return {word if word[-2:] in ("us", "ss") else word.rstrip("s") for word in words}


def test_questions_are_alike_only_where_that_was_planted(written: tuple[Files, Lines]) -> None:
    _, truth = written
    asked: dict[str, list[dict[str, Any]]] = {}
    for line in truth:
        if line["question"] and line["planted"] in (None, "contradiction", "near_equal"):
            asked.setdefault(line["image"], []).append(line)
    alike = 0
    for lines in asked.values():
        for one, two in combinations(lines, 2):
            mine, theirs = content(one["question"]), content(two["question"])
            heads = one["question"].lower().split()[0] == two["question"].lower().split()[0]
            both_ways = one["set"] == two["set"] == "vsr"  # statements have the same words in another order
            near = heads and not both_ways and len(mine & theirs) >= 0.8 * len(mine | theirs)
            assert near == (one["group"] is not None and one["group"] == two["group"]), (one, two)
            alike += near
    assert alike == 2 * IMAGES // 4


def test_annotators_disagree_and_their_majority_is_right_unless_planted(written: tuple[Files, Lines]) -> None:
    files, truth = written
    lines = {line["place"]: line for line in truth if line["set"] == "vqa" and line["planted"] is None}
    shares = []
    for one in records(files, "v2_annotations.json"):
        if isinstance(one, dict) and (line := lines.get(str(one["question_id"]))):
            scene = draw_scene(int(line["image"].split(".")[0]), SEED)
            assert is_true(scene, "short", line["question"], one["multiple_choice_answer"])
            said = Counter(plain(answer["answer"]) for answer in one["answers"])
            (first, most), *others = said.most_common()
            assert first == plain(one["multiple_choice_answer"])
            assert all(count < most for _, count in others)
            assert {answer["answer_confidence"] for answer in one["answers"]} <= {"yes", "maybe", "no"}
            shares.append(most / 10)
    assert min(shares) == 0.3
    assert max(shares) == 1.0
    assert 0.5 < sum(share < 1 for share in shares) / len(shares) < 0.9
    for line in truth:
        if line["question"] and line["planted"] is None:
            scene = draw_scene(int(line["image"].split(".")[0]), SEED)
            assert is_true(scene, "short", line["question"], line["answer"]) == line["true"] == True  # noqa: E712


def test_choices_have_one_true_text_and_three_rationales(written: tuple[Files, Lines]) -> None:
    files, truth = written
    lines = {line["place"]: line for line in truth if line["set"] == "aokvqa" and line["planted"] is None}
    found = [one for one in records(files, "aokvqa.json") if isinstance(one, dict) and one["question_id"] in lines]
    assert len(found) >= len(lines) > 50
    for one in found:
        assert len({*one["choices"]}) == 4
        assert one["choices"][one["correct_choice_idx"]] == lines[one["question_id"]]["answer"]
        assert len({*one["rationales"]}) == 3
    assert len({one["correct_choice_idx"] for one in found}) == 4


def test_pycocotools_loads_the_captions_in_spite_of_their_faults(written: tuple[Files, Lines], tmp_path: Path) -> None:
    files, _ = written
    (tmp_path / "captions.json").write_text(files["captions.json"])
    assert len(COCO(str(tmp_path / "captions.json")).imgToAnns[0]) >= 5


def test_the_same_scenes_give_the_same_files(written: tuple[Files, Lines]) -> None:
    assert annotation_files([draw_scene(index, SEED) for index in range(IMAGES)], SEED) == written
