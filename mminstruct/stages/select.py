"""Selects the final pairs: removes evaluation data and near-duplicates, balances, applies quotas, splits off the test.

One unit reads all pairs and writes them back by part, so that later stages run in parallel. It keeps about 30 bytes of
each pair, reads texts in batches, and writes 0.5 kB of each answer to the local temporary folder (``TMPDIR``). Ties are
broken by content, so neither the order nor the number of parts matters, nor the number of workers.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from mminstruct import schemas
from mminstruct.holdout import Holdout, hold_out
from mminstruct.holdout.choice import Choice, image_hashes, open_answers, parts, still_open
from mminstruct.readers.evaluation import UNREADABLE, hashes, pictures
from mminstruct.readers.text import read
from mminstruct.schemas import AXES
from mminstruct.schemas.ids import numbers, places, texts
from mminstruct.stage import Stage, StageOutput, Transform, content_id, files, runtime, whole
from mminstruct.text.duplicates import Spill, near_hashes, near_signatures, signed, spread
from mminstruct.text.question import asked
from mminstruct.text.rules import words
from mminstruct.unit import WORKER_GROUP, WorkerGroup

_BANK = "instruction"
"""Kind of a pair whose question comes from a bank; its answer is compared with answers to the same question."""
_BALANCED = {"judgement": ("yes", "no"), "choice": ()}
"""Kind whose answers can be balanced -> first words of its answers that must all occur; empty: those that occur."""
_BLOCK = 1 << 22
"""Numbers that are computed at once."""
_TEXTS = 1 << 16
"""Answers that are read at once for each worker."""
_SHARE = 1 << 12
_PARTITION = 1 << 18
"""Signatures that are compared at once, if no group is larger: 136 MB."""
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
    ranks: int = runtime(1)
    """Workers that compare images and answers together, each with the resources of ``engine.pools.select``."""

    reads = {
        "review": whole(
            "pair_id", "image_id", "instruction_id", "kind", "domain", "question", "choices", "answer", "decision"
        ),
        "ingest": whole("image_id", "phash"),
        "rate": whole("pair_id", *AXES),
    }
    writes = schemas.SELECT
    row_key = "pair_id"
    core_seconds = 0.0001  # measured: 300,000 pairs with answers of 40 words, of it .00001 without comparing answers

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
        if self.ranks < 1:
            faults.append(f"ranks={self.ranks}: take 1 or more workers")
        limits = {"per_instruction": self.per_instruction, "per_image": self.per_image, "per_domain": self.per_domain}
        limits |= {f"per_kind.{kind}": most for kind, most in self.per_kind.items()}
        faults += [f"{name}={most}: take 0 or more" for name, most in limits.items() if most is not None and most < 0]
        if faults := faults + self.holdout.faults():
            raise ValueError("\n".join(faults))

    def load(self, *, review: ds.Dataset, ingest: ds.Dataset, rate: ds.Dataset | None = None) -> Transform:
        def select() -> Iterator[tuple[str, StageOutput]]:
            choice = Choice(parts(review), self._ranks())
            hash_I, hashed_I = np.empty(0, np.uint64), np.empty(0, bool)
            if self.eval_images is not None or self.phash_bits is not None:
                hash_I, hashed_I = image_hashes(choice, ingest)
            self._evaluation_images(choice, hash_I, hashed_I)
            self._evaluation_questions(choice, review)
            if rate is not None:
                self._ratings(choice, rate)
            with self._group() as group:
                self._near_images(choice, hash_I, hashed_I, group)
                del hash_I, hashed_I
                self._near_answers(choice, review, group)
            self._balance(choice, review)
            self._quotas(choice)
            test_N = hold_out(choice, self.holdout, self._order)
            for key in choice.parts:
                columns, drops = choice.rows(key, test_N)
                yield key, StageOutput(pa.table(columns, schema=self.writes), drops)

        return select

    def _group(self) -> AbstractContextManager[WorkerGroup | None]:
        if self.ranks == 1:
            return nullcontext()
        lend = WORKER_GROUP.get()
        if lend is None:
            raise ValueError(f"select.ranks={self.ranks}: this engine has one process; take engine=ray, or ranks=1")
        return lend(self.ranks)

    def _ranks(self) -> dict[str, int]:
        """Rank of each decision; 0 for pairs that nobody saw, which are the most."""
        order = [*self.prefer, *(word for word in _DECISIONS if word not in self.prefer)]
        return {word: order.index(word) - order.index("unseen") for word in _DECISIONS}

    def _evaluation_images(self, choice: Choice, hash_I: np.ndarray, hashed_I: np.ndarray) -> None:
        if self.eval_images is None:
            return
        names: list[str] = []
        known: list[int] = []
        for name, picture in pictures(self.eval_images, self.eval_unreadable, "recipe.select.eval_unreadable"):
            for view, value in hashes(picture).items():
                names.append(f"{name} {view}")
                known.append(value)
        known_E = np.array(known, np.uint64)
        images, step = np.flatnonzero(hashed_I), max(1, _BLOCK // max(1, len(known)))
        of_image, edges = choice.groups("image")
        for start in range(0, len(images), step):
            some = images[start : start + step]
            distance_IE = np.bitwise_count(hash_I[some, None] ^ known_E)
            for place in np.flatnonzero(distance_IE.min(axis=1) <= self.eval_phash_bits).tolist():
                nearest, image = int(distance_IE[place].argmin()), some[place]
                told = f"{names[nearest]}, {distance_IE[place, nearest]} bits away"
                choice.drop(of_image[edges[image] : edges[image + 1]], "eval_image", told)

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

        instruction_N = choice.sides["instruction"].of_N
        known_I = np.zeros(choice.sides["instruction"].count, bool)
        sharing: dict[int, str] = {}  # instruction -> evaluation question
        for rows, batch in still_open(choice, review, "question", "choices", "answer"):
            for row, instruction, turn in zip(
                rows.tolist(), instruction_N[rows].tolist(), batch.to_pylist(), strict=True
            ):
                if not known_I[instruction]:
                    known_I[instruction] = True
                    if told := shared(asked(turn["question"], turn["choices"])):
                        sharing[instruction] = told
                if told := sharing.get(instruction) or shared(turn["answer"]):
                    choice.drop([row], "eval_question", told)

    def _ratings(self, choice: Choice, rate: ds.Dataset) -> None:
        order_N = np.argsort(choice.pair_N, kind="stable")
        ids_N = choice.pair_N[order_N]
        for batch in rate.to_batches(columns=["pair_id", *AXES]):
            place_M, there_M = places(ids_N, numbers(batch["pair_id"]))
            rows = order_N[place_M[there_M]]
            rated_MA = np.stack(
                [batch[axis].cast(pa.float64()).to_numpy(zero_copy_only=False)[there_M] for axis in AXES], axis=1
            )
            still = choice.reason_N[rows] == 0
            rows, rated_MA = rows[still], rated_MA[still]
            known_M = ~np.isnan(rated_MA).all(axis=1)
            choice.rate(rows[known_M], np.nanmean(rated_MA[known_M], axis=1))
            for axis, least in sorted(self.min_rating.items()):
                given_M = rated_MA[:, list(AXES).index(axis)]
                choice.drop(rows[np.isnan(given_M)], "unrated", f"{axis} None, not {least}")
                for low in np.unique(given_M[given_M < least]).tolist():
                    choice.drop(rows[given_M == low], "low_rating", f"{axis} {low:.0f}, not {least}")

    def _near_images(self, choice: Choice, hash_I: np.ndarray, hashed_I: np.ndarray, group: WorkerGroup | None) -> None:
        if self.phash_bits is None:
            return
        image_N = choice.sides["image"].of_N
        used_I = np.zeros(len(hashed_I), bool)
        used_I[image_N[choice.open()]] = True
        images = np.flatnonzero(hashed_I & used_I)
        keeper_I = np.arange(len(hashed_I))
        keeper_I[images] = images[near_hashes(hash_I[images], self.phash_bits, group)]
        rows = choice.open()
        rows = rows[keeper_I[image_N[rows]] != image_N[rows]]
        choice.drop(rows, "dup_image", keeper_I[image_N[rows]])

    def _near_answers(self, choice: Choice, review: ds.Dataset, group: WorkerGroup | None) -> None:
        if self.jaccard is None:
            return
        image, instruction, kind = (choice.sides[name] for name in ("image", "instruction", "kind"))
        uses = np.bincount(instruction.of_N[choice.open()], minlength=instruction.count)
        banked_K = kind.has({_BANK})

        def groups(rows: np.ndarray) -> np.ndarray:
            kinds, instructions = kind.of_N[rows].astype(np.int64), instruction.of_N[rows].astype(np.int64)
            alone = instruction.count + image.of_N[rows].astype(np.int64) * kind.count + kinds
            return np.where(banked_K[kinds] | (uses[instructions] > 1), instructions, alone)

        partitions = -(-len(choice.open()) // _PARTITION)
        with tempfile.TemporaryDirectory(prefix="select-") as folder:
            spill = Spill(folder, partitions)
            for rows, answers in open_answers(choice, review, _TEXTS * self.ranks):
                shares = [slice(start, start + _SHARE) for start in range(0, len(rows), _SHARE)]
                found = spread(signed, [(answers[share], self.jaccard_words) for share in shares], group)
                rows = np.concatenate([rows[share][long] for share, (long, _) in zip(shares, found, strict=True)])
                mixed = groups(rows).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
                spill.add((mixed >> np.uint64(32)) % np.uint64(partitions), rows, np.concatenate([s for _, s in found]))
            spilled = iter(spill)
            while some := list(itertools.islice(spilled, self.ranks)):
                compared = []
                for rows, signatures_NP in some:
                    order_N = np.lexsort((choice.pair_N[rows], choice.prefer_N[rows]))
                    sent = signatures_NP if group is None else np.array(signatures_NP)
                    compared.append((sent, groups(rows), self.jaccard, order_N))
                for (rows, _), keeper_N in zip(some, spread(near_signatures, compared, group), strict=True):
                    near = np.flatnonzero(keeper_N != np.arange(len(rows)))
                    choice.drop(rows[near], "dup_answer", rows[keeper_N[near]])

    def _balance(self, choice: Choice, review: ds.Dataset) -> None:
        """Downsample the answers of each kind and domain to the number of the rarest answer."""
        kind, domain = choice.sides["kind"], choice.sides["domain"]
        balanced_K = kind.has(self.balance)
        if not balanced_K[kind.of_N[choice.open()]].any():
            return
        numbered: dict[str, int] = {}
        found, said = [], []
        for rows, batch in still_open(choice, review, "answer"):
            chosen = balanced_K[kind.of_N[rows]]
            answers = batch["answer"].filter(pa.array(chosen)).to_pylist()
            first = [numbered.setdefault((words(answer) or [""])[0], len(numbered)) for answer in answers]
            found.append(rows[chosen])
            said.append(np.array(first, np.int64))
        rows_M, word_M = np.concatenate(found), np.concatenate(said)
        cell_M = kind.of_N[rows_M].astype(np.int64) * domain.count + domain.of_N[rows_M]
        for cell in np.unique(cell_M).tolist():
            kind_name, domain_name = kind.texts([cell // domain.count])[0], domain.texts([cell % domain.count])[0]
            rows, word = rows_M[cell_M == cell], word_M[cell_M == cell]
            counts = np.bincount(word, minlength=len(numbered))
            closed = _BALANCED[str(kind_name)] or tuple(w for w, number in numbered.items() if counts[number])
            most = min(int(counts[numbered[w]]) if w in numbered else 0 for w in closed)
            for w in closed:
                if w in numbered and counts[numbered[w]] > most:
                    late = self._preferred(choice, "balance", rows[word == numbered[w]])[most:]
                    choice.drop(late, "balance_answer", f"more than {most} {kind_name}s {domain_name} say {w}")

    def _quotas(self, choice: Choice) -> None:
        quotas: list[tuple[str, dict[str, int] | int | None]] = [
            ("image", self.per_image), ("instruction", self.per_instruction), ("kind", self.per_kind),
            ("domain", self.per_domain),
        ]  # fmt: skip
        for name, most in quotas:
            side = choice.sides[name]
            rows, edges = choice.groups(name)
            limits = most if isinstance(most, dict) else {None: most}
            for value, limit in limits.items():
                if limit is None:
                    continue
                over_K = np.diff(edges) > limit
                if value is not None:
                    over_K &= side.has({value})
                some = self._preferred(choice, "quota", rows[over_K[side.of_N[rows]]])
                some = some[np.argsort(side.of_N[some], kind="stable")]
                starts = np.concatenate([[0], np.cumsum(np.diff(edges)[over_K])])
                place = np.arange(len(some)) - np.repeat(starts[:-1], np.diff(starts))
                choice.drop(some[place >= limit], f"quota_{name}", f"more than {limit}")

    def _preferred(self, choice: Choice, purpose: str, rows: np.ndarray) -> np.ndarray:
        """*rows* in the order in which they stay where only some may."""
        digests = self._order(purpose, choice.pair_N[rows])
        return np.asarray(rows[np.lexsort((digests, choice.prefer_N[rows]))])

    def _order(self, purpose: str, ids_N: np.ndarray) -> np.ndarray:
        """Digests of ids, uint64 ``(N,)``."""
        digest_N = np.empty(len(ids_N), np.uint64)
        for start in range(0, len(ids_N), _BLOCK):
            block = slice(start, start + _BLOCK)
            names = texts(ids_N[block]).to_pylist()
            digest_N[block] = [int(content_id(str(self.seed), "select", purpose, name), 16) for name in names]
        return digest_N
