from __future__ import annotations

import io
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mminstruct.readers import text
from mminstruct.readers.records import json_lines
from mminstruct.readers.text import BadRow, Unreadable, decode, lines
from tests.readers import hostile

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
