"""Generated sets as the experiment reads them: rows of runs, with the truth of their scenes.

    python -m lab.ablations runs/as-built --to runs/variants --only "no clustering" "match: random"
    python -m lab.headline.sets --set runs/as-built --raw runs/variants/no-clustering \
        --random runs/variants/match-random --to DIR

Of each run, the selected rows of known families are written, without those of ``scenes.HELD`` and ``scenes.NEVER``.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from lab.contest import answer as written
from lab.headline.arms import NAMES, Pair
from lab.headline.scenes import SETS, kind_of, texts
from lab.teach.words import train_tokenizer
from mminstruct.microworld.families import FAMILIES, classify
from mminstruct.microworld.oracle import judge_answer, judge_pair
from mminstruct.microworld.scene import Scene
from mminstruct.quality.run import RunTables
from mminstruct.quality.truth import find_truth, read_truth

_TEXTS = 1500
"""Scenes whose texts the tokenizer is trained on."""


def pairs(url: str, world: int = SETS[0]) -> tuple[list[Pair], Counter[str]]:
    """Rows of the run at *url* by id, and the number of rows by why they are taken or not.

    Raises:
        ValueError: The run's images are of another world.
    """
    run = RunTables(url)
    known = read_truth(find_truth(run.sources()))
    bank = {row["instruction_id"]: row["instruction"] for row in run.rows("summarize", "instruction_id", "instruction")}
    said = {row["pair_id"]: row["answer"] for row in run.rows("answer", "pair_id", "answer")}
    made, seen = [], Counter[str]()
    for row in sorted(run.rows("select", "pair_id", "image_id", "instruction_id"), key=lambda one: one["pair_id"]):
        scene, asked = known[row["image_id"]].scene, bank[row["instruction_id"]]
        if scene.seed != world:
            raise ValueError(f"{url} has scenes of world {scene.seed}: draw them with --seed {world}")
        family = classify(asked)
        why = "of no known family" if family is None else kind_of(family)
        seen["taken" if why == "seen" else f"left out: {why}"] += 1
        if family is None or why != "seen":
            continue
        answer = said[row["pair_id"]]
        right = judge_pair(asked, scene) and judge_answer(answer, asked, scene).ok
        seen["right"] += right
        made.append(Pair(scene.index, asked, answer, family, right, planted(family, asked, scene)))
        seen["with a wrong answer"] += made[-1].wrong is not None
    return made, seen


def planted(family: str, asked: str, scene: Scene) -> str | None:
    """A wrong answer to *asked* in its form, or None."""
    if not judge_pair(asked, scene):
        return None
    chance = random.Random(f"headline wrong {scene.index} {asked}")
    for _ in range(3):
        text = written(FAMILIES[family], asked, scene, chance, right=False)
        verdict = judge_answer(text, asked, scene)
        if verdict.format_ok and not verdict.facts_ok:
            return text
    return None


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m lab.headline.sets", description=(__doc__ or "").split("\n")[0])
    for name in NAMES:
        parser.add_argument(f"--{name}", required=True, metavar="RUN")
    parser.add_argument("--to", type=Path, required=True)
    given = parser.parse_args(words)
    folder: Path = given.to
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "tokenizer.json").exists():
        train_tokenizer(texts(_TEXTS), folder / "tokenizer.json")
    facts = {}
    for name in NAMES:
        made, seen = pairs(getattr(given, name))
        facts[name] = dict(sorted(seen.items())) | {"instructions": len({pair.asked for pair in made})}
        rows = json.dumps([asdict(pair) for pair in made], ensure_ascii=False, indent=0)
        (folder / f"{name}.json").write_text(rows, encoding="utf-8")
        print(f"{name}: {facts[name]}")
    (folder / "facts.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
