from __future__ import annotations

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mminstruct.text.tagged import Asked, parse, parse_choices

PLAIN = [Asked("Is it red?", None, "Yes"), Asked("Is it blue?", None, "No")]
TWO = "<Q1> Is it red? </Q1> <A1> Yes </A1>\n<Q2> Is it blue? </Q2> <A2> No </A2>"
FOUR = (("A", "one"), ("B", "two"), ("C", "three"), ("D", "four"))


@pytest.mark.parametrize(
    "reply",
    [
        TWO,
        TWO.lower().replace("is it", "Is it").replace("yes", "Yes").replace("no ", "No "),
        TWO.replace("</Q1>", "").replace("</A1>", "").replace("</Q2>", "").replace("</A2>", ""),
        TWO.replace("Q2", "Q1").replace("A2", "A1"),
        TWO.replace("Q2", "Q7").replace("A2", "A7"),
        TWO.replace("<", "**<").replace(">", ">**"),
        TWO.replace("<", "＜").replace(">", "＞").replace("Q1", "Ｑ１"),
        TWO.replace("<Q1>", "<Q1>：").replace("<A1>", "< A1 >:"),
        "**Q1:** Is it red?\n**A1:** Yes\n\n**Q2：** Is it blue?\n**A2：** No",
        "<Q1> Is it red? </Q1>\n<Q2> Is it blue? </Q2>\n<A2> No </A2>\n<A1> Yes </A1>",
        "<Q> Is it red? </Q> <A> Yes </A> <Q> Is it blue? </Q> <A> No </A>",
        f"Sure! Here are two questions:\n\n{TWO}\n\nI hope that they help.",
        TWO.removesuffix("</A2>") + "\n\nI hope that they help.",
        TWO.replace("</A1>", "</A1> <A1> yes </A1>"),
    ],
)
def test_a_reply_is_read_however_its_tags_are_written(reply: str) -> None:
    assert parse(reply) == PLAIN


@pytest.mark.parametrize(
    ("reply", "answers"),
    [
        ("<Q1> Is it red? </Q1> <Q2> Is it blue? </Q2> <A2> No </A2>", [None, "No"]),
        ("<Q1> Is it red? </Q1> <A2> Yes </A2> <Q2> Is it blue? </Q2> <A2> No </A2>", [None, None]),
        ("<Q1> Is it red? </Q1> <Q1> Is it blue? </Q1> <A1> Yes </A1> <A1> No </A1>", [None, None]),
        ("<Q1> Is it red? </Q1> <A1> Yes </A1> <Q1> Is it blue? </Q1>", [None, None]),
        ("<Q1> Is it red? </Q1> <A1> Yes </A1> <A1> No </A1>", [None]),
        ("<Q> Is it red? </Q> <Q> Is it blue? </Q> <A> Yes </A>", [None, None]),
        ("<A1> Yes </A1> <Q2> Is it blue? </Q2>", [None]),
    ],
)
def test_an_answer_that_may_belong_to_two_questions_belongs_to_none(reply: str, answers: list[str | None]) -> None:
    assert [one.answer for one in parse(reply)] == answers


@pytest.mark.parametrize("cut", range(len("<Q1> Is it red? </Q1> <A1> Yes </A1>"), len(TWO)))
def test_of_a_cut_reply_the_whole_pairs_before_the_cut_are_kept(cut: int) -> None:
    assert parse(TWO[:cut], cut=True) == PLAIN[:1]


@pytest.mark.parametrize(
    "text",
    [
        "A. one B. two C. three D. four",
        "A) one\nB) two\nC) three\nD) four",
        "(A) one, (B) two, (C) three, (D) four",
        "- **A.** one\n- **B.** two\n- **C.** three\n- **D.** four",
        "A： one B： two C： three D： four",
        "A.one B.two C.three D.four",
    ],
)
def test_choices_are_read_in_lines_and_in_one(text: str) -> None:
    assert parse_choices(text) == FOUR


@pytest.mark.parametrize(
    "text", ["one, two, three, four", "A. plan B. B. plan C. C. three D. four", "B. two A. one C. three D. four", ""]
)
def test_choices_without_clear_letters_are_none(text: str) -> None:
    assert parse_choices(text) == ()


_WORD = st.text("abc ,.?!*<>/:：\n", max_size=12)
_TAG = st.builds(
    "{}{}{}{}".format, st.sampled_from(["<", "</", "＜"]), st.sampled_from("QCAqa"), st.integers(0, 4), st.just(">")
)
_REPLY = st.lists(_WORD | _TAG, max_size=24).map("".join)


@given(_REPLY, st.booleans())
@example("<Q1><Q1></Q1>", True)
def test_no_reply_breaks_the_parser_and_every_text_was_in_the_reply(reply: str, cut: bool) -> None:
    plain = "".join(reply.split())
    for one in parse(reply, cut=cut):
        for text in (one.question, one.answer or "", *(text for _, text in one.choices or ())):
            assert "".join(text.split()) in plain
            assert "\n" not in text


_SAFE = st.text(st.characters(categories=["L", "N"], max_codepoint=0x24F), min_size=1, max_size=8)


@given(st.lists(st.tuples(_SAFE, _SAFE), min_size=1, max_size=5), st.data())
def test_answers_that_are_deleted_are_missing_and_never_taken_from_a_neighbour(
    pairs: list[tuple[str, str]], data: st.DataObject
) -> None:
    gone = data.draw(st.sets(st.integers(0, len(pairs) - 1)))
    order = data.draw(st.permutations(range(len(pairs))))
    together = data.draw(st.booleans())
    questions = {n: f"<Q{n}> {pairs[n][0]} </Q{n}>" for n in order}
    answers = {n: "" if n in gone else f"<A{n}> {pairs[n][1]} </A{n}>" for n in order}
    reply = (
        "\n".join([*questions.values(), *answers.values()]) if together
        else "\n".join(questions[n] + answers[n] for n in order)
    )  # fmt: skip
    assert [(one.question, one.answer) for one in parse(reply)] == [
        (pairs[n][0], None if n in gone else pairs[n][1]) for n in order
    ]


@pytest.mark.parametrize("run", [" ", "*", "\n", "< "])
def test_a_long_run_of_marks_is_read_in_linear_time(run: str) -> None:
    started = time.process_time()
    parse(f"<{run * 20_000}<Q1{run * 20_000}> a{run * 20_000}b </Q1> <A1> Yes </A1>")
    assert time.process_time() - started < 2  # seconds; 0.1 as it is, 40 if time grows with the square
