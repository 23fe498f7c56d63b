"""Asks about each image: a language model writes questions with answers of several kinds, from its description."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from mminstruct import schemas
from mminstruct.models.model import Model, Reply
from mminstruct.models.structured import InvalidJson, valid_json
from mminstruct.prompts import render
from mminstruct.readers.domains import KINDS, Domain
from mminstruct.stage import (
    Drop,
    Stage,
    StageOutput,
    Tokens,
    Transform,
    content_id,
    instruction_id,
    output,
    pair_id,
    part,
    prompt,
    role,
    seed,
)
from mminstruct.text import one_line
from mminstruct.text.languages import LANGUAGES
from mminstruct.text.needs import MET
from mminstruct.text.phrases import PHRASES
from mminstruct.text.prior import prior
from mminstruct.text.question import asked
from mminstruct.text.reply import spoken
from mminstruct.text.tagged import Asked
from mminstruct.text.turn import LETTERS, Checker, Limits, Turn, read_reply, shuffled
from mminstruct.text.vqa import normal
from mminstruct.unit import note

Row = dict[str, Any]
FORMS = ("tags", "json")
_TEXT = {"type": "string"}


def _asks(value: Any, holder: Any) -> Any:
    """What a domain file says to the asker: other changes of the file leave the fingerprint as it is."""
    return [
        {"name": one.name, "says": one.says, "needs": list(one.needs), "templates": one.templates}
        if isinstance(one, Domain) else one
        for one in value
    ]  # fmt: skip


@dataclass(kw_only=True)
class Ask(Stage):
    """One call for each image and kind of question, with templates of the image's domain (MMInstruct, step d).

    A question that must not be used is kept with its fault (``text.turn.FAULTS``); ``verify`` drops it. An image is
    dropped if no reply has a question (``text.turn.REPLIES``), or if it lacks what its domain needs: ``needs_words``,
    ``needs_person``, ``needs_two_things``, ``needs_number``, ``needs_place``. For an image with some questions, notes
    count the same reasons of its other replies, and ``ask_more``, questions beyond the requested number.

    The paper releases no parser. Choices are shuffled by a digest, so no model's preference for a letter remains.
    """

    model: Model = role("asker", like="answerer")
    """The asker."""
    prompt: str = prompt(
        "ask", "kind", "number", "templates", "description", optional=("domain", "says", "prior", "words")
    )  # fmt: skip
    domains: list[Any] = field(default_factory=list, metadata={"domains": True, "files": _asks})
    """Domains (``readers.domains.Domain``); in YAML, names of their files."""
    number: dict[str, int] = field(default_factory=lambda: {"judgement": 4, "choice": 3, "short": 3, "long": 3})
    """Questions of a call by kind; kinds that are not listed, or have 0, are not asked."""
    templates: int = 3
    """Templates in a prompt."""
    form: str = "tags"
    """tags: the reply format of the prompt ``ask``, as in the paper. json: a JSON object, whose schema the backend
    enforces if it can; it needs the prompt ``ask_json``."""
    phrases: dict[str, list[str]] = field(default_factory=lambda: {kind: list(some) for kind, some in PHRASES.items()})
    """Format phrases by kind; a question gets one by a digest, or none if its kind has none."""
    prior_words: int = 40
    """Maximum length of the text that came with the image, as prior knowledge, words; 0: it is not shown."""
    question_words: list[int] = field(default_factory=lambda: [3, 60])
    """Shortest and longest question."""
    short_words: int = 8
    """Longest answer of the kind short, words."""
    long_words: int = 20
    """Shortest answer of the kind long, words."""
    languages: list[str] = field(default_factory=lambda: ["en"])
    """Allowed languages, ISO 639-1."""
    seed: int = 0

    kind = "text"
    reads = {
        "caption": part("image_id", "caption"),
        "ingest": part("image_id", "alt_text"),
        "retrieve": part("image_id", "domain"),
        "transcribe": part("image_id", "words"),
    }
    writes = schemas.ASK
    row_key = "image_id"
    call_tokens = Tokens(
        input=520, output=180
    )  # assumed: a description of 150 tokens, three templates, three questions

    def _kinds(self) -> list[str]:
        return [kind for kind in KINDS if self.number.get(kind, 0) > 0]

    def fan(self) -> float:
        return sum(self.number[kind] for kind in self._kinds())

    def asks(self) -> float:
        return len(self._kinds())

    def check(self) -> None:
        faults = []
        if not self.domains:
            faults.append("domains is empty: name a domain file, such as domains=[domains]")
        names = [one.name for one in self.domains]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            faults.append(f"domains has {', '.join(twice)} twice: each domain is in one file")
        for key in ("number", "phrases"):
            if unknown := sorted(set(getattr(self, key)) - set(KINDS)):
                faults.append(f"{key} has {', '.join(unknown)}: kinds are {', '.join(KINDS)}")
        if not self._kinds() or min(self.number.values()) < 0:
            faults.append(f"number={self.number}: take 1 or more questions of at least one kind")
        if not 1 <= self.templates <= 6:
            faults.append(f"templates={self.templates}: take 1 to 6")
        if self.form not in FORMS:
            faults.append(f"form={self.form}: take {' or '.join(FORMS)}")
        elif ("<Q1>" in self.prompt) != (self.form == "tags"):
            other = "ask" if self.form == "tags" else "ask_json"
            faults.append(f"form={self.form} does not fit the prompt, which asks for another form: take prompt={other}")
        if len(self.question_words) != 2 or not 1 <= self.question_words[0] <= self.question_words[1]:
            faults.append(f"question_words={self.question_words}: take [shortest, longest]")
        if min(self.short_words, self.long_words) < 1 or self.prior_words < 0:
            faults.append("short_words and long_words must be 1 or more, prior_words 0 or more")
        if not self.languages or set(self.languages) - set(LANGUAGES):
            faults.append(f"languages={self.languages}: take any of {', '.join(LANGUAGES)}")
        if faults:
            raise ValueError("\n".join(faults))

    def load(self) -> Transform:
        asker = self.model.chat()
        domains: dict[str, Domain] = {one.name: one for one in self.domains}

        def ask(caption: pa.Table, ingest: pa.Table, retrieve: pa.Table, transcribe: pa.Table) -> StageOutput:
            facts: dict[str, Row] = {row["image_id"]: row for row in caption.to_pylist()}
            for table in (ingest, retrieve, transcribe):
                for row in table.to_pylist():
                    facts.get(row["image_id"], {}).update(row)
            rows: dict[str, list[Row | Drop]] = {}
            calls: list[tuple[str, str, list[str]]] = []
            for image, fact in facts.items():
                domain = domains[fact["domain"]]
                fact["prior"] = self._prior(fact["alt_text"])
                lacks = [n for n in domain.needs if not MET[n](fact["caption"], fact["words"], fact["prior"])]
                if lacks:
                    rows[image] = [Drop(image, f"needs_{lacks[0]}", domain.name)]
                else:
                    calls += [(image, kind, self._drawn(image, kind, domain)) for kind in self._kinds()]
            messages = [
                render(
                    self.prompt, domain=domains[facts[image]["domain"]].name.replace("_", " "),
                    says=domains[facts[image]["domain"]].says, kind=kind, number=self.number[kind], templates=shown,
                    prior=facts[image]["prior"], words=facts[image]["words"], description=facts[image]["caption"],
                )
                for image, kind, shown in calls
            ]  # fmt: skip
            seeds = [seed(self.seed, "ask", image, kind) for image, kind, _ in calls]
            if self.form == "json":
                replies = self._in_json(asker, calls, messages, seeds)
            else:
                replies = asker.chat(messages, seeds=seeds)
            of_image: dict[str, list[tuple[str, list[str], Reply]]] = {}
            for (image, kind, shown), reply in zip(calls, replies, strict=True):
                of_image.setdefault(image, []).append((kind, shown, reply))
            for image, some in of_image.items():
                rows[image] = list(self._rows(image, facts[image]["domain"], some))
            return output(self.writes, (row for image in facts for row in rows[image]))

        return ask

    def _in_json(
        self, asker: Any, calls: list[tuple[str, str, list[str]]], messages: list[Any], seeds: list[int]
    ) -> list[Reply]:
        """Replies to *messages*, asked kind by kind: each kind has its own schema."""
        found: dict[int, Reply] = {}
        for kind in self._kinds():
            mine = [place for place, call in enumerate(calls) if call[1] == kind]
            some = asker.chat(
                [messages[n] for n in mine], seeds=[seeds[n] for n in mine], schema=schema(kind)
            )  # fmt: skip
            found |= dict(zip(mine, some, strict=True))
        return [found[place] for place in range(len(calls))]

    def _prior(self, alt_text: str | None) -> str:
        found = prior(alt_text, self.prior_words)
        if found is None:
            note("alt_text_broken")
        return found or ""

    def _drawn(self, image: str, kind: str, domain: Domain) -> list[str]:
        draw = random.Random(seed(self.seed, "templates", image, kind))
        return draw.sample(sorted(domain.templates[kind]), min(self.templates, len(domain.templates[kind])))

    def _rows(self, image: str, domain: str, some: list[tuple[str, list[str], Reply]]) -> Iterator[Row | Drop]:
        """Rows of an image from its replies, or one drop."""
        limits = Limits(
            (self.question_words[0], self.question_words[1]), self.short_words, self.long_words, tuple(self.languages)
        )
        checker = Checker(domain, limits)
        reasons: list[Drop] = []
        made = 0
        for kind, shown, reply in some:
            reason, found = _read(kind, reply) if self.form == "json" else read_reply(reply.finish, reply.text, "ask")
            if reason:
                reasons.append(Drop(image, reason, reply.error or reply.text[:200] or None))
            note("ask_more", len(found[self.number[kind] :]))
            for place, one in enumerate(found[: self.number[kind]]):
                made += 1
                yield self._row(image, domain, checker.check(one, kind), place, shown)
        if not made:
            yield reasons[0]
        for drop in reasons if made else reasons[1:]:
            note(drop.reason)

    def _row(self, image: str, domain: str, turn: Turn, place: int, shown: list[str]) -> Row:
        turn = shuffled(turn, seed(self.seed, "choices", image, normal(turn.question)))
        question = instruction_id(asked(turn.question, turn.choices))
        pair = content_id(image, question, turn.kind, str(place)) if turn.fault else pair_id(image, question)
        phrases = self.phrases.get(turn.kind)
        made = {
            "pair_id": pair, "image_id": image, "instruction_id": question, "domain": domain, "origin": "ask",
            "template": _template(turn.question, shown), "talk": None, "turn": None,
            "phrase": phrases[seed(self.seed, "phrase", pair) % len(phrases)] if phrases else None,
        }  # fmt: skip
        names = ("kind", "question", "answer", "right", "fault", "detail")
        return {
            **made, **{name: getattr(turn, name) for name in names},
            "choices": None if turn.choices is None else list(turn.choices),
        }  # fmt: skip


def schema(kind: str) -> dict[str, Any]:
    """JSON schema of a reply with questions of *kind*."""
    keys: Row = {"question": _TEXT, "answer": _TEXT}
    if kind == "judgement":
        keys["answer"] = {"type": "string", "enum": ["Yes", "No"]}
    elif kind == "choice":
        choices = {"type": "array", "items": _TEXT, "minItems": len(LETTERS), "maxItems": len(LETTERS)}
        keys = {"question": _TEXT, "choices": choices, "answer": {"type": "string", "enum": list(LETTERS)}}
    one = {"type": "object", "properties": keys, "required": list(keys), "additionalProperties": False}
    return {
        "type": "object", "properties": {"questions": {"type": "array", "items": one}}, "required": ["questions"],
        "additionalProperties": False,
    }  # fmt: skip


def _read(kind: str, reply: Reply) -> tuple[str | None, list[Asked]]:
    """As ``read_reply``, for a reply in JSON; nothing of a cut one is kept."""
    reason, _ = read_reply(reply.finish, reply.text, "ask")
    if reason not in (None, "ask_unparsed"):
        return reason, []
    try:
        said = json.loads(valid_json(spoken(reply.text), schema(kind)))["questions"]
    except InvalidJson:
        return "ask_unparsed", []
    found = []
    for one in said:
        choices = tuple(zip(LETTERS, map(one_line, one.get("choices", ())), strict=False))
        found.append(Asked(one_line(one["question"]), choices or None, one_line(one["answer"])))
    return (None if found else "ask_unparsed"), found


def _template(question: str, shown: list[str]) -> str | None:
    """The one template that *question* was made from by filling in its placeholders; None if that is not clear."""
    found = []
    for template in shown:
        pieces = [re.escape(piece.casefold()) for piece in re.split(r"<[^<>]*>", template.rstrip("?.!"))]
        if re.fullmatch("(.{1,80}?)".join(pieces) + r"\W*", question.casefold()):
            found.append(template)
    return found[0] if len(found) == 1 else None
