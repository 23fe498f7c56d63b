"""Characters and words of a text.

A word is a run of letters and digits with their combining marks; each Chinese or Japanese character is one word.
"""

from __future__ import annotations

import re
import unicodedata

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_MARKS = (  # combining vowel signs and accents, which \w does not match
    "\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u05bf-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06ed"
    "\u0900-\u0963\u0971-\u0df3\u0e31-\u0e4e\u0eb1-\u0ece\u0f71-\u0f84\u0f90-\u0fbc\u102b-\u103e\u17b4-\u17d3\u200c\u200d"
)
_LETTERS = rf"[^\W_{_CJK}]+(?:[{_MARKS}]+[^\W_{_CJK}]*)*"
_WORD = re.compile(rf"[{_CJK}]|{_LETTERS}(?:['’\-]{_LETTERS})*")
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters, but not tab and newline
    "\u00ad\u200b\u2060-\u2064\ufeff"  # soft hyphen, zero-width space, word joiner, byte order mark
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # writing direction: can display another text than the stored one
    "\ufdd0-\ufdef\ufffe\uffff\U000e0000-\U000e007f]"  # noncharacters; tags, which can carry hidden text
)
_JOINERS = re.compile("(?<![^\x00-\x7f])[\u200c\u200d]+|[\u200c\u200d]+(?![^\x00-\x7f])")  # emoji and Persian need them


def repair(text: str) -> str:
    r"""*text* in NFC without lone surrogates, control, direction, tag and stray zero-width characters.

    Surrogate pairs become one character, line ends become ``\n``, and outer white space is stripped.
    """
    text = re.sub("\r\n?|[\u2028\u2029\x85]", "\n", paired(text))
    text = _JOINERS.sub("", _INVISIBLE.sub("", text))
    return unicodedata.normalize("NFC", text).strip()


def paired(text: str) -> str:
    """*text* with each surrogate pair as one character, and without lone surrogates."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "ignore")


def one_line(text: str) -> str:
    """*text* with each run of white space as one space, so it cannot start a new line in a prompt."""
    return " ".join(text.split())


def words(text: str) -> list[str]:
    """The words of *text*, in order, as written."""
    return _WORD.findall(text)


def cut(text: str, limit: int) -> str:
    """The first *limit* words of *text*."""
    for count, word in enumerate(_WORD.finditer(text), 1):
        if count > limit:
            return text[: word.start()].rstrip()
    return text
