"""Checks every question and answer with a second model: from the description, without it, and from the image itself."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from mminstruct import schemas
from mminstruct.models.model import Chat, Model, Reply, with_image
from mminstruct.prompts import Message, render
from mminstruct.stage import Drop, Stage, StageOutput, Tokens, Transform, output, part, prompt, role, seed
from mminstruct.text.consistency import same
from mminstruct.text.prior import prior
from mminstruct.text.reply import spoken, unlabelled
from mminstruct.text.turn import LETTERS, chosen

Row = dict[str, Any]
REASONS = {
    "unanswerable": "the description does not answer the question",
    "inconsistent": "the answer from the description is another one",
    "unsupported": "the description does not show all of a long answer",
    "blind_answerable": "a choice is found without the description, in every try",
    "image_disagrees": "the answer from the image itself is another one, or none",
    "after_a_gap": "an earlier round of its conversation was dropped",
    "verify_unparsed": "a reply has no answer that can be read",
    "model_error": "the model gave no reply",
    "model_filtered": "the endpoint refused to reply",
}
"""Reason -> meaning, beside those of ``text.turn.FAULTS``."""
ON_BLIND = ("mark", "drop")
_FORMS = {"judgement": "Yes or No", "choice": "the letter of a choice", "short": "at most five words", "long": ""}


@dataclass(slots=True)
class _Try:
    """One call to a model about one row."""

    row: Row
    step: str
    """description, blind or image."""
    number: int
    choices: tuple[str, ...]
    """In the order in which they are shown."""
    right: int | None
    outcome: str = ""
    """An ``Outcome``, or ``model_FINISH``."""
    said: str = ""


@dataclass(kw_only=True)
class Verify(Stage):
    """Keeps a question if a second model gives the same answer from the description (after MMInstruct, step c).

    Steps in order; the first that fails is the drop reason (``REASONS``): a fault that an earlier stage found; the
    answer from the description, with choices in another order; the answer without the description; the answer from the
    image itself. Then a conversation is cut at its first dropped round. A reply that says "unknown", and one that
    cannot be read, never count as agreement. The paper verifies its templates by GPT-4V, and rows by people.
    """

    model: Model = role("verifier", like="answerer")
    """Answers from the description."""
    viewer: Model | None = None
    """Answers from the image; None: nobody does."""
    prompt: str = prompt("verify", "statements", "question", "form", "choices", "description", optional=("prior",))
    votes: int = 1
    """Answers from the description; more than half must be the same. Take more only with a temperature above 0."""
    blind_votes: int = 3
    """Answers without the description; 0: none. Long answers are not tried."""
    on_blind: str = "mark"
    """mark: only record the share of right answers in ``blind``. drop: drop choices that are right in every try, which
    happens by chance once in 64. A judgement is never dropped, because half of them are right by chance."""
    share: float = 1.0
    """Share of rows that are checked, 0 to 1, sampled by content; a row with a fault is dropped in any case."""
    prior_words: int = 40
    """Maximum length of the text that came with the image, which ``ask`` has seen, words; 0: it is not shown."""
    seed: int = 0

    kind = "text"
    reads = {
        "converse": part(*schemas.CONVERSE.names),
        "caption": part("image_id", "caption"),
        "ingest": part("image_id", "alt_text"),
    }
    writes = schemas.VERIFY
    row_key = "pair_id"
    call_tokens = Tokens(input=260, output=3)  # assumed: a description of 150 tokens, a question

    def __post_init__(self) -> None:
        if self.viewer is not None:
            vars(self)["reads"] = {**type(self).reads, "ingest": part("image_id", "alt_text", "image")}

    def asks(self) -> float:
        """Of 16 rows of an image, 6 have long answers, which are not tried blind."""
        return self.share * (self.votes + self.blind_votes * 10 / 16)

    def check(self) -> None:
        faults = []
        if self.votes < 1 or self.blind_votes < 0:
            faults.append(f"votes={self.votes} and blind_votes={self.blind_votes}: take 1 or more, and 0 or more")
        if self.on_blind not in ON_BLIND:
            faults.append(f"on_blind={self.on_blind}: take {' or '.join(ON_BLIND)}")
        elif self.on_blind == "drop" and not self.blind_votes:
            faults.append("on_blind=drop needs blind_votes: take 3 or more")
        if not 0 <= self.share <= 1:
            faults.append(f"share={self.share}: take 0 to 1")
        if faults:
            raise ValueError("\n".join(faults))

    def load(self) -> Transform:
        verifier = self.model.chat()
        viewer = self.viewer.chat() if self.viewer is not None else None

        def verify(converse: pa.Table, caption: pa.Table, ingest: pa.Table) -> StageOutput:
            known = {row["image_id"]: {"description": row["caption"]} for row in caption.to_pylist()}
            for row in ingest.select(["image_id", "alt_text"]).to_pylist():
                if row["image_id"] in known:
                    known[row["image_id"]]["prior"] = prior(row["alt_text"], self.prior_words) or ""
            rows = converse.to_pylist()
            tried = [row for row in rows if row["fault"] is None and self._sampled(row["pair_id"])]
            tries = [one for row in tried for one in self._tries(row)]
            asked = [self._render(one, known) for one in tries]
            self._ask(verifier, tries, asked)
            if viewer is not None:
                images = dict(zip(ingest["image_id"].to_pylist(), ingest["image"], strict=True))
                seen = [self._shuffled(row, "image", 0) for row in tried]
                pictures = [images[one.row["image_id"]].as_py() for one in seen]
                shown = [self._render(one, {}) for one in seen]
                self._ask(viewer, seen, list(map(with_image, shown, pictures)))
                tries += seen
            of_row: dict[str, list[_Try]] = {}
            for one in tries:
                of_row.setdefault(one.row["pair_id"], []).append(one)
            judged = [self._judge(row, of_row.get(row["pair_id"], [])) for row in rows]
            return output(self.writes, _without_gaps(rows, judged))

        return verify

    def _sampled(self, pair: str) -> bool:
        return seed(self.seed, "share", pair) < self.share * 2**31

    def _tries(self, row: Row) -> Iterator[_Try]:
        yield from (self._shuffled(row, "description", number) for number in range(self.votes))
        if row["kind"] != "long":
            yield from (self._shuffled(row, "blind", number) for number in range(self.blind_votes))

    def _shuffled(self, row: Row, step: str, number: int) -> _Try:
        """A try with its choices in an order of its own; with the description, the right one has another letter."""
        choices = list(row["choices"] or ())
        if not choices:
            return _Try(row, step, number, (), None)
        right, key = choices[row["right"]], seed(self.seed, "order", row["pair_id"], step, str(number))
        turned = key % len(choices) if step == "blind" else 1 + key % (len(choices) - 1)
        rest = [text for text in choices if text != right]
        random.Random(key).shuffle(rest)
        place = (row["right"] + turned) % len(choices)
        order = [*rest[:place], right, *rest[place:]]
        return _Try(row, step, number, tuple(order), place)

    def _render(self, one: _Try, known: dict[str, dict[str, str]]) -> list[Message]:
        row, long = one.row, one.row["kind"] == "long"
        return render(
            self.prompt, statements=row["answer"] if long else "", question=row["question"],
            form=_FORMS[row["kind"]],
            choices=[f"{letter}. {text}" for letter, text in zip(LETTERS, one.choices, strict=False)],
            **(known[row["image_id"]] if one.step == "description" else {"prior": "", "description": ""}),
        )  # fmt: skip

    def _ask(self, model: Chat, tries: list[_Try], messages: list[list[Message]]) -> None:
        seeds = [seed(self.seed, "verify", one.row["pair_id"], one.step, str(one.number)) for one in tries]
        replies: list[Reply] = model.chat(messages, seeds=seeds)
        for one, reply in zip(tries, replies, strict=True):
            one.said = reply.error or _in_words(reply.text, one.choices)[:200]
            if reply.finish in ("error", "filtered"):
                one.outcome = f"model_{reply.finish}"
            else:
                kind, answer = one.row["kind"], one.row["answer"]
                one.outcome = same(reply.text, reply.finish, kind, answer, one.choices, one.right)

    def _judge(self, row: Row, tries: list[_Try]) -> Row | Drop:
        pair, told = row["pair_id"], _told(row)
        if row["fault"] is not None:
            return Drop(pair, row["fault"], f"{told} ({row['detail']})" if row["detail"] else told)
        of_step = {step: [one for one in tries if one.step == step] for step in ("description", "blind", "image")}
        blind = [one.outcome == "same" for one in of_step["blind"]]
        silent = next((one for one in tries if one.outcome.startswith("model_")), None)
        found = silent or _against(of_step["description"])
        if found is None and self.on_blind == "drop" and row["kind"] == "choice" and all(blind) and blind:
            return Drop(pair, "blind_answerable", f"{told} (right in {len(blind)} tries)")
        if found := found or _against(of_step["image"]):
            return Drop(pair, _reason(found), f"{told} ({found.step}: {found.said})")
        return {
            **row, "checked": [step for step, some in of_step.items() if some],
            "agrees": True if of_step["description"] else None,
            "blind": sum(blind) / len(blind) if blind else None, "seen": True if of_step["image"] else None,
        }  # fmt: skip


def _told(row: Row) -> str:
    """Question and answer, for the detail of a drop."""
    return f"{row['question']} / {row['answer']}" + (
        f". {row['choices'][row['right']]}" if row["right"] is not None else ""
    )


def _in_words(reply: str, choices: Sequence[str]) -> str:
    """The choice that *reply* names, otherwise *reply*: a letter tells nothing, as each try has an order of its own."""
    place = chosen(unlabelled(spoken(reply), "answer"), choices) if choices else None
    return choices[place] if isinstance(place, int) else reply


def _against(tries: list[_Try]) -> _Try | None:
    """A try with the most frequent outcome that is not the same, unless more than half are the same."""
    counts = Counter(one.outcome for one in tries)
    if not tries or 2 * counts["same"] > len(tries):
        return None
    worst = min((name for name in counts if name != "same"), key=lambda name: (-counts[name], name))
    return next(one for one in tries if one.outcome == worst)


def _reason(one: _Try) -> str:
    if one.outcome.startswith("model_"):
        return one.outcome
    if one.outcome == "unparsed":
        return "verify_unparsed"
    if one.step == "image":
        return "image_disagrees"
    if one.outcome == "unknown":
        return "unanswerable"
    return "unsupported" if one.row["kind"] == "long" else "inconsistent"


def _without_gaps(rows: list[Row], judged: list[Row | Drop]) -> Iterator[Row | Drop]:
    """*judged*, in which a conversation ends before its first dropped round."""
    ends: dict[str, int] = {}
    for row, one in zip(rows, judged, strict=True):
        if row["talk"] is not None and isinstance(one, Drop):
            ends[row["talk"]] = min(row["turn"], ends.get(row["talk"], row["turn"]))
    for row, one in zip(rows, judged, strict=True):
        late = row["talk"] is not None and row["turn"] > ends.get(row["talk"], row["turn"])
        yield Drop(row["pair_id"], "after_a_gap", _told(row)) if late and not isinstance(one, Drop) else one
