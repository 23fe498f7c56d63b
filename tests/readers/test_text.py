from __future__ import annotations

import io
import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mminstruct.readers import text
from mminstruct.readers.text import BadRow, Unreadable, decode, json_lines, lines, parse, records
from tests.readers import hostile
from tests.readers.hostile import expected, written

quick = settings(max_examples=100, deadline=None)


@quick
@given(said=hostile.texts, encoding=st.sampled_from(sorted(hostile.ENCODINGS)))
def test_text_with_a_mark_or_in_utf_8_comes_back_as_it_was(said: str, encoding: str) -> None:
    said = "a" + said  # a first zero character or mark would be none of the text's
    seen: Counter[str] = Counter()
    assert decode(hostile.encoded(said, encoding), "x.txt", seen) == said
    assert list(seen) == (
        [f"text_{encoding[:6].replace('-', '')}"] if encoding.startswith(("utf-16", "utf-32")) else []
    )


@quick
@given(said=hostile.latin)
def test_cp1252_is_read_and_counted_or_refused_never_replaced(said: str) -> None:
    data, seen = said.encode("cp1252"), Counter[str]()
    try:
        found = decode(data, "x.txt", seen)
    except Unreadable as error:
        assert "characters elsewhere" in str(error)  # noqa: PT017  # bytes that are UTF-8 by chance, and others
        return
    assert "\ufffd" not in found
    assert found == said or not seen or seen == {"text_cut": 1}  # it may be UTF-8 by chance
    if seen == {"text_cp1252": 1}:
        assert found == said


@pytest.mark.parametrize(
    ("data", "found", "seen"),
    [
        (b"Caf\xe9 M\xfcller \x80", "Café Müller €", "text_cp1252"),
        ("Café caf\u00e9".encode()[:-1], "Café caf", "text_cut"),
        (b"smile \xed\xa0\xbd\xed\xb8\x80", "smile \U0001f600", "text_surrogates"),
        (b"smile \xed\xa0\xbd end", "smile  end", "text_surrogates"),
        ("hé".encode("utf-16-le"), "hé", "text_utf16"),
    ],
)
def test_what_software_really_writes_is_read_with_a_note(data: bytes, found: str, seen: str) -> None:
    counted: Counter[str] = Counter()
    assert decode(data, "x", counted) == found
    assert counted == {seen: 1}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"one\ntwo \x81\x40", r"x\.txt: byte 0x81 at 8 \(line 2\) is neither UTF-8 nor cp1252"),
        ("Café ".encode() + b"caf\xe9 noir", r"x\.txt: byte 0xe9 at 9 \(line 1\) is not UTF-8, and characters"),
        (b"\xff\xfea\0b", r"x\.txt begins as utf-16 and is none"),
    ],
)
def test_bytes_of_no_encoding_are_refused_with_file_and_line(data: bytes, said: str) -> None:
    with pytest.raises(Unreadable, match=said):
        decode(data, "x.txt")


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


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16 le"])
def test_lines_end_at_line_feeds_alone_and_where_csv_asks_at_returns(encoding: str) -> None:
    said = f"a{hostile.BREAKS}b\rc\r\nd\n\ne"
    data = hostile.encoded(said, encoding)
    assert [one[1] for one in lines(io.BytesIO(data), "x", Counter())] == [  # type: ignore[index]
        f"a{hostile.BREAKS}b\rc\r\n", "d\n", "\n", "e",
    ]  # fmt: skip
    assert [one[1] for one in lines(io.BytesIO(data), "x", Counter(), returns=True)] == [  # type: ignore[index]
        f"a{hostile.BREAKS}b\r", "c\r\n", "d\n", "\n", "e",
    ]  # fmt: skip


def test_a_line_without_end_is_one_bad_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "LINE_BYTES", 100)
    data = b'{"a": 1}\n' + b"x" * 1000 + b'\n{"a": 2}\n'
    one, bad, two = json_lines(io.BytesIO(data), "x")
    assert (one, two) == ({"a": 1}, {"a": 2})
    assert bad == BadRow(2, "longer than 100 bytes")
