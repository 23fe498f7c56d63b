"""Checks a generated question with its answer: what is wrong with it, or the question as it will be shown.

Nothing is guessed: a question is used only if its answer is clear. ``FAULTS`` has every reason.
"""

from __future__ import annotations

import random
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from mminstruct.text.characters import one_line, words
from mminstruct.text.languages import foreign
from mminstruct.text.leaks import leak
from mminstruct.text.refusal import refusal
from mminstruct.text.reply import spoken
from mminstruct.text.rules import Context, meta_talk, placeholder
from mminstruct.text.tagged import Asked, parse
from mminstruct.text.thoughts import thoughts_left
from mminstruct.text.vqa import normal

FAULTS = {
    "no_answer": "there is no answer, or more than one",
    "no_choices": "a choice question has no choices that can be read",
    "choices_count": "there are not four choices with the letters A to D",
    "choice_empty": "a choice is empty",
    "choice_same": "two choices are the same",
    "choice_refers": "a choice refers to the others, or contains the answer: all of the above, A and B, Answer: C",
    "choice_sorts": "some choices are numbers and some are words",
    "answer_no_choice": "the answer is none of the choices",
    "answer_letter_text": "the answer's letter and its text are different choices",
    "gives_away": "the question contains the right choice and no other",
    "judgement_word": "the answer of a judgement is neither Yes nor No",
    "placeholder_left": "a placeholder of the template is left",
    "template_named": "the question names the topic, the template or the description",
    "question_short": "the question has too few words",
    "question_long": "the question has too many words",
    "answer_long": "a short answer has too many words",
    "answer_short": "a long answer has too few words",
    "question_twice": "the image has been asked the same before",
    "language": "it is in a language that is not allowed",
    "special_token": "it contains residue of models, servers or markup",
}
"""Reason -> meaning."""
REPLIES = {
    "model_error": "the model gave no reply",
    "model_filtered": "the endpoint refused to reply",
    "empty": "the reply has no words",
    "refusal": "the model declines",
    "truncated": "the reply was cut before the first question had an answer",
    "unparsed": "the reply has no question that can be read",
}
"""Why a reply gives no question -> meaning; a stage puts its name before those of a text: ``ask_empty``."""
LETTERS = "ABCD"
_LETTER = re.compile(r"[(\[]?([A-Z])[)\]]?(?:\s*[.):：,-]\s*(.*)|\s*)", re.DOTALL)
_JUDGED = re.compile(r"\W*(yes|no)\W*", re.IGNORECASE)
_REFERS = re.compile(
    r"\b(?:all|none|both|neither|any|either) of (?:the|these|those) ?(?:above|choices|options|others|answers)?\b"
    r"|\b(?:all|none|both) (?:above|the same)\b|\b(?:both|either|neither) [(]?[A-D][)]? (?:and|or|nor) [(]?[A-D]\b"
    r"|\b(?:options?|choices?) [(]?[A-D]\b|\A\W*[A-D](?:\W+(?:and|or)\W+[A-D]|\s*[,&]\s*[A-D])+\W*\Z|\banswer\s*[:：]",
    re.IGNORECASE,
)
_NUMBER = re.compile(
    r"[-+]?\d+(?:[.,]\d+)*%?|(?:(?:eleven|twelve|(?:thir|four|fif|six|seven|eigh|nine)teen|twenty|(?:thir|for|fif|six|seven|eigh|nine)ty"
    r"|hundred|thousand|dozen|\d)[ -]?)+"
)  # fmt: skip
_BLANK = re.compile(r"<\s*[a-z]+(?:[_ /-][a-z]+){0,4}\s*>|<\s*\.\.\.\s*>|<…>", re.IGNORECASE)
_TOPIC = re.compile(r"\b(?:the|this|your|given) (?:topic|templates?|examples?)\b|<\s*/?\s*[QCA]\d*\s*>", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Limits:
    """Lengths in words, and languages."""

    question: tuple[int, int] = (3, 60)
    short: int = 8
    """Longest answer of the kind short."""
    long: int = 20
    """Shortest answer of the kind long."""
    languages: tuple[str, ...] = ("en",)


@dataclass(frozen=True, slots=True)
class Turn:
    """A question with its answer, as it is shown; with *fault*, as it was replied."""

    kind: str
    question: str
    answer: str
    choices: tuple[str, ...] | None = None
    right: int | None = None
    fault: str | None = None
    detail: str | None = None


def read_reply(finish: str, reply: str, what: str) -> tuple[str | None, list[Asked]]:
    """The reason why *reply* is not whole, and its questions. Questions before a cut are kept.

    Args:
        finish: A ``models.model.Finish``.
        reply: Text with tags (``tagged.parse``).
        what: Stage, for the reasons (``REPLIES``).
    """
    if finish not in ("stop", "length"):
        return f"model_{finish}", []
    text = spoken(reply)
    if not words(text):
        return f"{what}_empty", []
    found = [] if thoughts_left(text) else parse(text, cut=finish == "length")
    if finish == "length":
        return f"{what}_truncated", found
    if not found:
        return f"{what}_refusal" if refusal(text) else f"{what}_unparsed", []
    return None, found


@dataclass(slots=True)
class Checker:
    """Checks the questions of one image, one after the other."""

    domain: str = ""
    limits: Limits = Limits()
    seen: set[str] = field(default_factory=set)
    """``question_key`` of each question that was asked without a fault."""

    def check(self, asked: Asked, kind: str) -> Turn:
        """*asked* with its fault, or in the form in which it is learned: ``Yes``, a letter, the words."""
        turn = self._read(asked, kind)
        fault = (turn.fault, turn.detail) if turn.fault else self._fault(turn)
        if fault is not None:
            shown = None if asked.choices is None else tuple(text for _, text in asked.choices)
            return Turn(kind, asked.question, asked.answer or "", shown or None, None, *fault)
        self.seen.add(question_key(turn.question))
        return turn

    def _read(self, asked: Asked, kind: str) -> Turn:
        turn = Turn(kind, asked.question, asked.answer or "")
        if asked.answer is None or not asked.answer.strip():
            return replace(turn, fault="no_answer")
        if kind == "judgement":
            said = _JUDGED.fullmatch(asked.answer)
            return replace(turn, answer=said[1].capitalize()) if said else replace(turn, fault="judgement_word")
        return _chosen(turn, asked) if kind == "choice" else turn

    def _fault(self, turn: Turn) -> tuple[str, str | None] | None:
        texts = [turn.question, *([turn.answer] if turn.choices is None else turn.choices)]
        together = " ".join(texts)
        count, least, most = len(words(turn.question)), *self.limits.question
        length = len(words(turn.answer))
        context = Context(instruction=turn.question)
        tests: tuple[tuple[str, Callable[[], object]], ...] = (
            ("placeholder_left", lambda: _blank(texts)),
            ("special_token", lambda: next((f"{name}: {part}" for name, part in filter(None, map(leak, texts))), None)),
            ("template_named", lambda: self._named(turn)),
            ("question_short", lambda: count < least and f"{count} words"),
            ("question_long", lambda: count > most and f"{count} words"),
            ("answer_long", lambda: turn.kind == "short" and length > self.limits.short and f"{length} words"),
            ("answer_short", lambda: turn.kind == "long" and length < self.limits.long and f"{length} words"),
            ("placeholder_left", lambda: placeholder(turn.answer, context)),
            ("language", lambda: foreign(together, self.limits.languages)),
            ("question_twice", lambda: question_key(turn.question) in self.seen and turn.question),
        )
        return next(((name, str(found)) for name, test in tests if (found := test())), None)

    def _named(self, turn: Turn) -> str | None:
        raw = self.domain if "_" in self.domain and self.domain in turn.question else None
        topic = _TOPIC.search(turn.question)
        return raw or (topic.group() if topic else None) or meta_talk(turn.question, Context())


def question_key(question: str) -> str:
    """*question* in the form in which two are compared: two that have one key are the same.

    Two questions with one ``instruction_id`` have one key, too: it ignores all that the id ignores.
    """
    return normal(unicodedata.normalize("NFKC", question).casefold().rstrip(".!?:; "))


def _blank(texts: Sequence[str]) -> str | None:
    return next((found.group() for text in texts if (found := _BLANK.search(text))), None)


def _chosen(turn: Turn, asked: Asked) -> Turn:
    """*turn* with its choices and the place of the right one, or a fault of the choices."""
    if not asked.choices:
        return replace(turn, fault="no_choices")
    letters, texts = (tuple(column) for column in zip(*asked.choices, strict=True))
    told = "; ".join(f"{letter}. {text}" for letter, text in asked.choices)[:200]
    plain = [normal(text) for text in texts]
    fault = (
        "choices_count" if letters != tuple(LETTERS)
        else "choice_empty" if not all(words(text) for text in texts)
        else "choice_same" if len(set(plain)) < len(plain)
        else "choice_refers" if any(_REFERS.search(text) for text in texts)
        else "choice_sorts" if len({_is_number(text) for text in plain}) > 1
        else None
    )  # fmt: skip
    if fault:
        return replace(turn, fault=fault, detail=told)
    right = chosen(asked.answer or "", texts)
    if isinstance(right, str):
        return replace(turn, fault=right, detail=told)
    others = (text for place, text in enumerate(texts) if place != right)
    if _within(texts[right], turn.question) and not any(_within(text, turn.question) for text in others):
        return replace(turn, fault="gives_away", detail=texts[right])
    return replace(turn, choices=texts, right=right, answer=LETTERS[right])


def chosen(answer: str, choices: Sequence[str]) -> int | str:
    """The place of the choice that *answer* names by its letter, its text or both; else the reason why none is.

    Reasons are ``answer_no_choice`` and ``answer_letter_text``.
    """
    plain = [normal(text) for text in choices]
    said = one_line(answer).strip("*_` ")
    letter = _LETTER.fullmatch(said)
    if letter is None or letter[1] not in LETTERS[: len(choices)]:
        return plain.index(normal(said)) if plain.count(normal(said)) == 1 else "answer_no_choice"
    place, text = LETTERS.index(letter[1]), (letter[2] or "").strip("*_` ")
    alone = not words(text)
    if alone and any(other != place and words(one.upper()) == [letter[1]] for other, one in enumerate(choices)):
        return "answer_letter_text"  # the text of one choice is the letter of another
    return place if alone or normal(text) == plain[place] else "answer_letter_text"


def shuffled(turn: Turn, key: int) -> Turn:
    """*turn* with its choices in a random order that depends on *key* and their texts, not on their order."""
    if turn.choices is None or turn.right is None:
        return turn
    right = turn.choices[turn.right]
    order = sorted(turn.choices)
    random.Random(key).shuffle(order)
    place = order.index(right)
    return replace(turn, choices=tuple(order), right=place, answer=LETTERS[place])


def _is_number(plain: str) -> bool:
    return _NUMBER.fullmatch(plain) is not None


def _within(choice: str, question: str) -> bool:
    """Whether the words of *choice* follow each other in *question*."""
    part, whole = words(normal(choice)), words(normal(question))
    return any(whole[place : place + len(part)] == part for place in range(len(whole) - len(part) + 1))
