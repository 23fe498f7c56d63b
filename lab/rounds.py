"""COCO-is-all's claim at small scale: do merged dialogues keep open answers open after short ones?

    python -m lab.rounds --work runs/rounds
    python -m lab.rounds --work runs/rounds --split out/split --merged out/merged

From one base, the microworld's captioner, two models are trained for equal numbers of steps and of learned tokens:
``split`` on conversations of one annotation set, whose format phrase is said once (in the paper: LLaVA-1.5's mix),
``merged`` on dialogues of all sets in mixed order with a phrase in each question (arXiv 2401.08968). Both are asked the
same questions about scenes that no training saw: fresh, and after earlier turns with their own replies.

The two sets are drawn here, or taken from two builds of ``recipe=coco``: ``--merged`` with its defaults, ``--split``
with ``recipe.merge.order=grouped recipe.merge.phrases=first``.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa

from mminstruct import config as configuration
from mminstruct.bench.contestant import Contestant
from mminstruct.bench.result import rounds_rows
from mminstruct.bench.rounds import Rounds, rounds
from mminstruct.config import files as conf_files
from mminstruct.engine.train import train as run_training
from mminstruct.microworld import shards
from mminstruct.microworld.catalogue import KINDS as THINGS
from mminstruct.microworld.language import NOUNS, caption, facts_of, short_questions
from mminstruct.microworld.scene import Scene, draw_scene
from mminstruct.models.model import Model
from mminstruct.models.transcript import source
from mminstruct.readers.conversation import IMAGE
from mminstruct.stage import StageOutput, content_id
from mminstruct.stages.respond import Respond
from mminstruct.training import data, llava
from mminstruct.training.template import encode

Row = dict[str, Any]
BASE = "micro:captioner"
_LENGTH = 1024
"""Maximum tokens of a conversation: the captioner's context."""
_NEAR = 0.01
"""How far apart learned tokens may be."""
_TRAINED, _EXAM = 700, 2600
"""Seeds of the worlds of drawn sets and exam. Others are taken: 0 taught the models, 2000 validated them, 1000 is the
demo's, 500 and 2500 are lab.headline's."""
_PHRASE = " Answer the question with a short phrase."
_NUMBER = " Answer the question with a number."
_JUDGE = " Please answer yes or no about whether the statement about the image is true."
_SUMMARY = "Describe the content of this image in 20 words."
_TOLD = "Describe the image in one paragraph."
_NEW = (
    "What is happening in this picture?",
    "What is going on in this image?",
    "Tell me what you see here.",
    "Please talk about this picture.",
)
"""Open questions in wordings that are in no set."""
KINDS = ("open", "open, new wording", "short")
"""Questions about each scene of the exam."""
HISTORIES = {
    "phrase": ["Where was this picture taken?" + _PHRASE],
    "mixed": [
        "Where was this picture taken?" + _PHRASE,
        "How many men are there?" + _NUMBER,
        "There is a man in the picture." + _JUDGE,
        _TOLD,
    ],
}
"""Earlier turns in the sets' own phrases, which these models know; the order of each conversation is its own."""


@dataclass(frozen=True, slots=True)
class Learned:
    """A training set cut to size."""

    path: Path
    conversations: int
    tokens: int
    """Learned tokens, as training counts them."""

    @property
    def mean(self) -> float:
        return self.tokens / self.conversations


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m lab.rounds",
        description=(__doc__ or "").split("\n")[0],
        epilog="Further arguments are overrides of each training, as for `mminstruct train`: workers.kind=local ...",
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for data, models and the result")
    for name in ("split", "merged"):
        parser.add_argument(f"--{name}", type=Path, help="folder that `mminstruct export --format llava` wrote")
    parser.add_argument("--images", type=int, default=640, help="scenes of the sets if they are drawn here")
    parser.add_argument("--steps", type=int, default=300, help="training steps of each model")
    parser.add_argument("--tokens", type=int, default=280, help="learned tokens of a step, about")
    parser.add_argument("--scenes", type=int, default=240, help="scenes of the exam")
    given, overrides = parser.parse_known_args(words)
    work: Path = given.work
    if (given.split is None) != (given.merged is None):
        parser.error("--split and --merged belong together")
    if given.split is None:
        built = draw(work / "drawn", given.images)
    else:
        built = {"split": apart(given.split, work / "apart"), "merged": given.merged}
    sets = equal(built, work / "data")
    sizes = batches(sets, given.tokens)
    models, trained = {}, {}
    for name, some in sets.items():
        how = [f"data.images={built[name].absolute()}", f"train.optim.batch={sizes[name]}",
               f"train.max_length={_LENGTH}", *overrides]  # fmt: skip
        models[name] = train(work / name, BASE, some.path, given.steps, how)
        trained[name] = {"conversations": some.conversations, "learned": some.tokens, "batch": sizes[name],
                         **learned(models[name].parent)}  # fmt: skip
    asked = exam(work / "exam", given.scenes)
    answers = ask(models, asked)
    found = {kind: measured([one for one in asked if one["kind"] == kind], answers) for kind in KINDS}
    (work / "answers.json").write_text(json.dumps(answers, indent=1, ensure_ascii=False), encoding="utf-8")
    made = {"trained": trained, "kinds": {kind: asdict(one) for kind, one in found.items()}}
    (work / "result.json").write_text(json.dumps(made, indent=1), encoding="utf-8")
    print(as_text(made))
    return 0


def draw(folder: Path, scenes: int) -> dict[str, Path]:
    """Write both sets about *scenes* scenes in LLaVA's format; their questions and answers are the same.

    Args:
        folder: One folder is made for each set, below it.
        scenes: Number of scenes; each has a caption, a paragraph, and at most six short questions (of two sets), two
            numbers and two judgements.
    """
    shards.write("coco", folder, scenes, seed=_TRAINED)
    rows: dict[str, list[Row]] = {"split": [], "merged": []}
    for index in range(scenes):
        image = f"images/{index:012d}.jpg"
        asked, chance = _questions(draw_scene(index, _TRAINED))
        for name in dict.fromkeys(name for name, *_ in asked):
            mine = [(text, phrase, said) for of, text, phrase, said in asked if of == name]
            pairs = [(text + phrase * (n == 0), said) for n, (text, phrase, said) in enumerate(mine)]
            rows["split"].append(conversation(f"s-{index}-{name}", image, pairs))
        chance.shuffle(asked)
        rows["merged"].append(
            conversation(f"m-{index}", image, [(text + phrase, said) for _, text, phrase, said in asked])
        )
    return {name: _write(folder / name, some, folder / "images") for name, some in rows.items()}


def apart(built: Path, folder: Path) -> Path:
    """Write to *folder* the conversations of the export *built*, each cut where the kind of question changes.

    LLaVA-1.5's mix has the annotation sets in conversations of their own, and a grouped dialogue has all of them.
    """
    rows = []
    for record in json.loads((built / "train.json").read_text(encoding="utf-8")):
        texts = [turn["value"].replace(IMAGE, "").strip() for turn in record["conversations"]]
        pairs = zip(record["turns"], zip(texts[::2], texts[1::2], strict=True), strict=True)
        for number, (_, some) in enumerate(groupby(pairs, lambda pair: pair[0]["kind"])):
            rows.append(conversation(f"{record['id']}-{number}", record["image"], [pair for _, pair in some]))
    return _write(folder, rows, built / "images")


def conversation(name: str, image: str, pairs: list[tuple[str, str]]) -> Row:
    turns = [{"from": who, "value": text} for pair in pairs for who, text in zip(("human", "gpt"), pair, strict=True)]
    turns[0]["value"] = f"<image>\n{turns[0]['value']}"
    return {"id": name, "image": image, "conversations": turns}


def _write(folder: Path, rows: list[Row], images: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "images").unlink(missing_ok=True)
    (folder / "images").symlink_to(images.absolute())
    (folder / "train.json").write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    return folder


def _questions(scene: Scene) -> tuple[list[tuple[str, str, str, str]], random.Random]:
    """Annotation set, question, phrase and answer of all questions about *scene*, and the generator that chose."""
    chance, facts = random.Random(f"pilot {scene.seed}/{scene.index}"), facts_of(scene)
    asked = [("caption", _SUMMARY, "", caption(scene, chance, "short"))]
    asked.append(("paragraph", _TOLD, "", caption(scene, chance)))
    short = [pair for pair in short_questions(scene) if not pair[0].startswith(("How many", "Is there"))]
    for number, (text, said) in enumerate(short[:6]):
        asked.append((("vqa", "okvqa")[number % 2], text, _PHRASE, said[0].upper() + said[1:]))
    for thing in facts.things[:2]:
        asked.append(("tallyqa", f"How many {NOUNS[thing.kind][1]} are there?", _NUMBER, str(thing.count or 1)))
    absent = sorted(set(THINGS) - {thing.kind for thing in facts.things} - {scene.setting})
    for kind, said in ((facts.things[0].kind, "Yes"), (chance.choice(absent), "No")):
        asked.append(("vsr", f"There is a {kind} in the picture.", _JUDGE, said))
    return asked, chance


def equal(built: Mapping[str, Path], folder: Path) -> dict[str, Learned]:
    """Cut each set of *built* by whole conversations to the learned tokens of the smallest one.

    Args:
        built: Exports in LLaVA's format, by name.
        folder: Where ``NAME.json`` is written; its image paths stay relative to the export.

    Raises:
        ValueError: a conversation is longer than the model's context, or the sets still differ by more than 1 %.
    """
    import transformers

    where = source(Model(name=BASE))
    processor = transformers.AutoProcessor.from_pretrained(**where)
    image_tokens = llava.image_tokens(transformers.AutoConfig.from_pretrained(**where))
    template = data.template_of("own", processor)
    counted: dict[str, list[tuple[Row, int]]] = {}
    for name, path in built.items():
        table, facts = data.read(str(path / "train.json"), None)
        print(f"{name}: {data.summary(facts)}", flush=True)
        counted[name] = []
        for row in table.to_pylist():
            made = encode(
                row["conversations"], processor.tokenizer, image=row["image"] is not None, image_tokens=image_tokens,
                template=template, max_length=_LENGTH,
            )  # fmt: skip
            if made.cut:
                said = f"{path}: {row['id']} is {made.cut} tokens longer than the {_LENGTH} of {BASE}"
                raise ValueError(f"{said}: build with a smaller recipe.merge.tokens")
            counted[name].append((row, made.learned))
    least = min(sum(tokens for _, tokens in rows) for rows in counted.values())
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for name, rows in counted.items():
        kept, total = [], 0
        for row, tokens in sorted(rows, key=lambda one: content_id("rounds", str(one[0]["id"]))):
            if total + tokens <= least:
                kept.append({key: value for key, value in row.items() if value is not None})
                total += tokens
        if total < (1 - _NEAR) * least:
            raise ValueError(f"{name}: {total} learned tokens instead of {least}: build with more images")
        (folder / f"{name}.json").write_text(json.dumps(kept, ensure_ascii=False), encoding="utf-8")
        found[name] = Learned(folder / f"{name}.json", len(kept), total)
    return found


def batches(sets: Mapping[str, Learned], tokens: int) -> dict[str, int]:
    """Conversations of a step by set, so that a step of each set has equal learned tokens on average, within 1 %.

    Of such sizes those nearest to *tokens* learned tokens are chosen.

    Raises:
        ValueError: there are no such sizes of up to four times *tokens*.
    """
    long = max(sets.values(), key=lambda one: one.mean)
    for size in sorted(range(1, max(8, round(4 * tokens / long.mean))), key=lambda n: abs(n * long.mean - tokens)):
        sizes = {name: max(1, round(size * long.mean / one.mean)) for name, one in sets.items()}
        steps = [sizes[name] * one.mean for name, one in sets.items()]
        if max(steps) <= (1 + _NEAR) * min(steps):
            return sizes
    raise ValueError(f"no batches of the sets have equal learned tokens: take more than --tokens {tokens}")


def train(out: Path, base: str, data: Path, steps: int, overrides: Sequence[str] = ()) -> Path:
    """Start, resume or skip ``mminstruct train experiment=rounds``; returns the folder of the model."""
    from hydra import compose, initialize_config_dir

    configuration.register()
    words = [f"out={out}", f"base.model={base}", f"data.path={data}", f"train.optim.steps={steps}", *overrides]
    with initialize_config_dir(str(conf_files.conf()), version_base="1.3"):
        config = configuration.train(compose("train", ["experiment=rounds", *words]))
    return Path(run_training(config, lambda said: print(f"{out.name}: {said}", flush=True), configuration.commit()))


def learned(run: Path) -> dict[str, int]:
    """Steps of the training run in *run*, and the learned tokens and images of all of them."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").split("\n") if line]
    steps = {line["step"]: line for line in lines if "learned" in line}  # a resumed run repeats some
    return {"steps": len(steps)} | {f"{name}_in_steps": sum(line[name] for line in steps.values())
                                    for name in ("learned", "images")}  # fmt: skip


def exam(folder: Path, scenes: int) -> list[Row]:
    """Questions of all ``KINDS`` about each of *scenes* new scenes, as ``Respond`` takes them."""
    shards.write("coco", folder, scenes, seed=_EXAM)
    asked = []
    for index in range(scenes):
        scene, chance = draw_scene(index, _EXAM), random.Random(f"rounds {index}")
        short = [text for text, _ in short_questions(scene) if not text.startswith(("How many", "Is there"))]
        image = (folder / "images" / f"{index:012d}.jpg").read_bytes()
        for kind, text in zip(KINDS, (_TOLD, chance.choice(_NEW), chance.choice(short) + _PHRASE), strict=True):
            asked.append({"question_id": f"{index:04d} {kind}", "image_id": str(index), "kind": kind, "image": image,
                          "question": text, "earlier": None})  # fmt: skip
    return asked


def ask(models: Mapping[str, Path], asked: Sequence[Row]) -> list[Row]:
    """Greedy answers to *asked*, fresh and after each of ``HISTORIES``; rows of ``schemas.RESPOND``.

    Raises:
        ValueError: a question has no answer.
    """
    contestants = {name: Contestant(name=str(folder), options={"batch_size": 48}) for name, folder in models.items()}
    stage = Respond(contestants=contestants, prompt="## user\n{{ question }}", max_tokens=120, histories=HISTORIES)
    stage.check()
    columns = {name: [one[name] for one in asked] for name in ("question_id", "image", "question", "earlier")}
    made = stage.load()(pick=pa.table(columns))
    assert isinstance(made, StageOutput)
    answers: list[Row] = made.table.to_pylist()
    failed = [row for row in answers if row["answer"] is None]
    if failed or len(answers) != len(asked) * len(models) * (1 + len(HISTORIES)):
        raise ValueError(f"only {len(answers) - len(failed)} answers; the first failure: {failed[:1]}")
    return answers


def measured(asked: Sequence[Row], answers: Sequence[Row]) -> Rounds:
    """What histories change in the answers to *asked*, and how these changes differ between the models."""
    questions = {one["question_id"]: {**one, "kind": "", "reference": None} for one in asked}
    return rounds([row for row in answers if row["question_id"] in questions], questions, {})


def as_text(made: Mapping[str, Any]) -> str:
    """The result as two Markdown tables: changes of each model, differences of changes."""
    tables: list[list[list[Any]]] = [
        [["questions", "model", "after", "measure", "n", "fresh", "after it", "change"]],
        [["questions", "change of", "after", "measure", "n", "difference of changes"]],
    ]
    for kind, found in made["kinds"].items():
        for table, rows in zip(tables, rounds_rows(found), strict=True):
            table += [[kind, *row] for row in rows]
    lines = [f"{name}: {facts}" for name, facts in made["trained"].items()]
    for head, *rows in tables:
        lines += ["", *(f"| {' | '.join(map(str, row))} |" for row in (head, ["---"] * len(head), *rows))]
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
