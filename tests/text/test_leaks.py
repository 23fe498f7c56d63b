from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mminstruct.text.leaks import broken, leak
from mminstruct.text.refusal import refusal
from mminstruct.text.reply import spoken
from tests.text.replies import BUS, FOUND, PASSES, TAKEN_OFF


@pytest.mark.parametrize(("kind", "reply"), [(kind, reply) for kind, replies in FOUND.items() for reply in replies])
def test_residue_in_a_text_is_found_by_its_name(kind: str, reply: str) -> None:
    found = leak(spoken(reply.replace("{}", BUS)))
    assert found
    assert found[0] == kind
    assert 0 < len(found[1]) <= 80


@pytest.mark.parametrize(("asked", "text"), PASSES)
def test_a_good_text_passes_unchanged(asked: str, text: str) -> None:
    assert spoken(text) == text
    assert leak(text, asked) is None
    assert refusal(text) is None


@pytest.mark.parametrize("reply", TAKEN_OFF)
def test_known_wrappings_are_removed_and_leave_a_good_text(reply: str) -> None:
    assert spoken(reply.replace("{}", BUS)) == BUS


@pytest.mark.parametrize("kind", ["reasoning_left", "special_token", "undecoded"])
def test_some_residue_is_wrong_whatever_was_asked_for(kind: str) -> None:
    soft = ("<IMG_CONTEXT>", "<box>", "<ref>", "<phrase>", "<point", " ##", "OBJ")
    for reply in FOUND[kind]:
        if not any(mark in reply for mark in soft):  # XML and code may have these
            found = broken(spoken(reply.replace("{}", BUS)), "Write Python code and HTML.")
            assert found, reply
            assert found[0] == kind


def test_tags_and_escapes_pass_where_they_were_asked_for() -> None:
    for kind in ("escaped", "markup"):
        for reply in FOUND[kind]:
            assert leak(reply, "Write it in HTML, or as code.") is None, reply


@given(st.text(st.characters() | st.sampled_from("<>|[]/\\&;◁▷｜▁Ġ\n`\"'think"), max_size=300), st.text(max_size=40))
def test_any_text_is_judged_and_the_finding_can_be_stored(text: str, asked: str) -> None:
    found = leak(spoken(text), asked)
    assert found is None or (found[1] and len(found[1]) <= 82)


@pytest.mark.parametrize(
    "piece", ["<think>", "</think>", "<", "[", "<a ", "&", "\\n", "|", "`", '"', "Error: ", "◁", "<|", "x"]
)
def test_judging_takes_linear_time(piece: str) -> None:
    import time

    began = time.perf_counter()
    for text in (piece * 20_000, piece * 20_000 + "</think>", f"| {piece}" * 10_000):
        leak(spoken(text))
        refusal(text)
    assert time.perf_counter() - began < 20  # seconds; a quadratic pattern takes minutes
