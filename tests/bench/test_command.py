"""A whole benchmark, as a user runs it: to the end, killed in the middle, on both engines."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pyarrow as pa
import pytest

from lab import contest
from mminstruct import schemas
from mminstruct.cli import main
from mminstruct.status.trace import trace
from mminstruct.store.tables import Store
from tests.bench.pictures import lines
from tests.conftest import mminstruct
from tests.models.server import Answer, Endpoint, Request, say

ROOT = Path(__file__).parents[2]
QUESTIONS = 12


def rows(run: Path, name: str) -> pa.Table:
    return Store(str(run)).table(name).dataset(schemas.TABLES[name]).to_table()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.parquet"))}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return contest.write(tmp_path_factory.mktemp("drawn"), QUESTIONS, {"strong": 0.9, "weak": 0.4})


def words(drawn: Path, out: Path) -> list[str]:
    given = ", ".join(f"{name}: {{answers: {drawn}/answers/{name}.json}}" for name in ("strong", "weak"))
    return ["bench", f"out={out}", f"source={drawn}/questions.json", f"recipe.pick.images={drawn}/images",
            f"+contestants={{{given}}}",
            "experiment=oracle", f"judges.oracle.options.truth=[{drawn}]", "judges.oracle.asks=[pair,grade]"]  # fmt: skip


def test_the_command_ends_with_a_result_that_the_same_command_shows_again(
    drawn: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([*words(drawn, tmp_path / "run"), "engine=local"]) == 0
    said = capfd.readouterr().out
    assert f"{QUESTIONS} questions: " in said
    assert re.search(r"^strong : weak +all +12 ", said, re.MULTILINE)
    assert re.search(r"^judge oracle: oracle \(no revision\); saw truth 48$", said, re.MULTILINE)
    before = contents(tmp_path / "run")
    assert main([*words(drawn, tmp_path / "run"), "engine=local"]) == 0
    assert contents(tmp_path / "run") == before
    result = said.partition("Done: ")[2]
    assert capfd.readouterr().out.endswith(result)

    found = trace(str(tmp_path / "run"), "7")  # a set's own id, however short
    assert (found.kind, list(found.rows)) == ("question_id", ["pick", "respond", "judge", "score"])
    assert [row["contestant"] for row in found.rows["respond"]] == ["strong", "weak"]
    assert sorted(row["order"] for row in found.rows["judge"] if row["b"]) == [0, 1]
    assert set(found.prompts) == {"respond", "judge.oracle", "judge.oracle.rubric"}
    by_image = trace(str(tmp_path / "run"), found.rows["pick"][0]["image_id"])
    assert by_image.rows == found.rows


def test_mistakes_are_one_line_before_anything_is_asked(
    drawn: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    local = [*words(drawn, tmp_path / "run"), "engine=local"]
    for change, said in [
        ("recipe.respond.rounds=[9]", "rounds=[9], but earlier has only 4 questions"),
        ("+contestants={nobody: {answers: nowhere.json}}", "contestants.nobody.answers: nowhere.json: no such file"),
        ("+judges={open: {name: some/vlm, backend: transformers}}", "judges.open: revision is missing"),
        (
            "judges.oracle.prompt=juge",
            "recipe.judge.judges.oracle.prompt: no file prompts/juge.md; did you mean 'judge",
        ),
        ("+judges.oracle.promt=x", "there is no key 'judges.oracle.promt'; did you mean 'judges.oracle.prompt'?"),
        ("judges.one={nmae: m}", "did you mean 'judges.one.name'?"),
        ("recipe.score.cluster=kind", "cluster=kind: take question_id or instruction_id"),
    ]:
        assert main([*local, change]) == 2, change
        told = capfd.readouterr().err
        assert said in told
        assert told.count("\n") == 1, told
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_ray_engine_makes_the_bytes_of_the_local_engine(drawn: Path, tmp_path: Path, ray_here: None) -> None:
    assert main([*words(drawn, tmp_path / "local"), "engine=local", "recipe.pick.rows=5"]) == 0
    assert main([*words(drawn, tmp_path / "ray"), "engine=ray", "recipe.pick.rows=5", "engine.pool.cpus=0.25"]) == 0
    ray, local = contents(tmp_path / "ray"), contents(tmp_path / "local")
    assert [name for name in {*ray, *local} if ray.get(name) != local.get(name)] == []
    assert len(list((tmp_path / "ray" / "judge" / "_receipts").iterdir())) == 3


class Court:
    """A judge behind an endpoint: says which question it was asked, and stops answering until it is let go on."""

    def __init__(self, before: int) -> None:
        self.before, self.go_on = before, threading.Event()
        self.answered: list[str] = []

    async def __call__(self, request: Request) -> Answer:
        number = len(self.answered)
        while number >= self.before and not self.go_on.is_set():
            await asyncio.sleep(0.02)
        found = re.search(r"Question (\d+)\?.*<answer A>\s*(\w+)", request.asked, re.DOTALL)
        assert found is not None
        self.answered.append(" ".join(found.groups()))
        return Answer(body=say(json.dumps({"reason": self.answered[-1], "verdict": "A"})))


@pytest.mark.slow
def test_a_killed_judge_goes_on_and_asks_nothing_twice_that_was_answered(tmp_path: Path) -> None:
    asked = [{"question_id": n, "text": f"Question {n}?", "caption": f"Scene {n}."} for n in range(QUESTIONS)]
    command = ["bench", "engine=local", f"out={tmp_path}/run", f"source={lines(tmp_path / 'q.json', asked)}"]
    given = {
        name: lines(tmp_path / f"{name}.json", [{"question_id": n, "text": f"{name} {n}"} for n in range(QUESTIONS)])
        for name in ("first", "second")
    }
    command.append(f"+contestants={{first: {{answers: {given['first']}}}, second: {{answers: {given['second']}}}}}")
    court = Court(before=7)
    with Endpoint(court) as endpoint:
        options = "{price: {input: 1, output: 1}, concurrency: {start: 2, max: 2}}"
        command += [f'+judges={{court: {{name: judge, backend: openai, url: "{endpoint.url}", options: {options}}}}}']
        job = [sys.executable, ROOT / "jobs" / "bench.py", *command[1:]]
        run = subprocess.Popen(job, stdout=subprocess.DEVNULL)
        journal = tmp_path / "run" / "judge" / "_calls" / "questions-0000" / "replies.jsonl"
        end = time.monotonic() + 240
        try:
            while run.poll() is None and not (journal.is_file() and journal.read_bytes().count(b"\n") == court.before):
                assert time.monotonic() < end, "no replies came into the journal"
                time.sleep(0.05)
        finally:
            run.kill()
        assert run.wait() == -signal.SIGKILL
        before = list(court.answered)
        assert len(before) == court.before
        court.go_on.set()
        said = mminstruct(*command)
    # those in flight at the kill may have been let go meanwhile, into nothing
    again = court.answered[len(before) :]
    assert not set(again) & set(before)
    assert set(again) | set(before) == {f"{n} {name}" for n in range(QUESTIONS) for name in ("first", "second")}
    verdicts = rows(tmp_path / "run", "judge").to_pylist()
    assert len(verdicts) == 2 * QUESTIONS
    assert all(row["reason"] == f"{row['question_id']} {('first', 'second')[row['order']]}" for row in verdicts)
    receipt = json.loads((tmp_path / "run" / "judge" / "_receipts" / "questions-0000.json").read_text())
    assert receipt["notes"]["replies_recalled"] == len(before)
    assert not journal.exists()
    assert "first : second" in said
    assert "winner changes with the order 100%" in said
    assert f"court did not see the image in {2 * QUESTIONS} of {2 * QUESTIONS} verdicts (caption: 24)" in said
