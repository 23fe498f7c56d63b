"""Form of an answer: which one a question asks for, whether an answer has it, and whether it is right."""

from __future__ import annotations

import re

from mminstruct.text import words
from mminstruct.text.question import in_digits

OPEN, SHORT, LETTER, YESNO, NUMBER = FORMS = ("open", "short", "letter", "yesno", "number")
"""Forms: at least ``LONG`` words; at most ``BRIEF`` words; the letter of an option; yes or no; a number."""
LONG, BRIEF = 8, 3

_WORDINGS = (
    (OPEN, r"\b(?:provide|give|with|and) (?:an |your )?explanations?\b|\bexplain\b"),
    (
        LETTER,
        r"\b(?:option|choice|answer)(?:['’]?s)? letter\b|\bletter (?:of|from) the (?:\w+ )?(?:option|choice|answer)",
    ),
    (YESNO, r"\byes or no\b|\byes ?/ ?no\b"),
    (NUMBER, r"\b(?:with|using|as|in) (?:just |only )?(?:a|one)(?: single)? (?:number|digit)\b(?! of\b)"),
    (
        SHORT,
        r"\b(?:with|using|as|in) (?:just |only )?(?:a single|a short|one) (?:word|phrase)\b|\bin a few words\b",
    ),
)
"""Wordings that ask for a form; the first that matches applies. An explanation is open even after a letter."""
_KINDS = {"short": SHORT, "number": NUMBER, "judgement": YESNO, "choice": LETTER}
"""Forms of the kinds of question in a run; all other kinds are open."""
_ARTICLES = {"a", "an", "the"}
_LETTER = re.compile(r"[\W_]*([A-Za-z])(?:[\W_]*\Z|(?<=[A-Z])[.):])")
_YESNO = re.compile(r"[\W_]*(yes|no)\b", re.IGNORECASE)
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


def asked_form(question: str, kind: str = "") -> str:
    """The form that *question* asks for, by its wording, else by its *kind*; open if neither names one."""
    for form, wording in _WORDINGS:
        if re.search(wording, question, re.IGNORECASE):
            return form
    return _KINDS.get(kind, OPEN)


def kept(form: str, answer: str) -> bool:
    """Whether *answer* has *form*; a letter, yes or no and a number may have two more words around them."""
    count = len(words(answer))
    if form == OPEN:
        return count >= LONG
    if not 1 <= count <= BRIEF:
        return False
    if form == NUMBER:
        return len(_NUMBER.findall(plain(answer))) == 1
    return form == SHORT or (_LETTER if form == LETTER else _YESNO).match(answer) is not None


def collapsed(form: str, answer: str) -> bool | None:
    """Whether an open question has an answer of at most ``BRIEF`` words; None for other forms."""
    return len(words(answer)) <= BRIEF if form == OPEN else None


def right(form: str, answer: str, reference: str | None) -> bool | None:
    """Whether *answer* agrees with *reference*; None if that cannot be told without a judge.

    Letters are compared with letters, yes and no with yes and no, numbers and short answers as ``plain`` texts. An
    answer to an open question must contain the reference; this can be told if the reference has at most ``BRIEF``
    words. ``<OR>`` and ``<AND>`` in a reference are MM-Vet's.
    """
    if not reference or not reference.strip():
        return None
    found = [[_right(form, answer, one) for one in part.split("<OR>")] for part in reference.split("<AND>")]
    return None if any(None in part for part in found) else all(map(any, found))


def _right(form: str, answer: str, reference: str) -> bool | None:
    if form in (LETTER, YESNO):
        pattern = _LETTER if form == LETTER else _YESNO
        said, true = pattern.match(answer), pattern.match(reference)
        return None if true is None else said is not None and said[1].casefold() == true[1].casefold()
    if form != OPEN:
        return plain(answer) == plain(reference)
    if len(words(reference)) > BRIEF or not plain(reference):
        return None
    return f" {plain(reference)} " in f" {plain(answer)} "


def plain(text: str) -> str:
    """*text* in lower case, without articles and punctuation, with numbers up to twelve as digits.

    Unlike ``text.vqa.normal``, the VQA evaluation's own normalisation, it removes all marks: answers of models have
    quotes, colons and asterisks. It keeps ``1,000`` and has no list of contractions.
    """
    tokens = re.findall(r"\d+(?:[.,]\d+)*|[^\W_]+(?:['’][^\W_]+)*", text.casefold())
    return " ".join(in_digits(token) for token in tokens if token not in _ARTICLES)
