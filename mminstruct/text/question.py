"""Questions: how they are shown to models and people, and when two of them ask the same."""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from mminstruct.text.characters import words


def asked(question: str, choices: Sequence[str] | None = None, phrase: str | None = None) -> str:
    """The text of a question.

    Args:
        choices: Texts without letters, at most 26; shown as lines ``A. ...``.
        phrase: Format phrase, such as "Answer with yes or no.".
    """
    lines = [f"\n{letter}. {choice}" for letter, choice in zip(string.ascii_uppercase, choices or (), strict=False)]
    return question + "".join(lines) + (f"{chr(10) if lines else ' '}{phrase}" if phrase else "")


_COUNTS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_DIGITS = {word: str(number) for number, word in enumerate(_COUNTS)}
_ARTICLES = {"a", "an", "the"}


_ABBREVIATION = re.compile(r"\b(?:[^\W\d_]|st|mt|dr|mr|mrs|ms|jr|sr|etc|vs)\.$", re.IGNORECASE)


def is_abbreviated(text: str) -> bool:
    """Whether the final dot belongs to the last word: U.S., p.m., St."""
    return _ABBREVIATION.search(text) is not None


def first_sentence(text: str) -> str:
    """*text* up to the first ``". "`` that does not belong to an abbreviation."""
    for stop in re.finditer(r"\.(?= )", text):
        if not is_abbreviated(text[: stop.end()]):
            return text[: stop.start()]
    return text


def in_digits(answer: str) -> str:
    """*answer* in digits if it is the word of a number up to twelve, as in COCO-QA; otherwise unchanged."""
    return _DIGITS.get(answer.strip().casefold().rstrip("."), answer)


_SEEN = _ARTICLES | {
    "is", "are", "was", "were", "be", "being", "do", "does", "did", "can", "could", "have", "has", "there", "this",
    "that", "these", "those", "it", "its", "image", "picture", "photo", "photograph", "scene", "show", "shown",
    "visible", "see", "seen", "you", "please", "tell", "me", "any", "some",
}  # fmt: skip
"""Words that do not change what is asked about an image."""
NEGATIONS = {
    "no", "not", "never", "without", "nobody", "nothing", "isn't", "aren't", "doesn't", "don't", "didn't", "wasn't",
}  # fmt: skip
_PLACED = ("in", "on", "at")
_HEADS = (
    ("how many", r"(?:what|which) (?:is )?(?:number|amount|count) of|how many"),
    ("how much", r"how much"),
    ("what colour", r"(?:what|which) (?:is |are )?colou?rs?(?: of)?"),
    ("what kind", r"(?:what|which) (?:is |are )?(?:kind|type|sort|breed|brand)s?(?: of)?"),
    ("what time", r"what time|when"),
    ("where", r"where"),
    ("why", r"why|for what reason"),
    ("who", r"who(?:se|m)?"),
    ("how", r"how"),
    ("which", r"which"),
    ("what", r"what"),
    ("whether", r"(?:is|are|was|were|do|does|did|can|could|has|have|will|would|should)\b"),
)
_HEAD = [(name, re.compile(rf"^(?:{pattern})\b")) for name, pattern in _HEADS]


@dataclass(frozen=True, slots=True)
class Question:
    """What a question asks, without its wording."""

    head: str
    """What is wanted: ``how many``, ``what colour``, ``whether`` (yes or no; also a statement to be judged), ..."""
    content: tuple[str, ...]
    """The other words, in order, in the singular."""

    @classmethod
    def of(cls, text: str) -> Question:
        """The question of *text*; a text without a question word is a statement to be judged."""
        said = " ".join(word for word in _tokens(text) if word not in _ARTICLES)
        head, rest = "whether", said
        for name, pattern in _HEAD:
            if found := pattern.match(said):
                head, rest = name, said[found.end() :]
                break
        content = (singular(_DIGITS.get(word, word)) for word in rest.split() if word not in _SEEN)
        kept = tuple("not" if word in NEGATIONS else word for word in content)
        if kept and kept[-1] in _PLACED and (head == "where" or not rest.endswith(f" {kept[-1]}")):
            kept = kept[:-1]  # of "in the picture"
        return cls(head, kept)

    def near(self, other: Question, jaccard: float) -> bool:
        """Whether both ask the same.

        They do if they want the same, one has all words of the other in the same order, and their sets of words are at
        least *jaccard* alike. If each has a word of its own, they ask about different things, however long they are.
        """
        if self.head != other.head or self.content.count("not") != other.content.count("not"):
            return False
        if self.content == other.content:
            return True
        mine, theirs = set(self.content), set(other.content)
        if len(mine & theirs) < jaccard * len(mine | theirs) or not (mine <= theirs or theirs <= mine):
            return False
        return [word for word in self.content if word in theirs] == [word for word in other.content if word in mine]


def _tokens(text: str) -> list[str]:
    return [word.casefold().replace("’", "'") for word in words(unicodedata.normalize("NFKC", text))]


def singular(word: str) -> str:
    """*word* without the s of a plural or of a verb: men and mice stay as they are."""
    if len(word) > 3 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 4 and re.search(r"(?:ss|sh|ch|x|z)es$", word):
        return word[:-2]
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")) else word
