"""A conversation as a model reads it: token ids, and labels on what the assistant says and nothing else.

The whole conversation is written by a Jinja chat template and tokenised once, as it is when the model is asked, so
that training and inference see the same tokens. Which of them are learned follows from where the text of each answer
lies: from the end of the prompt that would ask for it, up to its end token.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mminstruct.readers.conversation import IMAGE as IMAGE

IGNORED = -100
"""Label of a token that is not learned, as PyTorch's cross-entropy has it."""
ROLES = {"human": "user", "gpt": "assistant", "system": "system"}
"""Speakers as ``readers.conversation`` gives them, and the roles that chat templates know."""

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
"""LLaVA-1.5's conversation ``v1`` (Vicuna's), and ``plain``: image and caption, for the projector (stage 1)."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """One conversation: *ids* and *labels* are as long as each other."""

    ids: list[int]
    labels: list[int]
    """The id where it is learned, else ``IGNORED``."""
    cut: int = 0
    """Tokens beyond the longest allowed, left out at the end."""

    @property
    def learned(self) -> int:
        """Tokens that are foretold from others: the first one of all never is."""
        return sum(label != IGNORED for label in self.labels[1:])


def turns(conversation: Sequence[Mapping[str, Any]], image: bool) -> list[dict[str, Any]]:
    """Turns as ``readers.conversation`` gives them, a system's before them, as a chat template takes them.

    As upstream's loader does, ``<image>`` is taken out of wherever it stands and put before the first question.

    Raises:
        ValueError: for an unknown speaker, a missing text, or turns that do not alternate and begin with the human.
    """
    made: list[dict[str, Any]] = []
    for place, turn in enumerate(conversation):
        role, text = ROLES.get(turn.get("from", "")), turn.get("value")
        if role is None or not isinstance(text, str):
            raise ValueError(f"turn {place}: need 'from' (human or gpt) and a text as 'value', got {str(turn)[:80]}")
        talk = [m for m in made if m["role"] != "system"]
        if (role == "system" and made) or (role != "system" and role != ("user", "assistant")[len(talk) % 2]):
            raise ValueError(f"turn {place} is the {role}'s: turns alternate and begin with the human's")
        if role == "user" and image:
            text = text.replace(IMAGE, "").strip()
        made.append({"role": role, "content": [{"type": "text", "text": text}]})
    talk = [m for m in made if m["role"] != "system"]
    if not talk or len(talk) % 2:
        raise ValueError(f"{len(talk)} turns: need pairs of question and answer")
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
        tokenizer: a fast one of transformers, that knows ``<image>`` as one token where *image* is true.
        image: whether an image belongs to it; it stands before the first question. A system's text that the template
            would refuse or leave out opens the first question.
        image_tokens: how many tokens the model reads an image as (576 in LLaVA-1.5).
        template: a name of ``TEMPLATES`` or Jinja text; the tokenizer's own by default.
        max_length: tokens, image included; what is beyond is cut off at the end, as upstream does.

    Raises:
        ValueError: for turns in disorder, a template that refuses them or rewrites earlier turns, and a
            *max_length* that would cut the image.
    """
    said, write = _writer(conversation, tokenizer, image, template)
    whole = write(len(said), False)
    spans = []
    for place, turn in enumerate(said):
        if turn["role"] == "assistant":
            before, after = write(place, True), write(place + 1, False)
            if not (whole.startswith(after) and after.startswith(before)):
                raise ValueError("the chat template writes earlier turns anew: take one that only appends")
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
                break  # what a template writes behind the end token no model is asked to say
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
    """Token ids that ask for the answer to *conversation*, which ends with a question; see ``encode``."""
    said, write = _writer([*conversation, {"from": "gpt", "value": ""}], tokenizer, image, template)
    ids: list[int] = tokenizer(write(len(said) - 1, True), add_special_tokens=False)["input_ids"]
    if image:
        at = ids.index(tokenizer.convert_tokens_to_ids(IMAGE))
        ids = ids[:at] + [ids[at]] * image_tokens + ids[at + 1 :]
    return ids


def _writer(
    conversation: Sequence[Mapping[str, Any]], tokenizer: Any, image: bool, template: str | None
) -> tuple[list[dict[str, Any]], Callable[[int, bool], str]]:
    """The turns, and a function that writes the first so many of them, with or without asking for the next."""
    jinja = TEMPLATES.get(template or "", template) or tokenizer.chat_template
    if not jinja:
        raise ValueError("the tokenizer has no chat template: name one (v1, plain) or give its Jinja text")
    said = turns(conversation, image)
    for turn in said:
        for item in turn["content"]:
            if item["type"] == "text":
                item["text"] = defused(item["text"], tokenizer)
    if said[0]["role"] == "system" and not takes_system(tokenizer, jinja):
        said = folded(said)

    def write(upto: int, ask: bool) -> str:
        how = {"chat_template": jinja, "tokenize": False, "add_generation_prompt": ask}
        try:
            return str(tokenizer.apply_chat_template(said[:upto], **how))
        except Exception as error:  # templates raise whatever they like
            raise ValueError(f"the chat template refuses these turns: {type(error).__name__}: {error}") from error

    return said, write


def folded(said: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """*said* with the system's text at the head of the first question, as it is when our engines ask a model."""
    system, first, *rest = said
    content = [*system["content"], {"type": "text", "text": "\n\n"}, *first["content"]]
    return [{"role": "user", "content": content}, *rest]


def takes_system(tokenizer: Any, jinja: str) -> bool:
    """Whether a system's turn shows in what the template writes: some refuse it, some leave it out."""
    known: dict[str, bool] = tokenizer.__dict__.setdefault("_mminstruct_system", {})
    if jinja not in known:
        turns = [{"role": role, "content": [{"type": "text", "text": f"a {role}'s"}]} for role in ("system", "user")]
        try:
            known[jinja] = "a system's" in tokenizer.apply_chat_template(turns, chat_template=jinja, tokenize=False)
        except Exception:  # templates raise whatever they like
            known[jinja] = False
    return known[jinja]


def defused(text: str, tokenizer: Any) -> str:
    """*text* with a blank in each of the tokenizer's control tokens: no word of a caption may end a turn."""
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
    """Put *count* image tokens where there is one."""
    if ids.count(image) != 1:
        raise ValueError(f"{ids.count(image)} times {IMAGE} in the tokens of one image: look at the chat template")
    at = ids.index(image)
    if at + count > max_length:
        raise ValueError(f"an image is {count} tokens and does not fit into max_length={max_length}: raise it")
    return ids[:at] + [image] * count + ids[at + 1 :], labels[:at] + [IGNORED] * count + labels[at + 1 :]
