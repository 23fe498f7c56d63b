"""What a model's reply says, and whether it may be kept.

``spoken`` takes off what stands around a text; ``fault`` and ``flaw`` name what makes it unfit. Only what is known to
be good passes: a finish reason, a mark or a tag that is not known is a named fault.
"""

# ruff: noqa: E501 - a pattern is read more easily in one piece
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
    """What *reply* says: repaired, without thoughts that end, the role's name in front, and a template's last tokens.

    What is not known stays, and ``fault`` names it.
    """
    text = repair(reply)
    for _ in range(4):  # a header, thoughts, a header again, a wrapper: more is no reply
        before = text
        text = without_thoughts(_without_header(text))
        if thoughts_left(text) == text:  # they never ended, and nothing was said
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
    """*text* without the role that it begins with, unless it is the first speaker of a conversation."""
    header = _HEADER.match(text)
    rest = text[header.end() :] if header else text
    return text if header and header.group().rstrip().endswith(":") and _SPEAKER.search(rest) else rest


def unlabelled(text: str, *labels: str) -> str:
    """*text* without a leading label such as ``Answer:``, in any case and however emphasised."""
    names = "|".join(re.escape(label) for label in labels)
    return re.sub(rf"\A[#\s]*(?P<mark>[*_]*)(?:{names})(?P=mark)?\s*[:：](?P=mark)?\s*", "", text, flags=re.IGNORECASE)


def fault(finish: str, text: str, what: str, asked: str = "") -> str | None:
    """Why a reply cannot be kept, whatever it says; None where it ended by itself and is a text.

    *text* is the reply as cleaned, *finish* a ``models.model.Finish``, *asked* the instruction that it answers. The
    names are ``model_FINISH`` of all but ``stop`` and ``length``, ``WHAT_truncated``, ``WHAT_empty``, and ``WHAT_``
    with a name of ``leaks.leak``.
    """
    if finish == "length":
        return f"{what}_truncated"
    if finish != "stop":
        return f"model_{finish}" if re.fullmatch("[a-z_]{1,40}", finish) else "model_finish_unknown"
    if found := leak(text, asked):
        return f"{what}_{found[0]}"
    return None if words(text) else f"{what}_empty"


def flaw(text: str, what: str) -> str | None:
    """Why a text of plain prose is of no use: ``WHAT_refusal``, ``WHAT_repetition``; or None."""
    if refusal(text) or AS_A_MODEL.match(text):
        return f"{what}_refusal"
    return f"{what}_repetition" if repetition(text) else None
