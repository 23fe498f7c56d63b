"""Prompt files: Jinja transcripts that are rendered to chat messages.

A line ``## system``, ``## user`` or ``## assistant`` starts a turn. A transcript is split into turns *before* it is
rendered, turn by turn, so a caption that contains ``## user`` or ``{{ braces }}`` remains text in its turn.
"""

from __future__ import annotations

import functools
import re
from typing import Any, Literal, TypedDict

import jinja2
import jinja2.meta
import jinja2.sandbox

Role = Literal["system", "user", "assistant"]


class Message(TypedDict):
    """One turn of a chat, in the format of OpenAI's chat completions and Hugging Face's chat templates."""

    role: Role
    content: Any
    """Text, or the parts that ``models.model.with_image`` makes for a turn with an image."""


_TURN = re.compile(r"^## (system|user|assistant)[ \t]*$", re.MULTILINE)
_WITHOUT = re.compile(r"\{#-? *without ([\w, ]+?) *-?#\}")
_JINJA = jinja2.sandbox.SandboxedEnvironment(
    undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False
)


@functools.lru_cache(maxsize=256)
def _turns(prompt: str) -> tuple[tuple[Role, jinja2.Template], ...]:
    pieces = _TURN.split(prompt)
    if pieces[0].strip() or len(pieces) < 3:
        raise ValueError(
            "a prompt starts with a line '## system', '## user' or '## assistant', and has at least one turn"
        )
    return tuple(
        (role, _JINJA.from_string(text.strip("\n")))  # type: ignore[misc]
        for role, text in zip(pieces[1::2], pieces[2::2], strict=True)
    )


def variables(prompt: str) -> frozenset[str]:
    """Names of the variables of *prompt*; raises ValueError if it is not a transcript or not valid Jinja."""
    names = blanks(prompt)
    try:
        _turns(prompt)
    except jinja2.TemplateSyntaxError as error:  # a block that begins in one turn and ends in another
        raise ValueError(f"line {error.lineno}: {error.message}") from error
    return names


def left_out(prompt: str) -> frozenset[str]:
    """Names of the variables that *prompt* leaves out on purpose: ``{# without NAME, NAME #}``."""
    return frozenset(name.strip() for names in _WITHOUT.findall(prompt) for name in names.split(","))


def render(prompt: str, **values: Any) -> list[Message]:
    """The turns of *prompt* with *values* filled in; a missing variable raises ``jinja2.UndefinedError``."""
    return [{"role": role, "content": template.render(**values)} for role, template in _turns(prompt)]


@functools.lru_cache(maxsize=256)
def _line(text: str) -> jinja2.Template:
    return _JINJA.from_string(text)


def blanks(text: str) -> frozenset[str]:
    """Names of the variables of *text*, a template without turns; raises ValueError if it is not valid Jinja."""
    try:
        return frozenset(jinja2.meta.find_undeclared_variables(_JINJA.parse(text)))
    except jinja2.TemplateSyntaxError as error:
        raise ValueError(f"line {error.lineno}: {error.message}") from error


def fill(text: str, **values: Any) -> str:
    """*text*, a template without turns, with *values*; a missing one raises ``jinja2.UndefinedError``."""
    return _line(text).render(**values)
