"""Reads numbered questions, choices and answers from a reply: ``<Q1> ... </Q1> <C1> A. ... </C1> <A1> ... </A1>``.

Models write tags in any case, in full-width characters, in bold, without brackets at the start of a line (``Q1:``),
without their ends, and repeat or skip numbers. All of that is read. What is not clear is left out, never guessed: an
answer that may belong to two questions belongs to none.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from mminstruct.text.characters import one_line

_BRACKETED = r"[<＜]\s*(?:(?P<end>[/\\／])\s*)?(?P<kind>[QCAＱＣＡ])\s*(?:(?P<number>[0-9０-９]{1,4})\s*)?[>＞]"
_LABELLED = r"(?:^|(?<=\n))[ \t>#-]*[*_]{0,3}(?P<label>[QCA])(?P<place>[0-9]{1,4})[*_]{0,3}\s*[:：]"
_TAG = re.compile(rf"{_BRACKETED}|{_LABELLED}", re.IGNORECASE)
_STARS = re.compile(r"^[\s*_:：`]+|(?<![\s*_`])[\s*_`]+$")
_WIDE = str.maketrans("ＱＣＡｑｃａ", "QCAqca")
_CHOICE = r"[(（]?[*_]{0,3}(?P<letter>[A-Z])[*_]{0,3}\s?[.．):：、）]\.?[*_]{0,3}(?=\s|\Z|[^\W\d_]{2}|\d|[\"'“])"
_AT_LINE = re.compile(rf"(?:\A|(?<=\n))[ \t*-]*{_CHOICE}")
_INLINE = re.compile(rf"(?:\A|(?<=[\s,;])){_CHOICE}")


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as it was replied; None for what is missing or not clear."""

    question: str
    choices: tuple[tuple[str, str], ...] | None
    """Letter and text of each, in the order of the reply."""
    answer: str | None


@dataclass(slots=True)
class _Piece:
    kind: str
    number: str
    text: str
    closed: bool


def parse(reply: str, *, cut: bool = False) -> list[Asked]:
    """The questions of *reply*, in order; an empty list if it has no tags.

    Args:
        cut: The reply ends at a limit of tokens: the last text is left out if its end is missing, and so is a question
            at the end that has no answer yet.
    """
    pieces = _pieces(reply)
    if cut and pieces and not pieces[-1].closed:
        pieces.pop()
    blocks: list[list[_Piece]] = []
    for piece in pieces:
        if piece.kind == "Q":
            blocks.append([piece])
        elif blocks:
            blocks[-1].append(piece)
    if cut and blocks and all(piece.kind != "A" for piece in blocks[-1]):
        blocks.pop()
    uses = Counter(block[0].number for block in blocks)
    found = []
    for block in blocks:
        question = block[0]
        said: dict[str, str | None] = {}
        for kind in ("C", "A"):
            own = [piece for piece in block if piece.kind == kind and piece.number == question.number]
            if uses[question.number] == 1 and question.number:
                own = [piece for piece in pieces if piece.kind == kind and piece.number == question.number]
            elif not all(_has(other, kind) for other in blocks if other[0].number == question.number):
                own = []  # it may belong to another question of this number
            texts = {one_line(piece.text).casefold(): piece.text for piece in reversed(own) if piece.text}
            said[kind] = next(iter(texts.values())) if len(texts) == 1 else None
        choices, answer = said["C"], said["A"]
        found.append(
            Asked(
                question=one_line(question.text),
                choices=None if choices is None else parse_choices(choices),
                answer=None if answer is None else one_line(answer),
            )
        )
    return found


def _has(block: list[_Piece], kind: str) -> bool:
    return any(piece.kind == kind and piece.number == block[0].number for piece in block)


def _pieces(reply: str) -> list[_Piece]:
    """The text after each opening tag, up to its end or the next tag; text that belongs to no tag is left out."""
    tags = list(_TAG.finditer(reply))
    pieces = []
    for place, tag in enumerate(tags):
        if tag["end"]:
            continue
        after = tags[place + 1] if place + 1 < len(tags) else None
        text = reply[tag.end() : after.start() if after else len(reply)]
        closed = after is not None
        if after is None or not after["end"]:  # words after an empty line are no part of it
            text = re.split(r"\n\s*\n", text.strip("\n"), maxsplit=1)[0]
        kind = (tag["kind"] or tag["label"]).translate(_WIDE).upper()
        number = tag["number"] or tag["place"]
        pieces.append(_Piece(kind, str(int(number)) if number else "", _STARS.sub("", text), closed))
    return pieces


def parse_choices(text: str) -> tuple[tuple[str, str], ...]:
    """Letter and text of each choice in *text*, on lines or in one; empty if no letters are found.

    A letter that is found twice is no clear mark, and neither are letters out of order: then nothing is found.
    """
    for pattern in (_AT_LINE, _INLINE):
        marks = list(pattern.finditer(text))
        letters = [mark["letter"] for mark in marks]
        if len(marks) < 2 or letters != sorted(set(letters)) or text[: marks[0].start()].strip(" \n\t*-:："):
            continue
        ends = [*(mark.start() for mark in marks[1:]), len(text)]
        return tuple(
            (mark["letter"], _STARS.sub("", one_line(text[mark.end() : end])).rstrip(",;"))
            for mark, end in zip(marks, ends, strict=True)
        )
    return ()
