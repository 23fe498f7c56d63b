from __future__ import annotations

import pytest

from mminstruct.text.question import asked


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (("What is it?",), "What is it?"),
        (("What is it?", None, "Answer shortly."), "What is it? Answer shortly."),
        (("Which?", ["a cat", "a dog"]), "Which?\nA. a cat\nB. a dog"),
        (("Which?", ["a cat", "a dog"], "Answer by letter."), "Which?\nA. a cat\nB. a dog\nAnswer by letter."),
        (("Which?", [], ""), "Which?"),
    ],
)
def test_choices_come_as_lettered_lines_and_the_phrase_last(given: tuple[str, ...], text: str) -> None:
    assert asked(*given) == text  # type: ignore[arg-type]
