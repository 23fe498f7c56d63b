"""What a person sees of a row, as a digest. The page and the stages that read decisions use the same function."""

from __future__ import annotations

from collections.abc import Sequence

from mminstruct.stage import content_id
from mminstruct.text.question import asked


def shown(question: str, choices: Sequence[str] | None = None, answer: str = "") -> str:
    """Digest of a question and its answer as displayed; a decision holds only while it stays the same.

    White space at both ends is not displayed. The format phrase is not part of it: people do not judge it.

    Args:
        choices: Texts without letters.
        answer: Empty on sheets without an answer.

    Returns:
        16 hex digits.
    """
    return content_id(asked(question.strip(), choices), answer.strip())
