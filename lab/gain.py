"""MM-Instruct's claim in small: does training on a built set make a model follow instructions better than VQA alone?

    python -m lab.gain --set runs/demo-llava --work runs/gain

From one base, the microworld's captioner (a tower, and a language model that learned captions alone) after a course of
captions and short answers, two models are trained for as many steps: ``vqa`` on short-answer questions alone, ``set``
on these and the set that ``mminstruct build`` made (the paper: LLaVA-1.5's mix, without and with 234k pairs). All are
asked about scenes and in wordings that nobody was taught with, and the oracle judges answers by the truth of scenes.
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
from mminstruct.engine.train import train as run_training
from mminstruct.microworld import shards
from mminstruct.microworld.language import caption, facts_of, short_questions
from mminstruct.microworld.oracle import Tally, bootstrap, judge_answer
from mminstruct.microworld.scene import Scene, draw_scene
from mminstruct.models.model import Model, with_image
from mminstruct.quality.measures import Measure, share, statements
from mminstruct.quality.truth import truth
from mminstruct.stage import seed

SHORT = "Answer the question using a single word or phrase."
"""LLaVA-1.5's prompt for short answers."""
_DESCRIBE = ("Describe the image.", "What is in the picture?", "What do you see?")
_TRAINED, _EXAM = 500, 2500
"""Seeds of worlds: what the base and VQA learn from, and the exam's. 0 taught the captioner, 1000 is the demo's, 2000
was watched while it learned.
"""
_QUESTIONS = 8
"""Short questions in one conversation about a scene, at most."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One question of the exam, and what is known about its picture."""

    scene: Scene
    image: Path
    text: str
    wanted: str | None = None
    """The short answer; None where an instruction is to be followed."""


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="lab.gain",
        description=(__doc__ or "").split("\n")[0],
        epilog="More words are overrides of each training, as `mminstruct train` takes them: workers.kind=local ...",
    )
    parser.add_argument("--set", type=Path, required=True, help="what `export --format llava` wrote of a build")
    parser.add_argument("--work", type=Path, required=True, help="folder for data, trainings and the result")
    parser.add_argument("--scenes", type=int, default=640, help="scenes to learn captions and short answers from")
    parser.add_argument("--base-steps", type=int, default=240)
    parser.add_argument("--steps", type=int, default=800, help="of each of the two trainings")
    parser.add_argument("--questions", type=int, default=240, help="instructions, and short questions, of the exam")
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
        json.dumps([{"asked": a.text, "image": a.image.name, "wanted": a.wanted,
                     **{name: some[n] for name, some in answers.items()}} for n, a in enumerate(asked)], indent=1)
    )  # fmt: skip
    (work / "result.json").write_text(json.dumps([asdict(one) for one in found], indent=1))
    print(as_text(found))
    return 0


def write(folder: Path, built: Path, scenes: int) -> Path:
    """LLaVA JSON of the base (captions, short answers), of ``vqa``, and of ``set`` (vqa and what was *built*)."""
    shards.write("coco", folder / "coco", scenes, seed=_TRAINED)
    captions, questions = [], []
    for index in range(scenes):
        scene, rng = draw_scene(index, _TRAINED), random.Random(f"gain {index}")
        image = f"coco/images/{index:012d}.jpg"
        said = caption(scene, rng, rng.choice(("short", "long")))
        captions.append(_row(f"caption-{index}", image, [(rng.choice(_DESCRIBE), said)]))
        short = short_questions(scene)
        some = rng.sample(short, min(_QUESTIONS, len(short)))
        some[0] = (f"{some[0][0]}\n{SHORT}", some[0][1])  # once in a conversation, as in LLaVA-1.5's mix
        questions.append(_row(f"vqa-{index}", image, some))
    rows = json.loads((built / "train.json").read_text(encoding="utf-8"))
    link = folder / "built"  # images are looked for in one folder, and nowhere above it
    link.unlink(missing_ok=True)
    link.symlink_to(built.absolute())
    pairs = [{**row, "image": f"built/{row['image']}"} for row in rows]
    for name, made in (("base", captions + questions), ("vqa", questions), ("set", questions + pairs)):
        (folder / f"{name}.json").write_text(json.dumps(made, ensure_ascii=False), encoding="utf-8")
    return folder


def _row(name: str, image: str, pairs: list[tuple[str, str]]) -> dict[str, Any]:
    turns = [{"from": who, "value": text} for pair in pairs for who, text in zip(("human", "gpt"), pair, strict=True)]
    turns[0]["value"] = f"<image>\n{turns[0]['value']}"
    return {"id": name, "image": image, "conversations": turns}


def exam(folder: Path, number: int) -> list[Asked]:
    """*number* instructions in wordings held out of all teaching, each about a scene of its own, and short questions
    about the same scenes. *folder* is then a set of questions for ``mminstruct bench`` too.
    """
    contest.write(folder, number, {}, seed=_EXAM)
    asked = []
    lines = (folder / "questions.json").read_text(encoding="utf-8").splitlines()
    for row, known in zip(map(json.loads, lines), truth([folder]).values(), strict=True):
        image = folder / "images" / row["image"]
        asked.append(Asked(known.scene, image, row["text"]))
        text, said = random.Random(f"gain {row['question_id']}").choice(short_questions(known.scene))
        asked.append(Asked(known.scene, image, f"{text}\n{SHORT}", said))
    return asked


def train(out: Path, base: str, data: Path, steps: int, overrides: Sequence[str] = ()) -> Path:
    """What ``mminstruct train experiment=gain`` does: train, go on, or find that it is done; the model's folder."""
    from hydra import compose, initialize_config_dir

    configuration.register()
    words = [f"out={out}", f"base.model={base}", f"data.path={data}", f"train.optim.steps={steps}", *overrides]
    with initialize_config_dir(str(configuration.conf()), version_base="1.3"):
        config = configuration.train(compose("train", ["experiment=gain", *words]))
    return Path(run_training(config, lambda said: print(f"{out.name}: {said}", flush=True), configuration.commit()))


def answer(folder: Path, asked: Sequence[Asked]) -> list[str]:
    """What the model in *folder* says, greedily, through the same backend as any model of a recipe."""
    chat = Model(name=str(folder), max_tokens=120).chat()
    messages = [with_image([{"role": "user", "content": one.text}], one.image.read_bytes()) for one in asked]
    return [reply.text for reply in chat.chat(messages, seeds=[seed(0, "gain", one.text) for one in asked])]


def measures(asked: Sequence[Asked], answers: dict[str, list[str]]) -> list[Measure]:
    """The table: each model by itself, and ``set`` against ``vqa`` on the same questions."""
    found: list[Measure] = []
    graded = {}
    for name, some in answers.items():
        followed = [(a, text) for a, text in zip(asked, some, strict=True) if a.wanted is None]
        verdicts = [judge_answer(text, a.text, a.scene) for a, text in followed]
        said = [statements(text, facts_of(a.scene, place=True), a.text) for a, text in followed]
        short = [(a.wanted, text) for a, text in zip(asked, some, strict=True) if a.wanted is not None]
        graded[name] = [_grade(v.format_ok, v.facts_ok, t) for v, t in zip(verdicts, said, strict=True)]
        found += share(name, "instruction followed (form)", ((v.format_ok, 1) for v in verdicts))
        found += share(name, "form kept and nothing false", ((v.ok, 1) for v in verdicts))
        found += share(name, "grounded: statements that are true", ((t.right, t.said) for t in said))
        found += share(name, "short answers right", ((_plain(text) == _plain(str(want)), 1) for want, text in short))
    for other in ("base", "vqa"):
        if other in graded and "set" in graded:
            pairs = list(zip(graded["set"], graded[other], strict=True))
            value, low, high = bootstrap([0.5 if a == b else float(a > b) for a, b in pairs])
            found.append(Measure(f"set against {other}", "wins and half the ties", value, low, high, len(pairs)))
            found += share(f"set against {other}", "wins of those decided", ((a > b, a != b) for a, b in pairs))
    return found


def _grade(form: bool, facts: bool, said: Tally) -> tuple[bool, bool, float]:
    """What makes one answer better than another: right in every respect, then in form, then by its share of truth."""
    return form and facts, form, said.right / said.said if said.said else 0.0


def _plain(text: str) -> str:
    return " ".join(text.lower().split()).rstrip(".! ")


def as_text(found: Sequence[Measure]) -> str:
    """*found* as a Markdown table, shares with their 95 % bootstrap intervals."""
    lines = ["| model | measure | share | 95 % | of |", "|---|---|---|---|---|"]
    for one in found:
        between = "" if one.low is None or one.high is None else f"{one.low:.3f} to {one.high:.3f}"
        lines.append(f"| {one.stage} | {one.name} | {one.value:.3f} | {between} | {one.n} |")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
