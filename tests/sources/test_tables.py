from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mminstruct.readers import table
from mminstruct.readers.text import BadRow, Unreadable, good
from mminstruct.sources.fetch import Reach
from mminstruct.sources.listing import list_path
from mminstruct.sources.parquet import ParquetSource
from mminstruct.sources.sample import Sample, ShardError
from mminstruct.sources.source import ImageSource, Options
from mminstruct.sources.urls import UrlSource
from mminstruct.stage import Drop
from tests.sources.badworld import encode, jpeg, photo
from tests.sources.web import serve

ROWS = [{"url": f"http://x/{i}", "text": f"line {i}"} for i in range(1000)]


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    yield from serve()


def fs(path: Path) -> Any:
    return list_path(str(path)).fs


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
    first, bad = table.rows(fs(path), str(path))
    assert first == {"url": "http://x"}
    assert isinstance(bad, BadRow)
    assert (bad.line, bad.said[:13]) == (2, "it is no JSON")
    with pytest.raises(Unreadable, match=r"line 2: it is no JSON"):
        list(good(table.rows(fs(path), str(path)), str(path)))


def everything(source: ImageSource) -> list[Sample | Drop]:
    return [one for shard in source.shards() for one in source.read(shard)]


def read(path: Path, **columns: str) -> list[Sample | Drop]:
    return everything(ParquetSource(list_path(str(path)), Options(columns=columns, member_bytes=1 << 20)))


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
    (named,) = read(tmp_path / "plain.parquet", image="mask")
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


def test_lists_of_images_base64_and_dictionaries_are_read(tmp_path: Path) -> None:
    images = [[{"bytes": jpeg(1), "path": "a.jpg"}], [{"bytes": jpeg(2), "path": None}] * 2, [], None]
    pq.write_table(pa.table({"images": images, "caption": list("wxyz")}), tmp_path / "list.parquet")
    one, first, second, empty, null = read(tmp_path / "list.parquet")
    assert isinstance(one, Sample)
    assert isinstance(first, Sample)
    assert isinstance(second, Sample)
    assert (one.member, one.data, one.row, one.shared) == ("a.jpg", jpeg(1), {"caption": "w"}, False)
    assert (first.member, second.member, second.data, second.shared) == ("row 1[0]", "row 1[1]", jpeg(2), True)
    assert [empty, null] == [Drop("row 2", "no_image", "an empty list"), Drop("row 3", "no_image", "null")]
    packed = base64.b64encode(jpeg(3)).decode()
    texts = [packed, f"data:image/jpeg;base64,{packed}", f"{packed[:76]}\n{packed[76:]}", "images/1.jpg", None]
    pq.write_table(pa.table({"image": texts}), tmp_path / "text.parquet")
    *good, path, nothing = read(tmp_path / "text.parquet")
    assert [one.data for one in good if isinstance(one, Sample)] == [jpeg(3)] * 3
    assert isinstance(path, Drop)
    assert (path.reason, nothing) == ("row_bad", Drop("row 4", "no_image", "null"))
    for number, kind in enumerate((pa.binary(), pa.large_binary(), pa.list_(pa.binary()))):
        values = [jpeg(4), jpeg(5), jpeg(4)]
        array = pa.array([[value] for value in values] if pa.types.is_list(kind) else values, kind)
        name = tmp_path / f"{number}.parquet"
        pq.write_table(pa.table({"image": array if pa.types.is_list(kind) else array.dictionary_encode()}), name)
        assert [one.data for one in read(name) if isinstance(one, Sample)] == values


def bomb(path: Path, value: Any, rows: int, **columns: Any) -> None:
    """A column of *rows* that point at one *value* in a dictionary."""
    index = pa.array([0] * rows, pa.int32())
    column = pa.DictionaryArray.from_arrays(index, pa.array([value]))
    table = pa.table({"image" if isinstance(value, bytes) else "text": column, **columns})
    pq.write_table(table, path, compression="zstd", write_statistics=False, store_schema=False)


def test_a_column_that_unpacks_to_far_more_than_its_size_fails_the_file_by_name(tmp_path: Path) -> None:
    bomb(tmp_path / "bomb.parquet", bytes(130 << 20), 4000)
    assert (tmp_path / "bomb.parquet").stat().st_size < 100_000
    with pytest.raises(ShardError, match=r"bomb\.parquet: column image of row group 0 unpacks from"):
        read(tmp_path / "bomb.parquet")


def test_a_list_of_too_many_images_is_one_drop(tmp_path: Path) -> None:
    pq.write_table(pa.table({"images": [[b"x"] * 1001, [b"y"]]}), tmp_path / "many.parquet")
    drop, one = read(tmp_path / "many.parquet")
    assert drop == Drop("row 0", "row_bad", "a list of 1001 images; at most 1000")
    assert isinstance(one, Sample)


def test_a_large_value_is_not_copied_for_each_row_that_points_at_it(tmp_path: Path) -> None:
    bomb(tmp_path / "bomb.parquet", bytes(40 << 20), 300)
    bomb(tmp_path / "text.parquet", "a" * (40 << 20), 300, image=[jpeg(1)] * 300)
    code = """
import resource, sys
from mminstruct.sources import Options, list_path
from mminstruct.sources.parquet import ParquetSource
source = ParquetSource(list_path(sys.argv[1]), Options(member_bytes=1 << 20))
(shard,) = source.shards()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
count = sum(1 for _ in source.read(shard))
print(count, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    for name in ("bomb.parquet", "text.parquet"):
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / name)], capture_output=True, text=True, check=True
        )
        count, megabytes = map(int, done.stdout.split())
        assert count == 300
        assert megabytes < 600, "300 copies of 40 MiB would be 12,000"


def test_a_table_without_images_says_what_to_name(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1], "b": ["x"]}), tmp_path / "none.parquet")
    with pytest.raises(ShardError, match=r"columns\.image=NAME; its columns: a, b"):
        read(tmp_path / "none.parquet")


def listed_in(path: Path, size: int = 100) -> UrlSource:
    options = Options(group=size, reach=Reach(private=True, seconds=5), concurrency=4)
    return UrlSource(list_path(str(path)), options)


def fetched(path: Path, size: int = 100) -> Iterator[list[Sample | Drop]]:
    source = listed_in(path, size)
    for shard in source.shards():
        yield list(source.read(shard))


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


def test_a_torn_row_is_dropped_with_its_line_and_no_other(web: str, tmp_path: Path) -> None:
    lines = [f'{{"url": "{web}/photo/1"}}', '{"url": "http', '{"text": "no address"}', f'{{"url": "{web}/photo/2"}}']
    (tmp_path / "b.jsonl").write_text("\n".join(lines))
    (tmp_path / "a.csv").write_bytes(f"url\n{web}/photo/3\n".encode() + b'"' + b"x" * (2 << 20) + b'"\n')
    found = [one for stretch in fetched(tmp_path) for one in stretch]
    assert [one.member.removeprefix(web) for one in found if isinstance(one, Sample)] == [
        "/photo/3", "/photo/1", "/photo/2",
    ]  # fmt: skip
    drops = [one for one in found if isinstance(one, Drop)]
    assert [(one.id, one.reason) for one in drops] == [("row 1", "row_bad"), ("row 1", "row_bad"), ("row 2", "row_bad")]
    assert str(drops[0].detail).startswith("line 3: a cell is over")
    assert str(drops[1].detail).startswith("line 2: it is no JSON")
    assert drops[2].detail == "no address; it has text"


def test_a_list_that_cannot_be_read_fails_its_own_shard_and_no_other(web: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"url\n{web}/photo/3\n")
    (tmp_path / "b.csv").write_text("url,url\n1,2\n")
    (tmp_path / "c.parquet").write_bytes(b"torn")
    (tmp_path / "README.txt").write_text("not a list\n")
    source = listed_in(tmp_path)
    shards = {shard.name: shard for shard in source.shards()}
    assert list(shards) == ["a.csv:00000000", "b.csv:00000000", "c.parquet:00000000"]
    assert len(list(source.read(shards["a.csv:00000000"]))) == 1
    for name in ("b.csv", "c.parquet"):
        with pytest.raises(Unreadable, match=name):
            list(source.read(shards[f"{name}:00000000"]))


def test_a_column_of_images_may_hold_addresses_or_base64(web: str, tmp_path: Path) -> None:
    packed = base64.b64encode(jpeg(2)).decode()
    (tmp_path / "list.tsv").write_text(f"image\ttext\n{web}/photo/1\tone\n{packed}\ttwo\n1.jpg\tthree\n")
    first, second, third = everything(listed_in(tmp_path))
    assert isinstance(first, Sample)
    assert isinstance(second, Sample)
    assert (first.data, second.data, second.row) == (jpeg(1), jpeg(2), {"text": "two"})
    assert third == Drop("row 2", "row_bad", "neither a web address nor an image in base64: '1.jpg'")


def test_a_list_without_addresses_says_what_to_name(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("link,caption\nhttp://x,y\n")
    with pytest.raises(ShardError, match=r"columns\.url=NAME; there are link, caption"):
        list(fetched(tmp_path / "list.csv"))
