from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mminstruct.bench.contestant import Contestant
from mminstruct.bench.pairs import Question
from mminstruct.bench.sets import FileSet, Given, answers
from mminstruct.stage import Drop, identity
from mminstruct.text import repair
from tests.bench.pictures import images, lines, picture

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["from", "value"]), inner),
    max_leaves=5,
)
ENTRY = st.dictionaries(
    st.sampled_from(["question_id", "text", "image", "caption", "category", "conversations", "id"]), JSON
)


@settings(max_examples=60)
@given(st.lists(ENTRY, min_size=1, max_size=5))
def test_every_entry_is_a_question_or_leaves_with_a_reason(
    tmp_path_factory: pytest.TempPathFactory, entries: list[dict[str, object]]
) -> None:
    file = tmp_path_factory.mktemp("sets") / "q.json"
    file.write_text(json.dumps(entries))
    found = list(FileSet(str(file), None, None).questions())
    assert len(found) == len(entries)
    kept = [one.question_id for one in found if isinstance(one, Question)]
    assert len(set(kept)) == len(kept)
    assert all(one.question and one.caption for one in found if isinstance(one, Question))
    assert all(one.reason for one in found if isinstance(one, Drop))


def test_an_image_is_found_by_its_last_name_unless_two_have_it(tmp_path: Path) -> None:
    images(tmp_path / "images" / "a", 2)
    images(tmp_path / "images" / "b", 1)
    path = lines(tmp_path / "q.jsonl", [{"question_id": n, "image": f"{n}.jpg", "text": "?"} for n in range(2)])
    zero, one = FileSet(path, str(tmp_path / "images"), None).questions()
    assert isinstance(zero, Drop)
    assert isinstance(one, Question)


def test_no_path_leads_out_of_the_folder_of_images(tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(picture(1))
    folder = images(tmp_path / "images", 1)
    path = lines(tmp_path / "q.jsonl", [{"question_id": 1, "image": "../secret.jpg", "text": "?"}])
    (one,) = FileSet(path, folder, None).questions()
    assert isinstance(one, Drop)


def test_answers_are_joined_by_id_whatever_their_order(tmp_path: Path) -> None:
    rows = [{"question_id": n, "text": f"Answer {n}.", "model_id": "m"} for n in (3, 1, 2)]
    assert answers(lines(tmp_path / "a.json", rows), None) == {str(n): Given(f"Answer {n}.") for n in (1, 2, 3)}


def test_answers_of_several_models_want_a_name(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.json", [{"question_id": n, "text": m, "model_id": m} for n, m in ((1, "x"), (2, "y"))])
    with pytest.raises(ValueError, match="answers of x, y: set model_id to one of them"):
        answers(path, None)
    assert answers(path, "y") == {"2": Given("y")}
    with pytest.raises(ValueError, match="no answers of z; it has answers of x, y"):
        answers(path, "z")


def test_two_answers_to_one_question_are_refused_and_the_same_twice_is_not(tmp_path: Path) -> None:
    rows = [{"question_id": 1, "text": "a"}, {"question_id": 1, "text": "a"}]
    assert answers(lines(tmp_path / "a.json", rows), None) == {"1": Given("a")}
    with pytest.raises(ValueError, match="two answers to question 1"):
        answers(lines(tmp_path / "b.json", [*rows, {"question_id": 1, "text": "b"}]), None)


def test_given_answers_and_checkpoints_are_known_by_what_is_in_them(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.json", [{"question_id": 1, "text": "a"}])
    before = identity(Contestant(answers=path))
    lines(tmp_path / "a.json", [{"question_id": 1, "text": "b"}])
    assert identity(Contestant(answers=path)) != before
    (tmp_path / "model").mkdir()
    weights = tmp_path / "model" / "model.safetensors"
    weights.write_bytes(b"x" * 3_000_000)
    first = identity(Contestant(name=str(tmp_path / "model")))
    weights.write_bytes(b"x" * 1_500_000 + b"y" + b"x" * 1_499_999)
    assert identity(Contestant(name=str(tmp_path / "model"))) != first, "the middle of a file counts as its ends do"
    assert Contestant(name=str(tmp_path / "model")).pinned
    assert not Contestant(name="org/on-the-hub").pinned
    assert identity(Contestant(name="org/on-the-hub"))["name"] == "org/on-the-hub"


def test_a_conversation_is_asked_by_its_speakers_not_by_its_places(tmp_path: Path) -> None:
    talk = [{"from": "system", "value": "Be short."}, {"from": "gpt", "value": "Hello"}, {"from": "human", "value": "Why?"},
            {"from": "gpt", "value": "because"}]  # fmt: skip
    folder = images(tmp_path / "images", 1)
    rows = [
        {"question_id": "a", "image": "0.jpg", "conversations": talk[1:]},
        {"question_id": "b", "image": {"path": "0.jpg"}, "conversations": talk},
        {"question_id": "c", "image": ["0.jpg", "0.jpg"], "text": "Which?"},
    ]
    first, folded, several = FileSet(lines(tmp_path / "q.jsonl", rows), folder, None).questions()
    assert isinstance(first, Question)
    assert (first.question, first.reference, first.image) == ("Why?", "because", "0.jpg")
    assert isinstance(folded, Question)
    assert (folded.question, folded.reference) == ("Be short.\n\nWhy?", "because")
    assert isinstance(several, Drop)
    assert several.reason == "several_images"


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_questions_in_cp1252_and_with_odd_separators_are_asked_as_written(tmp_path: Path, end: str) -> None:
    asked = ["Où est le café?", "One\u2028two\x0bthree", "One\x85two"]
    rows = [json.dumps({"id": n, "text": text, "caption": "c"}, ensure_ascii=False) for n, text in enumerate(asked)]
    data = [row.encode("cp1252" if n == 0 else "utf-8") for n, row in enumerate([*rows, "{broken"])]
    (tmp_path / "q.jsonl").write_bytes(end.encode().join(data))
    *found, bad = FileSet(str(tmp_path / "q.jsonl"), None, None).questions()
    assert [one.question for one in found if isinstance(one, Question)] == [repair(text) for text in asked]
    assert isinstance(bad, Drop)
    assert (bad.id, bad.reason) == ("entry 4", "not_json")
    assert str(bad.detail).startswith("line 4: it is no JSON")


MMVET = {
    "v1_0": {"imagename": "0.jpg", "imagesource": "x", "question": "What is x?", "answer": "-1<AND>5", "capability": ["ocr", "math"]},
    "v1_1": {"imagename": "1.jpg", "question": "Which room is wider?", "answer": "the left<OR>left", "capability": ["spat"]},
}  # fmt: skip


@pytest.mark.parametrize("form", ["one line", "lines of keys", "indented"])
def test_mm_vet_is_read_in_any_layout_and_its_capabilities_are_the_kind(tmp_path: Path, form: str) -> None:
    lines_ = ",\n".join(f'"{name}": {json.dumps(entry)}' for name, entry in MMVET.items())
    text = {"one line": json.dumps(MMVET), "lines of keys": f"{{{lines_}}}\n", "indented": json.dumps(MMVET, indent=4)}
    (tmp_path / "mm-vet.json").write_text("\ufeff" * (form == "indented") + text[form], encoding="utf-8")
    zero, one = FileSet(str(tmp_path / "mm-vet.json"), images(tmp_path / "images", 2), None).questions()
    assert isinstance(zero, Question)
    assert (zero.question_id, zero.image, zero.kind) == ("v1_0", "0.jpg", "math, ocr")
    assert (zero.question, zero.reference) == ("What is x?", "-1<AND>5")
    assert isinstance(one, Question)
    assert (one.question_id, one.kind) == ("v1_1", "spat")


def test_entries_of_mm_vet_that_are_no_questions_leave_by_name(tmp_path: Path) -> None:
    good = MMVET["v1_0"]
    bad = {
        "a": "a text", "b": None, "c": good | {"question": ""}, "d": good | {"capability": ["ocr", 3]},
        "e": good | {"imagename": "none.jpg"}, "f": good | {"imagename": 3}, "g": good | {"answer": ["x"]}, "": good,
    }  # fmt: skip
    path = tmp_path / "mm-vet.json"
    path.write_text(json.dumps({"v1_0": good, "v1_1": good, **{f"k{n}": good for n in range(8)}, **bad}))
    found = list(FileSet(str(path), images(tmp_path / "images", 1), None).questions())
    assert len(found) == 18
    drops = [(one.id, one.reason) for one in found if isinstance(one, Drop)]
    assert drops == [
        ("entry 11", "not_json"), ("entry 12", "not_json"), ("c", "no_question"), ("d", "malformed"),
        ("e", "nothing_to_see"), ("f", "nothing_to_see"), ("g", "malformed"), ("entry 18", "no_id"),
    ]  # fmt: skip
    said = next(one.detail for one in found if isinstance(one, Drop))
    assert said == "line 11: its value at 'a' is a JSON str, should be an object"
    for broken, match in [
        (json.dumps(MMVET, indent=1)[:-9], "broken or cut short"),
        ('{"a": {"question": "?"},\n"a": {"question": "!"}}', "'a' is there twice"),
        (json.dumps(MMVET, indent=1) + "[]", "something follows the object"),
    ]:
        path.write_text(broken)
        with pytest.raises(ValueError, match=match):
            list(FileSet(str(path), None, None).questions())


def test_json_lines_whose_records_hold_objects_stay_json_lines(tmp_path: Path) -> None:
    folder = images(tmp_path / "images", 2)
    rows = [{"image": {"path": f"{n}.jpg"}, "id": n, "text": "Why?", "meta": {"n": n}} for n in range(2)]
    found = list(FileSet(lines(tmp_path / "q.jsonl", [*rows, '{"torn": {']), folder, None).questions())
    assert [one.question_id for one in found if isinstance(one, Question)] == ["0", "1"]
    assert [(one.id, one.reason) for one in found if isinstance(one, Drop)] == [("entry 3", "not_json")]
