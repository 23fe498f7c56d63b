"""How a question is shown: to the model that learns it, to contestants, and to people."""

from __future__ import annotations

import string
from collections.abc import Sequence


def asked(question: str, choices: Sequence[str] | None = None, phrase: str | None = None) -> str:
    """The text of a question.

    Args:
        choices: Texts without letters, at most 26; shown as lines ``A. ...``.
        phrase: Format phrase, such as "Answer with yes or no.".
    """
    lines = [f"\n{letter}. {choice}" for letter, choice in zip(string.ascii_uppercase, choices or (), strict=False)]
    return question + "".join(lines) + (f"{chr(10) if lines else ' '}{phrase}" if phrase else "")
