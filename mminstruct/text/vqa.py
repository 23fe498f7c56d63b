"""When two short answers are the same: the rules by which VQA is evaluated (visualqa.org/evaluation.html).

An answer loses upper case, articles and punctuation; number words become digits; contractions get their apostrophes.
"""

from __future__ import annotations

import re

_ARTICLES = {"a", "an", "the"}
_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_WORDS = {word: str(number) for number, word in enumerate(_NUMBERS)} | {"none": "0"}
_CONTRACTIONS = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've
    he's how'd how'll how's isn't it'd it'd've it'll let's ma'am mightn't mightn't've might've mustn't must've needn't
    not've o'clock oughtn't shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's
    someone'd someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've
    there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's
    what've when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've
    wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""
_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_THOUSANDS = re.compile(r"\d,\d")
_STOP = re.compile(r"\.(?!\d)")


def _without(word: str) -> set[str]:
    """*word* without one or more of its apostrophes."""
    forms = {word}
    for place in [place for place, letter in enumerate(word) if letter == "'"][::-1]:
        forms |= {form[:place] + form[place + 1 :] for form in forms if form[place : place + 1] == "'"}
    return forms - {word}


_WORDS |= {form: word for word in _CONTRACTIONS.split() for form in _without(word)}


def normal(answer: str) -> str:
    """*answer* in the form in which answers are compared; in lower case only, if it is all articles and punctuation.

    A mark next to a space is removed, any other becomes a space: ``black-white`` is ``black white``. Where the answer
    has a comma between digits, all marks are removed: ``1,000`` is ``1000``.
    """
    text = " ".join(answer.split())
    thousands = _THOUSANDS.search(text) is not None
    found = text
    for mark in _PUNCTUATION:
        if mark in text:
            beside = thousands or f"{mark} " in text or f" {mark}" in text
            found = found.replace(mark, "" if beside else " ")
    words = (_WORDS.get(word, word) for word in _STOP.sub("", found).lower().split())
    return " ".join(word for word in words if word not in _ARTICLES) or text.lower()
