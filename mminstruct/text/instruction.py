"""Extracts one instruction from a reply."""

from __future__ import annotations

import json
import re

from mminstruct.text.characters import one_line, words
from mminstruct.text.leaks import leak
from mminstruct.text.refusal import refusal
from mminstruct.text.reply import fault, flaw, spoken

_POLITE = re.compile(
    r"\A(?:sure(?: thing)?|certainly|of course|absolutely|okay|ok|alright|all right|got it|great|yes|no problem)"
    r"(?:[!,.…]+\s*|\s+(?=here\b|i\b))",
    re.IGNORECASE,
)
_ANNOUNCED = re.compile(
    r"\A(?:(?:here|i)\b[^.!:：]*\b(?:instruction|task|prompt|request|command|one)s?\b[^.!:：]*[.!:：]+"
    r"|here\b[^.!:：]*[:：])\s*",
    re.IGNORECASE,
)
_BULLET = re.compile(r"\A(?:[-*+•·>#–—]+\s+|[•·]|\(?\d{1,3}[.):、]\s*(?=\D)|\(?[a-eA-E][.)]\s+)+")
_TAGS = re.compile(r"</?\w*instruction>|\*\*|__", re.IGNORECASE)
_EXPLAINED = re.compile(
    r"(?:\A[(\[*]*this (?:new )?(?:instruction|prompt)\b"
    r"|(?:(?<=[.!?\"”])\s*|\s+[\-–—]\s+)[(\[*]*(?:this|that|the|my) (?:new |final )*(?:instruction|task|prompt)\b"
    r"|(?:\A|(?<=[.!?\"”])\s*)[(\[*]*(?:explanation|rationale|reasoning|note)\s*[:：]).*\Z",
    re.IGNORECASE,
)
_NOT_IT = frozenset(
    ("image", "description", "text description", "caption", "answer", "examples", "examples of instructions", "user")
)
_NOUNS = frozenset(("instruction", "instructions", "task", "prompt", "request", "command"))
_LABEL_WORDS = {
    *("a", "an", "the", "this", "my", "your", "our", "one", "another", "next", "new", "final", "general", "reusable"),
    *("common", "possible", "proposed", "suggested", "generated", "single", "number", "no", "for", "image", "output"),
    *_NOUNS,
}
_LONGEST = 4000
"""Characters of a line that are read; no instruction is longer, and it bounds the time of the patterns."""
_PAIRS = {'"': '"', "“": "”", "„": "“", "«": "»", "「": "」", "『": "』", "‘": "’", "'": "'", "`": "`"}


def read_instruction(finish: str, reply: str, what: str) -> tuple[str | None, str]:
    """The reason to drop *reply* and its text; or None and its instruction.

    Reasons are those of ``reply.fault`` and ``reply.flaw``, and ``WHAT_unparsed``.
    """
    said = spoken(reply)
    if finish == "length" and "\n" in said:  # the cut is in the explanation, not in the instruction before it
        said, finish = said.rpartition("\n")[0], "stop"
    if reason := fault(finish, said, what, "markup"):  # tags and escapes around the instruction are removed below
        return reason, said
    instruction = parse_instruction(said)
    if instruction is None:
        return f"{what}_refusal" if refusal(said) else f"{what}_unparsed", said
    found = leak(instruction)
    return (f"{what}_{found[0]}" if found else flaw(instruction, what)), instruction


def parse_instruction(reply: str) -> str | None:
    """The instruction in *reply*, on one line; None if there is none.

    Removes numbering, quotes, markdown, labels ("New instruction:"), politeness ("Sure! Here is one:") and explanations
    after it; reads JSON with an instruction key. Of several instructions, the first is taken.
    """
    text = "\n".join(line for line in spoken(reply).split("\n") if not re.match(r"\s*```", line)).strip()
    if text.startswith("{"):
        text = _from_json(text)
    lines = [line for line in text.split("\n") if line.strip()]
    for place, line in enumerate(lines):
        bare = _undress(line)
        if bare.endswith((":", "：")):  # it announces a list that belongs to it, or another line
            items = []
            for follower in lines[place + 1 :]:
                if not _BULLET.match(follower.strip()):
                    break
                items.append(_undress(follower))
            if not items or not _real(bare):
                continue
            bare = f"{bare} {'; '.join(item for item in items if item)}"
        if _real(bare):
            return bare
    return None


def _from_json(text: str) -> str:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return text
    for key, value in found.items():
        if "instruction" in key.casefold() and isinstance(value, str):
            return spoken(value)
    return ""


def _real(line: str) -> bool:
    head = re.split("[:：]", line, maxsplit=1)[0].strip().casefold()
    return len(words(line)) > 1 and (":" not in line or head not in _NOT_IT) and refusal(line) is None


def _undress(line: str) -> str:
    """*line* without all that is not the instruction, stripped repeatedly until it no longer changes."""
    line = one_line(line)[:_LONGEST]
    while True:
        before = line
        line = _TAGS.sub("", line).strip()
        line = _BULLET.sub("", line)
        line = _POLITE.sub("", line)
        line = _ANNOUNCED.sub("", line)
        line = _EXPLAINED.sub("", line)
        head, *rest = re.split("[:：]", line, maxsplit=1)
        named = set(re.findall(r"[a-z]+", head.casefold()))
        if rest and named & _NOUNS and named <= _LABEL_WORDS:
            line = rest[0]
        elif not rest and named & _NOUNS and named <= _LABEL_WORDS:  # a heading
            line = ""
        line = _unquoted(one_line(line))
        if line == before:
            return line


def _unquoted(line: str) -> str:
    """The quoted text at the start of *line*, if nothing or only an explanation follows."""
    closing = _PAIRS.get(line[:1])
    if closing is None:
        return line[:-1] if line.endswith('"') and line.count('"') == 1 else line
    for place in (i for i, letter in enumerate(line) if i and letter == closing):
        inner, after = line[1:place], line[place + 1 :]
        whole = not after.strip(" .,")
        if whole or (len(words(inner)) > 2 and re.match(r"[.,]?\s+[A-Z(\-–—]", after)):
            return inner.strip()
    return line[1:].strip() if line.count(closing) < 2 and line[0] in '"“' else line
