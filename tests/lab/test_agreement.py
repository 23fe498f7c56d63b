"""The shipped models say the same in vLLM, which the pipeline runs on, and in transformers, in which they were taught."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab import agreement_run


@pytest.mark.slow
def test_greedy_replies_of_vllm_and_transformers_are_the_same_for_99_of_100_prompts_of_every_role(
    tmp_path: Path,
) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.lab.agreement_run"],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"VLLM_CPU_KVCACHE_SPACE": "1"},
        stdout=subprocess.PIPE,
        stderr=(tmp_path / "stderr").open("w"),
        text=True,
    ) as process:
        by_transformers = {model: agreement_run.replies(model, "transformers") for model in agreement_run.EACH}
        said, _ = process.communicate()
    assert process.returncode == 0, (tmp_path / "stderr").read_text()[-4000:]
    by_vllm: dict[str, list[str]] = json.loads(said.splitlines()[-1])
    pairs = [
        (ours, theirs)
        for model, replies in by_transformers.items()
        for ours, theirs in zip(replies, by_vllm[model], strict=True)
    ]
    assert len(pairs) == 200
    assert len({ours for ours, _ in pairs}) > 100
    unlike = [pair for pair in pairs if pair[0] != pair[1]]
    assert len(unlike) <= 0.01 * len(pairs), unlike
