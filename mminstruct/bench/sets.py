"""Questions and answers as input: a run's held-out pairs, files of questions, files of existing answers.

Rows are joined by id, never by line. Files are JSON lines, one JSON list or one JSON object of objects, whatever their
suffix:

- MM-Instruct's questions (``question_id, image, text, caption, category``) and answers (``question_id, text,
  model_id``), which are JSON lines named ``.json``;
- LLaVA-Bench (``question_id, image, category, text``), with its captions in a separate file;
- MM-Vet (``{id: {imagename, question, answer, capability}}``), whose list of capabilities becomes the kind;
- LLaVA's training format, as ``mminstruct export --format llava`` writes it for the split ``test``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import fsspec

from mminstruct import content
from mminstruct.bench.pairs import Question, RunSet, Seen
from mminstruct.files import info
from mminstruct.readers import conversation
from mminstruct.readers import records as outside
from mminstruct.readers.container import BadImage
from mminstruct.readers.image import GIVEN, normalise
from mminstruct.readers.text import BadRow
from mminstruct.sources.listing import Listing, list_path
from mminstruct.stage import Drop, content_id, instruction_id
from mminstruct.store.reader import RunReader, TableReader
from mminstruct.store.tables import Store
from mminstruct.text import repair
from mminstruct.unit import note

_MOST_BYTES = 64 << 20


class FileSet:
    """A file of questions.

    Args:
        path: The file.
        images: Folder of its images; None if they are not available.
        captions: File of captions by image, used if the questions have none.
    """

    def __init__(self, path: str, images: str | None, captions: str | None) -> None:
        self.path, self.captions, self.images = path, captions, images
        self.place: Listing | None = list_path(images) if images else None
        self._names: dict[str, str] = {}  # by relative path, or by the last part of it
        for name in self.place.files if self.place else ():
            last = name.rsplit("/", 1)[-1]
            self._names[last] = "" if last in self._names and "/" in name else name
        self._names |= {name: name for name in (self.place.files if self.place else ())}

    def facts(self) -> dict[str, Any]:
        """Digests that reveal when the data at this path change."""
        found = {"questions": str(content.look(self.path))}
        if self.captions:
            found["captions"] = str(content.look(self.captions))
        return found | ({"images": str(content.look(self.images))} if self.images else {})

    def questions(self) -> Iterator[Question | Drop]:
        captions = _captions(self.captions) if self.captions else {}
        seen: set[str] = set()
        for place, entry in enumerate(records(self.path), 1):
            one = question(entry, f"entry {place}")
            if isinstance(one, Question) and one.question_id in seen:
                one = Drop(one.question_id, "duplicate_id", "an earlier entry has it")
            if isinstance(one, Question):
                seen.add(one.question_id)
                caption = one.caption or captions.get(one.image or "")
                if caption is None and not self._has(one.image):
                    named = f"its image {one.image} is not there" if one.image else "it names no image"
                    one = Drop(one.question_id, "nothing_to_see", f"{named}, and it has no caption")
                else:
                    one = replace(one, caption=caption)
            yield one

    def pictures(self, questions: list[Question]) -> dict[str, Seen | str]:
        """Images of *questions* by name, or the reason why one is not available; empty if no folder was given."""
        return {
            question.image: self._picture(question.image) for question in questions if question.image and self.place
        }

    def _has(self, image: str | None) -> bool:
        return bool(image and self._names.get(image))

    def _picture(self, image: str) -> Seen | str:
        if self.place is None or not self._names.get(image):
            return f"no file {image} in its folder"
        file = self.place.files[self._names[image]]
        if file.size > _MOST_BYTES:
            return f"{file.size} bytes, over {_MOST_BYTES}"
        data = self.place.fs.cat_file(file.path)
        try:
            picture = normalise(data, GIVEN)
        except BadImage as error:
            return f"{error.reason}: {repair(error.detail)}"
        return Seen(content_id(data), picture.image, picture.phash)


def open_set(
    path: str, images: str | None, captions: str | None, turns: str = "first", split: str = "test"
) -> RunSet | FileSet:
    """The question set at *path*: the folder of a run, or a file."""
    if _made(path, "merge") or _made(path, "export"):
        return RunSet(path, turns, split)
    return FileSet(path, images, captions)


def _made(path: str, name: str) -> TableReader | None:
    """A table of the run at *path*; None if it is not a run or has no such table."""
    fs, root = fsspec.core.url_to_fs(path)
    if (info(fs, root) or {}).get("type") != "directory":
        return None
    found = Store(path)
    return RunReader(found)[name] if found.table(name).manifest() else None


def records(path: str, seen: Counter[str] | None = None) -> Iterator[dict[str, Any] | BadRow]:
    """Objects of a file of JSON lines, of one JSON list, or of one JSON object of objects, whose keys are their
    ``question_id``; a ``BadRow`` in place of each invalid one.

    Raises:
        ValueError: the file holds no object, or a broken list.
    """
    found = False
    with fsspec.open(path, "rb") as file:
        for entry in outside.records(file, path, seen, key="question_id"):
            found = found or isinstance(entry, dict)
            yield entry
    if not found:
        raise ValueError(
            f"{path} holds no JSON objects: it should be JSON lines, a JSON list, or a JSON object of objects"
        )


def question(entry: dict[str, Any] | BadRow, where: str) -> Question | Drop:
    """The question in *entry*, or the reason why there is none; *where* names an entry without an id."""
    if isinstance(entry, BadRow):
        return Drop(where, "not_json", repair(f"line {entry.line}: {entry.said}"))
    name = entry.get("question_id", entry.get("id"))
    if not isinstance(name, str | int) or isinstance(name, bool) or name == "":
        return Drop(where, "no_id", "it has no question_id")
    name = repair(str(name))
    asked, reference = entry.get("text") or entry.get("question"), entry.get("reference") or entry.get("answer")
    image = entry.get("image") or entry.get("image_id") or entry.get("imagename")
    try:
        if not asked and any(key in entry for key in conversation.LISTS):
            talk = conversation.read({**entry, "image": image})
            asked, answer = (turn["value"] for turn in talk.folded()[:2])
            images, reference = talk.images, reference or answer
        else:
            images = conversation.images({**entry, "image": str(image) if isinstance(image, int) else image})
    except conversation.InvalidRow as error:
        return Drop(name, error.reason, repair(str(error)))
    if len(images) > 1:
        return Drop(name, "several_images", f"{len(images)} images: a question has one")
    kind = entry.get("category") or entry.get("capability")
    if isinstance(kind, list) and all(isinstance(one, str) for one in kind):
        kind = ", ".join(sorted(kind))
    texts = {"question": asked, "caption": entry.get("caption"), "kind": kind, "reference": reference}
    for what, given in texts.items():
        if given and not isinstance(given, str):
            return Drop(name, "malformed", f"its {what} is no text")
    said = {what: repair(given) if given else None for what, given in texts.items()}
    question = (said["question"] or "").replace(conversation.IMAGE, "").strip()
    if not question:
        return Drop(name, "no_question", "it has no text")
    return Question(
        name, question, instruction_id(question), repair(images[0]) if images else None,
        kind=said["kind"] or "", caption=said["caption"], reference=said["reference"],
    )  # fmt: skip


def _captions(path: str) -> dict[str, str]:
    """Captions by image; LLaVA-Bench has one (``caption``) or several (``captions``)."""
    found: dict[str, str] = {}
    for entry in records(path):
        named = {} if isinstance(entry, BadRow) else entry
        said = named.get("caption") or named.get("captions")
        lines = [said] if isinstance(said, str) else said
        texts = [line for line in lines if isinstance(line, str)] if isinstance(lines, list) else []
        if texts and isinstance(named.get("image"), str):
            found[repair(named["image"])] = repair("\n".join(texts))
        else:
            note("captions_unused")
    return found


@dataclass(frozen=True, slots=True)
class Given:
    """An existing answer."""

    text: str
    finish: str = "given"
    tokens: int | None = None


def answers(path: str, model_id: str | None, history: str | None = None) -> dict[str, Given]:
    """Existing answers by question_id, from a file, another benchmark, or a build (by pair_id).

    Args:
        history: Of another benchmark, only the answers after this history; *model_id* is then the name without it.

    Raises:
        ValueError: several models and no *model_id*, two answers to one question, or no answers.
    """
    found: dict[str, Given] = {}
    models: set[str] = set()
    for who, question, given in _answers(path, history):
        if model_id is not None and who != model_id:
            models.add(who)
            continue
        models.add(who)
        if found.setdefault(question, given) != given:
            said = f" of {', '.join(sorted(models))}: set model_id to one of them" if len(models) > 1 else ""
            raise ValueError(f"{path} has two answers to question {question}{said}")
    if not found:
        there = f"; it has answers of {', '.join(sorted(models))}" if models else ""
        after = f" after {history}" if history else ""
        raise ValueError(f"{path} has no answers{f' of {model_id}' if model_id else ''}{after}{there}")
    if len(models) > 1 and model_id is None:
        raise ValueError(f"{path} has answers of {', '.join(sorted(models))}: set model_id to one of them")
    return found


def _answers(path: str, history: str | None) -> Iterator[tuple[str, str, Given]]:
    table = _made(path, "respond")
    if table is not None:
        for row in table.to_arrow().to_pylist():
            name, _, after = row["contestant"].partition("@")
            if row["answer"] is not None and history in (None, after):
                who = name if history else row["contestant"]
                yield who, row["question_id"], Given(row["answer"], row["finish"], row["tokens"])
        return
    if (table := _made(path, "review")) is not None:
        for batch in table.dataset().to_batches(columns=["pair_id", "answer"]):
            yield from (("", row["pair_id"], Given(row["answer"])) for row in batch.to_pylist())
        return
    for entry in records(path):
        named = {} if isinstance(entry, BadRow) else entry
        name, answer = named.get("question_id", named.get("id")), named.get("text", named.get("answer"))
        if isinstance(name, str | int) and isinstance(answer, str):
            yield str(named.get("model_id") or ""), repair(str(name)), Given(repair(answer))
        else:
            note("answers_unused")


def answers_digest(path: str) -> str:
    """Identity of existing answers in a fingerprint: a digest of the file or of the table of answers.

    Raises:
        FileNotFoundError: there are no answers at *path*.
    """
    table = _made(path, "respond") or _made(path, "review")
    if table is not None:
        return f"{len(table.table.parts())} parts of answers, digest {table.table.digest()}"
    fs, root = fsspec.core.url_to_fs(path)
    if (info(fs, root) or {}).get("type") != "file":
        raise FileNotFoundError(f"{path}: no such file, and no folder of a benchmark or a build with answers in it")
    return str(content.look(path))


def digests(paths: dict[str, str]) -> dict[str, str] | None:
    """``answers_digest`` of each of *paths*, by its name; None if there are none.

    Raises:
        FileNotFoundError: there are no answers at one of *paths*.
    """
    return {name: answers_digest(path) for name, path in sorted(paths.items())} or None
