"""Domain files: what an image may be asked about, with templates of questions.

Each error names file, domain and line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from mminstruct.readers.text import Unreadable
from mminstruct.text import one_line

KINDS = ("judgement", "choice", "short", "long")
"""Kinds of questions: yes or no, one of four choices, one to five words, two to five sentences."""
NEEDS = ("words", "person", "two_things", "number", "place")
"""What a domain may require of an image before it is asked: words that can be read, a person, two kinds of things,
something that can be counted, the name of a place."""
PLACEHOLDERS = frozenset((
    "thing", "other", "place", "text", "number", "colour", "material", "style", "mood", "brand", "species",
    "person_role", "event", "direction", "purpose", "part",
))  # fmt: skip
"""Names that templates may have in angle brackets; the asker replaces each by something that fits the image."""
TEMPLATES = 6
"""Templates of each kind."""
LOOKS = 3
"""Least number of texts that CLIP compares with an image."""
_BLANK = re.compile(r"<([^<>]*)>")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


@dataclass(frozen=True, kw_only=True)
class Domain:
    """A topic of questions about images."""

    name: str
    says: str
    """What it asks about, as the asker reads it."""
    looks: tuple[str, ...]
    """Descriptions of images of this domain, for CLIP."""
    needs: tuple[str, ...] = ()
    """Some of ``NEEDS``."""
    templates: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """By kind, questions with placeholders."""


def read_domains(text: str, what: str) -> list[Domain]:
    """The domains of a YAML file ``NAME: {says, looks, needs, templates: {KIND: [...]}}``, in its order.

    Args:
        text: Content of the file.
        what: Its name, for messages.

    Raises:
        Unreadable: One line for each fault, with file, domain and line.
    """
    try:
        root = yaml.compose(text, yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError) as error:
        raise Unreadable(f"{what} is no valid YAML: {one_line(str(error))}") from error
    faults: list[str] = []
    found = []
    if not isinstance(root, yaml.MappingNode) or not root.value:
        raise Unreadable(f"{what} has no domains: write 'NAME: {{says: ..., looks: [...], templates: {{...}}}}'")
    for name, node in _Place(what, "", faults).entries(root):
        place = _Place(what, name, faults)
        if not _NAME.fullmatch(name):
            place.fault(node, "a name has lower-case letters, digits and _, and begins with a letter")
        found.append(_domain(name, node, place))
    if faults:
        raise Unreadable("\n".join(faults))
    return found


def _domain(name: str, node: yaml.Node, place: _Place) -> Domain:
    given = dict(place.entries(node))
    for key in [key for key in given if key not in ("says", "looks", "needs", "templates")]:
        place.fault(given[key], f"{key} is unknown: it takes says, looks, needs, templates")
    for key in [key for key in ("says", "looks", "templates") if key not in given]:
        place.fault(node, f"{key} is missing")
    says = place.text(given["says"], "says") if "says" in given else ""
    looks = [text for text, _ in place.texts(given.get("looks"), "looks")]
    if "looks" in given and len({look.casefold() for look in looks}) < LOOKS:
        place.fault(given["looks"], f"looks has {len(looks)} texts: write {LOOKS} or more different ones")
    needs = list(place.texts(given.get("needs"), "needs"))
    for need, at in needs:
        if need not in NEEDS:
            place.fault(at, f"needs has {need!r}: take any of {', '.join(NEEDS)}")
    templates = {}
    kinds = dict(place.entries(given["templates"])) if "templates" in given else {}
    for kind in [kind for kind in kinds if kind not in KINDS]:
        place.fault(kinds[kind], f"templates.{kind} is no kind of question: take {', '.join(KINDS)}")
    for kind in KINDS if "templates" in given else ():
        templates[kind] = tuple(_templates(kind, kinds.get(kind), given["templates"], place))
    return Domain(name=name, says=says, looks=tuple(looks), needs=tuple(need for need, _ in needs), templates=templates)


def _templates(kind: str, node: yaml.Node | None, parent: yaml.Node, place: _Place) -> Iterator[str]:
    texts = list(place.texts(node, f"templates.{kind}"))
    if len({text.casefold() for text, _ in texts}) != TEMPLATES or len(texts) != TEMPLATES:
        place.fault(node or parent, f"templates.{kind} has {len(texts)} texts: write {TEMPLATES} different ones")
    for text, at in texts:
        for blank in _BLANK.findall(text):
            if blank not in PLACEHOLDERS:
                there = ", ".join(sorted(PLACEHOLDERS))
                place.fault(at, f"templates.{kind} has the placeholder <{blank}>: take any of {there}")
        if set("<>＜＞") & set(_BLANK.sub("", text)):
            place.fault(at, f"templates.{kind} has a bracket without its partner: {text!r}")
        yield text


@dataclass
class _Place:
    """Reads nodes of one domain and keeps their faults."""

    what: str
    domain: str
    faults: list[str]

    def fault(self, node: yaml.Node, said: str) -> None:
        where = f"{self.what}, line {node.start_mark.line + 1}"
        self.faults.append(f"{where}, {self.domain}: {said}" if self.domain else f"{where}: {said}")

    def entries(self, node: yaml.Node) -> Iterator[tuple[str, yaml.Node]]:
        """Keys and values of a mapping, each key once."""
        if not isinstance(node, yaml.MappingNode):
            self.fault(node, "there should be 'key: value' lines")
            return
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value) if isinstance(key, yaml.ScalarNode) else ""
            if name in seen or not name:
                self.fault(key, f"{name or 'a key'} is there twice" if name else "a key should be a word")
                continue
            seen.add(name)
            yield name, value

    def text(self, node: yaml.Node, key: str) -> str:
        """A text on one line."""
        value: Any = node.value if isinstance(node, yaml.ScalarNode) else None
        quoted = isinstance(node, yaml.ScalarNode) and node.style in ("'", '"', "|", ">")
        if value is None or not value.strip() or not (quoted or node.tag == "tag:yaml.org,2002:str"):
            hint = " (put quotes around it)" if isinstance(value, str) and value.strip() else ""
            self.fault(node, f"{key} should be a text{hint}")
            return ""
        return one_line(value)

    def texts(self, node: yaml.Node | None, key: str) -> Iterator[tuple[str, yaml.Node]]:
        """The texts of a list, each with its node; nothing if there is no list."""
        if node is None:
            return
        if not isinstance(node, yaml.SequenceNode):
            self.fault(node, f"{key} should be a list of texts")
            return
        for item in node.value:
            if text := self.text(item, key):
                yield text, item
