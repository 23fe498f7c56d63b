"""Filter rules for answers: one function per rule, whose name is the reason in ``_dropped``.

A rule gets the answer and its context and returns what it found, or None. Rules prefer precision over recall: they match
the forms that failures have in practice, and do not apply if the instruction asked for that form (a caption, a template,
a translation).

Source: meta phrases as users report them from LLaVA, LLaMA-Factory and LLaVA-CoT data.
"""

# ruff: noqa: E501 - patterns are easier to read on one line
from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from mminstruct.text.characters import words as text_words
from mminstruct.text.endings import unfinished
from mminstruct.text.languages import foreign
from mminstruct.text.leaks import leak as leaked
from mminstruct.text.refusal import AS_A_MODEL
from mminstruct.text.refusal import refusal as declined
from mminstruct.text.repetition import repetition as repeated


@dataclass(frozen=True, slots=True)
class Context:
    """The context in which an answer is judged."""

    instruction: str = ""
    description: str = ""
    languages: tuple[str, ...] = ("en",)
    min_words: int = 3
    max_words: int = 1000
    max_copied: float = 0.8
    """Largest share of the answer's five-word sequences that may come from the description, 0 to 1."""


Rule = Callable[[str, Context], str | None]


def words(text: str) -> list[str]:
    """The words of *text* in lower case."""
    return [word.casefold() for word in text_words(text)]


def _patterns(*patterns: str, flags: re.RegexFlag = re.IGNORECASE) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns), flags)


def _found(pattern: re.Pattern[str], text: str) -> str | None:
    match = pattern.search(text)
    return None if match is None else " ".join(match.group().split())[:80]


def refusal(answer: str, context: Context) -> str | None:
    """The answer is a refusal, or says that there is no image."""
    return declined(answer)


_TEXT = r"(?:descriptions?|captions?|alt[- ]?texts?)"
_META = _patterns(
    AS_A_MODEL.pattern,
    r"\bmy (?:training data|knowledge cut-?off)\b",
    rf"\b(?:based|relying) (?:up)?on (?:only )?(?:the|your|this|what)(?: \w+){{0,2}} {_TEXT}\b",
    r"\bbased (?:up)?on (?:only )?(?:the|your|this) (?:(?:provided|given) (?:text|information|details|context)|(?:text|information|details|context) (?:that (?:is|was|you) |you )?(?:provided|given))\b",
    rf"\b(?:according to|judging from|judging by|as per) (?:the|your|this)(?: \w+)? {_TEXT}\b",
    rf"\b(?:mentioned|specified|described|stated|provided|given|indicated|noted) (?:in|by) (?:the|your|this)(?: \w+)? {_TEXT}\b",
    rf"\b(?:the|your|this)(?: \w+)? {_TEXT} (?:that (?:is|was) |you )?(?:provided|given|above|mentions?|states?|does(?: not|n['’]t)|did(?: not|n['’]t)|indicates?|specif(?:y|ies)|suggests?)\b",
    rf"\b(?:provided|given|above) (?:image |text )?{_TEXT}\b",
    r"\b(?:image|picture|photo|scene) (?:that )?(?:you|you['’]ve|you have|was|is being) described\b",
    r"\b(?:as per|according to|following) (?:your (?:instructions?|prompt)|the (?:given|provided|above) (?:instructions?|prompt))\b",
    r"\bthe (?:instructions?|prompt) (?:given|provided) (?:above|to me)\b",
    r"\b(?:in-context|few-shot) examples?\b",
)  # fmt: skip
_META_NOUN = _patterns(
    r"(?<!fit )(?<!fits )(?<!fitting )(?<!fitted )(?<!match )(?<!matches )(?<!matching )(?<!matched )"
    r"\b(?:the|this|your) (?:image |picture |photo |text )?(?:description|caption|alt[- ]?text)\b"
)
_ASKS_TEXT = re.compile(
    r"descri(?:be|bing|ption)|caption|alt[- ]?text|instruction|prompt|post|newspaper|article|museum", re.IGNORECASE
)


def meta_talk(answer: str, context: Context) -> str | None:
    """The answer mentions the text that replaced the image, the prompt, or itself as a model.

    If the instruction asks for a caption, a description or something that has one, the noun alone is allowed.
    """
    found = _found(_META, answer)
    if found is None and not _ASKS_TEXT.search(context.instruction):
        found = _found(_META_NOUN, answer)
    return found


_HEADINGS = _patterns(
    r"^[ \t]*#{2,6} ?(?:human|assistant|instruction|response|input|output)\b ?:?",
    r"^[ \t]*(?:instruction|description) ?: .*\n\s{0,9}(?:image|answer|response) ?:",
    r"^[ \t]*image ?: .*\n\s{0,9}answer ?:",
    flags=re.IGNORECASE | re.MULTILINE,
)
_ROLES = re.compile(r"^[ \t]*(?:USER|ASSISTANT|SYSTEM|###\s*\w+) ?: ?", re.MULTILINE)

_SPEAKER = re.compile(r"(?<=\n)(?:Human|User): ?")
_ASKS_SPEECH = re.compile(r"dialog|conversation|play|script|chat|interview|joke|comic|scene|story", re.IGNORECASE)


def leak(answer: str, context: Context) -> str | None:
    """Residue by ``leaks.leak``, turns of a chat template, headings of the prompt, or the repeated instruction."""
    if left := leaked(answer, context.instruction):
        return f"{left[0]}: {left[1]}"
    found = _found(_HEADINGS, answer) or _found(_ROLES, answer)
    if found:
        return found
    speakers: list[str] = _SPEAKER.findall(answer)
    if len(speakers) == 1 and not _ASKS_SPEECH.search(context.instruction):
        return speakers[0]
    asked = words(context.instruction)
    if len(asked) >= 5 and words(answer[: 2 * len(context.instruction) + 40])[: len(asked)] == asked:
        return context.instruction[:80]
    first = words(answer.lstrip().split("\n", 1)[0])
    if first[:1] == ["instruction"] and answer.lstrip()[11:13].strip().startswith(":"):
        return "Instruction:"
    return None


_BLANK = (
    r"(?:name|date|address|city|town|location|title|phone|phone number|e-?mail|e-?mail address|number|link|time|venue|url|"
    r"price|website|hashtag|company|brand|product|state|country|amount|year|month|day|username|handle|contact info(?:rmation)?|"
    r"store|restaurant|school|person|recipient|sender|signature|placeholder|event)"
)
_OF = r"(?:(?:the|a|an|first|last|full|company|brand|product|event|restaurant|city|artist|author|hotel|place|location|street|store|pet|\w+['’]s) )*"
_PLACEHOLDER = _patterns(
    rf"\[\s*{_OF}{_BLANK}(?:\s*(?:,|/|and|or|&)\s*{_OF}{_BLANK})*\s*\](?!\()",
    r"\[\s*(?:insert|your|enter|add|fill in|choose)\b[^\]\n]{0,60}\](?!\()",
    r"<\s*(?:insert|your) [^>\n]{1,40}>",
    r"\{\{[^{}\n]{0,60}\}\}|\$\{\w+\}|\{%",
    r"\blorem ipsum\b",
    r"\binsert (?:\w+ ){1,4}here\b",
)
_PLACEHOLDER_CASED = re.compile(r"\bX{3,}\b(?! ?[A-Z]{2,})|(?<![\w\\$(\"'])\{[A-Za-z][\w ]{0,30}\}")


def placeholder(answer: str, context: Context) -> str | None:
    """Placeholders to be filled in; allowed if a template was asked for."""
    if re.search(r"\btemplate|\bform\b|fill[- ]in|placeholder", context.instruction, re.IGNORECASE):
        return None
    prose = re.sub(r"```.*?```", " ", answer, flags=re.DOTALL)
    return _found(_PLACEHOLDER, prose) or _found(_PLACEHOLDER_CASED, prose)


def repetition(answer: str, context: Context) -> str | None:
    """The answer is a repetition loop; songs and poems may repeat."""
    return repeated(answer, verse=True)


_ASKS_LANGUAGE = re.compile(
    r"translat|bilingual|language|\b(?:chinese|japanese|korean|russian|ukrainian|greek|arabic|hebrew|hindi|thai|german|french|"
    r"spanish|italian|portuguese|dutch|latin)\b",
    re.IGNORECASE,
)


def language(answer: str, context: Context) -> str | None:
    """The answer is not in an allowed language, and no other was asked for."""
    return None if _ASKS_LANGUAGE.search(context.instruction) else foreign(answer, context.languages)


def too_short(answer: str, context: Context) -> str | None:
    """The answer has fewer than ``min_words`` words."""
    count = len(words(answer))
    return f"{count} words" if count < context.min_words else None


def too_long(answer: str, context: Context) -> str | None:
    """The answer has more than ``max_words`` words."""
    count = len(words(answer))
    return f"{count} words" if count > context.max_words else None


def cut(answer: str, context: Context) -> str | None:
    """The answer ends within a sentence, a list, a table, a code block or a JSON object, by ``endings.unfinished``."""
    return unfinished(answer, context.instruction, context.description)


_ASKS_DESCRIPTION = re.compile(
    r"\bdescrib|\bdescription|\bcaption|\balt[- ]?text|what (?:do you see|is (?:in|shown|happening|going on))|\bdetail",
    re.IGNORECASE,
)


def copy(answer: str, context: Context) -> str | None:
    """The answer copies the description, and no description was asked for."""
    if _ASKS_DESCRIPTION.search(context.instruction):
        return None
    said, known = words(answer), words(context.description)
    if len(said) < 8 or len(known) < 8:
        return None
    grams = [tuple(said[n : n + 5]) for n in range(len(said) - 4)]
    given = {tuple(known[n : n + 5]) for n in range(len(known) - 4)}
    share = sum(gram in given for gram in grams) / len(grams)
    return f"{share:.0%} from the description" if share > context.max_copied else None


_URL = _patterns(
    r"https?://\S+", r"\bwww\.[\w-]+\.\w+\S*", r"!\[[^\]\n]*\]\([^)\n]+\)",
    r"(?<![@\w.-])[a-z0-9][a-z0-9-]{0,62}\.(?:com|org|net|io|co\.uk|edu|gov|info|shop|de|fr)\b(?:/\S*)?",
)  # fmt: skip


def url(answer: str, context: Context) -> str | None:
    """A web address that is neither in the description nor in the instruction, so it is invented."""
    given = f"{context.description} {context.instruction}".casefold()
    for match in _URL.finditer(answer):
        bare = re.sub(r"^https?://(?:www\.)?|^www\.|[).,;:!?]+$", "", match.group().casefold())
        if bare not in given:
            return match.group()[:80]
    return None


_PII = _patterns(
    r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+",
    r"(?<![\w.+-])(?:\+?1[ .-]?)?(?:\((?!555)\d{3}\) ?|(?!555)\d{3}[ .-])(?!555)\d{3}[ .-]\d{4}(?![\w-])",
    r"(?<![\w.])\+[2-9]\d{0,2}[ .-]?(?:\(0?\d{1,4}\)|\d{1,4})(?:[ .-]?\d{2,4}){2,4}(?![\w-])",
    r"\b\d{3}-\d{2}-\d{4}\b",
)


def pii(answer: str, context: Context) -> str | None:
    """E-mail addresses, telephone and social security numbers, except fictional 555 numbers."""
    return _found(_PII, answer)


RULES: dict[str, Rule] = {
    rule.__name__: rule
    for rule in (
        too_short, leak, refusal, meta_talk, placeholder, repetition, language, too_long, cut, copy, url, pii,
    )
}  # fmt: skip
"""Rules by name, in the order of evaluation; the first match is the reason."""
