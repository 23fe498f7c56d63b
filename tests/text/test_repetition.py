from __future__ import annotations

import pytest

from mminstruct.text.repetition import repetition


@pytest.mark.parametrize(
    "text",
    [
        "The dog " * 8,
        "no " * 5,
        "A red car on a road. " * 3 + "A tree. " + "A red car on a road. " * 3,
        "1. A dog sits. 2. A dog sits. 3. A dog sits. 4. A dog sits.",
        "A" * 40,
        "说说说说说说",
    ],
)
def test_prose_that_repeats_is_found_with_what_it_repeats(text: str) -> None:
    assert repetition(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A red car, a blue car, a green car and a very, very, very old bus.",
        "Row, row, row your boat, gently down the stream.",
        "| a | b |\n|" + "-" * 60 + "|",
        "The boat is red. The sea is blue. The sky is grey. The sand is brown. The dog is black. The hat is white.",
    ],
)
def test_ordinary_texts_do_not_repeat(text: str) -> None:
    assert repetition(text) is None
    assert repetition(text, verse=True) is None


def test_a_song_may_repeat_what_prose_may_not_and_no_song_repeats_without_end() -> None:
    song = "Merrily, merrily, merrily, merrily, life is but a dream."
    assert repetition(song) == "4 times: merrily"
    assert repetition(song, verse=True) is None
    assert repetition("Merrily " * 9, verse=True) == "9 times: merrily"
