"""Builds that differ in their answers only, and a benchmark that must find which of them has the better answers."""

from __future__ import annotations

import copy
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.dataset as ds

from lab import contest
from mminstruct import schemas
from mminstruct.bench.contestant import Contestant
from mminstruct.bench.juror import Juror
from mminstruct.bench.result import result
from mminstruct.config.files import conf
from mminstruct.engine.local import Local
from mminstruct.microworld.families import FAMILIES, classify
from mminstruct.microworld.language import facts_of
from mminstruct.quality.truth import read_truth
from mminstruct.recipe import check
from mminstruct.recipes import Bench, MMInstruct
from mminstruct.run import Run, claim, execute
from mminstruct.stage import Drop, Stage, StageOutput, Transform, output, part, whole
from mminstruct.stages.judge import Judge
from mminstruct.stages.pick import Pick
from mminstruct.stages.respond import Respond
from mminstruct.stages.score import Score

ORDER = ("half wrong", "micro", "truth")
"""Contestants from worst to best: descriptions of which half is wrong, the run's own answerer, the truth."""
NOISY = 0.8
"""Share of right verdicts of the second judge."""


@dataclass(kw_only=True)
class Written(Stage):
    """Answers written from the scenes by the microworld's grammar, without a model."""

    folders: list[str]
    """Folders that ``mminstruct microworld`` wrote."""
    wrong: bool = False
    """Whether about half of the nouns, colours and numbers are changed first (``contest.answer``)."""

    reads = {
        "match": part("pair_id", "image_id", "instruction_id"),
        "summarize": whole("instruction_id", "instruction"),
    }
    writes = schemas.ANSWER
    row_key = "pair_id"

    def load(self, *, summarize: ds.Dataset) -> Transform:
        known = read_truth([Path(folder) for folder in self.folders])
        bank = summarize.to_table(columns=["instruction_id", "instruction"])
        asked = dict(zip(bank["instruction_id"].to_pylist(), bank["instruction"].to_pylist(), strict=True))

        def answer(match: pa.Table) -> StageOutput:
            rows: list[dict[str, Any] | Drop] = []
            for pair in match.select(["pair_id", "image_id", "instruction_id"]).to_pylist():
                text, scene = asked[pair["instruction_id"]], known[pair["image_id"]].scene
                family = FAMILIES.get(classify(text) or "")
                if family is None or not family.applies(facts_of(scene, place=True)):
                    rows.append(Drop(pair["pair_id"], "no_match", "the instruction does not apply to the scene"))
                    continue
                said = contest.answer(family, text, scene, random.Random(pair["pair_id"]), right=not self.wrong)
                rows.append(pair | {"answer": said, "exemplars": 0, "tokens": 0})
            return output(self.writes, rows)

        return answer


def build(url: str, base: str, recipe: MMInstruct, **stages: object) -> str:
    """Build *recipe* at *url* with some *stages* replaced, on top of the run *base*; returns *url*."""
    one = copy.deepcopy(recipe)
    for name, stage in stages.items():
        setattr(one, name, cast(Any, stage))
    check(one)
    run = Run(url=url, recipe=one)
    taken = claim(run, base)
    print(f"{url}: {sum(map(bool, taken.values()))} of {len(taken)} tables taken over", file=sys.stderr)
    execute(run, Local())
    return url


def compare(url: str, runs: Mapping[str, str], folders: Sequence[Path], to: str) -> dict[str, Any]:
    """A benchmark of the answers of *runs*, by name, to the pairs of *url*; its result.

    Two judges know the truth of *folders*; of the second, ``NOISY`` of the verdicts are right.
    """
    judge, rubric = (
        (conf() / "prompts" / f"{name}.md").read_text("utf-8") for name in ("judge_oracle", "rubric_oracle")
    )
    options = {"truth": [str(folder) for folder in folders]}

    def juror(name: str) -> Juror:
        return Juror(
            name=name, backend="oracle", options=options, image=False, caption=False, prompt=judge, rubric=rubric
        )

    recipe = Bench(
        pick=Pick(path=url, split="any"),
        respond=Respond(
            contestants={name: Contestant(answers=run) for name, run in runs.items()},
            prompt=(conf() / "prompts" / "respond.md").read_text("utf-8"),
        ),
        judge=Judge(judges={"oracle": juror("oracle"), "noisy": juror(f"oracle:right={NOISY:g}")}),
        score=Score(truth="oracle"),
    )
    check(recipe)
    run = Run(url=to, recipe=recipe)
    claim(run)
    execute(run, Local())
    return result(to)


def ordered(found: Mapping[str, Any], judge: str) -> bool:
    """Whether *judge* has each contestant above those before it in ``ORDER``, each interval beyond one half."""
    for pair in found["judges"][judge]["pairs"]["pairs"]:
        one = pair["all"]
        better = ORDER.index(_name(one["a"])) > ORDER.index(_name(one["b"]))
        low, high = one["win_rate"]["low"], one["win_rate"]["high"]
        if not (low > 0.5 if better else high < 0.5):
            return False
    return True


def _name(contestant: str) -> str:
    return contestant.replace("_", " ")


def table(found: Mapping[str, Any]) -> str:
    """All comparisons as Markdown."""
    lines = ["| judge | comparison | questions | win | tie | lose | win rate | 95 % interval "
        "| detectable distance from 0.5 |",
             "|---|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for judge, of in found["judges"].items():
        for one in (pair["all"] for pair in of["pairs"]["pairs"]):
            rate, named = one["win_rate"], f"{_name(one['a'])} against {_name(one['b'])}"
            cells = (judge, named, one["questions"], one["win"], one["tie"], one["lose"], f"{rate['value']:.3f}",
                     f"{rate['low']:.3f} to {rate['high']:.3f}", f"{one['detectable']:.3f}")  # fmt: skip
            lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)
