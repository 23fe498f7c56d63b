"""A drawn benchmark: scenes, a question about each, and answers of which a known share is true.

    contest.write(folder, 500, {"strong": 0.85, "weak": 0.55})
    python -m lab.contest --questions 240 --seed 2000 --to DIR      # questions only

The files have the format of MM-Instruct's own benchmark: JSON lines, joined by ``question_id``.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from lab.variants import half_wrong
from mminstruct.microworld import language, shards
from mminstruct.microworld.families import Family, applicable
from mminstruct.microworld.language import facts_of, read_facts
from mminstruct.microworld.oracle import judge_answer
from mminstruct.microworld.scene import Scene

_TRIES = 8


def write(folder: str | Path, questions: int, contestants: Mapping[str, float], *, seed: int = 5000) -> Path:
    """Draw *questions* scenes and write ``images/``, ``_truth/``, ``questions.json`` and ``answers/NAME.json``.

    Args:
        folder: Target.
        questions: Number of scenes; each question is of a family that applies to its scene, in a test wording.
        contestants: Share of true answers by name. The others are written from a description in which about half of
            the nouns, colours and numbers are changed, to imitate a model with poor vision.
        seed: Of scenes and answers.
    """
    folder = shards.write("coco", folder, questions, seed)
    answers: dict[str, list[dict[str, object]]] = {name: [] for name in contestants}
    asked = []
    for number, line in enumerate((folder / "_truth" / "scenes.jsonl").read_text(encoding="utf-8").splitlines()):
        known = json.loads(line)
        scene, chance = shards.scene_from(known["scene"]), random.Random(f"contest {seed} {number}")
        truth = facts_of(scene, place=True)
        family = chance.choice(applicable(truth))
        text = family.instruction(truth, chance, "test")
        sentences = re.findall(r"[^.]+\.", language.caption(scene))
        more = ["\n" + "".join(sentences[:size]).strip() for size in (1, 3)]  # true; they make answers longer
        asked.append(
            {
                "question_id": number,
                "image": f"{scene.index:012d}.jpg",
                "text": text,
                "caption": language.caption(scene),
                "category": family.kind,
            }
        )
        for name, share in contestants.items():
            said = answer(family, text, scene, chance, right=chance.random() < share)
            said += chance.choice(("", "", *more))
            answers[name].append({"question_id": number, "text": said, "model_id": name})
    (folder / "answers").mkdir(exist_ok=True)
    for file, rows in [("questions", asked), *((f"answers/{name}", rows) for name, rows in answers.items())]:
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{file}.json").write_text(lines, encoding="utf-8")
    return folder


def answer(family: Family, text: str, scene: Scene, chance: random.Random, *, right: bool) -> str:
    """An answer in one of the family's styles; false unless *right*, or unless none of a few tries is false."""
    truth = facts_of(scene, place=True)
    if not right:
        for _ in range(_TRIES):
            facts = read_facts(half_wrong(language.caption(scene), str(chance.random())))
            if family.applies(facts):
                said = family.write(facts, chance, text)
                if not judge_answer(said, text, scene).facts_ok:
                    return said
    return family.write(truth, chance, text)


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m lab.contest", description="Draw a benchmark's questions.")
    parser.add_argument("--questions", type=int, required=True)
    parser.add_argument("--seed", type=int, default=5000, help="of scenes that no contestant was trained on")
    parser.add_argument("--to", type=Path, required=True)
    given = parser.parse_args(words)
    folder = write(given.to, given.questions, {}, seed=given.seed)
    print(f"{given.questions} questions in {folder}/questions.json, their images in {folder}/images")


if __name__ == "__main__":
    main()
