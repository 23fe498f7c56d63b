from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mminstruct.readers.domains import KINDS, NEEDS, PLACEHOLDERS, read_domains
from mminstruct.readers.text import Unreadable

FILE = Path(__file__).parents[1] / "domains.yaml"


def one(**change: Any) -> str:
    templates = {kind: [f"What is the <thing> of {kind} {n}?" for n in range(6)] for kind in KINDS}
    made = {"says": "things", "looks": ["a", "b", "c"], "needs": ["person"], "templates": templates, **change}
    return yaml.safe_dump({"things": {key: value for key, value in made.items() if value is not None}}, sort_keys=False)


def test_a_file_of_domains_is_read_in_its_order() -> None:
    found = read_domains(FILE.read_text(), FILE.name)
    assert [domain.name for domain in found] == ["colours", "places", "signs"]
    assert [domain.needs for domain in found] == [(), ("two_things",), ("words",)]
    assert all(len(domain.templates[kind]) == 6 and len(domain.looks) == 3 for domain in found for kind in KINDS)


@pytest.mark.parametrize(
    ("text", "at", "said"),
    [
        (one().replace("<thing> of long 3", "<thingy> of long 3"), "<thingy>", "the placeholder <thingy>: take any of "),
        (one().replace("<thing> of long 3", "thing> of long 3"), " thing>", "a bracket without its partner"),
        (one().replace("    - What is the <thing> of short 5?\n", ""), "of short 0", "has 5 texts: write 6"),
        (one().replace("of choice 5", "of choice 4"), "of choice 0", "has 6 texts: write 6 different ones"),
        (one(needs=["word"]), "- word\n", "needs has 'word': take any of words, person"),
        (one(looks=["a", "b"]), "- a\n", "looks has 2 texts: write 3 or more"),
        (one(looks=["a", "b", "B"]), "- a\n", "looks has 3 texts: write 3 or more different ones"),
        (one().replace("<thing> of long 3", "＜thing＞ of long 3"), "＜thing＞", "a bracket without its partner"),
        (one(looks="a picture"), "a picture", "looks should be a list of texts"),
        (one(says=None), "  looks", "says is missing"),
        (one(says=12), "says: 12", "says should be a text (put quotes around it)"),
        (one(note="x"), "note: x", "note is unknown: it takes says, looks, needs, templates"),
        (one().replace("    judgement:", "    judgment:"), "of judgement 0", "templates.judgment is no kind of question"),
        (one().replace("things:\n", "Things here:\n", 1), "  says", "a name has lower-case letters"),
        (one() + one().replace("things:", "more: {}\nthings:", 1), "things:\n  says: things\n", "is there twice"),
        ("things: red\n", "red", "there should be 'key: value' lines"),
    ],
)  # fmt: skip
def test_a_fault_of_a_file_is_named_with_its_domain_and_line(text: str, at: str, said: str) -> None:
    with pytest.raises(Unreadable) as refused:
        read_domains(text, "mine.yaml")
    line = text[: text.rindex(at)].count("\n") + 1
    assert [
        told for told in str(refused.value).split("\n") if told.startswith(f"mine.yaml, line {line}") and said in told
    ]


def test_all_faults_of_a_file_are_told_at_once() -> None:
    with pytest.raises(Unreadable) as refused:
        read_domains(one(says=None, needs=["a", "b"], looks=[]), "mine.yaml")
    assert str(refused.value).count("\n") == 3


@pytest.mark.parametrize("text", ["", "[]", "a: [", "- a", "x: &a [*a]", "!!python/object:os.system {}"])
def test_what_is_no_file_of_domains_is_refused(text: str) -> None:
    with pytest.raises(Unreadable, match=r"mine\.yaml"):
        read_domains(text, "mine.yaml")


_YAML = st.recursive(
    st.none() | st.integers() | st.text(max_size=8) | st.sampled_from(["says", "looks", "<thing>", "<x>"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["says", "looks", "needs", "templates", "long"]), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(_YAML)
def test_no_file_breaks_the_reader(value: Any) -> None:
    with pytest.raises(Unreadable):
        read_domains(yaml.safe_dump({"things": value}), "mine.yaml")


def test_the_closed_lists_are_those_that_files_may_use() -> None:
    assert len(PLACEHOLDERS) == 16
    assert NEEDS == ("words", "person", "two_things", "number", "place")
