"""Encodes a conversation as token ids, with labels on the assistant's answers only.

A Jinja chat template formats the whole conversation, which is tokenized once, as at inference, so that training and
inference see the same tokens. Labels follow from the character offsets of each answer: from the end of its generation
prompt to its end token.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mminstruct.readers.conversation import IMAGE as IMAGE

IGNORED = -100
"""Label of a token without loss, as in PyTorch's cross-entropy."""
ROLES = {"human": "user", "gpt": "assistant", "system": "system"}
"""Roles of chat templates by the speakers of ``readers.conversation``."""

_TEXT = (
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>\n"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}"
)
V1 = (
    "{{ bos_token }}{% if messages[0]['role'] != 'system' %}"
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions. {% endif %}"
    "{% for message in messages %}{% if message['role'] == 'user' %}USER: " + _TEXT + " "
    "{% elif message['role'] == 'assistant' %}ASSISTANT: " + _TEXT + "{{ eos_token }}"
    "{% else %}" + _TEXT + " {% endif %}{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
PLAIN = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'user' %}{% if loop.first %}<image>{% endif %}"
    "{% elif message['role'] == 'assistant' %}" + _TEXT + "{{ '\\n' }}{% endif %}{% endfor %}"
)
TEMPLATES = {"v1": V1, "plain": PLAIN}
"""LLaVA-1.5's conversation ``v1`` (Vicuna's), and ``plain`` for stage 1: image and caption only."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """One conversation; *ids* and *labels* have the same length."""

    ids: list[int]
    labels: list[int]
    """The token id where there is a loss, else ``IGNORED``."""
    cut: int = 0
    """Number of tokens that were truncated at the end."""

    @property
    def learned(self) -> int:
        """Number of tokens with a loss; the first token of a row is never predicted."""
        return sum(label != IGNORED for label in self.labels[1:])


def turns(conversation: Sequence[Mapping[str, Any]], image: bool) -> list[dict[str, Any]]:
    """Convert turns of ``readers.conversation``, optionally after a system turn, to those of a chat template.

    As in upstream's loader, ``<image>`` is removed wherever it stands and put before the first question.

    Raises:
        ValueError: a speaker is unknown, a text is missing, or turns do not alternate from a human turn on.
    """
    made: list[dict[str, Any]] = []
    for place, turn in enumerate(conversation):
        role, text = ROLES.get(turn.get("from", "")), turn.get("value")
        if role is None or not isinstance(text, str):
            raise ValueError(f"turn {place}: need 'from' (human or gpt) and a text as 'value', got {str(turn)[:80]}")
        talk = [m for m in made if m["role"] != "system"]
        if (role == "system" and made) or (role != "system" and role != ("user", "assistant")[len(talk) % 2]):
            raise ValueError(f"turn {place} is the {role}'s: turns must alternate and start with a human turn")
        if role == "user" and image:
            text = text.replace(IMAGE, "").strip()
        made.append({"role": role, "content": [{"type": "text", "text": text}]})
    talk = [m for m in made if m["role"] != "system"]
    if not talk or len(talk) % 2:
        raise ValueError(f"{len(talk)} turns: must be pairs of question and answer")
    if image:
        talk[0]["content"].insert(0, {"type": "image"})
    return made


def encode(
    conversation: Sequence[Mapping[str, Any]],
    tokenizer: Any,
    *,
    image: bool,
    image_tokens: int = 576,
    template: str | None = None,
    max_length: int = 2048,
) -> Encoded:
    """Token ids and labels of *conversation*.

    Args:
        tokenizer: a fast tokenizer of transformers, with ``<image>`` as one token if *image* is true.
        image: whether there is an image, placed before the first question.
        image_tokens: number of tokens per image (576 in LLaVA-1.5).
        template: a name of ``TEMPLATES`` or Jinja text; the tokenizer's own by default. If it does not support a
            system prompt, that text is put before the first question.
        max_length: maximum number of tokens, image included; the end is truncated, as upstream does.

    Raises:
        ValueError: turns are out of order, the template refuses them or rewrites earlier turns, or *max_length* would
            truncate the image.
    """
    said, render = _renderer(conversation, tokenizer, image, template)
    whole = render(len(said), False)
    spans = []
    for place, turn in enumerate(said):
        if turn["role"] == "assistant":
            before, after = render(place, True), render(place + 1, False)
            if not (whole.startswith(after) and after.startswith(before)):
                raise ValueError("the chat template rewrites earlier turns: use one that only appends")
            spans.append((len(before), len(after)))
    coded = tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    ids, labels = list(coded["input_ids"]), [IGNORED] * len(coded["input_ids"])
    place = 0
    for start, end in spans:
        while place < len(ids) and coded["offset_mapping"][place][0] < start:
            place += 1
        while place < len(ids) and coded["offset_mapping"][place][1] <= end:
            labels[place] = ids[place]
            place += 1
            if ids[place - 1] == tokenizer.eos_token_id:
                break  # text after the end token is never generated
    if image:
        ids, labels = _spread(ids, labels, tokenizer.convert_tokens_to_ids(IMAGE), image_tokens, max_length)
    return Encoded(ids[:max_length], labels[:max_length], max(0, len(ids) - max_length))


def question(
    conversation: Sequence[Mapping[str, Any]],
    tokenizer: Any,
    *,
    image: bool,
    image_tokens: int = 576,
    template: str | None = None,
) -> list[int]:
    """Token ids of the prompt for *conversation*, which ends with a question; see ``encode``."""
    said, render = _renderer([*conversation, {"from": "gpt", "value": ""}], tokenizer, image, template)
    ids: list[int] = tokenizer(render(len(said) - 1, True), add_special_tokens=False)["input_ids"]
    if image:
        at = ids.index(tokenizer.convert_tokens_to_ids(IMAGE))
        ids = ids[:at] + [ids[at]] * image_tokens + ids[at + 1 :]
    return ids


def _renderer(
    conversation: Sequence[Mapping[str, Any]], tokenizer: Any, image: bool, template: str | None
) -> tuple[list[dict[str, Any]], Callable[[int, bool], str]]:
    """The turns, and a function that formats the first N of them, with or without a generation prompt."""
    jinja = TEMPLATES.get(template or "", template) or tokenizer.chat_template
    if not jinja:
        raise ValueError("the tokenizer has no chat template: use v1, plain, or Jinja text")
    said = turns(conversation, image)
    for turn in said:
        for item in turn["content"]:
            if item["type"] == "text":
                item["text"] = defused(item["text"], tokenizer)
    if said[0]["role"] == "system" and not takes_system(tokenizer, jinja):
        said = folded(said)

    def render(upto: int, ask: bool) -> str:
        how = {"chat_template": jinja, "tokenize": False, "add_generation_prompt": ask}
        try:
            return str(tokenizer.apply_chat_template(said[:upto], **how))
        except Exception as error:  # a template may raise anything
            raise ValueError(f"the chat template refuses these turns: {type(error).__name__}: {error}") from error

    return said, render


def folded(said: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """*said* with the system prompt at the start of the first question, as ``models`` does at inference."""
    system, first, *rest = said
    content = [*system["content"], {"type": "text", "text": "\n\n"}, *first["content"]]
    return [{"role": "user", "content": content}, *rest]


def takes_system(tokenizer: Any, jinja: str) -> bool:
    """Whether the template formats a system turn: some templates refuse it, some omit it."""
    known: dict[str, bool] = tokenizer.__dict__.setdefault("_mminstruct_system", {})
    if jinja not in known:
        turns = [{"role": role, "content": [{"type": "text", "text": f"a {role}'s"}]} for role in ("system", "user")]
        try:
            known[jinja] = "a system's" in tokenizer.apply_chat_template(turns, chat_template=jinja, tokenize=False)
        except Exception:  # a template may raise anything
            known[jinja] = False
    return known[jinja]


def defused(text: str, tokenizer: Any) -> str:
    """*text* with a space in each of the tokenizer's control tokens, so that no text of a caption ends a turn."""
    found = _control(tokenizer)
    return found.sub(lambda token: f"{token[0][0]} {token[0][1:]}", text)


def _control(tokenizer: Any) -> re.Pattern[str]:
    known: re.Pattern[str] | None = getattr(tokenizer, "_mminstruct_control", None)
    if known is None:
        special = {str(token) for token in tokenizer.all_special_tokens}
        special |= {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
        known = re.compile("|".join(map(re.escape, sorted(special, key=len, reverse=True))) or r"(?!)")
        tokenizer._mminstruct_control = known
    return known


def _spread(ids: list[int], labels: list[int], image: int, count: int, max_length: int) -> tuple[list[int], list[int]]:
    """Replace the one image token by *count* of them."""
    if ids.count(image) != 1:
        raise ValueError(f"there are {ids.count(image)} {IMAGE} tokens instead of 1: check the chat template")
    at = ids.index(image)
    if at + count > max_length:
        raise ValueError(f"an image has {count} tokens and does not fit into max_length={max_length}: raise it")
    return ids[:at] + [image] * count + ids[at + 1 :], labels[:at] + [IGNORED] * count + labels[at + 1 :]
