from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from PIL import Image

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
        **change,
    }


Tables = Callable[[str], ds.Dataset]


def tables_of(made: list[dict[str, Any]]) -> Tables:
    table = pa.Table.from_pylist(made, schema=SCHEMA)
    return lambda name: {"export": ds.dataset(table)}[name]


@pytest.fixture
def sound() -> list[dict[str, Any]]:
    """230 sound rows."""
    return [row(n) for n in range(230)]


@pytest.fixture
def tables(sound: list[dict[str, Any]]) -> Tables:
    return tables_of(sound)


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
    "end token": ({"conversations": turns(("human", "<image>\nHow?"), ("gpt", "So.</s>"))}, "token '</s>'"),
    "empty answer": ({"conversations": turns(("human", "<image>\nHow?"), ("gpt", " \n"))}, "turn 1 is empty"),
    "empty question": ({"conversations": turns(("human", "<image>\n"), ("gpt", "So."))}, "turn 0 is empty"),
    "half an image": ({"image": {"bytes": jpeg(3)[:600], "path": "ffff.jpg"}}, "does not open"),
    "no image": ({"image": {"bytes": b"", "path": "ffff.jpg"}}, "does not open"),
}  # fmt: skip
"""Rows that no trainer should see, and what the refusal says."""
