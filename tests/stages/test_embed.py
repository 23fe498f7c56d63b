from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from mminstruct import schemas
from mminstruct.models.model import Model
from mminstruct.stage import StageOutput, runtime
from mminstruct.stages.embed import Embed

VECTORS = {"Write a poem.": (3.0, 4.0), "Write a song.": (0.0, 1.0), "Empty.": (0.0, 0.0), "Broken.": (np.nan, 1.0)}


@dataclass(kw_only=True)
class Table(Model):
    """An encoder with given vectors that records its requests."""

    asked: list[str] = runtime(factory=list)

    def embed(self) -> Any:
        return self

    def texts(self, texts: list[str]) -> np.ndarray:
        self.asked += texts
        return np.array([VECTORS[text] for text in texts], np.float32)


def run(*rows: tuple[str, str], model: Table | None = None) -> StageOutput:
    ids, texts = [key for key, _ in rows], [text for _, text in rows]
    instruct = pa.table({"instruction_id": pa.array(ids, pa.string()), "instruction": pa.array(texts, pa.string())})
    made: StageOutput = Embed(model=model or Table(name="table")).load()(instruct=instruct)  # type: ignore[assignment]
    assert made.table.schema == schemas.EMBED
    return made


def test_an_instruction_that_was_written_twice_is_encoded_once() -> None:
    model = Table(name="table")
    made = run(("a", "Write a poem."), ("b", "Write a song."), ("a", "Write a poem."), model=model)
    assert made.table["instruction_id"].to_pylist() == ["a", "b"]
    assert model.asked == ["Write a poem.", "Write a song."]


def test_embeddings_have_unit_length() -> None:
    made = run(("a", "Write a poem."), ("b", "Write a song."))
    assert made.table["embedding"].to_pylist() == [pytest.approx([0.6, 0.8]), [0.0, 1.0]]


def test_vectors_without_a_direction_leave_and_the_others_keep_their_own() -> None:
    made = run(("z", "Empty."), ("a", "Write a poem."), ("n", "Broken."), ("b", "Write a song."))
    assert [(drop.id, drop.reason) for drop in made.drops] == [("z", "bad_embedding"), ("n", "bad_embedding")]
    assert made.table["instruction_id"].to_pylist() == ["a", "b"]
    assert made.table["embedding"][1].as_py() == [0.0, 1.0]


def test_a_part_without_rows_and_one_without_good_rows_give_empty_tables() -> None:
    assert run().table.num_rows == 0
    assert run(("z", "Empty.")).table.num_rows == 0
