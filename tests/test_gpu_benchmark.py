"""benchmarks/gpu on the CPU in tiny sizes: it runs, saves, and says what did not run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu.section import NotRun, Section, need, table

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_benchmark_of_gpu_paths_runs_in_tiny_sizes_on_a_cpu(tmp_path: Path) -> None:
    sections = ["ceilings", "step", "cogvlm", "clip", "kmeans", "vllm"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", "--out", str(tmp_path), "--smoke", "--only", ",".join(sections)],
        cwd=ROOT, capture_output=True, text=True, timeout=580,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "results.json").read_text())["sections"]
    assert list(found) == sections
    whats = {name: [row["what"] for row in rows] for name, rows in found.items()}
    assert {"tiny, the loop", "tiny, bare transformers and DeepSpeed", "tiny, an answer of 8 tokens"} <= {
        *whats["step"]
    }
    assert {"a token at batch 1", "a token at batch 3"} <= {*whats["cogvlm"]}
    assert all(row["before"] > 0 and row["ceiling"] > 0 for row in found["cogvlm"] if row["unit"] == "ms")
    assert any("JPEG" in what for what in whats["clip"])
    assert any("numpy: an iteration" in what for what in whats["kmeans"])
    (unrun,) = found["vllm"]
    assert (unrun["measured"], bool(unrun["note"])) == ("not run", True)
    assert (tmp_path / "table.md").read_text() in done.stdout


def test_a_part_that_fails_or_lacks_a_package_or_time_is_a_row_and_the_next_part_runs(tmp_path: Path) -> None:
    section = Section("clip", tmp_path, "cpu", False, 100.0)
    with section.part("one"):
        need("a_package_that_nobody_has")
    with section.part("two"):
        raise ZeroDivisionError("by nothing")
    with section.part("three"):
        section.wants(1000)
        section.add("three", 1.0)
    with section.part("four"):
        section.add("four", 2.0, "ms", ceiling=0.5, before=4.0)
    rows = json.loads((tmp_path / "clip.json").read_text())
    assert [row["measured"] for row in rows] == ["not run", "failed", "not run", 2.0]
    assert "a_package_that_nobody_has is not installed" in rows[0]["note"]
    assert "ZeroDivisionError: by nothing" in rows[1]["note"]
    assert "it needs 1000" in rows[2]["note"]
    assert "| clip | four | 4.0 | 2.0 | ms | 0.5 | 0.25 |  |" in table({"clip": rows})
    assert "| 0.50 |" in table({"clip": [{"what": "x", "measured": 2.0, "unit": "images/s", "ceiling": 4.0}]})
    with pytest.raises(NotRun):
        need("a_package_that_nobody_has")


def test_an_unknown_section_is_refused(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "benchmarks.gpu", "--out", str(tmp_path), "--only", "clipp"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "no section clipp" in done.stderr
