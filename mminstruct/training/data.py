"""From LLaVA's JSON to batches: read once and checked.

The driver reads the JSON into one Arrow file that every worker maps into memory (a million conversations as Python
objects would be gigabytes in each).
"""

from __future__ import annotations

import hashlib
import itertools
import json
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

from mminstruct.models.transcript import Unanswerable, picture
from mminstruct.training.config import Training
from mminstruct.training.template import IGNORED, IMAGE, ROLES, encode, question, turns

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("image", pa.string()),
        ("conversations", pa.list_(pa.struct([("from", pa.string()), ("value", pa.string())]))),
        ("words", pa.int32()),
    ]
)
"""``words`` of all turns: what lengths are compared by, as upstream does."""
_BESIDE = ("export.json", "mix.json")
"""Files beside the JSON that tell what it was made from: the run's fingerprints, the parts of a mix."""


def read(path: str, images: str | None) -> tuple[pa.Table, dict[str, Any]]:
    """Rows of ``SCHEMA`` of the JSON or JSONL at *path*, and what is known about them.

    Stray keys are passed over, as in upstream's mix. A row that cannot be trained on is dropped with its reason: no
    conversation, turns in disorder, nothing said, several images, an image that is not there.

    Returns:
        the rows, and ``path``, ``sha256`` of the file, ``taken``, ``kept``, ``dropped`` by reason with the first ids of
        each, ``beside``: what the export or the mix left beside it.

    Raises:
        ValueError: the file is no list of conversations, or no row is left.
    """
    fs, place = fsspec.core.url_to_fs(path)
    try:
        data = fs.cat_file(place)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise ValueError(
            f"data {path}: no such file; `mminstruct export RUN --format llava --to DIR` writes one"
        ) from error
    folder = images or os.path.dirname(path)
    rows: list[dict[str, Any]] = []
    dropped: Counter[str] = Counter()
    which: dict[str, list[str]] = {}
    there: dict[str, bool] = {}
    for number, record in enumerate(_records(data, path)):
        row, reason = _row(record, number)
        if row and row["image"] and not _exists(folder, row["image"], there):
            reason = "image_missing"
        if reason or not row:
            dropped[reason] += 1
            which.setdefault(reason, []).append(str(record.get("id", number)) if isinstance(record, dict) else "?")
        else:
            rows.append(row)
    if not rows:
        raise ValueError(f"data {path}: no row to train on; dropped: {dict(dropped) or 'none, the file is empty'}")
    beside: dict[str, Any] = {}
    for name in _BESIDE:
        near = f"{os.path.dirname(place)}/{name}"
        if fs.exists(near) and fs.size(near) < 2**20:
            beside[name] = json.loads(fs.cat_file(near))
    facts = {
        "path": path,
        "images": folder,
        "sha256": hashlib.sha256(data).hexdigest(),
        "taken": len(rows) + sum(dropped.values()),
        "kept": len(rows),
        "dropped": dict(dropped),
        "examples": {reason: some[:20] for reason, some in which.items()},
        "beside": beside,
    }
    return pa.Table.from_pylist(rows, schema=SCHEMA), facts


def _records(data: bytes, path: str) -> Iterator[Any]:
    """Rows of a JSON list, or of one JSON object a line."""
    try:
        text = data.decode("utf-8")
        if text.lstrip()[:1] == "[":
            found = json.loads(text)
        else:
            found = [json.loads(line) for line in text.splitlines() if line.strip()]
    except ValueError as error:
        raise ValueError(f"data {path}: no JSON list of conversations, and no JSONL: {error}") from error
    yield from found


def _row(record: Any, number: int) -> tuple[dict[str, Any] | None, str]:
    """A row of ``SCHEMA``, or the reason why there is none."""
    talk = record.get("conversations") if isinstance(record, dict) else None
    if not isinstance(talk, list) or not all(isinstance(turn, dict) for turn in talk):
        return None, "no_conversation"
    image = record.get("image")
    if isinstance(image, list):
        if len(image) > 1:
            return None, "several_images"
        image = image[0] if image else None
    try:
        said = turns(talk, bool(image))
    except ValueError:
        return None, "turns_in_disorder"
    if not any(item.get("text", "").strip() for m in said if m["role"] == "assistant" for item in m["content"]):
        return None, "nothing_said"
    kept = [{"from": t.get("from", t.get("role")), "value": t.get("value", t.get("content"))} for t in talk]
    words = sum(len(str(turn["value"]).split()) for turn in kept)
    return {"id": str(record.get("id", number)), "image": image or None, "conversations": kept, "words": words}, ""


def _exists(folder: str, image: str, known: dict[str, bool]) -> bool:
    """Whether an image is there; of remote folders that is only seen when it is read."""
    if image not in known:
        known[image] = "://" in folder or os.path.isfile(os.path.join(folder, image))
    return known[image]


class Records:
    """Rows that ``read`` made, from an Arrow file that is mapped into memory."""

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
    """A micro-batch: shapes (B, T), or (1, sum of T) where it is packed."""

    ids: Any
    labels: Any
    positions: Any
    """Of packed rows, from 0 in each; None where rows stand apart."""
    pixels: Any
    """(images, 3, H, W); at least one, blank where no row has one."""
    names: list[str]
    broken: list[str]
    """Ids of rows whose image would not open: they are not learned from."""
    learned: int
    tokens: int
    """Without padding and stand-ins."""
    images: int
    cut: int


class Collator:
    """Makes micro-batches; its calls may come from several threads."""

    def __init__(self, processor: Any, config: Training, images: str, image_tokens: int) -> None:
        self.processor, self.tokenizer, self.images = processor, processor.tokenizer, images
        self.template = _template(config.template, processor)
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
            made = encode(
                record["conversations"],
                self.tokenizer,
                image=image is not None,
                image_tokens=self.image_tokens,
                template=self.template,
                max_length=self.max_length,
            )
            rows.append((made.ids, made.labels))
            pictures += [image] if image is not None else []
            cut += made.cut
        learned = sum(label != IGNORED for _, labels in rows for label in labels[1:])
        tokens = sum(len(ids) for ids, _ in rows)
        if pictures:
            pixels = self.processor.image_processor(images=pictures, return_tensors="pt")["pixel_values"]
        else:  # a worker that sees no image must compute one all the same, or the others wait for its gradients (and,
            # in ZeRO-3, its weights) for ever. Behind everything, it is in no row's sight and learns nothing.
            pixels = self.blank
            ids, labels = rows[0] if rows else ([self.tokenizer.pad_token_id], [IGNORED])
            stand_in = (ids + [self.image_id] * self.image_tokens, labels + [IGNORED] * self.image_tokens)
            rows = [stand_in, *rows[1:]]
        positions = None
        if self.packing:
            positions = torch.cat([torch.arange(len(ids)) for ids, _ in rows])[None]
            # the first token of a row is never foretold, least of all from the row before it
            flat = [label for _, labels in rows for label in (IGNORED, *labels[1:])]
            rows = [([token for ids, _ in rows for token in ids], flat)]
        longest = max(len(ids) for ids, _ in rows)
        pad = self.tokenizer.pad_token_id
        ids_BT = torch.tensor([ids + [pad] * (longest - len(ids)) for ids, _ in rows])
        labels_BT = torch.tensor([labels + [IGNORED] * (longest - len(labels)) for _, labels in rows])
        names = [str(record["id"]) for record in records]
        return Batch(ids_BT, labels_BT, positions, pixels, names, broken, learned, tokens, len(pictures), cut)

    def question(self, record: Mapping[str, Any]) -> Batch:
        """The prompt that asks a record's first question."""
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


def _template(name: str, processor: Any) -> str:
    """The Jinja text or name that ``encode`` takes."""
    own = processor.chat_template or processor.tokenizer.chat_template
    if name == "own" and not own:
        raise ValueError("train.template=own: the base has no chat template; take v1, or give Jinja text")
    return str(own) if name == "own" else name
