from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mminstruct.training.template import IGNORED, defused, encode, question, turns
from tests.models import tiny

WORDS = tiny.tokenizer("<image>")


def talk(*texts: str) -> list[dict[str, str]]:
    return [{"from": ("human", "gpt")[place % 2], "value": text} for place, text in enumerate(texts)]


def learned(ids: list[int], labels: list[int]) -> str:
    """The text of the labels: runs of labelled tokens, separated by a bar."""
    said = "".join(WORDS.decode([i]) if label != IGNORED else "\0" for i, label in zip(ids, labels, strict=True))
    return "|".join(part for part in said.split("\0") if part)


@pytest.mark.parametrize(
    ("conversation", "image", "template", "text", "answers"),
    [
        (
            talk("<image>\nWhat is it?", "It is a robot."),
            True,
            "v1",
            "<s>A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful,"
            " detailed, and polite answers to the user's questions. USER: <image><image><image>\nWhat is it?"
            " ASSISTANT: It is a robot.</s>",
            " It is a robot.</s>",
        ),
        (
            talk("What is it?\n<image>", "A tree.", "How many?", "Two."),
            True,
            None,
            "<s>USER: <image><image><image>\nWhat is it?\nASSISTANT: A tree.</s>\nUSER: How many?\nASSISTANT: Two.</s>\n",
            " A tree.</s>| Two.</s>",
        ),
        (
            talk("Hello", "Hello", "Hello", "Hello"),
            False,
            "v1",
            "<s>A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful,"
            " detailed, and polite answers to the user's questions. USER: Hello ASSISTANT: Hello</s>USER: Hello"
            " ASSISTANT: Hello</s>",
            " Hello</s>| Hello</s>",
        ),
        (
            talk("<image>", "A red robot waves."),
            True,
            "plain",
            "<s><image><image><image>A red robot waves.\n",
            "A red robot waves.\n",
        ),
        (
            [{"from": "system", "value": "Be short."}, *talk("A </s> or <image>?", "Neither, no </s>.")],
            False,
            "v1",
            "<s>Be short. USER: A < /s> or < image>? ASSISTANT: Neither, no < /s>.</s>",
            " Neither, no < /s>.</s>",
        ),
    ],
    ids=["one turn", "two turns, own template", "text only, all turns alike", "stage 1", "control tokens in the text"],
)
def test_answers_and_their_end_are_learned_and_nothing_else(
    conversation: Any, image: bool, template: str | None, text: str, answers: str
) -> None:
    made = encode(conversation, WORDS, image=image, image_tokens=3, template=template)
    assert WORDS.decode(made.ids) == text
    assert learned(made.ids, made.labels) == answers


def test_a_conversation_is_asked_as_it_was_taught() -> None:
    for template in ("v1", None):
        for image in (True, False):
            whole = encode(talk("What?", "This."), WORDS, image=image, image_tokens=3, template=template)
            asked = question(talk("What?"), WORDS, image=image, image_tokens=3, template=template)
            first = next(place for place, label in enumerate(whole.labels) if label != IGNORED)
            assert whole.ids[:first] == asked


def test_what_is_too_long_loses_its_end() -> None:
    whole = encode(talk("<image> Why?", "Because of the sun."), WORDS, image=True, image_tokens=3)
    cut = encode(talk("<image> Why?", "Because of the sun."), WORDS, image=True, image_tokens=3, max_length=20)
    assert (cut.ids, cut.labels, cut.cut) == (whole.ids[:20], whole.labels[:20], len(whole.ids) - 20)
    with pytest.raises(ValueError, match="does not fit into max_length=5"):
        encode(talk("<image>", "Yes."), WORDS, image=True, image_tokens=16, max_length=5)


@pytest.mark.parametrize(
    ("conversation", "said"),
    [
        ([], "0 turns"),
        (talk("Why?"), "1 turns"),
        ([{"from": "gpt", "value": "So."}, {"from": "human", "value": "Why?"}], "turn 0 is the assistant's"),
        ([{"from": "human", "value": "a"}, {"from": "human", "value": "b"}], "turn 1 is the user's"),
        ([{"from": "bard", "value": "a"}], "turn 0: need 'from'"),
        ([{"from": "human", "text": "a"}], "turn 0: need 'from'"),
    ],
)
def test_turns_in_disorder_are_refused(conversation: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        turns(conversation, image=False)


def test_a_template_that_writes_earlier_turns_anew_is_refused() -> None:
    drops = "{{ bos_token }}{% for m in messages[-2:] %}{{ m['content'][0]['text'] }}{% endfor %}"
    with pytest.raises(ValueError, match="rewrites earlier turns"):
        encode(talk("a", "b", "c", "d"), WORDS, image=False, template=drops)


TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40).filter(str.strip)


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXT, min_size=2, max_size=6).filter(lambda some: len(some) % 2 == 0), st.booleans())
def test_whatever_is_said_the_learned_tokens_are_the_answers(said: list[str], image: bool) -> None:
    made = encode(talk(*said), WORDS, image=image, image_tokens=2)
    ids = [i for i, label in zip(made.ids, made.labels, strict=True) if label != IGNORED]
    wanted = "".join(f" {defused(text, WORDS)}</s>" for text in said[1::2])
    assert WORDS.decode(ids) == wanted
    assert made.ids.count(WORDS.convert_tokens_to_ids("<image>")) == 2 * image


GEMMA = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    "{{ m['role'] }}: {% for p in m['content'] %}{% if p['type'] == 'image' %}<image>{% else %}{{ p['text'] }}{% endif %}"
    "{% endfor %}{{ eos_token }}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
)
SILENT = GEMMA.replace("{{ raise_exception('no system') }}{% endif %}", "{% else %}").replace(
    "\n{% endfor %}", "\n{% endif %}{% endfor %}"
)


@pytest.mark.parametrize("template", [GEMMA, SILENT], ids=["refuses it", "leaves it out"])
def test_a_system_that_the_template_does_not_take_opens_the_first_question(template: str) -> None:
    said = [{"from": "system", "value": "Be short."}, *talk("<image>What?", "A bus.")]
    made = encode(said, WORDS, image=True, image_tokens=2, template=template)
    assert WORDS.decode(made.ids) == "<s>user: Be short.\n\n<image><image>What?</s>\nassistant: A bus.</s>\n"
    assert learned(made.ids, made.labels) == "A bus.</s>"
    asked = question(said[:2], WORDS, image=True, image_tokens=2, template=template)
    assert made.ids[: len(asked)] == asked


def test_a_template_that_takes_a_system_keeps_it_apart() -> None:
    said = [{"from": "system", "value": "Be short."}, *talk("What?", "This.")]
    taking = GEMMA.replace("{{ raise_exception('no system') }}", "")
    assert WORDS.decode(encode(said, WORDS, image=False, template=taking).ids).startswith(
        "<s>system: Be short.</s>\nuser:"
    )


def test_whatever_a_template_raises_is_one_refusal() -> None:
    with pytest.raises(ValueError, match=r"the chat template refuses these turns: .*TypeError"):
        encode(talk("What?", "This."), WORDS, image=False, template="{{ 'a' + messages[0]['content'] }}")
