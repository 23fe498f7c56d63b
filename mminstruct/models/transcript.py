"""From a transcript to what an engine in this process takes: the prompt's text and the decoded images.

Both engines of our own (``transformers`` and ``vllm``) read transcripts here, so the same model sees the same tokens
in either.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from mminstruct.models.model import Model, Reply, image_of
from mminstruct.prompts import Message
from mminstruct.readers.text import read
from mminstruct.stage import UNIT, note


class Unanswerable(ValueError):
    """One transcript that this model cannot take; the others of the call are not concerned."""


class Transcripts:
    """A model's chat template, and what is known about it.

    Args:
        tokenizer: Of transformers; its template is used unless *template* is given.
        template: Jinja text of a chat template, or a path to a file with it.
        parts: Whether turns come as lists of parts (vision-language models) or as text.
    """

    def __init__(self, tokenizer: Any, *, template: str | None = None, parts: bool = False) -> None:
        if template is not None and "{" not in template:
            template = read(template)
        self._tokenizer = tokenizer
        self._template: str | None = template or tokenizer.chat_template
        self._parts = parts
        special = {str(token) for token in tokenizer.all_special_tokens}
        special |= {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
        self._special = re.compile("|".join(map(re.escape, sorted(special, key=len, reverse=True))) or r"(?!)")
        self._knows_system = self._takes_system()

    def read(self, messages: list[Message]) -> tuple[str, list[bytes]]:
        """The whole prompt, bos token included, and the encoded images in the order of their places in it.

        Raises:
            Unanswerable: for turns that the template does not take, and for images where none can be seen.
        """
        images = [data for message in messages if (data := image_of(message)) is not None]
        if images and not self._parts:
            raise Unanswerable("an image came to a model that only reads text: name a vision-language model")
        turns: list[dict[str, Any]] = [{"role": m["role"], "content": self._clean(m["content"])} for m in messages]
        if self._template is None:
            return self._plain(turns), images
        if not self._knows_system:
            turns = _folded(turns)
        try:
            return self._render(turns), images
        except Exception as error:  # templates raise whatever they like
            raise Unanswerable(f"the chat template refuses these turns: {error}") from error

    def text(self, tokens: Sequence[int]) -> str:
        """A reply's words, without control tokens and outer white space."""
        return str(self._tokenizer.decode(list(tokens), skip_special_tokens=True)).strip()

    def _clean(self, content: Any) -> Any:
        """Content in the template's form, without the model's control tokens.

        Words in a caption must not end a turn or ask for an image.
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
        """Whether a system turn shows in what the template writes: some refuse it, some leave it out."""
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
    """Arguments of every ``from_pretrained``: where the files are, and that no code of theirs is run."""
    place = model.location()
    local = Path(place).is_dir()
    return {
        "pretrained_model_name_or_path": place,
        "revision": None if local else model.revision,
        "local_files_only": local,
        "trust_remote_code": bool(model.options.get("trust_remote_code", False)),
    }


def picture(data: bytes) -> Image.Image:
    """Encoded image to RGB.

    Raises:
        Unanswerable: where the bytes are no whole image, or one of absurd size.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            return image.convert("RGB")
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, DecompressionBombError...
        # not its words: Pillow puts addresses of objects into them, and replies are to be the same at every run
        raise Unanswerable(f"broken image: {type(error).__name__}") from error


def refused(error: Exception) -> Reply:
    """The reply to a transcript that could not be answered."""
    return Reply("", "error", error=str(error) or type(error).__name__)


def spent(replies: Sequence[Reply]) -> list[Reply]:
    """*replies*, after their tokens were put on the account of the unit under way."""
    unit = UNIT.get()
    if unit is not None:
        unit.calls += len(replies)
        unit.tokens_in += sum(reply.tokens_in for reply in replies)
        unit.tokens_out += sum(reply.tokens_out for reply in replies)
    return list(replies)


def _folded(turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """*turns* with a system turn's text at the head of the first user turn."""
    if len(turns) < 2 or turns[0]["role"] != "system":
        return turns
    system, first, rest = turns[0]["content"], turns[1]["content"], turns[2:]
    gap: Any = "\n\n" if isinstance(system, str) else [{"type": "text", "text": "\n\n"}]
    return [{"role": turns[1]["role"], "content": system + gap + first}, *rest]
