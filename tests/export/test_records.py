from __future__ import annotations

from pathlib import Path

import pytest

from mminstruct.export.records import own, records, row_of
from mminstruct.readers.text import Unreadable
from tests.export.conftest import jpeg, turns


def test_a_row_that_cannot_be_read_refuses_our_own_file_and_is_counted_in_those_of_others(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"a": 1}\n{"a": \n{"a": 2}\n')
    assert [type(one).__name__ for one in records(tmp_path / "x.jsonl")] == ["dict", "BadRow", "dict"]
    with pytest.raises(Unreadable, match=r"x\.jsonl line 2: it is no JSON"):
        list(own(tmp_path / "x.jsonl"))


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
