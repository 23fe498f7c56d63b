"""Parses the JSON of a chat completion: its text, finish reason and usage.

Live responses and lines of batch files are parsed here and nowhere else. Nothing here raises: what is not known to be a
good reply becomes a named fault.
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
"""Documented finish reasons in lower case: OpenAI's and vLLM's ``stop``, ``length``,
``content_filter``; Together's ``eos``; Mistral's ``model_length``; Anthropic's and Gemini's behind gateways."""
_BROKE_OFF = ("error", "abort", "insufficient_system_resource")
"""Finish reasons of an aborted reply; retried like a 5xx."""
_THOUGHTS = ("thinking", "redacted_thinking", "reasoning")
"""Types of content parts that are not part of the answer."""
_STATUS = re.compile(r"[45]\d\d", re.ASCII)

MOST_TOKENS = 10_000_000
"""The longest known context of a model; a larger count is not believed."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one exchange."""

    tokens_in: int
    tokens_out: int
    cached: int = 0
    """Part of *tokens_in* that was in the endpoint's cache."""
    guessed: bool = False
    """Whether the endpoint gave no usage, or an impossible one."""


@dataclass(frozen=True, slots=True)
class Completion:
    """A parsed reply."""

    text: str
    finish: Finish
    refusal: str | None = None


def usage(data: Any, *, tokens_in: int, tokens_out: int) -> Usage:
    """The usage in *data*; *tokens_in* and *tokens_out* replace a missing or impossible number."""
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


def read(data: Any, finishes: dict[str, Finish], *, who: str) -> Completion | Fault:
    """The first choice of *data*, or what is wrong with it; the cost of a fault that may be charged is None.

    Args:
        finishes: Meaning of each finish reason in lower case; ``null`` stands for a missing one.
        who: The endpoint's name in messages.
    """
    if not isinstance(data, dict):
        return Fault("garbage", f"HTTP 200 with {type(data).__name__} instead of a reply", cost=None)
    if data.get("error"):  # some gateways return errors with status 200
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


def _said(message: dict[str, Any], reason: Any, finishes: dict[str, Finish]) -> Completion | Fault:
    text = _text(message.get("content"))
    if isinstance(text, Fault):
        return text
    refusal = message.get("refusal")
    if isinstance(refusal, str) and refusal and not text:
        return Completion("", "filtered", _encodable(refusal))
    if not text and (message.get("tool_calls") or message.get("function_call")):
        return Fault("unusable", "the reply is a tool call, and no tool was offered", cost=None)
    name = "null" if reason is None else reason.lower() if isinstance(reason, str) else type(reason).__name__
    finish = finishes.get(name)
    if finish is not None:
        return Completion(text, finish)
    if name in _BROKE_OFF:
        return Fault("fault", f"finish reason {name}: the endpoint aborted the reply", cost=None)
    name = faults.short(name)
    said = (
        f"finish reason {name} is not known to end a complete reply; if it does, set options.finish: {{{name}: stop}}"
    )
    return Fault("unusable", said, cost=None)


def _text(content: Any) -> str | Fault:
    """*content* as one text; of a list, the parts of type ``text`` are joined and thoughts are left out."""
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
            said = f"choices[0].message.content has a part of type {name}, which is not supported"
            return Fault("unusable", said, cost=None)
    return _encodable("".join(texts))


def _encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()  # JSON may hold lone surrogates


def _hidden(error: Any, who: str) -> Fault:
    """The fault that an error object in a response with status 200 stands for."""
    code = faults.text_of(error.get("code")) if isinstance(error, dict) else ""
    return faults.of_status(int(code) if _STATUS.fullmatch(code) else 500, {}, {"error": error}, who=who)


def _count(value: Any) -> int | None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and 0 <= value <= MOST_TOKENS else None
