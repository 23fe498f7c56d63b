"""Decisions of two people about a run, from their sheets to the exported dataset."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from mminstruct.engine.local import Local
from mminstruct.prompts import Message
from mminstruct.recipe import check
from mminstruct.reviewing import sheet
from mminstruct.reviewing.write import write
from mminstruct.run import Event, Run, claim, execute
from mminstruct.stages.decide import Decide
from mminstruct.status.tables import all_faults, as_text, table_statuses
from mminstruct.status.trace import as_text as traced
from mminstruct.status.trace import trace
from mminstruct.store.reader import RunReader
from tests.reviewing.people import Line, lay, line
from tests.stages.doubles import Scripted
from tests.world import draw, recipe, reply

pytestmark = pytest.mark.slow
WORDS = [("reject", "reject"), ("edit", "accept"), ("accept", "reject"), ("accept", "accept"), ("skip", "skip")]
"""What ana and bo say about the first rows."""
EDIT = "Here one can see what a person wrote."


def build(url: Path, world: Path, decisions: Path | None = None, base: str | None = None, **model: Any) -> list[Event]:
    """Build the recipe; the units that were executed."""
    made = recipe(world)
    made.decide = Decide(path=None if decisions is None else str(decisions))
    if model:
        made.answer.model = Scripted(**model)
    check(made, installed=False)
    run = Run(url=str(url), recipe=made)
    claim(run, base)
    events: list[Event] = []
    execute(run, Local(), watch=events.append)
    return [event for event in events if event.fresh]


def bytes_of(url: Path) -> dict[str, str]:
    return {str(one): hashlib.sha256(one.read_bytes()).hexdigest() for one in url.rglob("*") if one.is_file()}


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A run, two people's decisions about it, and a second run that has them."""
    folder = tmp_path_factory.mktemp("people")
    world = draw(folder / "world", images=16)
    first, second = folder / "R", folder / "R2"
    build(first, world)
    before = bytes_of(first)
    write(str(first), str(folder / "sheets"), ["ana", "bo"], rows=20, overlap=1.0)
    of = sheet.read(str(folder / "sheets"))
    texts = {row["pair_id"]: row for row in RunReader(str(first))["review"].to_arrow().to_pylist()}
    ids = list(dict.fromkeys(one.id for one in of.sheets["ana"].rows))
    words = dict(zip(ids, WORDS, strict=False))

    def told(person: str, n: int) -> Line:
        id_ = of.sheets[person].rows[n].id
        word = words.get(id_, ("accept", "accept"))[person == "bo"]
        edit = {"question": texts[id_]["question"], "answer": EDIT} if word == "edit" else {}
        return line(of, person, n, word, reason="not_in_image" if word == "reject" else None, **edit)

    files = {person: [told(person, n) for n in range(20)] for person in ("ana", "bo")}
    decisions = lay(folder / "sheets", of, files)
    fresh = build(second, world, decisions, base=str(first))
    return {"world": world, "first": first, "second": second, "decisions": decisions, "before": before, "fresh": fresh,
            "ids": ids, "texts": texts}  # fmt: skip


def test_what_people_reject_is_gone_what_they_edit_is_exported_and_the_first_run_is_untouched(
    planted: dict[str, Any],
) -> None:
    run = RunReader(str(planted["second"]))
    rejected, edited, disputed, accepted, skipped = planted["ids"][:5]
    drops = {row["id"]: (row["reason"], row["detail"]) for row in run["review"].dropped()}
    assert drops == {rejected: ("review_rejected", "2 x not_in_image"), disputed: ("review_disputed", "accept, reject")}
    rows = {row["pair_id"]: row for row in run["review"].to_arrow().to_pylist()}
    assert {id_: rows[id_]["decision"] for id_ in (edited, accepted, skipped)} == {
        edited: "edited", accepted: "accepted", skipped: "unseen",
    }  # fmt: skip
    assert (rows[edited]["answer"], rows[edited]["was"]) == (EDIT, planted["texts"][edited]["answer"])
    exported = {row["pair_id"]: row for row in run["export"].to_arrow(["pair_id", "conversations"]).to_pylist()}
    assert not exported.keys() & {rejected, disputed}
    assert exported[edited]["conversations"][1]["value"] == EDIT
    assert {event.table for event in planted["fresh"]} == {"decide", "review", "rate", "select", "merge", "export"}
    assert bytes_of(planted["first"]) == planted["before"]
    statuses = table_statuses(str(planted["second"]), verify=True)
    assert all_faults(statuses) == []
    notes = {status.table: status.notes for status in statuses}
    assert notes["review"] == {"votes": 38, "repeated": 2}
    assert "review: 1 x review_rejected" in as_text(statuses)


def test_the_trace_of_a_pair_shows_who_said_what_and_a_second_build_does_nothing(planted: dict[str, Any]) -> None:
    for id_, words in zip(planted["ids"], WORDS, strict=False):
        rows = trace(str(planted["second"]), id_).rows["decide"]
        assert {row["person"]: row["decision"] for row in rows} == {"ana": words[0], "bo": words[1]}
    page = traced(trace(str(planted["second"]), planted["ids"][0]))
    assert "person: ana" in page
    assert "LEFT at review" in page
    again = build(planted["second"], planted["world"], planted["decisions"], base=str(planted["first"]))
    assert again == []


def test_a_decision_about_an_answer_that_changed_upstream_is_counted_and_the_others_hold(
    planted: dict[str, Any], tmp_path: Path
) -> None:
    accepted = planted["ids"][3]
    old = planted["texts"][accepted]["answer"]

    def script(messages: list[Message], seed: int) -> str:
        made = reply(messages, seed)
        return "Here one can see another answer, and nothing else at all." if made == old else made

    first = str(planted["first"])
    build(tmp_path / "R3", planted["world"], planted["decisions"], base=first, name="another", script=script)
    run = RunReader(str(tmp_path / "R3"))
    rows = {row["pair_id"]: row for row in run["review"].to_arrow().to_pylist()}
    changed = {id_ for id_, row in rows.items() if row["answer"].startswith("Here one can see another")}
    assert accepted in changed
    assert {rows[id_]["decision"] for id_ in changed} == {"unseen"}
    lines = Counter(row["pair_id"] for row in run["decide"].to_arrow(["pair_id"]).to_pylist())
    (status,) = (one for one in table_statuses(str(tmp_path / "R3")) if one.table == "review")
    assert status.notes["changed_since"] == sum(lines[id_] for id_ in changed)
    assert sum(status.notes.values()) == sum(lines.values()) == 40
    assert status.dropped == {"review_rejected": 1, "review_disputed": 1}


def test_exports_and_cards_name_nobody(planted: dict[str, Any], tmp_path: Path) -> None:
    from mminstruct import export

    export.write(str(planted["second"]), "llava", str(tmp_path / "out"))
    for one in (tmp_path / "out").rglob("*"):
        if one.is_file() and one.suffix in (".json", ".md", ".jsonl", ".yaml"):
            words = one.read_text(encoding="utf-8").replace('"', " ").split()
            assert not {"ana", "bo"} & set(words), one
