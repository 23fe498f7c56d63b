"""Merges caption and alt-text into one description (CapsFusion, arXiv 2310.20550)."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pyarrow as pa

from mminstruct import schemas
from mminstruct.models.model import Model
from mminstruct.prompts import render
from mminstruct.stage import Drop, Stage, StageOutput, Tokens, Transform, output, part, prompt, role, seed
from mminstruct.text import cut, one_line, repair, words
from mminstruct.text.leaks import broken
from mminstruct.text.reply import fault, flaw, spoken, unlabelled
from mminstruct.unit import note

_NOT_A_TEXT = re.compile(r"(?:https?://|www\.)\S+|\S+\.(?:jpe?g|png|gif|webp|bmp|tiff?|heic)|[\W\d_]+", re.IGNORECASE)
_LABELS = ("description", "new sentence", "merged description", "fused description", "new description", "sentence 3")
_LEAKS = re.compile(
    r"\bsentence (?:1|2|one|two)\b|\b(?:new|first|second) sentence\b|\bmerged? (?:sentence|description|caption)\b"
    r"|\bwell-structured\b|\breal-world (?:information|details?|knowledge)\b|\balt[- ]?text\b"
    r"|\bthe (?:given|provided|synthetic|original|raw) (?:sentence|caption|text)s?\b"
    r"|\bthe caption (?:says|mentions|states|describes)\b",
    re.IGNORECASE,
)


@dataclass(kw_only=True)
class Fuse(Stage):
    """Writes the description. Alt-text contains names but may be spam; the caption was written from the image.

    The paper fuses with CapsFusion-LLaMA and its default limit of 80 new tokens, which truncated 12 of the 73 fused
    captions of its evaluation set. Here truncated texts are never kept, so set the model's limit high enough.
    """

    model: Model = role("fuser")
    """The fuser."""
    prompt: str = prompt("fuse", "alt_text", "caption")
    min_words: int = 2
    """Alt-text of fewer words is ignored, as are file names, URLs, and alt-text that equals the caption."""
    alt_words: int = 120
    """Maximum length of the alt-text in the prompt, words; truncated at its end. (CapsFusion: 256 tokens in all.)"""
    on_leak: str = "caption"
    """If fusion fails: ``caption`` uses the caption alone and adds a note to the receipt; ``drop`` drops the image."""
    seed: int = 0

    kind = "text"
    reads = {"caption": part("image_id", "caption"), "ingest": part("image_id", "alt_text")}
    writes = schemas.FUSE
    row_key = "image_id"
    call_tokens = Tokens(input=330, output=80)  # output: CapsFusion's default limit

    def asks(self) -> float:
        return 0.74  # 73 of the 99 images of the published benchmark have alt-text

    def check(self) -> None:
        if self.on_leak not in ("caption", "drop"):
            raise ValueError(f"on_leak is {self.on_leak!r}: choose caption or drop")
        if self.alt_words < max(1, self.min_words):
            raise ValueError(f"alt_words is {self.alt_words}: must be 1 or more, and no less than min_words")

    def load(self) -> Transform:
        fuser = self.model.chat()

        def fuse(caption: pa.Table, ingest: pa.Table) -> StageOutput:
            alt_texts = dict(zip(ingest["image_id"].to_pylist(), ingest["alt_text"].to_pylist(), strict=True))
            captions = dict(zip(caption["image_id"].to_pylist(), caption["caption"].to_pylist(), strict=True))
            useful = {i: text for i, seen in captions.items() if (text := self._useful(alt_texts.get(i), seen))}
            replies = fuser.chat(
                [render(self.prompt, alt_text=text, caption=captions[i]) for i, text in useful.items()],
                seeds=[seed(self.seed, "fuse", image_id) for image_id in useful],
            )
            answers = dict(zip(useful, replies, strict=True))
            rows: list[dict[str, object] | Drop] = []
            for image_id, seen in captions.items():
                row = {"image_id": image_id, "description": seen, "fused": False}
                if reply := answers.get(image_id):
                    said = unlabelled(spoken(reply.text), *_LABELS)
                    text = one_line(said)
                    reason = fault(reply.finish, said, "fuse") or _flaw(text, f"{useful[image_id]} {seen}")
                    if reason is None:
                        row |= {"description": text, "fused": True}
                    elif self.on_leak == "drop":
                        rows.append(Drop(image_id, reason, reply.error or text[:200] or None))
                        continue
                    else:
                        note(reason)
                rows.append(row)
            return output(self.writes, rows)

        return fuse

    def _useful(self, alt_text: str | None, caption: str) -> str:
        """*alt_text* on one line, truncated; empty if it adds nothing or would break the prompt."""
        text = one_line(repair(alt_text or ""))
        if len(words(text)) < self.min_words or _NOT_A_TEXT.fullmatch(text) or _key(text) == _key(caption):
            return ""
        if broken(text):  # it would end a turn of the prompt, or be copied to the description
            note("alt_text_broken")
            return ""
        kept = cut(text, self.alt_words)
        note("alt_text_cut", int(kept != text))
        return kept


def _key(text: str) -> list[str]:
    return [word.casefold() for word in words(text)]


def _flaw(text: str, sources: str) -> str | None:
    """Why *text* is no fusion of *sources*: it repeats the prompt, lacks its beginning, refuses, or loops."""
    known = sources.casefold()
    if any(leak.group().casefold() not in known for leak in _LEAKS.finditer(text)):
        return "fuse_leak"
    first = re.match(r"\S+", text)
    if first and not re.match(r"[\"'“‘«(\[#@$€£*_]*\w", text):
        return "fuse_fragment"
    if first and first.group()[0].islower() and first.group().islower() and first.group() not in known.split()[:1]:
        return "fuse_fragment"
    return flaw(text, "fuse")
