from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mminstruct.export.records import records, row_of
from mminstruct.export.row import Unsound
from tests.export.conftest import jpeg, turns

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)
objects = st.lists(st.dictionaries(st.text(max_size=5), values, max_size=3), max_size=6)
quick = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "records.json"
    path.write_text(text, encoding="utf-8")
    return path


@quick
@given(made=objects, indent=st.sampled_from([None, 1]), chunk=st.integers(1, 50), lead=st.sampled_from(["", "\n \n"]))
def test_a_list_of_any_layout_is_read_whole(
    tmp_path: Path, made: list[dict[str, Any]], indent: int | None, chunk: int, lead: str
) -> None:
    assert list(records(written(tmp_path, lead + json.dumps(made, indent=indent)), chunk)) == made


@quick
@given(made=objects, chunk=st.integers(1, 50), ascii=st.booleans())
def test_json_lines_are_read_whole(tmp_path: Path, made: list[dict[str, Any]], chunk: int, ascii: bool) -> None:
    text = "".join(json.dumps(one, ensure_ascii=ascii) + "\n" for one in made)
    assert list(records(written(tmp_path, text), chunk)) == made


@quick
@given(made=objects, cut=st.integers(1, 200), chunk=st.integers(1, 50))
def test_a_list_that_is_cut_short_is_never_read_in_silence(
    tmp_path: Path, made: list[dict[str, Any]], cut: int, chunk: int
) -> None:
    text = json.dumps(made)
    path = written(tmp_path, text[: max(1, len(text) - cut)])
    with pytest.raises(ValueError, match=r"record \d+: broken or cut short"):
        list(records(path, chunk))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[{}] {}", "something follows"),
        ("[{}, 7]", "record 1: it is a int"),
        ('{"a": 1}\n{"a": \n', "record 1: broken"),
        ("[" + "[" * 100_000, "record 0"),
        ("{'a': 1}", "record 0: broken"),
    ],
)
def test_what_is_no_list_of_records_is_refused_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        list(records(written(tmp_path, text)))


def test_other_encodings_are_refused_with_the_file_s_name(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes('[{"a": "ü"}]'.encode("latin-1"))
    with pytest.raises(ValueError, match=r"x\.json"):
        list(records(tmp_path / "x.json"))


def test_a_long_record_is_read_in_few_steps(tmp_path: Path) -> None:
    path = written(tmp_path, json.dumps([{"a": "x" * 3_000_000}, {"b": 1}]))
    assert [len(one) for one in records(path, chunk=1000)] == [1, 1]


def test_stray_keys_are_passed_over_and_other_words_understood(tmp_path: Path) -> None:
    (tmp_path / "coco").mkdir()
    (tmp_path / "coco" / "1.jpg").write_bytes(jpeg(1))
    theirs = {
        "id": 7,
        "model": "gpt-4",
        "image": "coco/1.jpg",
        "conversations": [
            {
                "from": "human",
                "value": "<image>\nHow many?",
                "text": "?",
                "markdown": {"answer": "2", "index": 0, "type": "x"},
            },
            {"from": "gpt", "value": "Two."},
        ],
    }
    row = row_of(theirs, tmp_path)
    assert (row.id, row.turns) == ("7", turns(("human", "<image>\nHow many?"), ("gpt", "Two.")))
    assert [image.path for image in row.images] == [tmp_path / "coco" / "1.jpg"]
    swift = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}], "images": []}
    assert row_of(swift, None).turns == turns(("human", "Hi"), ("gpt", "Ho"))


def test_a_first_answer_and_a_last_question_are_passed_over_as_upstream_does() -> None:
    said = turns(("gpt", "Hello!"), ("human", "Hi"), ("gpt", "Ho"), ("human", "And?"))
    assert row_of({"conversations": said}, None).turns == turns(("human", "Hi"), ("gpt", "Ho"))


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({}, "no conversation"),
        ({"conversations": "x"}, "no conversation"),
        ({"conversations": ["x"]}, "turns"),
        ({"conversations": [{"from": "human"}]}, "turns"),
        ({"conversations": turns(("tool", "7"))}, "speaker"),
        ({"conversations": [{"from": ["human"], "value": "x"}]}, "speaker"),
        ({"conversations": [], "image": "/etc/passwd"}, "image"),
        ({"conversations": [], "image": "../secret.jpg"}, "image"),
        ({"conversations": [], "image": "gone.jpg"}, "image"),
        ({"conversations": [], "images": [{"bytes": "x"}]}, "image"),
    ],
)
def test_what_is_no_conversation_is_told_by_reason(tmp_path: Path, record: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unsound) as error:
        row_of(record, tmp_path)
    assert error.value.reason == reason


@quick
@given(
    record=st.dictionaries(
        st.sampled_from(["conversations", "image", "images", "id"]),
        values | st.lists(st.dictionaries(st.sampled_from(["from", "value", "role"]), values), max_size=3),
    )
)
def test_no_record_makes_anything_but_a_row_or_a_reason(record: dict[str, Any]) -> None:
    reason = "none"
    try:
        row_of(record, None)
    except Unsound as error:
        reason = error.reason
    assert reason
