"""Selects the final pairs: removes evaluation data and near-duplicates, balances, applies quotas, splits off the test.

One unit reads all pairs and writes them back by part, so that later stages run in parallel. Ties are broken by content,
so neither the order nor the number of parts matters.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow.dataset as ds

from mminstruct import schemas
from mminstruct.holdout import Choice, Holdout, Pair, hold_out
from mminstruct.readers.evaluation import UNREADABLE, hashes, pictures
from mminstruct.readers.text import read
from mminstruct.schemas import AXES
from mminstruct.stage import Stage, StageOutput, Transform, content_id, files, output, whole
from mminstruct.text.duplicates import near_hashes, near_signatures, signatures
from mminstruct.text.question import asked
from mminstruct.text.rules import words
from mminstruct.unit import note

_BANK = "instruction"
"""Kind of a pair whose question comes from a bank; its answer is compared with answers to the same question."""
_BALANCED = {"judgement": ("yes", "no"), "choice": ()}
"""Kind whose answers can be balanced -> first words of its answers that must all occur; empty: those that occur."""


_DECISIONS = ("edited", "accepted", "unseen", "disputed")


@dataclass(kw_only=True)
class Select(Stage):
    """Each pair is dropped by the first step that rejects it.

    Steps in order: evaluation data, low ratings, near-duplicate images, near-duplicate answers, balance, quotas,
    hold-out. A row keeps the part key that it has in ``review`` and that its image has in ``ingest``.
    """

    phash_bits: int | None = 4
    """Maximum Hamming distance of the 64-bit perceptual hashes of two images that count as the same; None: keep all.

    Half the size and JPEG quality 60 change up to 4 bits; of 80,000 pairs of different drawn scenes none is as near."""
    jaccard: float | None = 0.8
    """Minimum Jaccard similarity of three-word sequences at which two answers count as the same; None: keep all.
    Answers to the same question are compared; if a question is asked only once, answers of one kind about one image."""
    jaccard_words: int = 8
    """Answers with fewer words are not compared: many questions have the answer "yes"."""
    eval_images: str | None = files(None)
    """Folder of evaluation images; pairs of images near them, or near common edits of them, are dropped."""
    eval_unreadable: str = "stop"
    """If evaluation images cannot be read: ``stop`` the build and list them, or only ``note`` it."""
    eval_phash_bits: int = 6
    """Maximum Hamming distance at which an image counts as the same as an evaluation image, bits."""
    eval_questions: str | None = files(None)
    """Text file of evaluation questions, one per line."""
    eval_ngram: int = 8
    """Length of a word sequence that a pair's texts may not share with an evaluation question; all words of a shorter
    question."""
    min_rating: dict[str, int] = field(default_factory=dict)
    """Minimum rating by axis of ``rate``, 1 to 5; lower ones are dropped, and pairs without a rating as ``unrated``."""
    balance: list[str] = field(default_factory=lambda: ["judgement"])
    """Kinds (judgement, choice) whose answers are kept equally often in each domain: 50 % Yes, 50 % No."""
    per_instruction: int | None = None
    """Maximum number of pairs kept per instruction; None: all."""
    per_image: int | None = None
    """Maximum number of pairs kept per image; None: all."""
    per_kind: dict[str, int] = field(default_factory=dict)
    """Maximum number of pairs kept per kind; all for kinds that are not listed."""
    per_domain: int | None = None
    """Maximum number of pairs kept per domain; None: all."""
    prefer: list[str] = field(default_factory=lambda: ["edited", "accepted", "unseen"])
    """Decisions of people in the order in which pairs stay where only some may: at quotas, in the balance, and of
    answers that are near each other. Decisions that are not listed come last. Of pairs with the same decision, those
    with the higher mean rating by models stay, where the recipe has ``rate``."""
    holdout: Holdout = field(default_factory=Holdout)
    """Settings of the test split."""
    seed: int = 0

    reads = {
        "review": whole(
            "pair_id", "image_id", "instruction_id", "kind", "domain", "question", "choices", "answer", "decision"
        ),
        "ingest": whole("image_id", "phash"),
        "rate": whole("pair_id", *AXES),
    }
    writes = schemas.SELECT
    row_key = "pair_id"
    core_seconds = 0.002  # measured on the demo, 192 pairs

    def check(self) -> None:
        faults = []
        for name in ("phash_bits", "eval_phash_bits"):
            bits = getattr(self, name)
            if bits is not None and not 0 <= bits <= 16:
                faults.append(f"{name}={bits}: bits from 0 to 16; with more, different images count as the same")
        if self.jaccard is not None and not 0.3 <= self.jaccard <= 1:
            faults.append(f"jaccard={self.jaccard}: from 0.3 to 1, or null to keep all")
        if self.eval_images is not None and not os.path.isdir(self.eval_images):
            faults.append(f"eval_images={self.eval_images}: no such folder")
        if self.eval_unreadable not in UNREADABLE:
            faults.append(f"eval_unreadable={self.eval_unreadable}: take {' or '.join(UNREADABLE)}")
        if self.eval_questions is not None and not os.path.isfile(self.eval_questions):
            faults.append(f"eval_questions={self.eval_questions}: no such file")
        if unknown := sorted(set(self.prefer) - set(_DECISIONS)):
            faults.append(f"prefer has {', '.join(unknown)}: decisions are {', '.join(_DECISIONS)}")
        if unknown := sorted(set(self.balance) - _BALANCED.keys()):
            faults.append(f"balance has {', '.join(unknown)}: only {' and '.join(_BALANCED)} have answers to balance")
        if unknown := sorted(set(self.min_rating) - AXES.keys()):
            faults.append(f"min_rating has {', '.join(unknown)}: take any of {', '.join(AXES)}")
        if self.min_rating and "rate" not in self.reads:
            faults.append("min_rating needs ratings: set recipe.rate.enable=true, or leave it empty")
        limits = {"per_instruction": self.per_instruction, "per_image": self.per_image, "per_domain": self.per_domain}
        limits |= {f"per_kind.{kind}": most for kind, most in self.per_kind.items()}
        faults += [f"{name}={most}: take 0 or more" for name, most in limits.items() if most is not None and most < 0]
        if faults := faults + self.holdout.faults():
            raise ValueError("\n".join(faults))

    def load(self, *, review: ds.Dataset, ingest: ds.Dataset, rate: ds.Dataset | None = None) -> Transform:
        def select() -> Iterator[tuple[str, StageOutput]]:
            parts: dict[str, list[str]] = {}
            choice = Choice()
            ranks = self._ranks()
            for fragment in review.get_fragments():
                key = os.path.basename(fragment.path).split(".")[0]
                parts[key] = []
                names = ("pair_id", "image_id", "instruction_id", "kind", "domain", "decision")
                for pair, image, instruction, kind, domain, decision in _values(fragment, *names):
                    if pair in choice.pairs:  # its image is in two shards: the first is kept
                        note("duplicate_pairs")
                        continue
                    choice.add(pair, Pair(image, instruction, sys.intern(kind), sys.intern(domain)), ranks[decision])
                    parts[key].append(pair)
            self._evaluation_images(choice, ingest)
            self._evaluation_questions(choice, review)
            if rate is not None:
                self._ratings(choice, rate)
            self._near_images(choice, ingest)
            self._near_answers(choice, review)
            self._balance(choice, review)
            self._quotas(choice)
            test = hold_out(choice, self.holdout, self._order)
            for key, ids in parts.items():
                yield key, output(self.writes, (choice.dropped.get(i) or choice.row(i, i in test) for i in ids))

        return select

    def _ranks(self) -> dict[str, int]:
        """Rank of each decision; 0 for pairs that nobody saw, which are the most."""
        order = [*self.prefer, *(word for word in _DECISIONS if word not in self.prefer)]
        return {word: order.index(word) - order.index("unseen") for word in _DECISIONS}

    def _evaluation_images(self, choice: Choice, ingest: ds.Dataset) -> None:
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
            if distance_E.min() <= self.eval_phash_bits:
                nearest = int(distance_E.argmin())
                name, view = names[nearest]
                choice.drop_images(image, "eval_image", f"{name} {view}, {distance_E[nearest]} bits away")

    def _evaluation_questions(self, choice: Choice, review: ds.Dataset) -> None:
        if self.eval_questions is None:
            return
        grams: dict[int, dict[tuple[str, ...], str]] = {}  # length -> words -> question
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

        by_words: dict[str, str | None] = {}  # instruction -> evaluation question
        for pair, question, choices, answer in _values(review, "pair_id", "question", "choices", "answer"):
            if not choice.open(pair):
                continue
            instruction = choice.pairs[pair].instruction
            if instruction not in by_words:
                by_words[instruction] = shared(asked(question, choices))
            if told := by_words[instruction] or shared(answer):
                choice.drop(pair, "eval_question", told)

    def _ratings(self, choice: Choice, rate: ds.Dataset) -> None:
        for pair, *given in _values(rate, "pair_id", *AXES):
            if not choice.open(pair):
                continue
            ratings = dict(zip(AXES, given, strict=True))
            known = [rating for rating in given if rating is not None]
            if known:
                choice.ratings[pair] = sum(known) / len(known)
            for axis, least in sorted(self.min_rating.items()):
                if (rating := ratings[axis]) is None or rating < least:
                    reason = "unrated" if rating is None else "low_rating"
                    choice.drop(pair, reason, f"{axis} {rating}, not {least}")

    def _near_images(self, choice: Choice, ingest: ds.Dataset) -> None:
        if self.phash_bits is None:
            return
        hashes = _hashes(choice, ingest)
        images = sorted(hashes)
        keeper_N = near_hashes(np.array([hashes[image] for image in images], np.uint64), self.phash_bits)
        for place, image in enumerate(images):
            if keeper_N[place] != place:
                choice.drop_images(image, "dup_image", f"near {images[keeper_N[place]]}")

    def _near_answers(self, choice: Choice, review: ds.Dataset) -> None:
        if self.jaccard is None:
            return
        found: dict[str, np.ndarray] = {}
        for pair, text in _values(review, "pair_id", "answer"):  # only the signatures, 0.5 kB each, are kept
            if pair not in found and choice.open(pair) and len(words(text)) >= self.jaccard_words:
                found[pair] = signatures([text])[0]
        pairs = sorted(found, key=lambda pair: (choice.rank(pair), pair))
        if not pairs:
            return
        uses = Counter(facts.instruction for _, facts in choice.left())
        groups = []
        for pair in pairs:
            image, instruction, kind, _ = choice.pairs[pair]
            groups.append(instruction if kind == _BANK or uses[instruction] > 1 else f"{image} {kind}")
        _, groups_N = np.unique(groups, return_inverse=True)
        keeper_N = near_signatures(np.stack([found[pair] for pair in pairs]), groups_N, self.jaccard)
        for place, pair in enumerate(pairs):
            if keeper_N[place] != place:
                choice.drop(pair, "dup_answer", f"near {pairs[keeper_N[place]]}")

    def _balance(self, choice: Choice, review: ds.Dataset) -> None:
        """Downsample the answers of each kind and domain to the number of the rarest answer."""
        if not any(facts.kind in self.balance for _, facts in choice.left()):
            return
        cells: dict[tuple[str, str], dict[str, list[str]]] = {}
        for pair, text in _values(review, "pair_id", "answer"):
            if choice.open(pair) and choice.pairs[pair].kind in self.balance:
                cell = cells.setdefault((choice.pairs[pair].kind, choice.pairs[pair].domain), {})
                cell.setdefault((words(text) or [""])[0], []).append(pair)

        def preferred(pair: str) -> tuple[tuple[int, float], str]:
            return choice.rank(pair), self._order("balance", pair)

        for (kind, domain), said in sorted(cells.items()):
            closed = _BALANCED[kind] or tuple(sorted(said))
            most = min(len(said.get(word, ())) for word in closed)
            for word in closed:
                for pair in sorted(set(said.get(word, ())), key=preferred)[most:]:
                    choice.drop(pair, "balance_answer", f"more than {most} {kind}s {domain} say {word}")

    def _quotas(self, choice: Choice) -> None:
        quotas: list[tuple[str, dict[str, int] | int | None]] = [
            ("image", self.per_image), ("instruction", self.per_instruction), ("kind", self.per_kind),
            ("domain", self.per_domain),
        ]  # fmt: skip

        def preferred(item: tuple[str, Pair]) -> tuple[tuple[int, float], str]:
            return choice.rank(item[0]), self._order("quota", item[0])

        for side, most in quotas:
            if most is None or most == {}:
                continue
            counts: Counter[str] = Counter()
            for pair, facts in sorted(choice.left(), key=preferred):
                name = getattr(facts, side)
                limit = most.get(name) if isinstance(most, dict) else most
                counts[name] += 1
                if limit is not None and counts[name] > limit:
                    choice.drop(pair, f"quota_{side}", f"more than {limit}")

    def _order(self, *pieces: str) -> str:
        return content_id(str(self.seed), "select", *pieces)


def _hashes(choice: Choice, ingest: ds.Dataset) -> dict[str, int]:
    """Perceptual hashes of the images that still have a pair."""
    wanted = {facts.image for _, facts in choice.left()}
    return {image: value for image, value in _values(ingest, "image_id", "phash") if image in wanted}


def _values(data: ds.Dataset | ds.Fragment, *columns: str) -> Iterator[tuple[Any, ...]]:
    """Values of *columns* row by row."""
    for batch in data.to_batches(columns=list(columns)):
        yield from zip(*(batch[name].to_pylist() for name in columns), strict=True)
