"""Detects repetition loops: one phrase or line many times, or a text whose larger part is repeated.

Source: the repetition filters of Gopher (arXiv 2112.11446, A1.1) and FineWeb (arXiv 2406.17557).
"""

from __future__ import annotations

import re
from collections import Counter

import numpy as np

from mminstruct.text.characters import words

_SENTENCE = re.compile(r"(?<=[.!?。！？])[\"”’')\]]*\s+|\n+|(?<=[。！？])")
_RULERS = r"\s\-=_*#.~|"
"""Characters of drawn lines."""


def repetition(text: str, *, verse: bool = False) -> str | None:
    """What *text* repeats; None if it is not a loop.

    Args:
        text: Any text.
        verse: Use the higher limits of answers, which may be songs and poems with refrains (a pantoum repeats half its
            lines). Otherwise the limits are those of prose, and numbers are skipped, so that a numbered list of one
            sentence counts as a loop.
    """
    if run := re.search(r"([^\W\d_])\1{15,}" if verse else rf"([^\W\d_])\1{{29,}}|([^{_RULERS}])\2{{29}}", text):
        return run.group()[:20]
    lines = [line.strip().casefold() for line in text.split("\n")]
    lines = [line for line in lines if line and not (line.startswith("|") and line.endswith("|"))]  # rows of a table
    tokens = words("\n".join(lines))
    tokens = tokens if verse else [token for token in tokens if not token.isdigit()]
    return _in_a_row(tokens, verse) or (_again(lines, tokens) if verse else _one_sentence(text))


def _in_a_row(tokens: list[str], verse: bool) -> str | None:
    """The phrase that is repeated too many times in a row."""
    _, codes_N = np.unique(np.array(tokens), return_inverse=True) if tokens else (None, np.empty(0, np.int64))
    for n in range(1, min(24 if verse else 40, len(tokens) // 3) + 1):
        same_N = codes_N[:-n] == codes_N[n:]
        start, length = _longest(same_N)
        times = length // n + 1
        if times >= ((8 if n == 1 else 5 if n < 4 else 4 if n < 8 else 3) if verse else 4):
            return f"{times} times: {' '.join(tokens[start : start + n])[:60]}"
    return None


def _longest(same_N: np.ndarray) -> tuple[int, int]:
    """Start and length of the longest run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], same_N.astype(np.int8), [0]))))
    if not len(edges):
        return 0, 0
    lengths = edges[1::2] - edges[::2]
    longest = int(lengths.argmax())
    return int(edges[::2][longest]), int(lengths[longest])


def _again(lines: list[str], tokens: list[str]) -> str | None:
    """A line that makes up over half of the lines, or over 55 % of the words in repeated six-word sequences."""
    if lines:
        commonest, count = max(Counter(lines).items(), key=lambda item: (item[1], item[0]))
        if count >= 4 and count > 0.5 * len(lines) and len(words(commonest)) >= 2:
            return f"{count} times the line: {commonest[:60]}"
    if len(tokens) < 50:
        return None
    seen: set[tuple[str, ...]] = set()
    again_N = np.zeros(len(tokens), bool)
    for n in range(len(tokens) - 5):
        gram = tuple(tokens[n : n + 6])
        if gram in seen:
            again_N[n : n + 6] = True
        seen.add(gram)
    return f"{again_N.mean():.0%} said before" if again_N.mean() > 0.55 else None


def _one_sentence(text: str) -> str | None:
    """A sentence that makes up at least a third of six or more."""
    sentences = [" ".join(words(piece)).casefold() for piece in _SENTENCE.split(text)]
    sentences = [sentence for sentence in sentences if len(sentence) > 12]
    if len(sentences) < 6:
        return None
    commonest, count = max(Counter(sentences).items(), key=lambda item: (item[1], item[0]))
    return f"{count} times: {commonest[:60]}" if count * 3 >= len(sentences) else None
