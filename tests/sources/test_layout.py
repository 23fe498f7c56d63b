"""The law of accounting: every file that is listed is read or passed by, and every member of what is read is accounted for."""

from __future__ import annotations

import io
import os
import tarfile
import tempfile
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mminstruct.readers.text import Unreadable
from mminstruct.sources.archive import TarSource
from mminstruct.sources.fetch import Reach
from mminstruct.sources.folder import FolderSource
from mminstruct.sources.layout import LAYOUTS, account
from mminstruct.sources.listing import Listing, list_path
from mminstruct.sources.sample import Sample
from mminstruct.sources.source import ImageSource, Options, Shard
from mminstruct.stage import Drop
from mminstruct.unit import UNIT, Unit
from tests.sources.badworld import good_archive, jpeg
from tests.sources.kinds import chosen

COUNTED = (
    "member_ignored", "directory", "sidecar_repeated", "sidecar_ambiguous", "sidecar_of_drop", "sidecar_late",
    "sidecar_too_big",
)  # fmt: skip
"""Notes that stand for a member each."""
LIST = b"url,text\nhttp://10.0.0.1/a.jpg,one\nhttp://10.0.0.1/b.jpg,two,three,four\nhttp://10.0.0.1/c.jpg,five\n"
LINES = b'{"url": "http://10.0.0.1/a.jpg"}\n{"url": "http\n\n[1]\n{"text": "no address"}\n'
METADATA = "file_name,text\nx.jpg,one\nx.jpg,again\ncaf\u00e9.jpg,two\nghost.jpg,three\n,four\na,b,c,d\n".encode()


@cache
def table() -> bytes:
    buffer = io.BytesIO()
    rows = [[{"bytes": jpeg(1), "path": "x.jpg"}, {"bytes": jpeg(2), "path": "x.jpg"}], [], None]
    pq.write_table(pa.table({"images": rows, "key": ["0001", "9999", None]}), buffer)
    return buffer.getvalue()


@cache
def content(name: str, seed: int) -> bytes:
    """What a file of this name holds in the hostile folder: the right thing, another image, or nothing."""
    if seed == 0:
        return b""
    lower = name.lower()
    for ending, data in (
        (".tar", good_archive(2)),
        (".csv", METADATA if "metadata" in lower else LIST),
        (".jsonl", LINES),
    ):
        if lower.endswith(ending):
            return data
    return table() if lower.endswith(".parquet") else b"a caption" if lower.endswith((".txt", ".json")) else jpeg(seed)


FOLDERS = st.sampled_from(["", "", "", "a/", "_b/", ".c/", "truth/", "__MACOSX/", "a/d\u00e9/", "a/de\u0301/", "A/"])
BASES = st.sampled_from(
    ["x", "_x", ".x", "._x", "x.y", "X", "caf\u00e9", "cafe\u0301", "README", "metadata", "0", "x\u202e"]
)
ENDINGS = st.sampled_from(
    [".jpg", ".JPG", ".png", ".txt", ".json", ".jpg.txt", ".png.json", ".caption", ".npy", ".tar", ".parquet", ".csv",
     ".jsonl", "", ".jpg_large", ".md", ".png.jpg"]
)  # fmt: skip
NAMES = st.builds(lambda *pieces: "".join(pieces), FOLDERS, BASES, ENDINGS)


def source_of(kind: str, listing: Listing, rule: Any = "last", group: int = 3) -> ImageSource:
    options = Options(
        name="all", rule=rule, group=group, member_bytes=1 << 20, reach=Reach(seconds=1), concurrency=2
    )  # fmt: skip
    return LAYOUTS[kind](listing, options)


def members(listing: Listing, kind: str, shard: Shard) -> int:
    """How many members a shard holds, counted by another way than it is read."""
    path = listing.files[shard.files[0]].path
    if kind == "tar":
        beside = [name for name in shard.files if name.endswith(".parquet")]
        alone = sum(pq.read_table(listing.files[name].path).num_rows for name in beside)
        with tarfile.open(path) as found:
            return int(len(found.getmembers()) + alone)
    if kind == "folder":
        return len(shard.files)
    if kind == "parquet":
        return sum(max(1, len(images or [None])) for images in pq.read_table(path)["images"].to_pylist())
    if path.endswith(".parquet"):
        rows = pq.read_metadata(path).num_rows
    elif path.endswith(".jsonl"):
        rows = len([line for line in Path(path).read_bytes().split(b"\n") if line.strip()])
    else:
        lines = [line for line in Path(path).read_bytes().split(b"\n") if line.strip()]
        rows = len(lines) - (not path.endswith(".txt"))
    start, stop = shard.rows or (0, rows)
    return int(min(rows, stop) - start)


@pytest.mark.parametrize("kind", LAYOUTS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(NAMES, st.integers(0, 4), min_size=1, max_size=14), st.sampled_from(["last", "first"]))
def test_listed_is_read_plus_passed_by_and_members_are_kept_plus_dropped(
    kind: str, files: dict[str, int], rule: Any
) -> None:
    with tempfile.TemporaryDirectory() as root:
        for name, seed in files.items():
            path = Path(root, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content(name, seed))
        source = source_of(kind, list_path(root), rule, group=2 if kind == "urls" else 3)
        shards = source.shards()
        found = account(source.listing, shards)
        there = sum(len(names) for _, _, names in os.walk(root))
        assert found["files"] == there == found["read"] + sum(found["passed"].values())
        if kind == "folder":
            assert max(Counter(name for shard in shards for name in shard.files).values(), default=1) == 1
        for shard in shards:
            unit = Unit(table="ingest", key=shard.name)
            token = UNIT.set(unit)
            try:
                out = list(source.read(shard))
            except Unreadable:  # an empty archive, a list without addresses, a metadata table that names no files
                continue
            finally:
                UNIT.reset(token)
            ids = [one.id if isinstance(one, Drop) else one.member for one in out]
            assert len(set(ids)) == len(ids), "nothing twice"
            samples = [one for one in out if isinstance(one, Sample)]
            joined = sum((one.json is not None) + (one.text is not None) for one in samples)
            joined += sum(bool(one.row) for one in samples) if kind == "tar" else 0
            counted = sum(unit.notes.get(name, 0) for name in COUNTED)
            counted += unit.notes.get("table_row_without_key", 0) + unit.notes.get("table_row_repeated", 0)
            of_tables = sum(" row " in one.id for one in out if isinstance(one, Drop)) if kind == "folder" else 0
            assert len(out) + joined + counted - of_tables == members(source.listing, kind, shard)


def test_rows_of_metadata_join_are_repeated_or_are_drops(tmp_path: Path) -> None:
    for name in ("x.jpg", "cafe\u0301.jpg", "sub/y.jpg", ".hidden.jpg", "z.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(jpeg(len(name)))
    (tmp_path / "metadata.csv").write_bytes(METADATA + b".hidden.jpg,five\nsub/y.jpg,far\n")
    (tmp_path / "sub/metadata.jsonl").write_text('{"file_name": "y.jpg", "text": "near"}\n{"file_name": \n')
    source = source_of("folder", list_path(str(tmp_path)), group=1)
    unit = Unit(table="ingest", key="all")
    token = UNIT.set(unit)
    out = [one for shard in source.shards() for one in source.read(shard)]
    UNIT.reset(token)
    assert {one.member: one.row.get("text") for one in out if isinstance(one, Sample)} == {
        "x.jpg": "one", "caf\u00e9.jpg": "two", "sub/y.jpg": "near", "z.jpg": None,
    }  # fmt: skip
    assert {one.id: (one.reason, str(one.detail)[:28]) for one in out if isinstance(one, Drop)} == {
        "metadata.csv row 3": ("no_image", "ghost.jpg: no such image"),
        "metadata.csv row 4": ("row_bad", "it has no file_name"),
        "metadata.csv row 5": ("row_bad", "line 7: it has 4 cells, and "),
        "metadata.csv row 6": ("no_image", ".hidden.jpg: hidden: a name "),
        "sub/metadata.jsonl row 1": ("row_bad", "line 2: it is no JSON: Expec"),
    }
    assert unit.notes["metadata_rows"] == 3
    assert unit.notes["metadata_row_repeated"] == 2
    rows = 8 + 2
    assert rows == 3 + 2 + sum(isinstance(one, Drop) for one in out)


def test_json_files_in_a_folder_without_images_are_passed_by(tmp_path: Path) -> None:
    for name in ("images/a.jpg", "images/a.json", "annotations/captions.json", "annotations/questions.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content(name, 1))
    source = source_of("folder", list_path(str(tmp_path)))
    shards = source.shards()
    assert [shard.files for shard in shards] == [("images/a.jpg", "images/a.json")]
    told = account(source.listing, shards)
    assert told["passed"] == {"no image by its name: .json": 1, "list: read it by layout=urls": 1}


def test_a_metadata_table_that_names_no_files_fails_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(jpeg(1))
    (tmp_path / "metadata.csv").write_text("name,text\nx.jpg,one\n")
    source = FolderSource(list_path(str(tmp_path)), Options())
    with pytest.raises(ValueError, match=r"metadata\.csv names no files: give it a column file_name"):
        list(source.read(source.shards()[0]))


def test_rows_beside_an_archive_join_are_repeated_or_are_drops(tmp_path: Path) -> None:
    (tmp_path / "0.tar").write_bytes(good_archive(1))
    with tarfile.open(tmp_path / "0.tar") as found:
        key = found.getmembers()[0].name.rpartition(".")[0].rpartition("/")[2]
    keys = [key, key, None, "ghost"]
    pq.write_table(pa.table({"key": keys, "text": ["a", "b", "c", "d"]}), tmp_path / "0.parquet")
    source = TarSource(list_path(str(tmp_path)), Options())
    (shard,) = source.shards()
    unit = Unit(table="ingest", key="0")
    token = UNIT.set(unit)
    out = list(source.read(shard))
    UNIT.reset(token)
    assert [one.row["text"] for one in out if isinstance(one, Sample)] == ["a"]
    assert [one.id for one in out if isinstance(one, Drop)] == ["ghost (listed)"]
    assert {name: unit.notes[name] for name in ("table_rows", "table_row_repeated", "table_row_without_key")} == {
        "table_rows": 2, "table_row_repeated": 1, "table_row_without_key": 1,
    }  # fmt: skip
    (tmp_path / "0.parquet").write_bytes(b"torn")
    with pytest.raises(ValueError, match="no whole Parquet file"):
        list(source.read(shard))


def test_auto_takes_the_layout_of_the_first_table_that_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "0.parquet").write_bytes(b"torn")
    assert chosen(list_path(str(tmp_path))) == "parquet"
    pq.write_table(pa.table({"url": ["http://x/1.jpg"]}), tmp_path / "1.parquet")
    assert chosen(list_path(str(tmp_path))) == "urls"
    pq.write_table(pa.table({"image": ["http://x/1.jpg"]}), tmp_path / "1.parquet")
    assert chosen(list_path(str(tmp_path))) == "urls"
    pq.write_table(pa.table({"image": ["aGVsbG8="]}), tmp_path / "1.parquet")
    assert chosen(list_path(str(tmp_path))) == "parquet"
    pq.write_table(pa.table({"link": ["http://x/1.jpg"], "a": [1]}), tmp_path / "1.parquet")
    with pytest.raises(ValueError, match=r"columns\.image=NAME or columns\.url=NAME; their columns: link, a"):
        chosen(list_path(str(tmp_path)))
    assert chosen(list_path(str(tmp_path)), url="link") == "urls"
