"""Groups questions about an image into conversations, and orders them."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import Any

import pyarrow as pa

from mminstruct import schemas
from mminstruct.stage import Drop, Stage, StageOutput, Transform, content_id, output, part
from mminstruct.text import words
from mminstruct.text.question import Question, asked, first_sentence
from mminstruct.text.vqa import normal

Row = dict[str, Any]
Word = tuple[str, str]
"""What a question wants, and one of its words."""

ORDERS = ("mixed", "grouped", "source")
OVERFLOWS = ("split", "drop")
PHRASES = ("every", "first", "never")
_OPEN = ("instruction", "caption", "paragraph", "long")
"""Kinds of questions that have many right answers."""
_TOKENS = 1.4
"""Tokens of a word, with its share of punctuation: 1.3 to 1.4 for LLaMA's tokenizer and English."""
_UNKNOWN = 0.5
"""Support of an answer that one person gave: between that of a few and that of all of ten."""


@dataclass(kw_only=True)
class Merge(Stage):
    """Joins the pairs of one image and one split to conversations (COCO-is-all, arXiv 2401.08968).

    Steps in order: questions that ask the same, contradictions, limits for each annotation set, order, length, phrases.
    By default only the order applies, and each pair is a conversation. The paper does not describe its order, its
    lengths or its contradictions. Ties are broken by digests of ids, so the order of rows does not matter. A dialogue
    that was written as one (``talk``) stays whole and in order, however long it is; none of its pairs is compared or
    limited.
    """

    turns: int = 1
    """Maximum number of questions in a conversation; 1: each pair is its own conversation, also in dialogues."""
    tokens: int | None = None
    """Maximum length of a conversation, estimated as 1.4 tokens a word, without the image; None: no limit."""
    overflow: str = "split"
    """What becomes of pairs that do not fit into the image's first conversation: ``split`` begins another one, ``drop``
    drops them."""
    jaccard: float | None = None
    """Similarity from which two questions about an image ask the same (``text/question.py``); None: they are not
    compared. Of the same answers the one with most support stays."""
    margin: float = 2.0
    """Of different answers to the same question, one stays if it has *margin* times the support of the next; otherwise
    all are dropped as contradictions."""
    weights: dict[str, float] = field(default_factory=dict)
    """By annotation set, a factor for the support of its answers; 1 for sets that are not listed. An answer without a
    known support counts as 0.5."""
    per_origin: dict[str, int] = field(default_factory=dict)
    """By annotation set, the maximum number of pairs per image; all for sets that are not listed."""
    order: str = "mixed"
    """mixed: by digest, formats evenly spread and no two neighbours of one format; pairs of a format of which
    there are too many are a conversation of their own. grouped: by format. source: by annotation set."""
    phrases: str = "every"
    """Where the format phrase is shown: with ``every`` question, only with the ``first`` one of a conversation that has
    this phrase, or ``never``."""
    seed: int = 0

    reads = {
        "select": part("pair_id", "image_id", "split"),
        "review": part(
            "pair_id", "kind", "origin", "question", "choices", "right", "phrase", "answer", "talk", "turn",
        ),
    }  # fmt: skip
    writes = schemas.MERGE
    row_key = "pair_id"
    core_seconds = 0.001  # assumed: joins columns

    def check(self) -> None:
        faults = []
        if not 1 <= self.turns < 1 << 15:
            faults.append(f"turns={self.turns}: take 1 or more questions")
        if self.tokens is not None and self.tokens < 1:
            faults.append(f"tokens={self.tokens}: take 1 or more, or null for no limit")
        if self.jaccard is not None and not 0.3 <= self.jaccard <= 1:
            faults.append(f"jaccard={self.jaccard}: from 0.3 to 1, or null to compare no questions")
        if self.margin < 1:
            faults.append(f"margin={self.margin}: take 1 or more")
        for name, known in (("order", ORDERS), ("overflow", OVERFLOWS), ("phrases", PHRASES)):
            if getattr(self, name) not in known:
                faults.append(f"{name}={getattr(self, name)}: take {', '.join(known)}")
        faults += [
            f"weights.{name}={factor}: it must be positive" for name, factor in self.weights.items() if factor <= 0
        ]
        faults += [f"per_origin.{name}={most}: take 0 or more" for name, most in self.per_origin.items() if most < 0]
        if faults:
            raise ValueError("\n".join(faults))

    def load(self) -> Transform:
        def merge(select: pa.Table, review: pa.Table, template: pa.Table | None = None) -> StageOutput:
            texts = {row["pair_id"]: row for row in review.to_pylist()}
            known = [] if template is None else template.to_pylist()
            support = {row["pair_id"]: row["support"] for row in known if row["support"] is not None}
            of_image: dict[tuple[str, str], list[Row]] = {}
            for row in select.to_pylist():
                pair = {**texts[row["pair_id"]], **row}
                pair["support"] = support.get(row["pair_id"], _UNKNOWN) * self.weights.get(pair["origin"], 1.0)
                of_image.setdefault((row["image_id"], row["split"]), []).append(pair)
            made: list[Row | Drop] = []
            for pairs in of_image.values():
                left, drops = self._chosen(pairs)
                made += drops
                for talk in self._talks(left):
                    made += [talk] if isinstance(talk, Drop) else self._rows(talk)
            if self.turns == 1:  # as they came, not by image
                place = {pair: number for number, pair in enumerate(select["pair_id"].to_pylist())}
                made.sort(key=lambda row: place[row.id if isinstance(row, Drop) else row["pair_id"]])
            return output(self.writes, made)

        return merge

    def _chosen(self, pairs: list[Row]) -> tuple[list[Row], list[Drop]]:
        """The pairs of an image that are kept, and the drops of the others; a written dialogue is kept."""
        drops: dict[str, Drop] = {}
        for row in pairs:
            row["tokens"] = tokens = math.ceil(_TOKENS * _words(row, self.phrases != "never"))
            if self.tokens is not None and tokens > self.tokens and row["talk"] is None:
                drops[row["pair_id"]] = Drop(
                    row["pair_id"], "over_tokens", f"{tokens} tokens in one question and answer"
                )
        free = [row for row in pairs if row["talk"] is None and row["pair_id"] not in drops]
        free.sort(key=lambda row: (-row["support"], self._digest([row])))
        if self.jaccard is not None:
            for same in _alike([row for row in free if row["kind"] not in _OPEN], self.jaccard):
                drops |= {drop.id: drop for drop in self._agreed(same)}
        counts: Counter[str] = Counter()
        for row in free:
            most = self.per_origin.get(row["origin"])
            if row["pair_id"] not in drops:
                counts[row["origin"]] += 1
                if most is not None and counts[row["origin"]] > most:
                    drops[row["pair_id"]] = Drop(row["pair_id"], "quota_origin", f"more than {most} of {row['origin']}")
        return [row for row in pairs if row["pair_id"] not in drops], list(drops.values())

    def _agreed(self, same: list[Row]) -> Iterator[Drop]:
        """Drops of pairs that ask the *same*, strongest first."""
        of_answer: dict[str, Row] = {}
        for row in same:
            first = of_answer.setdefault(_bare(row), row)
            if first is not row:
                yield Drop(row["pair_id"], "dup_question", f"{first['pair_id']} asks the same and has the same answer")
        best, *others = of_answer.values()
        if others and best["support"] < self.margin * others[0]["support"]:
            yield Drop(best["pair_id"], "contradiction", _against(best, others[0]))
        for row in others:
            yield Drop(row["pair_id"], "contradiction", _against(row, best))

    def _talks(self, pairs: list[Row]) -> Iterator[list[Row] | Drop]:
        """Conversations about one image, and drops of pairs for which there is no room."""
        talk: list[Row] = []
        full = False
        for dialogue in self._ordered(pairs):
            length = sum(row["tokens"] for row in (*talk, *dialogue))
            over = len(talk) + len(dialogue) > self.turns or (self.tokens is not None and length > self.tokens)
            if talk and (over or self._only_one_left(talk, dialogue)):
                full = full or self.overflow == "drop"
                if not full:
                    yield talk
                    talk = []
            if full:
                yield from (
                    Drop(row["pair_id"], "over_turns", f"the conversation has {len(talk)} turns") for row in dialogue
                )
            else:
                talk += dialogue
        if talk:
            yield talk

    def _only_one_left(self, talk: list[Row], dialogue: list[Row]) -> bool:
        """Whether all that is left has one format and *talk* has several, so that two neighbours would be alike."""
        if self.order != "mixed" or self.overflow != "split" or talk[-1]["kind"] != dialogue[0]["kind"]:
            return False
        return len({row["kind"] for row in talk}) > 1

    def _ordered(self, pairs: list[Row]) -> list[list[Row]]:
        """The dialogues of an image in the order in which they are asked; a pair that is not of one is alone."""
        if self.turns == 1:
            return [[pair] for pair in pairs]
        ordered = sorted(pairs, key=lambda row: (row["talk"] or "", row["turn"] or 0, row["pair_id"]))
        written = [list(group) for talk, group in groupby(ordered, itemgetter("talk")) if talk is not None]
        found = sorted([*written, *([row] for row in ordered if row["talk"] is None)], key=self._digest)
        if self.order == "mixed":
            return self._mixed(found)
        return sorted(found, key=lambda some: some[0]["kind" if self.order == "grouped" else "origin"])

    def _mixed(self, dialogues: list[list[Row]]) -> list[list[Row]]:
        """*dialogues* with each format evenly spread; two neighbours have one format only if it cannot be avoided."""
        formats: dict[str, list[list[Row]]] = {}
        for some in dialogues:
            formats.setdefault(some[0]["kind"], []).append(some)
        due: dict[str, list[tuple[float, list[Row]]]] = {}
        for kind, mine in formats.items():
            start = int(self._digest(mine[0]), 16) / 16**16
            due[kind] = [((place + start) / len(mine), some) for place, some in enumerate(mine)]
        found: list[list[Row]] = []
        for left in range(len(dialogues), 0, -1):
            last = found[-1][-1]["kind"] if found else None
            there = [kind for kind, some in due.items() if some]
            others = [kind for kind in there if kind != last] or there
            # a format that has more than half of what is left must come now, or two of it become neighbours
            urgent = [kind for kind in others if 2 * len(due[kind]) > left]
            kind = min(urgent or others, key=lambda kind: (due[kind][0][0], kind))
            found.append(due[kind].pop(0)[1])
        return found

    def _rows(self, talk: list[Row]) -> Iterator[Row]:
        ids = [row["pair_id"] for row in talk]
        talk_id = ids[0] if len(ids) == 1 else content_id(talk[0]["image_id"], *ids)
        seen: set[str] = set()
        for place, row in enumerate(talk):
            phrased = self.phrases == "every" or (self.phrases == "first" and row["phrase"] not in seen)
            seen.add(row["phrase"])
            yield {
                "pair_id": row["pair_id"], "talk_id": talk_id, "place": place, "image_id": row["image_id"],
                "split": row["split"], "words": _words(row, phrased), "phrased": phrased,
            }  # fmt: skip

    def _digest(self, dialogue: list[Row]) -> str:
        return content_id(str(self.seed), "merge", *(row["pair_id"] for row in dialogue))


def _words(row: Row, phrased: bool) -> int:
    """Words of question and answer."""
    text = asked(row["question"], row["choices"], row["phrase"] if phrased else None)
    return len(words(text)) + len(words(row["answer"]))


def _alike(pairs: list[Row], jaccard: float) -> list[list[Row]]:
    """Groups of pairs that ask the same as the first of their group, in the order of *pairs*."""
    groups: list[tuple[Question, list[Row]]] = []
    with_word, under = defaultdict[Word, list[int]](list), defaultdict[Word, list[int]](list)
    for row in pairs:
        question = Question.of(row["question"])
        keys = [(question.head, word) for word in sorted(set(question.content)) or [""]]
        rarest = min(keys, key=lambda key: len(with_word[key]))
        # of two that ask the same, one has all words of the other: so it has the rarest one, too
        there = sorted({*with_word[rarest], *(place for key in keys for place in under[key])})
        mine = next((place for place in there if groups[place][0].near(question, jaccard)), len(groups))
        if mine == len(groups):
            groups.append((question, []))
            under[rarest].append(mine)
            for key in keys:
                with_word[key].append(mine)
        groups[mine][1].append(row)
    return [group for _, group in groups]


def _bare(row: Row) -> str:
    """The answer for comparison: of a choice its text, of an explained answer its first sentence."""
    if row["choices"] and row["right"] is not None:
        return normal(row["choices"][row["right"]])
    return normal(first_sentence(row["answer"]) if row["kind"] == "explained" else row["answer"])


def _against(row: Row, other: Row) -> str:
    return (
        f"{row['origin']} says {row['answer'][:80]!r} ({row['support']:.2f}), "
        f"{other['origin']} says {other['answer'][:80]!r} ({other['support']:.2f})"
    )
