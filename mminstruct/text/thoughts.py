"""Removes the thoughts of a reasoning model, or detects that some are left.

Each model family has its own markers: ``<think>``, ``[THINK]``, ``<seed:think>``, ``◁think▷``, ``<|START_THINKING|>``,
channels. A marker is therefore recognised by its shape, a bracket around a word for thinking. Thoughts at the start that
end are removed. A marker that remains means that thoughts may remain, too.
"""

# ruff: noqa: E501 - patterns are easier to read on one line
from __future__ import annotations

import re

_STEM = r"(?:think|thought|reason|reflect|scratch_?pad|monologue|deliberat|rationale|analys[ie]s)"
_MARK = re.compile(
    rf"(?P<bracket>[<＜⟨◁][|｜]?|\[)\s?(?P<name>/?\s?[\w:.|-]{{0,24}}?{_STEM}[\w:.-]{{0,24}})(?:\s[^<>\[\]\n]{{0,80}})?"
    r"(?:\s?[|｜]?[>＞⟩▷]|\s?\])",
    re.IGNORECASE,
)
_CLOSES = re.compile(r"/|end(?:_of)?_", re.IGNORECASE)
_PAIRS = [
    # gpt-oss: channels; the markers are missing if a server skips special tokens
    (r"\A(?:<\|start\|>assistant)?<\|channel\|>", r"<\|channel\|>final[^<\n]{0,20}(?:<\|constrain\|>\w{1,20})?<\|message\|>"),
    (r"\A(?:assistant)?(?:analysis|commentary)(?=[A-Z\"'“\n]|\Z)", r"assistantfinal"),
    (r"\A<\|channel>\w{0,20}", r"<channel\|>"),  # Gemma
    (r"\A<unused94>", r"<unused95>"),  # MedGemma
    (r"\AHere(?: is|['’]s) my thought process:", r"Here(?: is|['’]s) my response:\s*"),  # Granite
]  # fmt: skip
_CHANNELS = [(re.compile(opening), re.compile(closing)) for opening, closing in _PAIRS]
_LEFT = re.compile(
    r"<\|?channel\|?>|<unused94>|assistant(?:analysis|commentary|final)|\A(?:assistant)?(?:analysis|commentary)(?=[A-Z\"'“\n]|\Z)"
    r"|\A(?i:here(?: is|['’]s) my (?:thought|thinking) process:?)"
    r"|\A\W{0,4}(?i:(?:thinking|thought|reasoning) process|chain[ -]of[ -]thought|step[ -]by[ -]step reasoning)\W{0,4}[:：]"
    r"|\A\W{0,6}(?i:(?:okay|ok|alright|hmm+|so|well|first|now|wait)\b[,.!…\s]{1,4}){0,3}"
    r"(?i:the user(?:['’]s (?:request|question|instruction)\b| (?:wants|is asking|asks|asked|has asked|has provided|provided|needs me|would like me|just)\b)"
    r"|(?:we|i) (?:need|have|are asked|am asked) to (?:produce|output|respond|generate an? (?:answer|response|reply|caption))\b"
    r"|let me (?:think|analy[sz]e|break (?:this|it) down|start by)\b)"
)  # fmt: skip
_LABEL = re.compile(r"\A\W{0,4}(?:thoughts?|thinking|internal monologue)\W{0,4}[:：]", re.IGNORECASE)
_ASKS_THOUGHT = re.compile(r"\bth(?:ink|ought)|monologue|mind|dialog|comic|story|play\b|script", re.IGNORECASE)


def without_thoughts(text: str) -> str:
    """*text* without the thoughts before the answer.

    Of thoughts without an end, only the opening marker is returned, so that they cannot pass as a reply.
    """
    for opening, closing in _CHANNELS:
        if opened := opening.match(text):
            ends = [found.end() for found in closing.finditer(text)]
            return text[ends[-1] :].strip() if ends else opened.group()
    place = 0
    while opened := _MARK.match(text, place + _blank(text, place)):
        if _closes(opened):
            break
        end = next(
            (m.end() for m in _MARK.finditer(text, opened.end()) if _closes(m) and m["bracket"] == opened["bracket"]),
            None,
        )
        if end is None:
            return opened.group() if _marks(opened) else text[place:].strip()
        place = end
    rest = text[place:]
    marks = [found for found in _MARK.finditer(rest) if _marks(found)]
    if marks and all(map(_closes, marks)):  # the prompt has opened them
        rest = rest[marks[-1].end() :]
    return rest.strip()


def thoughts_left(text: str, asked: str = "") -> str | None:
    """The evidence that thoughts remain in *text*, the answer to the instruction *asked*; or None."""
    for found in _MARK.finditer(text):
        if _marks(found):
            return found.group()
    if left := _LEFT.search(text):
        return left.group()
    label = _LABEL.match(text)
    return None if label is None or _ASKS_THOUGHT.search(asked) else label.group()


def _closes(mark: re.Match[str]) -> bool:
    return _CLOSES.match(mark["name"]) is not None


def _marks(mark: re.Match[str]) -> bool:
    """Whether *mark* is a marker: ``[thinking]`` is a stage direction, ``[THINK]`` and ``[/thinking]`` are markers."""
    return mark["bracket"] != "[" or _closes(mark) or mark["name"].isupper()


def _blank(text: str, place: int) -> int:
    """Number of white-space characters at *place*."""
    end = place
    while end < len(text) and text[end].isspace():
        end += 1
    return end - place
