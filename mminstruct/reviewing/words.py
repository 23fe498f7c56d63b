"""The words of review sheets that both the page and the readers of its files know."""

from __future__ import annotations

DECISIONS = ("accept", "edit", "reject", "skip", "rate")
"""``rate`` on rating sheets only."""
REASONS = {
    "wrong_answer": "Wrong answer",
    "not_in_image": "Not in the picture",
    "ambiguous": "Ambiguous",
    "bad_question": "Bad question",
    "bad_choices": "Bad choices",
    "off_domain": "Off topic",
    "unsafe_or_private": "Unsafe or private",
}
"""Reasons of a rejection, in the order of their keys from 1, as the page names them."""
TASKS = {
    "turns": "Is the answer right for this picture and this question?",
    "answers": "Is the answer right for this picture and this question?",
    "captions": "Is everything in this description true of the picture?",
    "match": "",
    "instructions": "Rate this request about pictures.",
}
"""What people are asked about a row, by kind of sheet; matches have only the question of their axis."""
AXES: dict[str, dict[str, tuple[str, tuple[str, ...]]]] = {
    "match": {
        "fits": ("How well does this request fit the picture?", ("not at all", "badly", "partly", "well", "perfectly"))
    },
    "instructions": {
        "grounded": ("Does it need a picture?", ("not at all", "hardly", "partly", "mostly", "entirely")),
        "new": ("Is it unlike common questions?", ("very common", "common", "in between", "unusual", "very unusual")),
        "useful": ("Would people want this?", ("nobody", "few", "some", "many", "most")),
    },
}
"""Axes of rating sheets: question, and the meanings of 1 to 5."""
