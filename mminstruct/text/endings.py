"""Detects texts that end before their end, where the model's finish reason says nothing of it.

Signs that need no language come first: brackets, quotes, table rows and lists that stay open, and a last line that
alone of its kind has no final punctuation. Words that end no English sentence are tables. A text whose last line is a
whole phrase, such as a title, a slogan or a list item, cannot be told from a cut one and passes.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from mminstruct.text.characters import words


def _table(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ENDS = set(".!?…。！？؟।:;\"'”’»）)]}*_`~|>」』】")
_SENTENCE_ENDS = tuple(".!?…。！？؟।")
_OPEN = _table(
    """
    the an my your their its whose every and or nor because although unless whereas than very into onto upon
    """
)
"""No phrase ends in them."""
_RARE = _table("but which his while")
"""A phrase of four words or more hardly ever ends in them."""
_STRANDED = _table(
    """
    of for to at from with between among during without toward towards against beside including
    """
)
_PARTICLES = _table("in on")
_LEAVES_STRANDED = _table(
    """
    what who whom which that where when why how to worth as than come go
    """
)
"""After these a phrase can end in a preposition or an auxiliary: ``what dreams are made of``, ``as they were``."""
_SUBJECTS = _table("i we you he she they it there")
"""So it can after these, three words before the end at most: ``the world we live in``."""
_AUXILIARIES = _table("is are was were am has have had will would could should can")
_PRONOUNS = _table("i we they")
_INVERTS = _table(
    """
    and or am are is was were do did does have had has can could should shall will would may than as
    """
)
_LETTERED = _table("option choice answer part type plan letter vitamin grade class is or and")
"""Before ``a`` as a letter."""
_NUMBERS = _table("one two three four five six seven eight nine ten")
_OPENERS = _table(
    """
    the a an it he she they we i you this these those there here in on at and but also when if as my our its his
    her their nobody once after before near around please while behind under
    """
)
"""Words that begin a sentence and say nothing alone."""
_FAREWELLS = _table(
    """
    best kind kindest warm warmly yours your sincerely respectfully love lovingly with cheers regards see take
    greetings many thanks thank hugs from until
    """
)
_ITEM = re.compile(r"(?:[-*•–—+]|\(?\w{1,3}[.)])\s")
_SENTENCES = re.compile(r"(?:(?<=[a-z\d]{2}[.!?])[\"'”’]?|(?<=[\"”][.!?]))\s+(?=[A-Z])")


def unfinished(text: str, asked: str = "", description: str = "") -> str | None:
    """How *text* shows that it is cut, or None.

    Args:
        text: The answer.
        asked: The instruction, which may offer lettered choices.
        description: A text whose names *text* may repeat.
    """
    text = text.rstrip()
    found = _open_structure(text)
    if found:
        return found
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    if not lines or lines[-1].startswith(("|", "#")):
        return None
    last = lines[-1]
    end = f"ends in: {last[-40:]}"
    if len(lines) > 1 and re.fullmatch(r"[-*•+]|\(?\d{1,2}[.)]", last):
        return end
    if last[-1] in _ENDS or unicodedata.category(last[-1]) in ("So", "Sk", "Mn"):  # emoji
        return None
    if last.split()[-1].startswith(("#", "@", "http")):
        return None
    return end if _open_quote(last) or _open_words(last, f"{asked}\n{text}", description) or _open_line(lines) else None


def _open_structure(text: str) -> str | None:
    """Code blocks, JSON and tables without an end."""
    if text.count("```") % 2:
        return "code block without an end"
    if re.match(r"\{|\[\s*[\[{\"]", text):
        outside = re.sub(r'"(?:[^"\\]|\\.)*+"?', "", text, flags=re.DOTALL)
        if outside.count("{") > outside.count("}") or outside.count("[") > outside.count("]"):
            return f"object without an end: {text[-40:]}"
    lines = text.split("\n")
    if lines[-1].startswith("|"):
        rows = [line.strip() for line in lines if line.startswith("|")]
        if re.fullmatch(r"[|\s:-]+", rows[-1]) or rows[-1].count("|") < rows[0].count("|"):
            return f"table without an end: {rows[-1][-40:]}"
    return None


def _open_quote(last: str) -> bool:
    """Whether a quote or bracket of the last line stays open."""
    quotes = len(re.findall(r"(?<!\d)\"", last)) % 2 == 1 or last.count("“") > last.count("”")
    opened = last.rfind("(")
    return quotes or (opened > last.rfind(")") and last[opened - 1 : opened] not in tuple(":;=-"))


def _open_words(last: str, text: str, description: str) -> bool:
    """Whether the last words need another word."""
    said = [word.casefold() for word in words(last)]
    item = _ITEM.match(last) is not None
    if last.endswith(" a"):
        lettered = re.search(r"(?:^|\s)\(?[abAB][).]\s", text) is not None
        return not lettered and not (len(said) > 1 and said[-2] in _LETTERED and ":" not in last)
    if len(said) < 2:
        return False
    before, end = said[-2], said[-1]
    if last[-1] == ",":
        return len(said) >= 4 and end not in _FAREWELLS and not item and said[0] not in _FAREWELLS
    if last[-1] in "-–—" or end in _OPEN:
        return end in _OPEN or last[-2].isalpha()
    if end in _RARE and len(said) >= 4:
        return True
    free = not _LEAVES_STRANDED & set(said[:-1]) and not _SUBJECTS & set(said[-4:-1])
    if end in _STRANDED and len(said) >= 3 and free and not before.endswith("ed"):
        return True
    if end in _PARTICLES and len(said) >= 5 and free and before not in _NUMBERS:
        return True
    if end in _AUXILIARIES and len(said) >= 3:
        return free or (before == "there" and not {"as", "than", "what", "how", "all"} & set(said))
    if end in _PRONOUNS and before not in _INVERTS:
        return True
    if end in _NUMBERS and (before == "and" or f", {end}" in last[-8:].casefold()) and _NUMBERS & set(said[:-2]):
        return re.search(rf"\b(?:{'|'.join(_NUMBERS)}) [a-z]+ [a-z]+", last) is not None
    name = last.split()[-1]
    return len(said) > 2 and name.istitle() and _first_of_a_name(name, description)


def _first_of_a_name(name: str, description: str) -> bool:
    """Whether *description* has *name* only as the first word of a longer one: ``Willow`` of ``Willow Beach``."""
    following = re.findall(rf"\b{re.escape(name)}\b(.?\w?)", description)
    return bool(following) and all(len(next_) == 2 and next_[0] == " " and next_[1].isupper() for next_ in following)


def _open_line(lines: Sequence[str]) -> bool:
    """Whether the last line has no end although what stands before it, or its length, asks for one."""
    last = lines[-1]
    said = words(last)
    item = _ITEM.match(last) is not None
    numbered = re.match(r"\(?(\d{1,2})[.)]\s", last)
    alone = not any(re.match(r"\(?\d{1,2}[.)]\s", line) for line in lines[:-1])
    if (
        numbered
        and numbered[1] == "1"
        and alone
        and (len(said) <= 3 or sum(word[0].isupper() for word in said[1:]) < 0.6 * len(said[1:]))
    ):
        return True  # a list of one item; also a list on one line
    *sentences, tail = _SENTENCES.split(last)
    if sentences and _sentence_begun(tail, sum(len(words(one)) for one in sentences)):
        return True
    if _alone_without_end(lines):
        return True
    listed = last.count(",") * 3 >= len(said)
    return len(said) >= 15 and not item and not listed


def _sentence_begun(tail: str, before: int) -> bool:
    """Whether *tail*, after complete sentences of *before* words on its line, is prose, not a label, list or title."""
    said = tail.split()
    lower = sum(word[0].islower() for word in said)
    if ":" in tail:
        return False
    if len(said) <= 3:
        opener = said[0].casefold().rstrip(",") in _OPENERS
        return (before >= 4 and opener) or (before >= 8 and 0 < len(said) - 1 == lower)
    return lower >= 0.6 * len(said) and tail.count(",") * 3 < len(said)


def _kind(line: str) -> str:
    """Number, bullet, label or plain."""
    if re.match(r"\(?\d{1,2}[.)]\s", line):
        return "number"
    if re.match(r"[-*•–—+]\s", line):
        return "bullet"
    return "label" if re.match(r"\w+(?: \w+)?: ", line) else "plain"


def _alone_without_end(lines: Sequence[str]) -> bool:
    """Whether all lines of the last line's kind end as sentences do, two at least, except the last one."""
    last, kind = lines[-1], _kind(lines[-1])
    alike = [line for line in lines[:-1] if _kind(line) == kind]
    ended = [line for line in alike if line.endswith(_SENTENCE_ENDS)]
    if kind == "number":
        return bool(ended) and len(ended) == len(alike)
    if kind != "plain" or len(alike) < 2:
        return len(ended) == len(alike) >= 2
    said = words(last)
    verse = len(said) > 1 and max(len(words(line)) for line in lines) <= 10
    paused = all(line[-1] in ",;:" for line in alike if line not in ended)
    letter = (lines[-2].endswith(",") and len(lines) > 2) or said[0].casefold() in _FAREWELLS or last.istitle()
    return bool(ended) and len(alike) >= 2 and paused and not letter and (verse or len(said) >= 5)
