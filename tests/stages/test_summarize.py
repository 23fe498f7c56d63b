from __future__ import annotations

import re
from typing import Any

import pyarrow as pa
import pytest

from mminstruct import schemas
from mminstruct.models.model import Reply
from mminstruct.prompts import Message
from mminstruct.stage import StageOutput, instruction_id
from mminstruct.stages.summarize import Summarize
from tests.stages.doubles import Scripted, dataset, prompt_text, said

CLUSTERS = {0: ["poem", "song", "haiku", "rhyme"], 1: ["price", "advert"], 2: ["recipe"]}


def text(word: str) -> str:
    return f"Write a {word} about it."


def run(model: Scripted, clusters: dict[int, list[str]] = CLUSTERS, pieces: int = 1, **fields: Any) -> StageOutput:
    stage = Summarize(**{"model": model, "prompt": prompt_text("summarize"), **fields})
    stage.check()
    rows = [
        {"instruction_id": instruction_id(text(word)), "cluster": name, "distance": 0.1 * place}
        for name, found in clusters.items()
        for place, word in enumerate(found)
    ]
    schema = pa.schema([schemas.CLUSTER.field(name) for name in ("instruction_id", "cluster", "distance")])
    cluster = pa.Table.from_pylist(rows[::-1], schema=schema)
    all_words = [word for found in clusters.values() for word in found]
    instruct = pa.table(
        {
            "instruction_id": [instruction_id(text(word)) for word in [*all_words, *all_words]],
            "instruction": [text(word) for word in all_words] + [text(word).upper() for word in all_words],
        }
    )
    return stage.load(cluster=dataset(cluster, pieces), instruct=dataset(instruct, pieces))()


def shown(messages: list[Message]) -> list[str]:
    return re.findall(r"^\d+\. (.+)$", said(messages), re.MULTILINE)


def general(messages: list[Message], seed: int) -> str:
    return f"Instruction: {shown(messages)[0].replace('about it', 'inspired by this image')}"


def test_each_cluster_becomes_one_instruction_largest_first() -> None:
    made = run(Scripted(script=general))
    assert made.table.schema == schemas.SUMMARIZE
    assert made.drops == []
    rows = made.table.to_pylist()
    assert [(row["cluster"], row["size"]) for row in rows] == [(0, 4), (1, 2), (2, 1)]
    assert rows[0]["instruction"] == "Write a poem inspired by this image."
    assert rows[0]["instruction_id"] == instruction_id(rows[0]["instruction"])


def test_the_summarizer_sees_the_nearest_members_in_their_first_wording() -> None:
    model = Scripted(script=general)
    made = run(model, members=2)
    assert [shown(messages) for messages in model.chatter.asked] == made.table["members"].to_pylist()
    assert made.table["members"].to_pylist() == [
        [text("poem"), text("song")],
        [text("price"), text("advert")],
        [text("recipe")],
    ]
    assert made.table["size"].to_pylist() == [4, 2, 1]


def test_how_the_tables_are_cut_into_parts_does_not_matter() -> None:
    assert run(Scripted(script=general), pieces=5).table.equals(run(Scripted(script=general)).table)


def test_a_small_cluster_leaves_unasked() -> None:
    model = Scripted(script=general)
    made = run(model, min_size=2)
    assert made.table["cluster"].to_pylist() == [0, 1]
    assert [(drop.id, drop.reason) for drop in made.drops] == [("2", "cluster_too_small")]
    assert len(model.chatter.asked) == 2


def test_the_larger_of_two_clusters_keeps_the_instruction_both_came_to() -> None:
    made = run(Scripted(script=lambda messages, seed: "Write something about this image."))
    assert made.table["cluster"].to_pylist() == [0]
    assert [(drop.id, drop.reason) for drop in made.drops] == [("1", "summary_duplicate"), ("2", "summary_duplicate")]
    assert "cluster 0" in str(made.drops[0].detail)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply("Here is the instruction:", "stop"), "summary_unparsed"),
        (Reply("", "stop"), "summary_empty"),
        (Reply("Write a text about the", "length"), "summary_truncated"),
        (Reply("Write of " + " ".join(f"thing{n}" for n in range(70)), "stop"), "summary_too_long"),
        (Reply("Write very " * 12, "stop"), "summary_repetition"),
        (Reply("", "error", error="boom"), "model_error"),
    ],
)
def test_a_bad_summary_leaves_by_name_and_takes_no_other_with_it(reply: Reply, reason: str) -> None:
    def script(messages: list[Message], seed: int) -> Reply | str:
        return reply if shown(messages)[0] == text("price") else general(messages, seed)

    made = run(Scripted(script=script))
    assert made.table["cluster"].to_pylist() == [0, 2]
    assert [(drop.id, drop.reason) for drop in made.drops] == [("1", reason)]


def test_settings_that_cannot_work_are_refused() -> None:
    with pytest.raises(ValueError, match="members"):
        run(Scripted(), members=0)
