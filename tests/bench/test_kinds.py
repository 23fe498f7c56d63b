from __future__ import annotations

import pytest

from mminstruct.bench.kinds import KINDS, OTHER, evenly, kind_of


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("Write a haiku about the plant in this image.", "poetry"),
        ("Begin a bedtime story that takes place in this scene.", "storytelling"),
        ("Create a step-by-step guide for DIY floral headbands.", "advice"),
        ("Craft a travel brochure for this place.", "marketing"),
        ("Write a social media post with hashtags about this image.", "social media"),
        ("Explain why the person looks happy.", "reasoning"),
        ("Describe the mood.", "description"),
        ("Summarize the poem on the wall.", "description"),
        ("Blorp.", OTHER),
        ("Write an episode.", OTHER),  # no ode in it
    ],
)
def test_the_first_word_that_names_a_task_tells_the_kind(question: str, kind: str) -> None:
    assert kind_of(question, KINDS) == kind


def test_a_choice_is_even_at_every_size() -> None:
    items = [f"{kind}{n}" for kind, count in (("a", 9), ("b", 5), ("c", 1)) for n in range(count)]
    for most in range(len(items) + 1):
        chosen = evenly(items, most, [lambda item: item[0]], lambda item: item)
        counts = {kind: sum(item[0] == kind for item in chosen) for kind in "abc"}
        assert len(chosen) == most
        assert counts["c"] == min(1, max(0, most - 2))
        assert counts["b"] == 5 or abs(counts["a"] - counts["b"]) <= 1
