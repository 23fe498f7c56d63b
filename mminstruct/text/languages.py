"""Detects text in a language that is not allowed, by its script and then by its frequent words.

Deliberately coarse: it finds whole answers in another language, and ignores names, quotes, lists and verses. A language
identification model would have to be shipped, and would be wrong on just those short texts.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from mminstruct.text.characters import words

_STOPWORDS = {
    "en": "the a an of and to in is are was were with that this it for on as at by from or his her their be have you",
    "de": "der die das und ist ein eine einen einem im den dem des mit auf für von zu nicht sich auch es sind wird ich",
    "fr": "le la les des un une et est dans sur avec pour que qui ce cette au aux du pas il elle nous vous sont par",
    "es": "el la los las un una y es en con por para que se del al su lo como más son pero sus está este esta muy",
    "it": "il lo la i gli le un una e è in con per che di del della al alla si non sono come più nel nella sul",
    "pt": "o a os as um uma e é em com por para que se do da dos das no na ao não são como mais seu sua está",
    "nl": "de het een en is van in met op voor dat die niet zijn aan er ook als om te bij naar wordt deze",
}
"""Frequent words by language."""
_STOPWORDS_OF = {language: frozenset(text.split()) for language, text in _STOPWORDS.items()}
_SCRIPTS = {
    "ru": {"CYRILLIC"}, "uk": {"CYRILLIC"}, "el": {"GREEK"}, "ar": {"ARABIC"}, "he": {"HEBREW"}, "hi": {"DEVANAGARI"},
    "th": {"THAI"}, "zh": {"CJK"}, "ja": {"CJK", "HIRAGANA", "KATAKANA"}, "ko": {"HANGUL", "CJK"},
    **{language: {"LATIN"} for language in _STOPWORDS},
}  # fmt: skip
LANGUAGES = tuple(_SCRIPTS)
"""Language codes that are supported."""
_DECORATION = {"MODIFIER", "FULLWIDTH", "MATHEMATICAL", "SUPERSCRIPT", "CIRCLED", "SQUARED", "NEGATIVE"}
"""Decorative letters, which any script uses."""


def foreign(text: str, allowed: Sequence[str]) -> str | None:
    """The evidence that *text* is in none of the *allowed* languages, or None.

    Evidence is another script in over a quarter of the letters, or far more frequent words of another language.
    """
    scripts = set[str]().union(*(_SCRIPTS[code] for code in allowed))
    letters = [letter for letter in text if letter.isalpha()]
    names = [unicodedata.name(letter, "?").split()[0].partition("-")[0] for letter in letters if letter > "z"]
    others = [name for name in names if name not in scripts | _DECORATION]
    total = len(letters)
    if "LATIN" not in scripts:
        others += ["LATIN"] * sum(letter <= "z" for letter in letters)
    if total >= 8 and len(others) > 0.25 * total:
        return f"{len(others) / total:.0%} {max(set(others), key=others.count).title()} script"
    tokens = [word.casefold() for word in words(text)]
    spoken = [code for code in allowed if code in _STOPWORDS_OF]
    if len(tokens) < 10 or not spoken:
        return None
    shares = {code: sum(token in known for token in tokens) / len(tokens) for code, known in _STOPWORDS_OF.items()}
    best = max(shares, key=lambda code: shares[code])
    far_ahead = shares[best] >= 0.15 and shares[best] >= 2 * max(shares[code] for code in spoken)
    if best not in spoken and far_ahead and len(_STOPWORDS_OF[best] & set(tokens)) >= 3:  # "la la la" is not French
        return f"reads as {best}"
    return None
