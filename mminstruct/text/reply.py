"""Cleans a model's reply and checks whether it may be kept.

``spoken`` removes what surrounds the text; ``fault`` and ``flaw`` return the reason to drop it. Only what is known to be
good passes: an unknown finish reason, marker or tag is a fault.
"""

# ruff: noqa: E501 - patterns are easier to read on one line
from __future__ import annotations

import re

from mminstruct.text.characters import repair, words
from mminstruct.text.leaks import leak
from mminstruct.text.refusal import AS_A_MODEL, refusal
from mminstruct.text.repetition import repetition
from mminstruct.text.thoughts import thoughts_left, without_thoughts

_TEMPLATE_END = re.compile(
    r"(?:<\|(?!(?i:end_of_(?:box|solution|thought|answer)|end_(?:response|thinking))\|)[\w-]{1,30}\|>|<｜[\w▁-]{1,30}｜>|</?s>|<eos>|<end_of_turn>|\[/INST\])\Z"
)
_HEADER = re.compile(
    r"\A(?:<\|start_header_id\|>assistant<\|end_header_id\|>|<(?:\|im_start\||start_of_turn|\|start\||\|turn)>(?:assistant|model)\b"
    r"|<[|｜](?:im_)?assistant[|｜]>|assistant(?=[ \t]*\n)|assistant:)\s*",
    re.IGNORECASE,
)  # fmt: skip
_SPEAKER = re.compile(r"^[ \t*]*[A-Z][\w ]{0,20}[*]*:", re.MULTILINE)
_WRAPPED = [
    re.compile(r"\A<(answer|response|output|final|final_answer|reply|caption|conclusion|solution)>(.*)</\1>\Z", re.S | re.I),
    re.compile(r"\A<\|begin_of_(\w{1,20})\|>(.*)<\|end_of_\1\|>\Z", re.S | re.I),
    re.compile(r"\A<\|start_(\w{1,20})\|>(.*)<\|end_\1\|>\Z", re.S | re.I),
]  # fmt: skip


def spoken(reply: str) -> str:
    """The text of *reply*: characters repaired, without finished thoughts, role header, wrapper tags and end tokens.

    Anything unknown stays, and ``fault`` names it.
    """
    text = repair(reply)
    for _ in range(4):  # enough for a header, thoughts, another header and a wrapper
        before = text
        text = without_thoughts(_without_header(text))
        if thoughts_left(text) == text:  # the thoughts never end, so there is no answer
            return text
        while token := _TEMPLATE_END.search(text, max(0, len(text) - 40)):
            text = text[: token.start()].rstrip()
        for wrapper in _WRAPPED:
            if (found := wrapper.match(text)) and f"<{found[1]}>" not in found[2]:
                text = found[2].strip()
        if text == before:
            break
    return text


def _without_header(text: str) -> str:
    """*text* without its leading role header, unless that is the first speaker of a dialogue."""
    header = _HEADER.match(text)
    rest = text[header.end() :] if header else text
    return text if header and header.group().rstrip().endswith(":") and _SPEAKER.search(rest) else rest


def unlabelled(text: str, *labels: str) -> str:
    """*text* without a leading label such as ``Answer:``, ignoring case and emphasis."""
    names = "|".join(re.escape(label) for label in labels)
    return re.sub(rf"\A[#\s]*(?P<mark>[*_]*)(?:{names})(?P=mark)?\s*[:：](?P=mark)?\s*", "", text, flags=re.IGNORECASE)


def fault(finish: str, text: str, what: str, asked: str = "") -> str | None:
    """The reason to drop a reply, independent of its kind; None for a complete text.

    Reasons: ``model_FINISH`` for any finish except ``stop`` and ``length``, ``WHAT_truncated``, ``WHAT_empty``, and
    ``WHAT_`` with a name of ``leaks.leak``.

    Args:
        finish: A ``models.model.Finish``.
        text: The reply after ``spoken``.
        what: Prefix of the reasons, such as ``caption``.
        asked: The instruction that it answers.
    """
    if finish == "length":
        return f"{what}_truncated"
    if finish != "stop":
        return f"model_{finish}" if re.fullmatch("[a-z_]{1,40}", finish) else "model_finish_unknown"
    if found := leak(text, asked):
        return f"{what}_{found[0]}"
    return None if words(text) else f"{what}_empty"


def flaw(text: str, what: str) -> str | None:
    """The reason to drop a text that should be prose: ``WHAT_refusal`` or ``WHAT_repetition``; or None."""
    if refusal(text) or AS_A_MODEL.match(text):
        return f"{what}_refusal"
    return f"{what}_repetition" if repetition(text) else None
