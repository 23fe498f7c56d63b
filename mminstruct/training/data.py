"""Reads LLaVA's JSON, checks it, and makes batches.

The driver writes the rows to one Arrow file that every worker maps into memory: a million conversations as Python
objects would take gigabytes in each.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
from PIL import Image

from mminstruct.files import info
from mminstruct.models.transcript import Unanswerable, picture
from mminstruct.readers import conversation, records, text, values
from mminstruct.text import repair
from mminstruct.training.config import Training
from mminstruct.training.template import IGNORED, IMAGE, ROLES, encode, question

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("image", pa.string()),
        ("conversations", pa.list_(pa.struct([("from", pa.string()), ("value", pa.string())]))),
        ("words", pa.int32()),
    ]
)
"""``words`` is the number of words in all turns, by which lengths are compared, as upstream does."""
_EXAMPLES, _EXAMPLE = 20, 200
"""Dropped rows that are listed per reason, and maximum characters of each entry."""
_BATCH = 8192
"""Rows that are held as Python objects at once."""
_BESIDE = ("export.json", "mix.json")
"""Files beside the JSON that describe its origin: the run's fingerprints, the parts of a mix."""


def read(path: str, images: str | None) -> tuple[pa.Table, dict[str, Any]]:
    """Read the JSON or JSONL at *path* as rows of ``SCHEMA``.

    A row that cannot be used is dropped with a reason: those of ``readers.conversation``, ``not_json``,
    ``several_images``, ``image_missing``.

    Returns:
        the rows, and facts: ``path``, ``sha256`` of the file, the counts ``taken``, ``kept`` and ``dropped`` by reason,
        the first ``examples`` of each reason, ``mended`` (counts of repairs), and ``beside`` (the files of the export
        or the mix).

    Raises:
        ValueError: the file is not a list of conversations, or no row is left.
    """
    fs, place = fsspec.core.url_to_fs(path)
    folder = images or os.path.dirname(path)
    dropped: Counter[str] = Counter()
    mended: Counter[str] = Counter()
    examples: dict[str, list[str]] = {}

    def drop(reason: str, which: str) -> None:
        dropped[reason] += 1
        if len(some := examples.setdefault(reason, [])) < _EXAMPLES:
            some.append(which)

    def kept() -> Iterator[dict[str, Any]]:
        for number, record in enumerate(records.records(file, f"data {path}", mended)):
            if isinstance(record, text.BadRow):
                drop("not_json", f"line {record.line}: {record.said}")
                continue
            try:
                yield _row(record, number, folder, mended)
            except conversation.InvalidRow as error:
                drop(error.reason, f"{record.get('id', number)}: {error}"[:_EXAMPLE])

    try:
        with fs.open(place, "rb") as file:
            digest = hashlib.sha256()
            while piece := file.read(1 << 20):
                digest.update(piece)
            rows = kept()
            some = iter(lambda: list(itertools.islice(rows, _BATCH)), [])
            table = pa.Table.from_batches((pa.RecordBatch.from_pylist(batch, SCHEMA) for batch in some), SCHEMA)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise ValueError(
            f"data {path}: no such file; `mminstruct export RUN --format llava --to DIR` writes one"
        ) from error
    facts = {
        "path": path,
        "images": folder,
        "sha256": digest.hexdigest(),
        "taken": table.num_rows + dropped.total(),
        "kept": table.num_rows,
        "dropped": dict(dropped),
        "examples": examples,
        "mended": dict(mended),
        "beside": {name: found for name in _BESIDE if (found := _beside(fs, f"{os.path.dirname(place)}/{name}"))},
    }
    if not table.num_rows:
        raise ValueError(f"data {path}: no row to train on; {summary(facts) if dropped else 'the file is empty'}")
    return table, facts


def summary(facts: Mapping[str, Any]) -> str:
    """A line with the counts of kept and dropped rows, and an example of each reason."""
    said = [f"{facts['kept']} of {facts['taken']} conversations"]
    for reason, count in sorted(facts["dropped"].items()):
        first = next(iter(facts["examples"].get(reason, ())), "")
        said.append(f"dropped {count} x {reason}" + (f" ({first})" if first else ""))
    said += [f"{count} x {what}" for what, count in sorted(facts.get("mended", {}).items())]
    return repair("; ".join(said))


def _beside(fs: Any, near: str) -> Any:
    """The content of a JSON file beside the data; None if it is missing or larger than 1 MiB."""
    there = info(fs, near)
    if there is None or there["size"] >= 2**20:
        return None
    try:
        return values.parse(text.decode(fs.cat_file(near), near), near)
    except text.Unreadable as error:
        return {"unreadable": str(error)}


def _row(record: dict[str, Any], number: int, folder: str, mended: Counter[str]) -> dict[str, Any]:
    """*record* as a row of ``SCHEMA``.

    Raises:
        InvalidRow: it cannot be used.
    """
    found = conversation.read(record)
    if len(found.images) > 1:
        raise conversation.InvalidRow("several_images", f"{len(found.images)} images: LLaVA-1.5 supports one")
    for name in found.images:
        conversation.located(name, folder)
    mended.update(found.repairs)
    said = found.turns
    if found.system is not None:
        said = [{"from": "system", "value": found.system}, *said]
    words = sum(len(turn["value"].split()) for turn in said)
    image = found.images[0] if found.images else None
    return {"id": found.id or str(number), "image": image, "conversations": said, "words": words}


class Records:
    """The rows of ``read``, in an Arrow file that is mapped into memory."""

    def __init__(self, file: str | Path) -> None:
        with pa.memory_map(str(file)) as source:
            self.table = pa.ipc.open_file(source).read_all()
        self.words_N: np.ndarray[Any, Any] = self.table["words"].to_numpy()
        self.seen_N: np.ndarray[Any, Any] = self.table["image"].is_valid().to_numpy()

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __getitem__(self, place: int) -> dict[str, Any]:
        row: dict[str, Any] = self.table.slice(int(place), 1).to_pylist()[0]
        return row


def save(table: pa.Table) -> bytes:
    """*table* as an Arrow file."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=4096)
    return bytes(sink.getvalue().to_pybytes())


@dataclass(slots=True)
class Batch:
    """A micro-batch: shapes (B, T), or (1, sum of T) if it is packed."""

    ids: Any
    labels: Any
    positions: Any
    """Position ids of packed rows, from 0 in each; None without packing."""
    pixels: Any
    """(images, 3, H, W); a blank image if no row has one."""
    names: list[str]
    broken: list[str]
    """Ids of skipped rows: the image cannot be opened, or the template refuses the turns."""
    learned: int
    tokens: int
    """Without padding and the tokens of a blank image."""
    images: int
    cut: int


class Collator:
    """Makes micro-batches; thread-safe."""

    def __init__(self, processor: Any, config: Training, images: str, image_tokens: int) -> None:
        self.processor, self.tokenizer, self.images = processor, processor.tokenizer, images
        self.template = template_of(config.template, processor)
        self.max_length, self.packing, self.image_tokens = config.max_length, config.packing, image_tokens
        self.image_id = self.tokenizer.convert_tokens_to_ids(IMAGE)
        blank = processor.image_processor(images=[Image.new("RGB", (32, 32))], return_tensors="pt")["pixel_values"]
        self.blank = blank * 0

    def __call__(self, records: Sequence[Mapping[str, Any]]) -> Batch:
        import torch

        rows, pictures, broken, cut = [], [], [], 0
        for record in records:
            image = None
            if record["image"]:
                try:
                    image = picture(self._open(record["image"]))
                except (Unanswerable, OSError):
                    broken.append(record["id"])
                    continue
            try:
                made = encode(
                    record["conversations"],
                    self.tokenizer,
                    image=image is not None,
                    image_tokens=self.image_tokens,
                    template=self.template,
                    max_length=self.max_length,
                )
            except ValueError:
                broken.append(record["id"])
                continue
            rows.append((made.ids, made.labels))
            pictures += [image] if image is not None else []
            cut += made.cut
        learned = sum(label != IGNORED for _, labels in rows for label in labels[1:])
        tokens = sum(len(ids) for ids, _ in rows)
        if pictures:
            pixels = self.processor.image_processor(images=pictures, return_tensors="pt")["pixel_values"]
        else:  # without an image the worker would skip the vision tower, and the others would wait forever for its
            # gradients (and, in ZeRO-3, its weights). Placed last, the blank image affects no token and has no label.
            pixels = self.blank
            ids, labels = rows[0] if rows else ([self.tokenizer.pad_token_id], [IGNORED])
            stand_in = (ids + [self.image_id] * self.image_tokens, labels + [IGNORED] * self.image_tokens)
            rows = [stand_in, *rows[1:]]
        positions = None
        if self.packing:
            positions = torch.cat([torch.arange(len(ids)) for ids, _ in rows])[None]
            # the first token of a row is never predicted, so not from the row before it
            flat = [label for _, labels in rows for label in (IGNORED, *labels[1:])]
            rows = [([token for ids, _ in rows for token in ids], flat)]
        longest = max(len(ids) for ids, _ in rows)
        pad = self.tokenizer.pad_token_id
        ids_BT = torch.tensor([ids + [pad] * (longest - len(ids)) for ids, _ in rows])
        labels_BT = torch.tensor([labels + [IGNORED] * (longest - len(labels)) for _, labels in rows])
        names = [str(record["id"]) for record in records]
        return Batch(ids_BT, labels_BT, positions, pixels, names, broken, learned, tokens, len(pictures), cut)

    def question(self, record: Mapping[str, Any]) -> Batch:
        """The prompt with a record's first question."""
        import torch

        image = picture(self._open(record["image"])) if record["image"] else None
        first = list(itertools.takewhile(lambda turn: ROLES[turn["from"]] != "assistant", record["conversations"]))
        ids = question(
            first, self.tokenizer, image=image is not None, image_tokens=self.image_tokens, template=self.template
        )
        pixels = self.blank
        if image is not None:
            pixels = self.processor.image_processor(images=[image], return_tensors="pt")["pixel_values"]
        seen = int(image is not None)
        return Batch(torch.tensor([ids]), None, None, pixels, [record["id"]], [], 0, len(ids), seen, 0)

    def _open(self, image: str) -> bytes:
        if "://" not in self.images:
            return Path(self.images, image).read_bytes()
        with fsspec.open(f"{self.images.rstrip('/')}/{image}", "rb") as file:
            return bytes(file.read())


def template_of(name: str, processor: Any) -> str:
    """The Jinja text or name for ``encode``."""
    own = processor.chat_template or processor.tokenizer.chat_template
    if name == "own" and not own:
        raise ValueError("train.template=own: the base model has no chat template; use v1 or Jinja text")
    return str(own) if name == "own" else name
