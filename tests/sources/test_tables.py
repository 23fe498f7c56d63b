from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mminstruct.readers import table
from mminstruct.readers.text import BadRow, Unreadable
from mminstruct.sources import parquet, urls
from mminstruct.sources.fetch import Reach
from mminstruct.sources.place import look
from mminstruct.sources.sample import Sample, ShardError
from mminstruct.stage import Drop
from tests.sources.badworld import encode, jpeg, photo
from tests.sources.web import serve

ROWS = [{"url": f"http://x/{i}", "text": f"line {i}"} for i in range(1000)]


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    yield from serve()


def fs(path: Path) -> Any:
    return look(str(path)).fs


@pytest.fixture(params=["csv", "tsv", "jsonl", "parquet"])
def listed(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"list.{request.param}"
    if request.param == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path, row_group_size=300)
    elif request.param == "jsonl":
        path.write_text("\n".join(json.dumps(row) for row in ROWS))
    else:
        comma = {"csv": ",", "tsv": "\t"}[request.param]
        path.write_text(
            "\ufeff" + "\n".join(comma.join(row) for row in [("url", "text"), *(row.values() for row in ROWS)])
        )
    return path


@pytest.mark.parametrize(("start", "stop"), [(0, None), (0, 1), (299, 301), (600, 900), (999, 1000), (1000, None)])
def test_any_stretch_of_rows_can_be_read(listed: Path, start: int, stop: int | None) -> None:
    assert table.count(fs(listed), str(listed)) == 1000
    assert list(table.rows(fs(listed), str(listed), start, stop)) == ROWS[start:stop]


def test_a_cut_parquet_file_names_its_end(tmp_path: Path) -> None:
    path = tmp_path / "cut.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS), path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(Unreadable, match=f"ends at byte {path.stat().st_size}"):
        list(table.rows(fs(path), str(path)))


def test_a_flipped_byte_in_parquet_is_an_error_not_a_value(tmp_path: Path) -> None:
    path = tmp_path / "flipped.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS), path, compression="none", write_page_checksum=True)
    data = bytearray(path.read_bytes())
    data[data.index(b"line 500")] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(Unreadable, match="corrupt past row 0"):
        list(table.rows(fs(path), str(path)))


def test_broken_lines_are_named(tmp_path: Path) -> None:
    path = tmp_path / "list.jsonl"
    path.write_text('{"url": "http://x"}\n{"url": \n')
    good, bad = table.rows(fs(path), str(path))
    assert good == {"url": "http://x"}
    assert isinstance(bad, BadRow)
    assert (bad.line, bad.said[:13]) == (2, "it is no JSON")
    with pytest.raises(Unreadable, match=r"line 2: it is no JSON"):
        list(table.good(table.rows(fs(path), str(path)), str(path)))


def read(path: Path, *names: str) -> list[Sample | Drop]:
    place = look(str(path))
    return [one for shard in parquet.shards(place) for one in parquet.read(place, shard, names, 1 << 20)]


def test_hugging_face_images_and_plain_bytes_are_found(tmp_path: Path) -> None:
    image = pa.array(
        [
            {"bytes": jpeg(1), "path": "one.jpg"},
            {"bytes": None, "path": "two.jpg"},
            None,
            {"bytes": jpeg(2), "path": None},
        ]
    )
    pq.write_table(
        pa.table({"label": [1, 2, 3, 4], "picture_of": image, "caption": list("abcd")}), tmp_path / "hf.parquet"
    )
    kept, no_bytes, null, unnamed = read(tmp_path / "hf.parquet")
    assert isinstance(kept, Sample)
    assert isinstance(unnamed, Sample)
    assert (kept.member, kept.data, kept.row) == ("one.jpg", jpeg(1), {"label": 1, "caption": "a"})
    assert unnamed.member == "row 3"
    assert [no_bytes, null] == [
        Drop("two.jpg", "no_image", "no bytes in its row, a path alone"),
        Drop("row 2", "no_image", "null"),
    ]
    pq.write_table(pa.table({"mask": [b"m"], "png": [jpeg(3)], "text": ["t"]}), tmp_path / "plain.parquet")
    (only,) = read(tmp_path / "plain.parquet")
    assert isinstance(only, Sample)
    assert (only.data, only.row) == (jpeg(3), {"text": "t"})
    (named,) = read(tmp_path / "plain.parquet", "mask")
    assert isinstance(named, Sample)
    assert named.data == b"m"


def test_datasets_writes_what_is_read_here(tmp_path: Path) -> None:
    import datasets

    path = tmp_path / "train-00000-of-00001.parquet"
    features = datasets.Features({"image": datasets.Image(), "text": datasets.Value("string")})
    datasets.Dataset.from_list([{"image": photo(1), "text": "one"}], features=features).to_parquet(str(path))
    (found,) = read(path)
    assert isinstance(found, Sample)
    assert (found.data, found.row) == (encode(photo(1), "PNG"), {"text": "one"})


def test_a_table_without_images_says_what_to_name(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1], "b": ["x"]}), tmp_path / "none.parquet")
    with pytest.raises(ShardError, match=r"columns\.image=NAME; its columns: a, b"):
        read(tmp_path / "none.parquet")


def fetched(path: Path, size: int = 100, *names: str) -> Iterator[list[Sample | Drop]]:
    place = look(str(path))
    for shard in urls.shards(place, size):
        yield list(urls.read(place, shard, names or ("url",), ("image",), Reach(private=True, seconds=5), 4))


def test_a_list_of_addresses_comes_in_order_with_a_status_for_each_row(web: str, tmp_path: Path) -> None:
    paths = ["photo/1", "missing/404", "photo/2", "page", "photo/1", "", "photo/3"]
    lines = ["url,caption", *(f"{web}/{path},{number}" if path else f",{number}" for number, path in enumerate(paths))]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    first, second = fetched(tmp_path / "list.csv", 4)
    assert [one.reason if isinstance(one, Drop) else one.row["caption"] for one in first] == [
        "0",
        "url_status",
        "2",
        "3",
    ]
    assert [one.id if isinstance(one, Drop) else one.member for one in second] == [
        f"{web}/photo/1", "row 5", f"{web}/photo/3",
    ]  # fmt: skip
    assert isinstance(first[2], Sample)
    assert first[2].data == jpeg(2)


def test_a_list_without_addresses_says_what_to_name(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("link,caption\nhttp://x,y\n")
    with pytest.raises(ShardError, match=r"columns\.url=NAME; there are link, caption"):
        list(fetched(tmp_path / "list.csv"))
