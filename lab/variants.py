"""Recipes with one thing changed, and the stages that only these recipes have."""

from __future__ import annotations

import copy
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.dataset as ds

from mminstruct import schemas
from mminstruct.microworld import language
from mminstruct.microworld.catalogue import COLOURS
from mminstruct.microworld.reading import COUNTS, NOUNS
from mminstruct.quality.truth import read_truth
from mminstruct.recipe import check, manifests
from mminstruct.recipes import MMInstruct
from mminstruct.stage import Drop, Stage, StageOutput, Transform, output, part, whole
from mminstruct.stages.answer import Answer

PAPER_K = 300
"""The paper's k. The k of the run under test stands for it, and other k are scaled likewise."""
AGAIN = "as built, seed + "
"""Prefix of variants that change only the seed; they show the effect of chance."""
SEEDS = (1, 2, 3)
WITHOUT = "filter without "
"""Prefix of variants that lack one rule of the filter."""


@dataclass(kw_only=True)
class RawBank(Stage):
    """No clustering: the bank is all distinct raw instructions, unchanged."""

    reads = {"instruct": whole("instruction_id", "instruction")}
    writes = schemas.SUMMARIZE
    row_key = "instruction_id"

    def load(self, *, instruct: ds.Dataset) -> Transform:
        def bank() -> StageOutput:
            texts: dict[str, str] = {}
            for row in instruct.to_table(columns=["instruction_id", "instruction"]).to_pylist():
                texts.setdefault(row["instruction_id"], row["instruction"])
            return output(
                self.writes,
                (
                    {"instruction_id": own, "instruction": text, "cluster": number, "size": 1, "members": [text]}
                    for number, (own, text) in enumerate(sorted(texts.items()))
                ),
            )

        return bank


@dataclass(kw_only=True)
class HalfWrong(Stage):
    """Captions of another stage with every kind of thing, colour and number replaced with probability 1/2."""

    of: Stage
    """The captioner's stage."""

    reads = {"ingest": part("image_id", "image")}
    writes = schemas.CAPTION
    row_key = "image_id"

    def load(self) -> Transform:
        caption = cast(Callable[..., StageOutput], self.of.load())

        def spoil(ingest: pa.Table) -> StageOutput:
            right = caption(ingest=ingest)
            rows = right.table.to_pylist()
            wrong = [row | {"caption": half_wrong(row["caption"], row["image_id"])} for row in rows]
            return StageOutput(pa.Table.from_pylist(wrong, schema=self.writes), right.drops)

        return spoil


@dataclass(kw_only=True)
class TrueCaption(Stage):
    """Captions written from the truth, as a perfect captioner would write them."""

    folders: list[str]
    """Folders that ``mminstruct microworld`` wrote."""

    reads = {"ingest": part("image_id")}
    writes = schemas.CAPTION
    row_key = "image_id"

    def load(self) -> Transform:
        known = read_truth([Path(folder) for folder in self.folders])

        def caption(ingest: pa.Table) -> StageOutput:
            rows: list[dict[str, Any] | Drop] = []
            for key in ingest["image_id"].to_pylist():
                text = language.caption(known[key].scene) if key in known else None
                rows.append({"image_id": key, "caption": text, "tokens": 0} if text else Drop(key, "no_truth"))
            return output(self.writes, rows)

        return caption


@dataclass(kw_only=True)
class Blind(Stage):
    """Answers of another stage, each from the description of another image: what is right of them needs no picture."""

    of: Stage
    """The stage that answers."""

    reads = Answer.reads
    writes = schemas.ANSWER
    row_key = "pair_id"

    def load(self, *, exemplify: ds.Dataset, summarize: ds.Dataset) -> Transform:
        answer = cast(Callable[..., StageOutput], self.of.load(exemplify=exemplify, summarize=summarize))

        def blind(match: pa.Table, fuse: pa.Table) -> StageOutput:
            texts = fuse["description"].to_pylist()
            others = pa.array([*texts[1:], *texts[:1]], pa.string())
            return answer(
                match=match, fuse=fuse.set_column(fuse.column_names.index("description"), "description", others)
            )

        return blind


_NO_TEXT = 1_000_000
"""Words that alt-text must have where none is to be used: no alt-text has so many."""
_PLURALS = {many: kind for kind, (_, many) in NOUNS.items()}
_SINGULARS = {one: kind for kind, (one, _) in NOUNS.items()}
_NAMED = re.compile(
    rf"\b(?:{'|'.join(sorted((*_PLURALS, *_SINGULARS, *COLOURS, *COUNTS[1:7]), key=len, reverse=True))})\b"
)


def half_wrong(caption: str, image_id: str) -> str:
    """*caption* with about half of its nouns, colours and numbers replaced, each word always by the same other one."""
    rng = random.Random(f"half wrong {image_id}")
    others: dict[str, str] = {}

    def other(word: str, among: Sequence[str]) -> str:
        if word not in others:
            new = rng.choice([one for one in among if one != word])
            others[word] = new if rng.random() < 0.5 else word
        return others[word]

    def replaced(match: re.Match[str]) -> str:
        word = match.group()
        if word in COLOURS or word in COUNTS:
            return other(word, COLOURS if word in COLOURS else COUNTS[1:7])
        many = word in _PLURALS and word not in _SINGULARS
        kind = (_PLURALS if many else _SINGULARS)[word]
        return NOUNS[other(kind, tuple(NOUNS))][many]

    return _NAMED.sub(replaced, caption)


def variants(recipe: MMInstruct, folders: Sequence[Path]) -> dict[str, MMInstruct]:
    """Recipes with one thing changed, by name; those that equal the run's own recipe are left out.

    Args:
        recipe: Of the run.
        folders: Folders with the truth of the run's images.
    """
    found: dict[str, MMInstruct] = {}

    def vary(name: str, change: Callable[[Any], None]) -> None:
        one = copy.deepcopy(recipe)
        change(one)
        check(one)
        if manifests(one)["export"]["fingerprint"] != manifests(recipe)["export"]["fingerprint"]:
            found[name] = one

    def put(stage: str, **values: Any) -> Callable[[Any], None]:
        def change(one: Any) -> None:
            for field, value in values.items():
                setattr(getattr(one, stage), field, value)

        return change

    def reseed(number: int) -> Callable[[Any], None]:
        def change(one: Any) -> None:
            for name in ("instruct", "cluster", "summarize", "match", "exemplify", "answer"):
                stage = getattr(one, name)
                stage.seed += number

        return change

    def raw_bank(one: Any) -> None:
        one.summarize = RawBank()

    def half_wrong_captions(one: Any) -> None:
        one.caption = HalfWrong(of=recipe.caption)

    def true_captions(one: Any) -> None:
        one.caption = TrueCaption(folders=[str(folder) for folder in folders])

    def same_exemplars(one: Any) -> None:
        one.exemplify.model = one.answer.model

    def blind_answers(one: Any) -> None:
        one.answer = Blind(of=recipe.answer)

    def shots(number: int) -> Callable[[Any], None]:
        def change(one: Any) -> None:
            one.answer.shots = number
            one.exemplify.per_instruction = max(number, one.exemplify.per_instruction)

        return change

    for number in SEEDS:
        vary(f"{AGAIN}{number}", reseed(number))
    vary("no clustering", raw_bank)
    for k in (50, 150, 300, 600):
        scaled = max(1, round(k * recipe.cluster.k / PAPER_K))
        vary(f"k = {scaled} (for {k} of the paper's size)", put("cluster", k=scaled))
    vary("match: random", put("match", strategy="random", prices=False))
    vary("match: top-1", put("match", strategy="top1", prices=False))
    vary("match: sampled, no prices", put("match", strategy="sample", prices=False))
    vary("match: sampled, prices", put("match", strategy="sample", prices=True))
    for number in (0, 1, 3, 5):
        vary(f"{number} exemplars", shots(number))
    vary("exemplars by the answerer", same_exemplars)
    vary("no fuse", put("fuse", min_words=_NO_TEXT, alt_words=_NO_TEXT))
    vary("captions: half wrong", half_wrong_captions)
    vary("captions: the truth", true_captions)
    vary("descriptions of other images", blind_answers)
    vary("no filter rules", put("filter", rules=[]))
    for rule in recipe.filter.rules:
        vary(f"{WITHOUT}{rule}", put("filter", rules=[other for other in recipe.filter.rules if other != rule]))
    return found
