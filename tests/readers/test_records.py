from __future__ import annotations

import io
import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mminstruct.readers.records import json_lines, members, records
from mminstruct.readers.text import BadRow, Unreadable
from mminstruct.readers.values import parse
from tests.readers import hostile
from tests.readers.hostile import expected, written

quick = settings(max_examples=100, deadline=None)


@quick
@given(
    made=st.lists(hostile.values, max_size=6),
    end=st.sampled_from(["\n", "\r\n"]),
    ascii=st.booleans(),
    encoding=st.sampled_from(sorted(hostile.ENCODINGS)),
)
def test_json_lines_are_read_as_they_were_written_whatever_their_text_holds(
    made: list[Any], end: str, ascii: bool, encoding: str
) -> None:
    data = hostile.encoded("".join(written(one, ascii) + end for one in made), encoding)
    assert list(json_lines(io.BytesIO(data), "x.jsonl", Counter())) == [expected(one) for one in made]


@quick
@given(
    made=st.lists(hostile.values, min_size=1, max_size=5),
    bad=st.sampled_from(hostile.BROKEN_LINES),
    place=st.integers(0, 5),
)
def test_a_bad_line_is_named_and_the_lines_around_it_stay(made: list[Any], bad: str, place: int) -> None:
    place = min(place, len(made))
    good = [written(one) for one in made]
    data = "\n".join([*good[:place], bad, *good[place:]]).encode()
    found = list(json_lines(io.BytesIO(data), "x.jsonl", Counter()))
    wrong = found.pop(place)
    assert isinstance(wrong, BadRow)
    assert wrong.line == place + 1
    assert found == [expected(one) for one in made]


def test_a_line_in_another_encoding_spoils_no_other() -> None:
    data = '{"a": "é"}\n'.encode() + '{"a": "ü"}\n'.encode("cp1252") + b'{"a": "\xc3\xa9 \xe9"}\n{"a": 1}'
    seen: Counter[str] = Counter()
    one, two, three, four = json_lines(io.BytesIO(data), "x.jsonl", seen)
    assert (one, two, four) == ({"a": "é"}, {"a": "ü"}, {"a": 1})
    assert isinstance(three, BadRow)
    assert (three.line, seen) == (3, {"text_cp1252": 1})


@quick
@given(given=st.text() | hostile.values.map(written))
def test_whatever_is_read_can_be_written_again(given: str) -> None:
    try:
        value = parse(given, "x", Counter())
    except Unreadable as error:
        assert str(error).startswith("x is no JSON")  # noqa: PT017
        return
    json.dumps(value, ensure_ascii=False, allow_nan=False).encode()


objects = st.lists(st.dictionaries(hostile.torn, hostile.values, max_size=3), max_size=6)


@quick
@given(made=objects, chunk=st.integers(1, 50), lead=st.sampled_from(["", "\n \n", "\ufeff"]), ascii=st.booleans())
def test_a_list_of_any_layout_is_read_whole(made: list[Any], chunk: int, lead: str, ascii: bool) -> None:
    data = (lead + "[" + ",\n".join(written(one, ascii) for one in made) + "]\n").encode()
    assert list(records(io.BytesIO(data), "x.json", Counter(), chunk)) == [expected(one) for one in made]


@quick
@given(made=objects, cut=st.integers(1, 200), chunk=st.integers(1, 50))
def test_a_list_that_is_cut_short_is_never_read_in_silence(made: list[Any], cut: int, chunk: int) -> None:
    data = ("[" + ",\n".join(written(one, True) for one in made) + "]").encode()
    with pytest.raises(Unreadable, match=r"x\.json: record \d+ \(line \d+\): broken or cut short"):
        list(records(io.BytesIO(data[: max(1, len(data) - cut)]), "x.json", Counter(), chunk))


@pytest.mark.parametrize("encoding", sorted(hostile.ENCODINGS))
def test_a_list_is_read_in_every_encoding(encoding: str) -> None:
    made = [{"a": "é\u2028ü"}, {"b": 1}]
    data = hostile.encoded(json.dumps(made, ensure_ascii=False), encoding)
    assert list(records(io.BytesIO(data), "x.json", Counter(), 3)) == made


def test_a_list_in_cp1252_is_read_and_counted() -> None:
    seen: Counter[str] = Counter()
    data = '[{"a": "Où est le café?"}]'.encode("cp1252")
    assert list(records(io.BytesIO(data), "x.json", seen)) == [{"a": "Où est le café?"}]
    assert seen == {"text_cp1252": 1}


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("[{}] {}", r"record 1 \(line 1\): something follows"),
        ("[{},\n[" + "[" * 100_000, r"record 1 \(line 2\): it is nested deeper"),
        ("[{},\n{'a': 1}]", r"record 1 \(line 2\): broken"),
    ],
)
def test_a_list_that_breaks_off_is_refused_with_its_place(written: str, said: str) -> None:
    with pytest.raises(Unreadable, match=said):
        list(records(io.BytesIO(written.encode()), "x.json", Counter(), 7))


@pytest.mark.parametrize("chunk", [1, 5, 100])
def test_an_item_that_is_no_object_or_ambiguous_is_one_bad_row(chunk: int) -> None:
    written = '[{"a": 1},\n123456,\n{"a": 1, "a": 2},\n"x",\n' + "[" * 300 + "]" * 300 + ',\n{"b": 2}]'
    found = list(records(io.BytesIO(written.encode()), "x.json", Counter(), chunk))
    assert [found[0], found[5]] == [{"a": 1}, {"b": 2}]
    assert [type(one) for one in found[1:5]] == [BadRow] * 4
    assert "twice" in found[2].said  # type: ignore[union-attr]


def test_a_long_record_is_read_in_few_steps() -> None:
    data = json.dumps([{"a": "x" * 3_000_000}, {"b": 1}]).encode()
    assert [len(one) for one in records(io.BytesIO(data), "x", chunk=1000)] == [1, 1]  # type: ignore[arg-type]


named = st.dictionaries(hostile.texts, hostile.values | st.lists(hostile.values, max_size=4), max_size=4)


@quick
@given(made=named, chunk=st.integers(1, 50), ascii=st.booleans(), lead=st.sampled_from(["", "\n ", "\ufeff"]))
def test_the_members_of_an_object_are_read_one_by_one(made: dict[str, Any], chunk: int, ascii: bool, lead: str) -> None:
    found: dict[str, Any] = {}
    for name, number, value in members(io.BytesIO((lead + written(made, ascii)).encode()), "x.json", Counter(), chunk):
        if number:
            assert len(found[name]) == number - 1
            found[name].append(value)
        else:
            found[name] = value
    assert found == expected(made)


@quick
@given(made=named.filter(bool), cut=st.integers(1, 200), chunk=st.integers(1, 50))
def test_an_object_that_is_cut_short_is_never_read_in_silence(made: dict[str, Any], cut: int, chunk: int) -> None:
    data = written(made).encode()
    with pytest.raises(Unreadable, match=r"x\.json: .* \(line \d+\): (it is nested|broken or cut short)"):
        list(members(io.BytesIO(data[: max(1, len(data) - cut)]), "x.json", Counter(), chunk))


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("", "x is empty"),
        ("[1]", r"x begins with '\[', should be a JSON object"),
        ('{"a": 1} 2', "something follows the object"),
        ('{"a": [1], "a": 2}', "'a' is there twice"),
        ('{"a": [1,\n{"b" 2}]}', r"x: a 2 \(line 2\): broken or cut short"),
        ('{"a" 1}', "no name and colon"),
        ("{1: 2}", "no name and colon"),
    ],
)
def test_an_object_that_is_none_is_refused_with_its_place(written: str, said: str) -> None:
    with pytest.raises(Unreadable, match=said):
        list(members(io.BytesIO(written.encode()), "x", Counter(), 5))


def test_numbers_that_json_lacks_become_what_the_reader_asks_for() -> None:
    assert list(members(io.BytesIO(b'{"a": [NaN, -Infinity, 1e999, 1]}'), "x", Counter(), missing="?"))[1:] == [
        ("a", 1, "?"), ("a", 2, "?"), ("a", 3, "?"), ("a", 4, 1)
    ]  # fmt: skip
