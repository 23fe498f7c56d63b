"""A chat completion as an endpoint sent it, of whatever shape: what it says, and what it used.

This is the only place where the JSON of a reply is looked into, for live requests and for lines of batch files. A reply
is either understood or a named fault; nothing here raises, and what is not known to be good is a fault.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from mminstruct.models import faults
from mminstruct.models.faults import Fault
from mminstruct.models.model import Finish

FINISH: dict[str, Finish] = {
    "stop": "stop", "eos": "stop", "end_turn": "stop", "stop_sequence": "stop",
    "length": "length", "max_tokens": "length", "model_length": "length", "max_output_tokens": "length",
    "content_filter": "filtered", "safety": "filtered", "recitation": "filtered", "blocklist": "filtered",
    "prohibited_content": "filtered", "spii": "filtered", "refusal": "filtered", "guardrail_intervened": "filtered",
}  # fmt: skip
"""Finish reasons whose meaning is documented, in lower case: OpenAI's and vLLM's ``stop``, ``length``,
``content_filter``; Together's ``eos``; Mistral's ``model_length``; Anthropic's and Gemini's behind gateways."""
_BROKE_OFF = ("error", "abort", "insufficient_system_resource")
"""Finish reasons of a server that gave up in the middle: worth as many attempts as a 5xx."""
_THOUGHTS = ("thinking", "redacted_thinking", "reasoning")
"""Types of content parts that are no part of the answer."""
_STATUS = re.compile(r"[45]\d\d", re.ASCII)

MOST_TOKENS = 10_000_000
"""The longest context that a model is known to have: a count above it is no count."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one exchange."""

    tokens_in: int
    tokens_out: int
    cached: int = 0
    """Of *tokens_in*, those that the endpoint had in its cache."""
    guessed: bool = False
    """Whether the endpoint did not say, or said what cannot be."""


@dataclass(frozen=True, slots=True)
class Said:
    """A reply that was understood."""

    text: str
    finish: Finish
    refusal: str | None = None


def usage(data: Any, *, tokens_in: int, tokens_out: int) -> Usage:
    """What *data* says it used; *tokens_in* and *tokens_out* replace a number that is missing or impossible."""
    given = data.get("usage") if isinstance(data, dict) else None
    given = given if isinstance(given, dict) else {}
    prompt, reply = _count(given.get("prompt_tokens")), _count(given.get("completion_tokens"))
    details = given.get("prompt_tokens_details")
    cached = _count(details.get("cached_tokens")) if isinstance(details, dict) else None
    return Usage(
        tokens_in if prompt is None else prompt,
        tokens_out if reply is None else reply,
        0 if cached is None or prompt is None else min(cached, prompt),
        guessed=prompt is None or reply is None,
    )


def read(data: Any, finishes: dict[str, Finish], *, who: str) -> Said | Fault:
    """The first choice of *data*, or what is wrong with it; a fault's cost is None where it may be charged for.

    Args:
        finishes: What each finish reason means, by its name in lower case; ``null`` where there is none.
        who: The endpoint as a person knows it, for messages.
    """
    if not isinstance(data, dict):
        return Fault("garbage", f"HTTP 200 with {type(data).__name__} instead of a reply", cost=None)
    if data.get("error"):  # some gateways put their own errors behind a 200
        return _hidden(data["error"], who)
    choices = data.get("choices")
    found = [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []
    choice = next((choice for choice in found if choice.get("index") == 0), found[0] if found else {})
    if choice.get("error"):
        return _hidden(choice["error"], who)
    message = choice.get("message")
    if not isinstance(message, dict):
        return Fault("garbage", "HTTP 200 without choices[0].message", cost=None)
    return _said(message, choice.get("finish_reason"), finishes)


def _said(message: dict[str, Any], reason: Any, finishes: dict[str, Finish]) -> Said | Fault:
    text = _text(message.get("content"))
    if isinstance(text, Fault):
        return text
    refusal = message.get("refusal")
    if isinstance(refusal, str) and refusal and not text:
        return Said("", "filtered", _encodable(refusal))
    if not text and (message.get("tool_calls") or message.get("function_call")):
        return Fault("unusable", "the reply is a call of a tool, and none was offered", cost=None)
    name = "null" if reason is None else reason.lower() if isinstance(reason, str) else type(reason).__name__
    finish = finishes.get(name)
    if finish is not None:
        return Said(text, finish)
    if name in _BROKE_OFF:
        return Fault("fault", f"finish reason {name}: the endpoint broke the reply off", cost=None)
    name = faults.short(name)
    said = f"finish reason {name} is not known to end a whole reply; if it does, say options.finish: {{{name}: stop}}"
    return Fault("unusable", said, cost=None)


def _text(content: Any) -> str | Fault:
    """*content* as one text; a list's parts of type ``text`` are joined, its thoughts left out."""
    if content is None or isinstance(content, str):
        return _encodable(content or "")
    if not isinstance(content, list):
        return Fault("unusable", f"choices[0].message.content is {type(content).__name__}", cost=None)
    texts = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else type(part).__name__
        if kind == "text" and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif kind not in _THOUGHTS:
            name = faults.short(faults.text_of(kind))
            said = f"choices[0].message.content has a part of type {name}, which is not understood"
            return Fault("unusable", said, cost=None)
    return _encodable("".join(texts))


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()  # JSON may hold lone surrogates


def _hidden(error: Any, who: str) -> Fault:
    """What an error object inside a 200 means: the error that it says."""
    code = faults.text_of(error.get("code")) if isinstance(error, dict) else ""
    return faults.of_status(int(code) if _STATUS.fullmatch(code) else 500, {}, {"error": error}, who=who)


def _count(value: Any) -> int | None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and 0 <= value <= MOST_TOKENS else None
