"""From a transcript to the input of an engine in this process: the prompt's text and the images.

``transformers``, ``vllm`` and ``cogvlm`` all read transcripts here, so a model sees the same tokens in each.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from mminstruct.errors import ModelError
from mminstruct.models.model import Model, Reply, images_of
from mminstruct.prompts import Message
from mminstruct.readers.container import BadImage
from mminstruct.readers.image import GIVEN, load
from mminstruct.readers.text import read
from mminstruct.unit import UNIT, note


class Unanswerable(ModelError, ValueError):
    """This model cannot take one transcript; the others of the call are not affected."""


class Transcripts:
    """A model's chat template.

    Args:
        tokenizer: A tokenizer of transformers; *template* replaces its chat template.
        template: A chat template as Jinja text, or the path of a file with it.
        parts: Whether the template takes turns as lists of parts (vision-language models) or as text.
        images: Most images in one prompt.
    """

    def __init__(self, tokenizer: Any, *, template: str | None = None, parts: bool = False, images: int = 1) -> None:
        if template is not None and "{" not in template:
            template = read(template)
        self._tokenizer = tokenizer
        self._template: str | None = template or tokenizer.chat_template
        self._parts, self._images = parts, images
        special = {str(token) for token in tokenizer.all_special_tokens}
        special |= {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
        self._special = re.compile("|".join(map(re.escape, sorted(special, key=len, reverse=True))) or r"(?!)")
        self._knows_system = self._takes_system()

    def read(self, messages: list[Message]) -> tuple[str, list[bytes]]:
        """The whole prompt, bos token included, and the encoded images in their order in it.

        Raises:
            Unanswerable: for turns that the template refuses, and for images that the model cannot take.
        """
        images = [data for message in messages for data in images_of(message)]
        if images and not self._parts:
            raise Unanswerable("the model only reads text and got an image: use a vision-language model")
        if len(images) > self._images:
            raise Unanswerable(f"the model takes {self._images} image(s) in a prompt and got {len(images)}")
        turns: list[dict[str, Any]] = [{"role": m["role"], "content": self._clean(m["content"])} for m in messages]
        if self._template is None:
            return self._plain(turns), images
        if not self._knows_system:
            turns = _folded(turns)
        try:
            return self._render(turns), images
        except Exception as error:  # templates can raise anything
            raise Unanswerable(f"the chat template refuses these turns: {error}") from error

    def text(self, tokens: Sequence[int]) -> str:
        """The text of a reply, without control tokens and outer white space."""
        return str(self._tokenizer.decode(list(tokens), skip_special_tokens=True)).strip()

    def _clean(self, content: Any) -> Any:
        """Content in the template's form, with the model's control tokens broken up.

        Text in a caption must not end a turn or stand for an image.
        """
        items = [{"type": "text", "text": content}] if isinstance(content, str) else content
        clean: list[dict[str, str]] = []
        for item in items:
            if item["type"] == "image_url":
                clean.append({"type": "image"})
            else:
                text, found = self._special.subn(lambda token: f"{token[0][0]} {token[0][1:]}", item["text"])
                note("control_tokens_defused", found)
                clean.append({"type": "text", "text": text})
        return clean if self._parts else "\n".join(item["text"] for item in clean)

    def _render(self, turns: list[dict[str, Any]]) -> str:
        return str(
            self._tokenizer.apply_chat_template(
                turns, chat_template=self._template, tokenize=False, add_generation_prompt=True
            )
        )

    def _takes_system(self) -> bool:
        """Whether the template writes system turns: some templates refuse them, some leave them out."""
        turns = [{"role": role, "content": self._clean(f"a {role}'s words")} for role in ("system", "user")]
        try:
            return self._template is not None and "a system's words" in self._render(turns)
        except Exception:
            return False

    def _plain(self, turns: list[dict[str, Any]]) -> str:
        if len(turns) != 1 or self._parts:
            raise Unanswerable("the model has no chat template: give it one user turn, or set options.chat_template")
        return (self._tokenizer.bos_token or "") + str(turns[0]["content"])


def source(model: Model) -> dict[str, Any]:
    """Arguments of ``from_pretrained``: where the files are; code of a checkpoint runs only if an option allows it.

    Raises:
        FileNotFoundError: the name is a path, and there is no such folder.
    """
    place = model.location()
    local = Path(place).is_dir()
    if not local and (place.count("/") > 1 or place.startswith(("/", "./", "../", "~"))):
        raise FileNotFoundError(f"{place}: no such folder; a model of the Hugging Face hub is organisation/name")
    return {
        "pretrained_model_name_or_path": place,
        "revision": None if local else model.revision,
        "local_files_only": local,
        "trust_remote_code": bool(model.options.get("trust_remote_code", False)),
    }


def picture(data: bytes, enough: int = 0) -> Image.Image:
    """Decode an image to RGB, upright and in sRGB (``readers.image.load``).

    Args:
        data: The encoded image.
        enough: See ``readers.image.Rules``.

    Raises:
        Unanswerable: for bytes that are not a complete image of a known format, or more than 50 million pixels.
    """
    try:
        return load(data, replace(GIVEN, enough=enough))
    except BadImage as error:
        raise Unanswerable(f"broken image: {error}") from error


def error_reply(error: Exception) -> Reply:
    """The reply to a transcript that cannot be answered."""
    return Reply("", "error", error=str(error) or type(error).__name__)


def count_usage(replies: Iterable[Reply]) -> list[Reply]:
    """*replies*, after the current unit has counted their tokens; to be called as they arrive."""
    made, unit = list(replies), UNIT.get()
    if unit is not None:
        unit.count(len(made), sum(reply.tokens_in for reply in made), sum(reply.tokens_out for reply in made))
    return made


def _folded(turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """*turns* with the text of the system turn before that of the first user turn."""
    if len(turns) < 2 or turns[0]["role"] != "system":
        return turns
    system, first, rest = turns[0]["content"], turns[1]["content"], turns[2:]
    gap: Any = "\n\n" if isinstance(system, str) else [{"type": "text", "text": "\n\n"}]
    return [{"role": turns[1]["role"], "content": system + gap + first}, *rest]
