"""Format phrases of generated questions: they tell a model in which form to answer. Ten of our own for each kind."""

from __future__ import annotations

PHRASES: dict[str, tuple[str, ...]] = {
    "judgement": (
        "Answer with Yes or No.",
        "Please reply with Yes or No only.",
        "Say Yes or No.",
        "Give a one-word answer: Yes or No.",
        "Is it so? Yes or No.",
        "Decide between Yes and No.",
        "Reply with a single word, Yes or No.",
        "A plain Yes or No is enough.",
        "Respond with either Yes or No.",
        "Use only the word Yes or the word No.",
    ),
    "choice": (
        "Answer with the letter of the right choice.",
        "Give only the letter of the correct option.",
        "Reply with A, B, C or D.",
        "Choose one option and name its letter.",
        "Which letter is right? Give the letter only.",
        "Pick the correct choice and answer with its letter.",
        "Respond with a single letter.",
        "State the letter of the best answer.",
        "Only one choice is right; give its letter.",
        "Select the right option by its letter.",
    ),
    "short": (
        "Answer with a word or a short phrase.",
        "Keep the answer to a few words.",
        "Give a short answer.",
        "Reply in at most five words.",
        "A word or two is enough.",
        "Answer briefly.",
        "Use as few words as possible.",
        "Respond with a short phrase, not a sentence.",
        "Name it in a few words.",
        "Please keep it short.",
    ),
    "long": (
        "Answer in a few sentences.",
        "Explain your answer in full sentences.",
        "Please answer in detail.",
        "Write two to five sentences.",
        "Give a complete answer.",
        "Take a few sentences to answer.",
        "Answer in a short paragraph.",
        "Be thorough.",
        "Describe it in your own words.",
        "Give details from the image.",
    ),
}
"""By kind."""
