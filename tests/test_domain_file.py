"""The domains that ship with the package: laws for every domain and every template."""

from __future__ import annotations

import re

import pytest

from mminstruct.config.files import conf
from mminstruct.microworld.questions.grammar import TEMPLATES as JUDGED
from mminstruct.readers.domains import KINDS, read_domains
from mminstruct.text.rules import Context, meta_talk

YES_OR_NO = {"is", "are", "was", "do", "does", "did", "has", "have", "can", "could", "will", "would", "should"}
ASKING = {"what", "which", "who", "whom", "whose", "where", "when", "why", "how"}
FILLER = {"a", "an", "the", "is", "are", "does", "do", "of", "in", "on", "to", "and", "or", "it", "this", "here"}


FILE = conf() / "domains.yaml"
DOMAINS = {one.name: one for one in read_domains(FILE.read_text(encoding="utf-8"), FILE.name)}
TEMPLATES = [
    (domain, kind, template)
    for domain, one in DOMAINS.items()
    for kind, templates in one.templates.items()
    for template in templates
]


def words(text: str) -> list[str]:
    return re.findall(r"<\w+>|[\w'-]+", text.casefold())


def test_there_are_24_domains_and_those_that_can_be_judged_come_first() -> None:
    assert len(DOMAINS) == 24
    assert list(DOMAINS)[: len(JUDGED)] == list(JUDGED)


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_domain_has_a_short_topic_and_short_texts_for_clip(domain: str) -> None:
    one = DOMAINS[domain]
    assert 4 <= len(words(one.says)) <= 20
    assert one.says[-1] not in ".?!"
    assert len(set(one.looks)) == len(one.looks)
    assert all(2 <= len(words(look)) <= 16 for look in one.looks)


def test_templates_are_short_and_speak_of_the_picture_only() -> None:
    for domain, kind, template in TEMPLATES:
        where = f"{domain}, {kind}: {template}"
        assert 3 <= len(words(template)) <= 20, where
        assert template[0].isupper() or template[0] == "<", where
        assert template.split() == template.strip().split(" "), where
        assert domain.replace("_", " ") not in template.casefold(), where  # a question that names its topic is dropped
        assert meta_talk(template, Context()) is None, where


def test_a_template_is_a_question_or_a_request_that_fits_its_kind() -> None:
    for domain, kind, template in TEMPLATES:
        where = f"{domain}, {kind}: {template}"
        first, said = words(template)[0], set(words(template))
        assert template[-1] in "?.", where
        if kind == "judgement":
            assert template.endswith("?"), where
            assert first in YES_OR_NO, where
        elif template.endswith("?"):
            assert kind == "long" or said & (ASKING | {"or"}), where
        elif "?" not in template:  # "Is it so? Explain." has both
            assert first not in YES_OR_NO | ASKING, where


def test_no_template_is_there_twice_and_two_of_a_cell_differ_in_more_than_little_words() -> None:
    assert len({template.casefold() for _, _, template in TEMPLATES}) == len(TEMPLATES)
    content = [(domain, kind, frozenset(words(template)) - FILLER) for domain, kind, template in TEMPLATES]
    assert len(set(content)) == len(content)


@pytest.mark.parametrize("domain", DOMAINS)
def test_questions_of_a_domain_begin_in_different_ways_and_have_places_to_fill_in(domain: str) -> None:
    templates = DOMAINS[domain].templates
    every = [template for kind in KINDS for template in templates[kind]]
    assert len({tuple(words(template)[:2]) for template in every}) >= 10
    assert sum("<" in template for template in every) >= 4  # without one, a question is the same for every image
