"""A rule-based parser of the microworld's English: it extracts the claims of a text.

It uses no model, so a program can write answers from a description and check them against the truth.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from mminstruct.microworld.catalogue import COLOURS, KINDS, NAMES, RELATIONS, SETTINGS, SIZES, TIMES, WEATHERS

COUNTS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
          "eleven", "twelve", "thirteen", "fourteen")  # fmt: skip
ACTIONS = tuple(dict.fromkeys(action for kind in KINDS.values() for action in kind.actions))
SIZE_WORDS = {size: "medium-sized" if size == "medium" else size for size in SIZES}
NOUNS: dict[str, tuple[str, str]] = {
    **{kind.name: (kind.name, kind.plural) for kind in KINDS.values()},
    "bread": ("bread loaf", "bread loaves"),
    "scissors": ("pair of scissors", "pairs of scissors"),
    "balloon": ("hot-air balloon", "hot-air balloons"),
}
"""Singular and plural in usual English, by kind."""


@dataclass(frozen=True, slots=True)
class Mention:
    """A thing named in a text with its attributes; None where the text does not give the attribute."""

    kind: str
    count: int | None = None
    size: str | None = None
    colour: str | None = None
    action: str | None = None
    word: str | None = None
    """What a sign says."""

    @property
    def category(self) -> str:
        return KINDS[self.kind].category

    @property
    def many(self) -> bool:
        return (self.count or 1) > 1

    @property
    def noun(self) -> str:
        """Singular or plural, depending on the count."""
        return NOUNS[self.kind][self.many]

    def named(self, *, count: bool = True, size: bool = False, action: bool = False) -> str:
        """The thing without an article: ``two small brown dogs sleeping``, ``one man in red waving``."""
        person = self.category == "person"  # a person's colour is the colour of the clothes
        words = [
            COUNTS[self.count] if count and self.count else "",
            SIZE_WORDS[self.size] if size and self.size else "",
            self.colour if self.colour and not person else "",
            self.noun,
            f"in {self.colour}" if self.colour and person else "",
            self.action if action and self.action else "",
        ]
        return " ".join(word for word in words if word)

    @property
    def the(self) -> str:
        """``the brown dog``, ``the two brown dogs``."""
        return f"the {self.named(count=self.many)}"

    @property
    def a(self) -> str:
        """``a brown dog``, ``two brown dogs``."""
        name = self.named(count=self.many)
        return name if self.many else f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


@dataclass(frozen=True, slots=True)
class Placed:
    """*subject* is *name* *target*; subject and target are kinds. Its repr is part of messages of the oracle judge."""

    subject: str
    name: str
    target: str


@lru_cache(1 << 14)
def _merged(mentions: tuple[Mention, ...]) -> tuple[Mention, ...]:
    """``Facts.things``; kept, because families ask for it dozens of times for every text."""
    several = len({mention.colour for mention in mentions if mention.kind == "sign" and mention.colour}) > 1
    merged: dict[tuple[str, str | None], Mention] = {}
    for mention in mentions:
        sign = several and mention.kind == "sign"
        if sign and mention.colour is None:
            continue
        key = mention.kind, mention.colour if sign else None
        known = merged.setdefault(key, mention)
        merged[key] = replace(
            known,
            count=known.count or mention.count,
            size=known.size or mention.size,
            colour=known.colour or mention.colour,
            action=known.action or mention.action,
            word=known.word or mention.word,
        )
    return tuple(merged.values())


@dataclass(frozen=True, slots=True)
class Facts:
    """All claims of a text. Tuples follow the order of the text and hold every value in it."""

    settings: tuple[str, ...] = ()
    times: tuple[str, ...] = ()
    weathers: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    mentions: tuple[Mention, ...] = ()
    relations: tuple[Placed, ...] = ()
    words: tuple[str, ...] = ()
    """Quoted words in capitals, as on signs."""

    @property
    def setting(self) -> str | None:
        return next(iter(self.settings), None)

    @property
    def time(self) -> str | None:
        return next(iter(self.times), None)

    @property
    def weather(self) -> str | None:
        return next(iter(self.weathers), None)

    @property
    def place(self) -> str | None:
        return next(iter(self.places), None)

    @property
    def things(self) -> tuple[Mention, ...]:
        """One mention per kind, each attribute from the first mention that gives it.

        Signs of several colours are several things; a mention of a sign without a colour is then about none of them.
        """
        return _merged(self.mentions)

    def thing(self, kind: str, colour: str | None = None) -> Mention | None:
        """The thing of *kind*; of two signs the one of *colour*, or else the first."""
        found = [thing for thing in self.things if thing.kind == kind]
        return next((thing for thing in found if thing.colour == colour), found[0] if found else None)

    def number(self, kind: str) -> int:
        """How many things of *kind* there are; a thing without a count is one."""
        return sum(thing.count or 1 for thing in self.things if thing.kind == kind)

    def is_one_of_two(self, thing: Mention) -> bool:
        """Whether *thing* is one of two signs, so that its kind alone does not name it."""
        return len([other for other in self.things if other.kind == thing.kind]) > 1


_SETTING_WORDS = {
    "snowy field": "snow field", "snow field": "snow field", "city street": "street", "office desk": "desk",
    **{name: name for name in SETTINGS},
}  # fmt: skip
_PROPERS = "|".join(sorted({setting.proper for setting in SETTINGS.values()}))
_PLACE = re.compile(rf"\b(?:{'|'.join(NAMES)}) (?:{_PROPERS})\b")
_WORD = "¤"
"""Stands for a quoted word while a text is read."""
_QUOTED = re.compile(r"[\"“]([A-Z]{2,})[\"”]")
_ONE_WORD = (
    (re.compile(r"\bpairs? of scissors\b"), "scissors"),
    (re.compile(r"\bbread loa(?:f|ves)\b"), "bread"),
    (re.compile(r"\bloa(?:f|ves) of bread\b"), "bread"),
    (re.compile(r"\bhot-air balloon"), "balloon"),
    (re.compile(r"\bmedium-sized\b"), "medium"),
    (re.compile(r"\bmarkdown tables?\b"), "markdown"),
    (re.compile(r"\bto the (left|right) of\b"), r"\1-of"),
    (re.compile(r"\b(left|right) of\b"), r"\1-of"),
    (re.compile(r"\bon top of\b"), "on"),
)
_SETTING = re.compile(rf"\b(?:{'|'.join(sorted(_SETTING_WORDS, key=len, reverse=True))})\b")
_NOUN_OF = {word: kind.name for kind in KINDS.values() for word in (kind.name, kind.plural)}
_NUMBER = {word: n for n, word in enumerate(COUNTS)} | {str(n): n for n in range(1, len(COUNTS))}
_BREAKS = re.compile(r"[a-z]+(?:-[a-z]+)*|\d+|[^\s\w]|\n")
_RELATION_OF = {"left-of": "left of", "right-of": "right of", **{name: name for name in RELATIONS}}


def _unique(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


def read_facts(text: str) -> Facts:
    """Parse *text* into every place, time, weather, thing, relation and quoted word that it names.

    Unknown words are skipped, so no text raises an error.
    """
    quoted, places = _QUOTED.findall(text), _unique(_PLACE.findall(text))
    rest = _PLACE.sub("#", _QUOTED.sub(_WORD, text.replace(_WORD, "#"))).lower()
    for pattern, word in _ONE_WORD:
        rest = pattern.sub(word, rest)
    settings = _unique(_SETTING_WORDS[name] for name in _SETTING.findall(rest))
    rest = _SETTING.sub("#", rest)
    tokens = _BREAKS.findall(rest)
    mentions, at = [], {}
    unread = iter(quoted)
    for place, token in enumerate(tokens):
        if token in _NOUN_OF:
            at[place] = _NOUN_OF[token]
            mentions.append(_mention(tokens, place))
        elif token == _WORD:
            word = next(unread)
            if tokens[max(0, place - 2) : place] in (["sign", "says"], ["sign", "reads"]):
                mentions[-1] = replace(mentions[-1], word=word)
    return Facts(
        settings,
        _unique(token for token in tokens if token in TIMES),
        _unique(token for token in tokens if token in WEATHERS),
        places,
        tuple(mentions),
        tuple(_relations(tokens, at)),
        _unique(quoted),
    )


def _mention(tokens: Sequence[str], place: int) -> Mention:
    """The mention whose noun is token *place*: adjectives before it, ``is``/``that are`` and a participle after it."""
    found: dict[str, str] = {}
    count = None

    def take(token: str) -> bool:
        for slot, known in (("size", SIZES), ("colour", COLOURS), ("action", ACTIONS)):
            if token in known:
                found.setdefault(slot, token)
                return True
        return False

    before = place - 1
    while before >= 0 and take(tokens[before]):
        before -= 1
    if before >= 0:
        count = _NUMBER.get(tokens[before])
    after = place + 1
    if after + 1 < len(tokens) and tokens[after] in ("in", "wearing") and tokens[after + 1] in COLOURS:
        take(tokens[after + 1])
        after += 2
    linked = False
    while after < len(tokens) and tokens[after] in ("that", "who", "is", "are", "was", "were"):
        after, linked = after + 1, True
    if after < len(tokens) and (tokens[after] in ACTIONS or linked):
        following = tokens[after + 1] if after + 1 < len(tokens) else "."
        if following not in _NOUN_OF and following not in COLOURS:
            take(tokens[after])
    return Mention(_NOUN_OF[tokens[place]], count, found.get("size"), found.get("colour"), found.get("action"))


def _relations(tokens: Sequence[str], at: dict[int, str]) -> Iterable[Placed]:
    """Pattern: noun, optional verb and participle, relation, optional article, up to four adjectives, noun."""
    for place, subject in at.items():
        step = place + 1
        if step + 1 < len(tokens) and tokens[step] in ("in", "wearing") and tokens[step + 1] in COLOURS:
            step += 2
        while step < len(tokens) and (tokens[step] in ("is", "are", "that") or tokens[step] in ACTIONS):
            step += 1
        name = _RELATION_OF.get(tokens[step]) if step < len(tokens) else None
        if name is None:
            continue
        target = next(
            (n for n in range(step + 1, min(step + 7, len(tokens))) if n in at or not tokens[n].isalnum()), None
        )
        if target in at:
            pair = (at[target], subject) if name == "right of" else (subject, at[target])
            yield Placed(pair[0], "left of" if name == "right of" else name, pair[1])
