from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mminstruct.readers.container import BadImage
from mminstruct.sources.sample import Sample
from mminstruct.sources.sidecar import Description, describe
from mminstruct.unit import UNIT, Unit

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


def sample(json: bytes | None = None, text: bytes | None = None, **row: Any) -> Sample:
    return Sample(member="a.jpg", name="a.jpg", key="a", data=b"image", json=json, text=text, row=row)


def described(json: bytes | None = None, text: bytes | None = None, **row: Any) -> Description:
    return describe(sample(json, text, **row), {})


def test_fields_are_sorted_and_the_rest_is_kept() -> None:
    found = described(
        json.dumps(
            {"caption": "a cat", "url": "http://x/cat.jpg", "license": "CC-BY-4.0", "width": 3, "none": None}
        ).encode()
    )
    assert found == Description(alt_text="a cat", url="http://x/cat.jpg", licence="CC-BY-4.0", sidecar='{"width": 3}')


def test_a_text_file_counts_more_than_json_and_json_more_than_a_row() -> None:
    assert described(b'{"caption": "json"}', b"text", caption="row").alt_text == "text"
    assert described(b'{"caption": "json"}', b" \n", caption="row").alt_text == "json"
    assert described(None, None, caption="row", TEXT="other").alt_text == "row"


def test_a_field_can_be_named() -> None:
    found = describe(sample(b'{"caption": "short", "long_caption": "long"}'), {"alt_text": "long_caption"})
    assert found.alt_text == "long"
    assert found.sidecar == '{"caption": "short"}'


def noted(json: bytes | None = None, shared: bool = False, **row: Any) -> tuple[Description, dict[str, int]]:
    unit = Unit(table="ingest", key="k")
    token = UNIT.set(unit)
    one = sample(json, **row)
    one.shared = shared
    try:
        return describe(one, {}), unit.notes
    finally:
        UNIT.reset(token)


def test_of_a_list_of_captions_the_first_is_the_alt_text_and_the_others_stay() -> None:
    found, notes = noted(b'{"caption": [null, " ", "a cat", "a pet"], "captions": ["another"]}')
    assert (found.alt_text, notes) == ("a cat", {"captions_more": 3})
    assert json.loads(found.sidecar or "") == {"caption": [None, " ", "a pet"], "captions": ["another"]}
    assert noted(None, caption=["one"])[0] == Description("one", None, None, None)
    assert noted(b'["a cat", "a pet"]')[0].alt_text == "a cat"
    assert noted(b'{"caption": [1, {"raw": "x"}]}')[0].alt_text is None


def test_what_speaks_of_several_images_is_the_alt_text_of_none() -> None:
    found, notes = noted(None, shared=True, caption="both of them", license="CC0")
    assert (found.alt_text, found.licence, found.sidecar) == (None, "CC0", '{"caption": "both of them"}')
    assert notes == {"caption_shared": 1}


@pytest.mark.parametrize(
    "data",
    [
        b'{"a": ',
        b"[1, 2]",
        b'"text"',
        b'{"a": 1, "a": 2}',
        b"\xff\xfe{",
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
        b"caf\xe9",
    ],
)
def test_a_bad_sidecar_is_left_out_and_noted(data: bytes) -> None:
    unit = Unit(table="ingest", key="k")
    token = UNIT.set(unit)
    assert described(data) == Description(None, None, None, None)
    UNIT.reset(token)
    assert unit.notes.pop("text_cp1252", 0) == (data == b"caf\xe9")
    assert unit.notes == {"sidecar_bad": 1}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_unicode_encodings_are_told_apart(encoding: str) -> None:
    assert described(json.dumps({"caption": "naïve ☃"}, ensure_ascii=False).encode(encoding)).alt_text == "naïve ☃"


def test_numbers_that_json_lacks_become_null() -> None:
    assert json.loads(described(b'{"a": NaN, "b": [Infinity, 1e999, 2], "c": 3}').sidecar or "") == {
        "b": [None, None, 2],
        "c": 3,
    }


def test_texts_are_repaired() -> None:
    assert described(None, "e\u0301\u200b\u202e \ufeffx\0".encode()).alt_text == "é x"
    assert described(rb'{"caption": "\ud83d\ude00 \ud83d"}').alt_text == "😀"
    assert described(None, b"caf\xe9").alt_text == "café"
    assert described(None, "wide".encode("utf-16")).alt_text == "wide"


@settings(max_examples=300)
@given(st.dictionaries(st.text(st.characters(), max_size=8), ANY_JSON, max_size=5))
def test_any_fields_make_texts_that_can_be_stored(fields: dict[str, Any]) -> None:
    row = sample()
    row.row = fields
    for found in (described(json.dumps(fields).encode()), describe(row, {})):
        for text in (found.alt_text, found.licence, found.url, found.sidecar):
            assert text is None or text.encode()
        assert found.sidecar is None or isinstance(json.loads(found.sidecar, parse_constant=pytest.fail), dict)


@given(st.binary(max_size=100), st.binary(max_size=100))
def test_any_bytes_make_texts_that_can_be_stored(first: bytes, second: bytes) -> None:
    found = described(first, second)
    assert found.alt_text is None or found.alt_text.encode()


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256", "sha512"])
def test_a_digest_is_checked_where_one_is_named(algorithm: str) -> None:
    right = hashlib.new(algorithm, b"image").hexdigest()
    wrong = hashlib.new(algorithm, b"other").hexdigest()
    describe(sample(json.dumps({"digest": right.upper()}).encode()), {}, "digest")
    describe(sample(json.dumps({"digest": wrong}).encode()), {})
    with pytest.raises(BadImage, match="img_checksum"):
        describe(sample(json.dumps({"digest": wrong}).encode()), {}, "digest")
