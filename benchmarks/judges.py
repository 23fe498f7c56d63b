"""Runs a benchmark with judges that have injected faults, and checks that its statistics find the faults.

    python -m benchmarks.judges [--questions 500] [--to DIR]

Generates a benchmark in which 85 % of one contestant's answers and 55 % of the other's are true of the scene. Runs
``mminstruct bench`` on it with the oracle and six judges with known faults, and prints for each fault the injected
value, the estimate and its interval. The tables stay in the folder.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from lab import contest
from mminstruct.bench.contestant import Contestant
from mminstruct.bench.juror import Juror
from mminstruct.bench.result import result
from mminstruct.config import conf
from mminstruct.engine.local import Local
from mminstruct.recipe import check
from mminstruct.recipes import Bench
from mminstruct.run import Run, claim, execute
from mminstruct.stages.judge import Judge
from mminstruct.stages.pick import Pick
from mminstruct.stages.respond import Respond
from mminstruct.stages.score import Score

CONTESTANTS = {"strong": 0.85, "weak": 0.55}
PLANTED = ("first=1", "first=0.3", "longer=1.5", "longer=0.5", "right=0.8", "right=0.5")


def prompt(name: str) -> str:
    return (conf() / "prompts" / f"{name}.md").read_text(encoding="utf-8")


def bench(folder: Path, out: Path, planted: tuple[str, ...] = PLANTED) -> dict[str, Any]:
    """Run the benchmark in *folder*; returns its result."""

    def juror(name: str) -> Juror:
        options = {"truth": [str(folder)]}
        return Juror(name=name, backend="oracle", options=options, image=False, caption=False,
                     prompt=prompt("judge_oracle"), rubric=prompt("rubric_oracle"))  # fmt: skip

    given = {name: Contestant(answers=str(folder / "answers" / f"{name}.json")) for name in CONTESTANTS}
    recipe = Bench(
        pick=Pick(path=str(folder / "questions.json"), images=str(folder / "images"), rows=100),
        respond=Respond(contestants=given, prompt=prompt("respond")),
        judge=Judge(judges={"oracle": juror("oracle"), **{name: juror(f"oracle:{name}") for name in planted}}),
        score=Score(truth="oracle"),
    )
    check(recipe)
    run = Run(url=str(out), recipe=recipe)
    claim(run)
    execute(run, Local())
    return result(str(out))


def table(found: dict[str, Any]) -> list[str]:
    """A Markdown table with one line per judge."""
    measures = {
        "first": ("position: first over second", lambda pairs: pairs["position"]["bias"]),
        "longer": (
            "log-odds a doubling of length, given the truth",
            lambda pairs: pairs["length"]["slope_given_truth"],
        ),
        "right": ("verdicts right, by the oracle", lambda pairs: pairs["truth"]["verdicts"]),
    }
    lines = ["| judge | measure | planted | found | 95 % interval | covered |", "|---|---|---|---|---|---|"]
    for name, judge in found["judges"].items():
        fault, _, amount = name.partition("=")
        if fault in measures:
            said, read = measures[fault]
            one = read(judge["pairs"])
            inside = one["low"] - 1e-9 <= float(amount) <= one["high"] + 1e-9
            interval = f"{one['low']:.3f} to {one['high']:.3f} | {'yes' if inside else 'NO'}"
            lines.append(f"| {name} | {said} | {float(amount):g} | {one['value']:.3f} | {interval} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=500)
    parser.add_argument("--to", type=Path, default=None)
    given = parser.parse_args()
    folder = given.to or Path(tempfile.mkdtemp(prefix="judges-"))
    contest.write(folder / "set", given.questions, CONTESTANTS)
    found = bench(folder / "set", folder / "run")
    print("\n".join(table(found)))
    (folder / "result.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    print(f"\n{given.questions} questions; all numbers in {folder}/result.json")


if __name__ == "__main__":
    main()
