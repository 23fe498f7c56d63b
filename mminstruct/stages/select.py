"""The final choice among the pairs that passed: near-duplicates, evaluation data, quotas and the hold-out split.

One unit sees all pairs and gives each part its own again, so what follows is parallel. Every choice among equals is
by content, so neither the order of parts nor their number matters.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow.dataset as ds

from mminstruct import schemas
from mminstruct.readers.evaluation import UNREADABLE, hashes, pictures
from mminstruct.readers.text import read
from mminstruct.stage import Drop, Made, Stage, Transform, content_id, files, made, note, whole
from mminstruct.text.duplicates import near_hashes, near_signatures, signatures
from mminstruct.text.rules import words

_LOG = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Select(Stage):
    """Steps in order: evaluation data, near-duplicates, quotas, hold-out; a pair leaves at the first that takes it."""

    near: int | None = 4
    """Bits of 64 in which the perceptual hashes of two images may differ to count as one; None: keep all.

    Half the size and JPEG quality 60 change up to 4 bits; of 80,000 pairs of different drawn scenes none is as near."""
    similar: float | None = 0.8
    """Jaccard similarity of three-word sequences from which two answers to one instruction are one; None: keep all."""
    similar_words: int = 8
    """Answers below this many words may be alike: a yes is a yes."""
    eval_images: str | None = files(None)
    """Folder of evaluation images; nothing near them, or near what everyday edits make of them, may be trained on."""
    eval_unreadable: str = "stop"
    """What evaluation images that cannot be read do: stop the build with their names, or only leave a note."""
    eval_near: int = 6
    """Bits in which an image may differ from an evaluation image to count as the same."""
    eval_questions: str | None = files(None)
    """Text file of evaluation questions, one a line."""
    eval_ngram: int = 8
    """Words in a row that a pair's texts may not share with a question; of shorter questions, all words."""
    per_instruction: int | None = None
    per_image: int | None = None
    """Most pairs kept of one instruction, of one image; None: all."""
    holdout_instructions: int = 33
    """Instructions of the test split: at most a tenth of those in use, and each only while half of all pairs stay in
    train. So a first try on a few images has no test split; a warning and the note ``held_out_fewer`` say so."""
    holdout_images: int = 3
    """Test images for each of them: 33 x 3 is the paper's benchmark."""
    seed: int = 0

    reads = {
        "filter": whole("pair_id", "image_id", "instruction_id"),
        "answer": whole("pair_id", "answer"),
        "ingest": whole("image_id", "phash"),
        "summarize": whole("instruction_id", "instruction"),
    }
    writes = schemas.SELECT
    takes = "pair_id"

    def check(self) -> None:
        for name in ("near", "eval_near"):
            bits = getattr(self, name)
            if bits is not None and not 0 <= bits <= 16:
                raise ValueError(f"select.{name}={bits}: bits from 0 to 16; more brings together what is not alike")
        if self.similar is not None and not 0.3 <= self.similar <= 1:
            raise ValueError(f"select.similar={self.similar}: from 0.3 to 1, or null to keep all")
        if self.eval_images is not None and not os.path.isdir(self.eval_images):
            raise ValueError(f"select.eval_images={self.eval_images}: no such folder")
        if self.eval_unreadable not in UNREADABLE:
            raise ValueError(f"select.eval_unreadable={self.eval_unreadable}: take {' or '.join(UNREADABLE)}")
        if self.eval_questions is not None and not os.path.isfile(self.eval_questions):
            raise ValueError(f"select.eval_questions={self.eval_questions}: no such file")

    def load(self, *, filter: ds.Dataset, answer: ds.Dataset, ingest: ds.Dataset, summarize: ds.Dataset) -> Transform:
        def select() -> Iterator[tuple[str, Made]]:
            parts: dict[str, list[str]] = {}
            choice = _Choice()
            for fragment in filter.get_fragments():
                key = os.path.basename(fragment.path).split(".")[0]
                parts[key] = []
                for row in fragment.to_table(columns=["pair_id", "image_id", "instruction_id"]).to_pylist():
                    if row["pair_id"] in choice.pairs:  # of an image in two shards: it stays where it came first
                        note("duplicate_pairs")
                        continue
                    choice.add(**row)
                    parts[key].append(row["pair_id"])
            self._evaluation_images(choice, ingest)
            self._evaluation_questions(choice, answer, summarize)
            self._near_images(choice, ingest)
            self._near_answers(choice, answer)
            self._quotas(choice)
            test = self._hold_out(choice)
            for key, ids in parts.items():
                yield key, made(self.writes, (choice.dropped.get(i) or choice.row(i, i in test) for i in ids))

        return select

    def _evaluation_images(self, choice: _Choice, ingest: ds.Dataset) -> None:
        if self.eval_images is None:
            return
        names: list[tuple[str, str]] = []
        known: list[int] = []
        for name, picture in pictures(self.eval_images, self.eval_unreadable, "recipe.select.eval_unreadable"):
            for view, value in hashes(picture).items():
                names.append((name, view))
                known.append(value)
        known_E = np.array(known, np.uint64)
        for image, found in _hashes(choice, ingest).items():
            distance_E = np.bitwise_count(known_E ^ np.uint64(found))
            if distance_E.min() <= self.eval_near:
                nearest = int(distance_E.argmin())
                name, view = names[nearest]
                choice.drop_images(image, "eval_image", f"{name} {view}, {distance_E[nearest]} bits away")

    def _evaluation_questions(self, choice: _Choice, answer: ds.Dataset, summarize: ds.Dataset) -> None:
        if self.eval_questions is None:
            return
        grams: dict[int, dict[tuple[str, ...], str]] = {}  # by length: words -> the question
        for line in read(self.eval_questions).split("\n"):
            tokens = words(line)
            size = min(self.eval_ngram, len(tokens))
            for n in range(len(tokens) - size + 1 if tokens else 0):
                grams.setdefault(size, {}).setdefault(tuple(tokens[n : n + size]), line.strip()[:80])

        def shared(text: str) -> str | None:
            tokens = words(text)
            found = (
                known.get(tuple(tokens[n : n + size]))
                for size, known in sorted(grams.items())
                for n in range(len(tokens) - size + 1)
            )
            return next((line for line in found if line), None)

        bank = summarize.to_table(columns=["instruction_id", "instruction"]).to_pylist()
        asked = {row["instruction_id"]: shared(row["instruction"]) for row in bank}
        for pair, (_, instruction) in choice.left():
            question = asked[instruction]
            if question is not None:
                choice.drop(pair, "eval_question", question)
        for pair, text in _answers(answer):
            question = shared(text) if choice.open(pair) else None
            if question is not None:
                choice.drop(pair, "eval_question", question)

    def _near_images(self, choice: _Choice, ingest: ds.Dataset) -> None:
        if self.near is None:
            return
        hashes = _hashes(choice, ingest)
        images = sorted(hashes)
        keeper_N = near_hashes(np.array([hashes[image] for image in images], np.uint64), self.near)
        for place, image in enumerate(images):
            if keeper_N[place] != place:
                choice.drop_images(image, "dup_image", f"near {images[keeper_N[place]]}")

    def _near_answers(self, choice: _Choice, answer: ds.Dataset) -> None:
        if self.similar is None:
            return
        found: dict[str, np.ndarray] = {}
        for pair, text in _answers(answer):  # texts pass by, signatures of half a kilobyte stay
            if choice.open(pair) and len(words(text)) >= self.similar_words:
                found[pair] = signatures([text])[0]
        pairs = sorted(found)
        if not pairs:
            return
        _, groups_N = np.unique([choice.pairs[pair][1] for pair in pairs], return_inverse=True)
        keeper_N = near_signatures(np.stack([found[pair] for pair in pairs]), groups_N, self.similar)
        for place, pair in enumerate(pairs):
            if keeper_N[place] != place:
                choice.drop(pair, "dup_answer", f"near {pairs[keeper_N[place]]}")

    def _quotas(self, choice: _Choice) -> None:
        for most, side, reason in ((self.per_image, 0, "quota_image"), (self.per_instruction, 1, "quota_instruction")):
            if most is None:
                continue
            counts: Counter[str] = Counter()
            for pair, ids in sorted(choice.left(), key=lambda item: self._order("quota", item[0])):
                counts[ids[side]] += 1
                if counts[ids[side]] > most:
                    choice.drop(pair, reason, f"more than {most}")

    def _hold_out(self, choice: _Choice) -> set[str]:
        """Pairs of the test split; what shares one side with it but is not of it leaves."""
        by_instruction: dict[str, list[tuple[str, str]]] = {}
        for pair, (image, instruction) in choice.left():
            by_instruction.setdefault(instruction, []).append((image, pair))
        wanted = min(self.holdout_instructions, max(1, len(by_instruction) // 10)) if len(by_instruction) > 1 else 0
        images: set[str] = set()
        instructions: set[str] = set()
        test: set[str] = set()
        gone: set[str] = set()
        """Pairs that train loses: of the test split, or with its image or instruction."""
        total = sum(map(len, by_instruction.values()))
        stopped = False
        for instruction in sorted(by_instruction, key=lambda key: self._order("instruction", key)):
            if len(instructions) >= wanted or not self.holdout_images:
                break
            free = sorted(
                ((image, pair) for image, pair in by_instruction[instruction] if image not in images),
                key=lambda item: self._order("image", item[0]),
            )[: self.holdout_images]
            if len(free) < self.holdout_images:
                continue
            lost = {pair for _, pair in by_instruction[instruction]}
            lost |= {pair for image, _ in free for pair in choice.of_image[image] if choice.open(pair)}
            if 2 * len(gone | lost) > total:
                stopped = True
                continue
            gone |= lost
            instructions.add(instruction)
            images |= {image for image, _ in free}
            test |= {pair for _, pair in free}
        if stopped and len(instructions) < wanted:
            note("held_out_fewer", wanted - len(instructions))
            _LOG.warning(
                "select: %d of %d instructions are held out as a test split: more would leave less than half of"
                " %d pairs to train on; take more images, or set recipe.select.holdout_instructions=0",
                len(instructions), wanted, total,
            )  # fmt: skip
        for pair, (image, instruction) in list(choice.left()):
            if pair not in test and (image in images or instruction in instructions):
                side = "instruction" if instruction in instructions else "image"
                choice.drop(pair, "held_out", f"its {side} is of the test split")
        return test

    def _order(self, *pieces: str) -> str:
        return content_id(str(self.seed), "select", *pieces)


@dataclass
class _Choice:
    """Pairs in the order they came, and what became of them."""

    pairs: dict[str, tuple[str, str]] = field(default_factory=dict)
    """pair_id -> image_id, instruction_id."""
    of_image: dict[str, list[str]] = field(default_factory=dict)
    dropped: dict[str, Drop] = field(default_factory=dict)

    def add(self, pair_id: str, image_id: str, instruction_id: str) -> None:
        self.pairs[pair_id] = (image_id, instruction_id)
        self.of_image.setdefault(image_id, []).append(pair_id)

    def open(self, pair: str) -> bool:
        return pair in self.pairs and pair not in self.dropped

    def left(self) -> Iterator[tuple[str, tuple[str, str]]]:
        return ((pair, ids) for pair, ids in list(self.pairs.items()) if pair not in self.dropped)

    def drop(self, pair: str, reason: str, detail: str) -> None:
        self.dropped.setdefault(pair, Drop(pair, reason, detail))

    def drop_images(self, image: str, reason: str, detail: str) -> None:
        """Drop all that is left of an image."""
        for pair in self.of_image[image]:
            self.drop(pair, reason, detail)

    def row(self, pair: str, test: bool) -> dict[str, str]:
        image, instruction = self.pairs[pair]
        return {"pair_id": pair, "image_id": image, "instruction_id": instruction, "split": "test" if test else "train"}


def _hashes(choice: _Choice, ingest: ds.Dataset) -> dict[str, int]:
    """Perceptual hashes of the images that still have a pair."""
    wanted = {image for _, (image, _) in choice.left()}
    found: dict[str, int] = {}
    for batch in ingest.to_batches(columns=["image_id", "phash"]):
        for image, value in zip(batch["image_id"].to_pylist(), batch["phash"].to_pylist(), strict=True):
            if image in wanted:
                found[image] = value
    return found


def _answers(answer: ds.Dataset) -> Iterator[tuple[str, str]]:
    for batch in answer.to_batches(columns=["pair_id", "answer"]):
        yield from zip(batch["pair_id"].to_pylist(), batch["answer"].to_pylist(), strict=True)
