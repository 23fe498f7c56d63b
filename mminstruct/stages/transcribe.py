"""Reads the words in each image: from its sidecar, or by a vision-language model."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from mminstruct import schemas
from mminstruct.models.model import Model, Reply, with_image
from mminstruct.prompts import render
from mminstruct.stage import Drop, Stage, StageOutput, Tokens, Transform, output, part, prompt, role, seed
from mminstruct.text import one_line, repair, words
from mminstruct.text.leaks import broken
from mminstruct.text.refusal import refusal
from mminstruct.text.reply import spoken, unlabelled
from mminstruct.unit import note

_QUOTED = re.compile(r"\"([^\"\n]+)\"|“([^”\n]+)”|«([^»\n]+)»|「([^」\n]+)」")
_NONE = re.compile(
    r"\W*(?:none|nothing|n/?a|no (?:visible |readable |legible )?(?:words?|text|writing|letters)\b.*"
    r"|(?:there (?:is|are)|the (?:image|picture|photo) (?:contains|shows|has)|i (?:can )?see) no "
    r"(?:visible |readable |legible )*(?:words?|text|writing|letters|signs?)\b.*)\W*",
    re.IGNORECASE | re.DOTALL,
)
_BULLET = re.compile(r"\A(?:[-*•·]|\d{1,2}[.)])\s+")


@dataclass(kw_only=True)
class Transcribe(Stage):
    """The words of each image, as prior knowledge for its caption and for questions about texts.

    Quoted strings in a reply are the words; if there are none, its lines are. So a captioner, which puts the words of
    a sign in quotes, can transcribe with its own prompt. Notes count ``transcribe_prose`` (lines that describe instead
    of copying), ``transcribe_broken`` (lines with residue of models), ``transcribe_refusal``, ``transcribe_truncated``
    (the last line is left out), ``transcribe_most`` (images with more words than are kept), and ``ocr_unreadable``
    (sidecars whose field is neither a text nor a list of texts; the model reads those images).
    """

    model: Model = role("transcriber", like="captioner")
    """Reads images."""
    prompt: str = prompt("transcribe")
    field: str = "ocr"
    """Field of the sidecar with the words, a text or a list of texts; an image that has it costs no call."""
    most_words: int = 60
    """Maximum number of words kept of an image."""
    line_words: int = 12
    """A line with more words, and no quotes, describes the image: it is no text of a sign."""
    seed: int = 0

    kind = "vision"
    reads = {"retrieve": part("image_id"), "ingest": part("image_id", "image", "sidecar")}
    writes = schemas.TRANSCRIBE
    row_key = "image_id"
    call_tokens = Tokens(input=40, output=20)  # assumed: most images have a few words, or none

    def check(self) -> None:
        if min(self.most_words, self.line_words) < 1:
            raise ValueError(f"most_words={self.most_words} and line_words={self.line_words}: take 1 or more")

    def load(self) -> Transform:
        model = self.model.chat()

        def transcribe(retrieve: pa.Table, ingest: pa.Table) -> StageOutput:
            place_of = {key: place for place, key in enumerate(ingest["image_id"].to_pylist())}
            ids = retrieve["image_id"].to_pylist()
            given = {key: self._given(ingest["sidecar"][place_of[key]].as_py()) for key in ids}
            asked = [key for key in ids if given[key] is None]
            question = render(self.prompt)
            replies = model.chat(
                [with_image(question, ingest["image"][place_of[key]].as_py()) for key in asked],
                seeds=[seed(self.seed, "transcribe", key) for key in asked],
            )
            of_image = dict(zip(asked, replies, strict=True))
            return output(self.writes, (self._row(key, given[key], of_image.get(key)) for key in ids))

        return transcribe

    def _given(self, sidecar: str | None) -> list[str] | None:
        """The words in the sidecar; None if it has no such field."""
        value: Any = (json.loads(sidecar) if sidecar else {}).get(self.field)
        texts = value.split("\n") if isinstance(value, str) else value
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            note("ocr_unreadable", int(value is not None))
            return None
        return [one_line(repair(text)) for text in texts]

    def _row(self, image_id: str, given: list[str] | None, reply: Reply | None) -> dict[str, object] | Drop:
        if given is None:
            assert reply is not None
            if reply.finish not in ("stop", "length"):
                return Drop(image_id, f"model_{reply.finish}", reply.error or reply.text[:200] or None)
        lines = self._read(reply) if given is None and reply is not None else given or []
        sound = [line for line in lines if words(line) and not broken(line)]
        note("transcribe_broken", sum(bool(words(line)) for line in lines) - len(sound))
        kept: list[str] = []
        for line in sound:
            if sum(len(words(text)) for text in [*kept, line]) > self.most_words:
                note("transcribe_most")
                break
            kept.append(line)
        return {"image_id": image_id, "words": kept, "origin": "model" if given is None else "sidecar"}

    def _read(self, reply: Reply) -> list[str]:
        text = unlabelled(spoken(reply.text), "words", "text", "transcription", "answer")
        if refusal(text):
            note("transcribe_refusal")
            return []
        if quoted := [one_line("".join(found)) for found in _QUOTED.findall(text)]:
            return list(dict.fromkeys(quoted))
        if reply.finish == "length":
            note("transcribe_truncated")
            text = text.rpartition("\n")[0]
        if _NONE.fullmatch(text):
            return []
        lines = [_BULLET.sub("", one_line(line)) for line in text.split("\n")]
        prose = [line for line in lines if len(words(line)) > self.line_words]
        note("transcribe_prose", len(prose))
        return [line for line in lines if line not in prose and line.casefold() != "none"]
