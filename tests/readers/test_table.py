from __future__ import annotations

import csv
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mminstruct.readers import table
from mminstruct.readers.table import CELL_BYTES, count, rows
from mminstruct.readers.text import BadRow, Unreadable
from tests.readers import hostile

FS = fsspec.filesystem("file")
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def found(path: Path, data: bytes | str, seen: Counter[str] | None = None) -> list[dict[str, Any] | BadRow]:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    made = list(rows(FS, str(path), seen=Counter() if seen is None else seen))
    assert count(FS, str(path)) == len(made)
    return made


@quick
@given(
    cells=st.lists(st.tuples(hostile.texts, hostile.texts), max_size=5),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    ending=st.sampled_from(["csv", "tsv"]),
    encoding=st.sampled_from(sorted(hostile.ENCODINGS)),
)
def test_cells_come_back_as_they_were_written(
    tmp_path: Path, cells: list[tuple[str, str]], end: str, ending: str, encoding: str
) -> None:
    comma = {"csv": ",", "tsv": "\t"}[ending]
    buffer = io.StringIO(newline="")
    csv.writer(buffer, delimiter=comma, lineterminator=end, quoting=csv.QUOTE_ALL).writerows([("url", "text"), *cells])
    made = found(tmp_path / f"x.{ending}", hostile.encoded(buffer.getvalue(), encoding))
    assert made == [{"url": url, "text": text} for url, text in cells]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("a.jpg,A dog, running", "3 cells, and there are 2 columns"),
        ('a.jpg,"never closed', "a quote does not close"),
        ('a.jpg,"x" y', "a quote does not close"),
        (f"a.jpg,{'x' * (CELL_BYTES + 1)}", "a cell is over 1048576"),
        (b"a.jpg,\xc3\xa9 \xe9", "characters elsewhere are"),
        (b"a.jpg,\x81", "neither UTF-8 nor cp1252"),
    ],
)
@pytest.mark.parametrize("after", [0, 5, 1500])
def test_a_bad_row_is_named_and_the_rows_around_it_stay(
    tmp_path: Path, bad: str | bytes, said: str, after: int
) -> None:
    bad = bad.encode() if isinstance(bad, str) else bad
    good = b"".join(b'%d.jpg,"two\nlines"\n' % number for number in range(after))
    one, wrong, *rest = found(tmp_path / "x.csv", b"file_name,text\n0.jpg,zero\n" + bad + b"\n" + good)
    assert one == {"file_name": "0.jpg", "text": "zero"}
    assert isinstance(wrong, BadRow)
    assert wrong.line == 3
    assert said in wrong.said
    assert len(rest) >= after
    assert rest[len(rest) - after :] == [{"file_name": f"{n}.jpg", "text": "two\nlines"} for n in range(after)]


def test_a_table_of_cp1252_is_read_and_counted(tmp_path: Path) -> None:
    seen: Counter[str] = Counter()
    data = "file_name,text\na.jpg,Café Müller – 5 €\n".encode("cp1252")
    assert found(tmp_path / "x.csv", data, seen) == [{"file_name": "a.jpg", "text": "Café Müller – 5 €"}]
    assert seen == {"text_cp1252": 1}


def test_short_rows_and_empty_cells_behind_are_no_fault(tmp_path: Path) -> None:
    made = found(tmp_path / "x.csv", "a,b,\n1\n1,2,,,\n\n")
    assert made == [{"a": "1", "b": None}, {"a": "1", "b": "2"}]


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match=r"x\.csv has two columns 'url'"):
        found(tmp_path / "x.csv", "url,url\n1,2\n")


def test_a_line_of_addresses_and_a_line_of_json_may_be_bad_by_itself(tmp_path: Path) -> None:
    listed = found(tmp_path / "x.txt", b"http://a/\xc3\xa9\r\nhttp://b/\x81\rhttp://c/\n\n")
    assert [one if isinstance(one, dict) else one.line for one in listed] == [
        {"url": "http://a/é"}, 2, {"url": "http://c/"},
    ]  # fmt: skip
    lines = [json.dumps({"url": "http://a/\u2028"}, ensure_ascii=False), "{", '"http://b"']
    one, bad, value = found(tmp_path / "x.jsonl", "\n".join(lines))
    assert (one, value) == ({"url": "http://a/\u2028"}, {"value": "http://b"})
    assert isinstance(bad, BadRow)
    assert bad.line == 2


@quick
@given(made=st.lists(hostile.texts, min_size=1, max_size=8), start=st.integers(0, 8), stop=st.integers(0, 8))
def test_stretches_count_bad_rows_too(tmp_path: Path, made: list[str], start: int, stop: int) -> None:
    lines = [json.dumps({"a": one}) if number % 3 else "{" for number, one in enumerate(made)]
    path = tmp_path / "x.jsonl"
    whole = found(path, "\n".join(lines))
    assert len(whole) == len(made)
    assert list(rows(FS, str(path), start, stop, Counter())) == whole[start:stop]


def bomb(path: Path, size: int) -> None:
    """1,000 rows whose texts are all one of *size* bytes: a file of kilobytes."""
    one = pa.array(["x" * size])
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 999 + [None], pa.int32()), one)
    many = pa.DictionaryArray.from_arrays(pa.array([0] * 2000, pa.int32()), one)
    lists = pa.ListArray.from_arrays(pa.array(range(0, 2001, 2), pa.int32()), many)
    inside = pa.StructArray.from_arrays([texts], ["text"])
    made = pa.table({"url": texts, "inside": inside, "lists": lists, "n": pa.array(range(1000))})
    pq.write_table(made, path, compression="zstd", dictionary_pagesize_limit=1 << 30, store_schema=False)


def test_a_dictionary_of_one_large_text_takes_the_memory_of_one(tmp_path: Path) -> None:
    bomb(tmp_path / "x.parquet", 8 << 20)
    assert (tmp_path / "x.parquet").stat().st_size < 20_000
    before = pa.total_allocated_bytes()
    most, made = 0, []
    for row in rows(FS, str(tmp_path / "x.parquet")):
        made.append(row)
        most = max(most, pa.total_allocated_bytes() - before)
    assert all(isinstance(row, BadRow) for row in made)
    assert [row.line for row in made] == list(range(1, 1001))  # type: ignore[union-attr]
    assert most < 200 << 20  # one batch of 256 rows would be 8 GB


def test_texts_below_the_limit_are_whole(tmp_path: Path) -> None:
    bomb(tmp_path / "x.parquet", CELL_BYTES // 2)
    last = dict.fromkeys(("url",), None)
    for number, row in enumerate(rows(FS, str(tmp_path / "x.parquet"))):
        assert isinstance(row, dict)
        assert row["n"] == number
        assert row["url"] is None or len(row["url"]) == CELL_BYTES // 2
        assert [len(one) for one in row["lists"]] == [CELL_BYTES // 2] * 2
        last = row
    assert last["url"] is None


def test_a_column_that_unpacks_to_no_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "_COLUMN_BYTES", 1000)
    bomb(tmp_path / "x.parquet", 2000)
    with pytest.raises(Unreadable, match=r"column url of row group 0 has \d+ bytes unpacked .* smaller row groups"):
        list(rows(FS, str(tmp_path / "x.parquet")))
