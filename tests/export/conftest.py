from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pytest
from PIL import Image

from mminstruct.export import Collection, hf, save
from mminstruct.export.card import CardFacts
from mminstruct.export.proof import Check
from mminstruct.export.row import Row
from mminstruct.stages.export import SCHEMA


def jpeg(seed: int, format: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (48, 64, 3), np.uint8)
    Image.fromarray(pixels).save(buffer, format)
    return buffer.getvalue()


def row(n: int, **change: Any) -> dict[str, Any]:
    """A sound row; every seventh is of the test split, and two rows have one image."""
    image = f"{n // 2:02x}ab"
    return {
        "pair_id": f"p{n:03d}",
        "image": {"bytes": jpeg(n // 2), "path": f"{image}.jpg"},
        "conversations": [
            {"from": "human", "value": f"<image>\nWrite line {n}."},
            {"from": "gpt", "value": f"Line {n}: “ünïcode”\nand another | line."},
        ],
        "split": "test" if n % 7 == 6 else "train",
        "image_id": image,
        "instruction_id": f"t{n % 5}",
        "source": "drawn",
        "licence": "CC BY 4.0",
        "turns": [question(f"p{n:03d}", f"t{n % 5}")],
        **change,
    }


def question(pair_id: str, instruction_id: str, **change: str) -> dict[str, str]:
    """What a row tells of one of its questions."""
    ids = {"pair_id": pair_id, "instruction_id": instruction_id}
    return {**ids, "kind": "instruction", "domain": "", "origin": "answer", **change}


class Given(Collection):
    """Rows of an export table that stand for a run's."""

    def __init__(self, made: list[dict[str, Any]], check: Check | None = None) -> None:
        self.table = ds.dataset(pa.Table.from_pylist(made, schema=SCHEMA))
        self.check = check or Check()

    def splits(self) -> list[str]:
        return ["train", "test"]

    def rows(self, split: str) -> Iterator[Row]:
        yield from map(self.check, hf.rows(self.table, filter=pc.field("split") == split))

    def nothing(self) -> str:
        return "there are no rows"

    def close(self, facts: CardFacts) -> None:
        facts.shares = self.check.shares


def saved(made: list[dict[str, Any]], format: str, to: Path, **how: Any) -> CardFacts:
    """Write rows, and what the export tells of itself."""
    facts = CardFacts(name=to.name)
    more = {"model": "somebody"} if format == "openai-batch" else {}
    save(Given(made), facts, format, to, **more, **how)
    return facts


@pytest.fixture
def sound() -> list[dict[str, Any]]:
    """230 sound rows, of which row 8 has two rounds."""
    made = [row(n) for n in range(230)]
    made[8]["conversations"] = turns(
        ("human", "<image>\nHow many?"), ("gpt", "Two."), ("human", "Of what?"), ("gpt", "Ducks.")
    )
    made[8]["turns"] = [question("q1", "t1", kind="number", domain="ponds"), question("q2", "t2", kind="short")]
    made[8]["instruction_id"] = None
    return made


def offline(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The library ``datasets``, which then asks nobody."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    import datasets

    return datasets


def turns(*said: tuple[str, str]) -> list[dict[str, str]]:
    return [{"from": speaker, "value": value} for speaker, value in said]


UNSOUND: dict[str, tuple[dict[str, Any], str]] = {
    "answers first": ({"conversations": turns(("gpt", "Yes."), ("human", "<image>\nWhat?"))}, "turn 0 is from 'gpt'"),
    "question without answer": ({"conversations": turns(("human", "<image>\nWhat?"))}, "pairs of human and gpt"),
    "no turns": ({"conversations": []}, "0 turns"),
    "no image token": ({"conversations": turns(("human", "What?"), ("gpt", "A dog."))}, "0 times <image>"),
    "two image tokens": ({"conversations": turns(("human", "<image>\n<image>\nHow?"), ("gpt", "So."))}, "2 times <image>"),
    "image token in the answer": (
        {"conversations": turns(("human", "<image>\nHow?"), ("gpt", "See <image> here."))}, "token '<image>'",
    ),
    "a role that the template would split at": (
        {"conversations": turns(("human", "<image>\nHow?"), ("gpt", "So. ASSISTANT: Not so."))}, "token 'ASSISTANT: '",
    ),
    "end token": ({"conversations": turns(("human", "<image>\nHow?"), ("gpt", "So.</s>"))}, "token '</s>'"),
    "another family's token": (
        {"conversations": turns(("human", "<image>\nHow?"), ("gpt", "So <|box_start|> it is."))}, "token '<|box_start|>'",
    ),
    "thoughts": ({"conversations": turns(("human", "<image>\nHow?"), ("gpt", "◁think▷So it is, I say."))}, "◁think▷"),
    "undecoded bytes": ({"conversations": turns(("human", "<image>\nHow?"), ("gpt", "SoĠitĠis, I say."))}, "has 'Ġ'"),
    "a server's message": (
        {"conversations": turns(("human", "<image>\nHow?"), ("gpt", "Error: 429 Too Many Requests"))}, "429",
    ),
    "empty answer": ({"conversations": turns(("human", "<image>\nHow?"), ("gpt", " \n"))}, "turn 1 is empty"),
    "empty question": ({"conversations": turns(("human", "<image>\n"), ("gpt", "So."))}, "turn 0 is empty"),
    "half an image": ({"image": {"bytes": jpeg(3)[:600], "path": "ffff.jpg"}}, "cannot be decoded"),
    "no image": ({"image": {"bytes": b"", "path": "ffff.jpg"}}, "cannot be decoded"),
}  # fmt: skip
"""Rows that no trainer should see, and what the refusal says."""
