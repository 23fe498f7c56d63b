"""The recipe domains with scripted models, from images to a training set."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from mminstruct.engine.local import Local
from mminstruct.run import Run, claim, execute
from mminstruct.status.tables import table_statuses
from mminstruct.status.trace import trace
from mminstruct.text.turn import FAULTS
from tests import world

Row = dict[str, Any]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(world.draw(tmp_path_factory.mktemp("domains") / "world", 16))


def built(source: str, url: Any, **fields: Any) -> Run:
    recipe = world.domains(source)
    for name, value in fields.items():
        stage, _, field = name.partition("__")
        setattr(getattr(recipe, stage), field, value)
    run = Run(url=str(url), recipe=recipe)
    claim(run)
    execute(run, Local())
    return run


@pytest.fixture(scope="module")
def run(source: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return built(source, tmp_path_factory.mktemp("domains") / "run")


def rows(run: Run, name: str) -> list[Row]:
    found: list[Row] = run.table(name).dataset(run.stages[name].writes).to_table().to_pylist()
    return found


def test_as_many_judgements_of_each_domain_are_right_as_wrong_in_what_is_selected(run: Run) -> None:
    texts = {row["pair_id"]: row for row in rows(run, "review")}
    said = Counter(
        (row["domain"], texts[row["pair_id"]]["answer"]) for row in rows(run, "select") if row["kind"] == "judgement"
    )
    domains = {domain for domain, _ in said}
    assert domains == {"colours", "places", "signs"} & {row["domain"] for row in rows(run, "retrieve")}
    assert all(said[domain, "Yes"] == said[domain, "No"] > 0 for domain in domains), said


def test_a_conversation_stays_whole_and_in_order_and_every_turn_says_its_kind_and_domain(run: Run) -> None:
    texts = {row["pair_id"]: row for row in rows(run, "review")}
    made = rows(run, "export")
    assert made
    for row in made:
        turns = [texts[turn["pair_id"]] for turn in row["turns"]]
        places = [turn["turn"] for turn in turns if turn["talk"]]
        assert places == list(range(len(places)))
        assert [(turn["kind"], turn["domain"], turn["origin"]) for turn in row["turns"]] == [
            (turn["kind"], turn["domain"], turn["origin"]) for turn in turns
        ]
        for turn, said in zip(turns, row["conversations"][1::2], strict=True):
            assert said["value"] == turn["answer"]
            if turn["choices"]:
                assert turn["answer"] == "ABCD"[turn["right"]]


def test_every_reason_in_the_run_is_known_and_the_sums_close(
    source: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    def careless(messages: Any, seed: int) -> str:
        return world.asked_about(messages, seed).replace("Yes </A", "Perhaps </A").replace("D. yellow", "D. the red")

    folder = tmp_path_factory.mktemp("careless")
    recipe = world.domains(source)
    recipe.ask.model.script = careless  # type: ignore[attr-defined]
    recipe.ask.model.chatter.script = careless  # type: ignore[attr-defined]
    run = Run(url=str(folder / "run"), recipe=recipe)
    claim(run)
    execute(run, Local())
    statuses = {status.table: status for status in table_statuses(run.url)}
    assert {"judgement_word", "choice_same"} == statuses["verify"].dropped.keys() <= FAULTS.keys()
    assert all(status.rows_in == status.kept + sum(status.dropped.values()) for status in statuses.values())
    assert statuses["verify"].rows_in == statuses["converse"].rows
    assert {row["kind"] for row in rows(run, "verify")} == {"judgement", "short", "long"}


def test_a_dropped_question_is_found_by_its_id_with_its_text(source: str, run: Run) -> None:
    pair = next(row for row in rows(run, "verify") if row["kind"] == "choice")
    found = trace(run.url, pair["pair_id"])
    assert {"ingest", "retrieve", "transcribe", "caption", "ask", "converse", "verify"} <= found.rows.keys()
    assert [row["question"] for row in found.rows["verify"]] == [pair["question"]]


def test_the_size_of_parts_changes_no_row_where_the_sample_has_all_images(
    source: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("parts")
    small, large = (built(source, folder / str(size), ingest__rows=size, retrieve__sample_images=64) for size in (3, 8))
    for name in ("ask", "converse", "verify", "select"):
        one, other = (sorted(rows(run, name), key=lambda row: str(row["pair_id"])) for run in (small, large))
        assert one == other, name
