"""A small collection for each kind of source, and the layout that ``auto`` takes for a listing."""

from __future__ import annotations

import base64
import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mminstruct.sources.layout import LAYOUTS, choose
from mminstruct.sources.listing import Listing
from mminstruct.sources.source import Options
from tests.sources.badworld import Writer, good_archive, jpeg

ADDRESSES = ["http://10.0.0.1/a.jpg", "http://10.0.0.1/b.jpg", "http://10.0.0.1/c.jpg"]


def chosen(listing: Listing, **columns: str) -> str:
    """The layout that ``auto`` takes."""
    source = choose("auto", listing, Options(columns=columns))
    return next(name for name, kind in LAYOUTS.items() if type(source) is kind)


@dataclass(frozen=True)
class Collection:
    """What a collection holds."""

    layout: str
    write: Callable[[Path], None]
    samples: int
    drops: int
    joined: int = 0
    """Sidecars and table rows that join a sample."""
    mixed: bool = False
    """Whether later sources recognise it, too: tables lie beside its images."""


def _webdataset(folder: Path) -> None:
    for number in (1, 0):
        (folder / f"{number}.tar").write_bytes(good_archive(2, first=10 * number))


def _img2dataset(folder: Path) -> None:
    with tarfile.open(folder / "00000.tar", "w") as archive:
        Writer(archive).file("0.jpg", jpeg(1))
    rows = [{"key": "0", "url": ADDRESSES[0]}, {"key": "1", "url": ADDRESSES[1]}]
    pq.write_table(pa.Table.from_pylist(rows), folder / "00000.parquet")


def _images(folder: Path) -> None:
    for name in ("b/2.jpg", "b/1.png", "a.jpg"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(jpeg(len(name) + ord(name[0])))
    (folder / "a.txt").write_text("a caption")
    (folder / "lost.json").write_text("{}")


def _image_folder(folder: Path) -> None:
    _images(folder)
    (folder / "metadata.csv").write_text("file_name,text\nb/2.jpg,two\nghost.jpg,none\n")


def _hugging_face(folder: Path) -> None:
    images = [{"bytes": jpeg(1), "path": "x.jpg"}, {"bytes": jpeg(2), "path": None}, None]
    pq.write_table(pa.table({"image": images, "url": ADDRESSES}), folder / "train.parquet")


def _base64(folder: Path) -> None:
    pq.write_table(pa.table({"image": [base64.b64encode(jpeg(1)).decode(), "no"]}), folder / "0.parquet")


def _list(folder: Path) -> None:
    (folder / "list.csv").write_text("\n".join(["url", *ADDRESSES]))
    (folder / "more.jsonl").write_text("\n".join(json.dumps({"url": address}) for address in ADDRESSES[:1]))


def _listed(folder: Path) -> None:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"URL": ADDRESSES, "TEXT": ["a", "b", "c"]}), buffer)
    (folder / "part-0.parquet").write_bytes(buffer.getvalue())


COLLECTIONS: dict[str, Collection] = {
    "webdataset": Collection("tar", _webdataset, samples=4, drops=0, joined=4),
    "img2dataset": Collection("tar", _img2dataset, samples=1, drops=1, joined=1, mixed=True),
    "images": Collection("folder", _images, samples=3, drops=1, joined=1, mixed=True),
    "image folder": Collection("folder", _image_folder, samples=3, drops=2, joined=2, mixed=True),
    "hugging face": Collection("parquet", _hugging_face, samples=2, drops=1, joined=2),
    "base64": Collection("parquet", _base64, samples=1, drops=1),
    "list": Collection("urls", _list, samples=0, drops=4),
    "table of addresses": Collection("urls", _listed, samples=0, drops=3),
}
