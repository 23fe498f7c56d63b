"""MM-Instruct's claim at small scale: does training on a built set improve instruction following over VQA alone?

    python -m lab.gain --set runs/demo-llava --work runs/gain

The base is the microworld's captioner, trained further on captions and short answers. From it, two models are trained
for the same number of steps: ``vqa`` on short-answer questions only, ``set`` on these and the set that
``mminstruct build`` made (in the paper: LLaVA-1.5's mix, without and with 234k pairs). All three are asked about scenes
and in wordings that no training saw. The oracle judges the answers by the truth of the scenes.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lab import contest
from mminstruct import config as configuration
from mminstruct.config import files as conf_files
from mminstruct.engine.train import train as run_training
from mminstruct.microworld import shards
from mminstruct.microworld.language import caption, facts_of, short_questions
from mminstruct.microworld.oracle import Tally, judge_answer, statements
from mminstruct.microworld.scene import Scene, draw_scene
from mminstruct.models.model import Model, with_image
from mminstruct.quality.measure import Measure, share
from mminstruct.quality.truth import read_truth
from mminstruct.stage import seed

SHORT = "Answer the question using a single word or phrase."
"""LLaVA-1.5's prompt for short answers."""
_DESCRIBE = ("Describe the image.", "What is in the picture?", "What do you see?")
_TRAINED, _EXAM = 500, 2500
"""Seeds of the worlds of training data and exam. Others are taken: 0 trained the captioner, 2000 validated it, 1000 is
the demo's.
"""
_QUESTIONS = 8
"""Most short questions in one conversation about a scene."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question of the exam, and the truth of its picture."""

    scene: Scene
    image: Path
    text: str
    expected: str | None = None
    """The short answer; None where the text is an instruction."""


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m lab.gain",
        description=(__doc__ or "").split("\n")[0],
        epilog="Further arguments are overrides of each training, as for `mminstruct train`: workers.kind=local ...",
    )
    parser.add_argument("--set", type=Path, required=True, help="folder that `mminstruct export --format llava` wrote")
    parser.add_argument("--work", type=Path, required=True, help="folder for data, models and the result")
    parser.add_argument("--scenes", type=int, default=640, help="scenes of the captions and short answers to train on")
    parser.add_argument("--base-steps", type=int, default=240)
    parser.add_argument("--steps", type=int, default=800, help="training steps of vqa and of set")
    parser.add_argument(
        "--questions", type=int, default=240, help="instructions in the exam, and as many short questions"
    )
    given, overrides = parser.parse_known_args(words)
    work: Path = given.work
    data = write(work / "data", given.set, given.scenes)
    asked = exam(work / "exam", given.questions)
    base = train(work / "base", "micro:captioner", data / "base.json", given.base_steps, overrides)
    answers = {"base": answer(base, asked)}
    for name in ("vqa", "set"):
        model = train(work / name, str(base), data / f"{name}.json", given.steps, overrides)
        answers[name] = answer(model, asked)
    found = measures(asked, answers)
    (work / "answers.json").write_text(
        json.dumps([{"asked": a.text, "image": a.image.name, "expected": a.expected,
                     **{name: some[n] for name, some in answers.items()}} for n, a in enumerate(asked)], indent=1)
    )  # fmt: skip
    (work / "result.json").write_text(json.dumps([asdict(one) for one in found], indent=1))
    print(as_text(found))
    return 0


def write(folder: Path, built: Path, scenes: int) -> Path:
    """Write the data of ``base`` (captions, short answers), ``vqa`` and ``set`` (vqa and *built*) as LLaVA JSON."""
    shards.write("coco", folder / "coco", scenes, seed=_TRAINED)
    captions, questions = [], []
    for index in range(scenes):
        scene, rng = draw_scene(index, _TRAINED), random.Random(f"gain {index}")
        image = f"coco/images/{index:012d}.jpg"
        said = caption(scene, rng, rng.choice(("short", "long")))
        captions.append(conversation(f"caption-{index}", image, [(rng.choice(_DESCRIBE), said)]))
        short = short_questions(scene)
        some = rng.sample(short, min(_QUESTIONS, len(short)))
        some[0] = (f"{some[0][0]}\n{SHORT}", some[0][1])  # once per conversation, as in LLaVA-1.5's mix
        questions.append(conversation(f"vqa-{index}", image, some))
    rows = json.loads((built / "train.json").read_text(encoding="utf-8"))
    link = folder / "built"  # images must lie below the folder of the data
    link.unlink(missing_ok=True)
    link.symlink_to(built.absolute())
    pairs = [{**row, "image": f"built/{row['image']}"} for row in rows]
    for name, made in (("base", captions + questions), ("vqa", questions), ("set", questions + pairs)):
        (folder / f"{name}.json").write_text(json.dumps(made, ensure_ascii=False), encoding="utf-8")
    return folder


def conversation(name: str, image: str, pairs: list[tuple[str, str]]) -> dict[str, Any]:
    turns = [{"from": who, "value": text} for pair in pairs for who, text in zip(("human", "gpt"), pair, strict=True)]
    turns[0]["value"] = f"<image>\n{turns[0]['value']}"
    return {"id": name, "image": image, "conversations": turns}


def exam(folder: Path, number: int) -> list[Question]:
    """*number* instructions in wordings that no training saw, each about a new scene, and a short question about each.

    *folder* can then also serve as questions for ``mminstruct bench``.
    """
    contest.write(folder, number, {}, seed=_EXAM)
    asked = []
    lines = (folder / "questions.json").read_text(encoding="utf-8").splitlines()
    for row, image_truth in zip(map(json.loads, lines), read_truth([folder]).values(), strict=True):
        image = folder / "images" / row["image"]
        asked.append(Question(image_truth.scene, image, row["text"]))
        text, said = random.Random(f"gain {row['question_id']}").choice(short_questions(image_truth.scene))
        asked.append(Question(image_truth.scene, image, f"{text}\n{SHORT}", said))
    return asked


def train(out: Path, base: str, data: Path, steps: int, overrides: Sequence[str] = ()) -> Path:
    """Start, resume or skip ``mminstruct train experiment=gain``; returns the folder of the model."""
    from hydra import compose, initialize_config_dir

    configuration.register()
    words = [f"out={out}", f"base.model={base}", f"data.path={data}", f"train.optim.steps={steps}", *overrides]
    with initialize_config_dir(str(conf_files.conf()), version_base="1.3"):
        config = configuration.train(compose("train", ["experiment=gain", *words]))
    return Path(run_training(config, lambda said: print(f"{out.name}: {said}", flush=True), configuration.commit()))


def answer(folder: Path, asked: Sequence[Question]) -> list[str]:
    """Greedy answers of the model in *folder*, through the backend that recipes use."""
    chat = Model(name=str(folder), max_tokens=120).chat()
    messages = [with_image([{"role": "user", "content": one.text}], one.image.read_bytes()) for one in asked]
    return [reply.text for reply in chat.chat(messages, seeds=[seed(0, "gain", one.text) for one in asked])]


def measures(asked: Sequence[Question], answers: dict[str, list[str]]) -> list[Measure]:
    """Measures of each model, and win rates of ``set`` against the others on the same questions."""
    found: list[Measure] = []
    graded = {}
    for name, some in answers.items():
        followed = [(a, text) for a, text in zip(asked, some, strict=True) if a.expected is None]
        verdicts = [judge_answer(text, a.text, a.scene) for a, text in followed]
        said = [statements(text, facts_of(a.scene, place=True), a.text) for a, text in followed]
        short = [(a.expected, text) for a, text in zip(asked, some, strict=True) if a.expected is not None]
        graded[name] = [_grade(v.format_ok, v.facts_ok, t) for v, t in zip(verdicts, said, strict=True)]
        found += share(name, "instruction followed (form)", ((v.format_ok, 1) for v in verdicts))
        found += share(name, "form kept and nothing false", ((v.ok, 1) for v in verdicts))
        found += share(name, "grounded: statements that are true", ((t.right, t.said) for t in said))
        found += share(name, "short answers right", ((_plain(text) == _plain(str(want)), 1) for want, text in short))
    for other in ("base", "vqa"):
        if other in graded and "set" in graded:
            pairs = list(zip(graded["set"], graded[other], strict=True))
            wins = ((0.5 if a == b else float(a > b), 1) for a, b in pairs)
            found += share(f"set against {other}", "wins and half the ties", wins)
            found += share(f"set against {other}", "wins of those decided", ((a > b, a != b) for a, b in pairs))
    return found


def _grade(form: bool, facts: bool, said: Tally) -> tuple[bool, bool, float]:
    """Key to compare answers by: all right, then form right, then share of true statements."""
    return form and facts, form, said.right / said.said if said.said else 0.0


def _plain(text: str) -> str:
    return " ".join(text.lower().split()).rstrip(".! ")


def as_text(found: Sequence[Measure]) -> str:
    """*found* as a Markdown table."""
    lines = ["| model | measure | share | 95 % interval | n |", "|---|---|---|---|---|"]
    for one in found:
        lines.append(f"| {one.stage} | {one.name} | {one.value:.3f} | {one.interval} | {one.n} |")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
