from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mminstruct.models import vllm
from mminstruct.models.model import Model
from tests.models import engine_run


@pytest.fixture(scope="module")
def made(llava: Path, mixtral: Path) -> dict[str, Any]:
    """The results of a process with real engines."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.models.engine_run", str(llava), str(mixtral)],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"VLLM_CPU_KVCACHE_SPACE": "1"},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def test_ranks_share_this_processs_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {2, 5, 7})
    assert vllm._cores(2) == "2,7|5"
    assert vllm._cores(4) == "2|5|7|2,5,7"


def test_replies_are_those_of_transformers_word_for_word(made: dict[str, Any], llava: Path) -> None:
    rows = engine_run.seen()
    other = Model(name=str(llava), max_tokens=20).chat().chat(rows, seeds=list(range(len(rows))))
    assert made["greedy"] == [dataclasses.asdict(reply) for reply in other]
    assert len({reply["text"] for reply in made["greedy"]}) > 5


def test_a_broken_image_and_an_over_long_prompt_fail_alone(made: dict[str, Any]) -> None:
    first, broken, long, last = made["with bad rows"]
    assert [first, last] == [made["greedy"][0], made["greedy"][9]]
    assert broken["finish"] == long["finish"] == "error"
    assert "broken image" in broken["error"]
    assert "context" in long["error"]


def test_sampled_replies_depend_on_their_seeds_and_not_on_their_batch(made: dict[str, Any]) -> None:
    assert len({reply["text"] for reply in made["sampled"]}) > 9
    assert made["in threads"] == made["sampled"]


def test_replies_follow_the_schema(made: dict[str, Any]) -> None:
    for reply in made["schema"]:
        said = json.loads(reply["text"], strict=False)  # random weights often produce control characters
        assert set(said) == {"score", "why"}
        assert said["score"] in (1, 2, 3)
        assert reply["finish"] == "stop"


def test_a_schema_without_a_grammar_fails_its_row(made: dict[str, Any]) -> None:
    assert made["broken schema"][0]["finish"] == "error"


def test_a_dead_engine_raises_for_all_callers_then_and_later(made: dict[str, Any]) -> None:
    assert len({reply["text"] for reply in made["mixtral"]}) > 4
    assert "fell off the bus" in made["dies"]
    assert "fell off the bus" in made["is dead"]
