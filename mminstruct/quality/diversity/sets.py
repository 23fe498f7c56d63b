"""Sets of instructions to be compared: the bank of a run, and files of questions in their published forms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import fsspec
import yaml

from mminstruct.bench.pairs import Question
from mminstruct.bench.sets import question, records
from mminstruct.files import info
from mminstruct.quality.run import RunTables
from mminstruct.readers import conversation, table
from mminstruct.readers.text import BLANK, BadRow, decode, lines
from mminstruct.stage import instruction_id
from mminstruct.text import repair

TABLES = (".csv", ".tsv", ".parquet")
JSON = (".json", ".jsonl")
YAML = (".yaml", ".yml")
FORMS = (
    "a table (.csv, .tsv, .parquet) with a column instruction, question or text, as VisIT-Bench's; "
    "questions as JSON lines or a JSON list (.json, .jsonl), as LLaVA-Bench's and MM-Instruct's; "
    "one JSON object of objects (.json), as MM-Vet's; seed instructions (.yaml: 'kind of task: [instruction, ...]'); "
    "one instruction a line (.txt); the folder of a run"
)
"""What can be compared, for people."""
_TEXT = ("instruction", "question", "text")
"""Fields that may hold the text; the first that is there counts."""
_NULLS = ("", "~", "null", "Null", "NULL")
"""How YAML 1.1 writes a kind of task without instructions."""


@dataclass(frozen=True, slots=True)
class TextSet:
    """Distinct instructions of one source; ``entries`` is the sum of texts, repeats and unused entries."""

    name: str
    """As it was given: the path of a file or of a run."""
    form: str
    """How it was read."""
    texts: tuple[str, ...]
    """Distinct by ``instruction_id``, in order of that id; of several wordings the first in order of characters."""
    entries: int
    repeats: int
    unused: dict[str, int] = field(default_factory=dict)
    """Entries without a text, by reason."""


class _Unused(str):
    """The reason why an entry has no text."""


def bank(run: RunTables) -> TextSet:
    """The instructions of a run: its table ``summarize``; of a recipe without one, the questions of ``review``.

    Raises:
        ValueError: the run has neither.
    """
    for name, column in (("summarize", "instruction"), ("review", "question")):
        if name in run.schemas:
            batches = run.reader[name].dataset().to_batches(columns=[column])
            return _distinct(
                run.url, f"table {name}", (text for batch in batches for text in batch[column].to_pylist())
            )
    raise ValueError(f"{run.url} has no instructions yet: neither its table summarize nor its table review has a row")


def read(path: str) -> TextSet:
    """The distinct instructions of a file or a run, in one of ``FORMS``.

    Raises:
        FileNotFoundError: there is nothing at *path*.
        ValueError: another form; a file that cannot be read to its end; or no text in it.
    """
    fs, place = fsspec.core.url_to_fs(path)
    found = info(fs, place)
    if found is None:
        raise FileNotFoundError(f"{path}: no such file, and no folder of a run")
    if found["type"] == "directory":
        return bank(RunTables(path))
    lower = path.lower()
    if lower.endswith(TABLES):
        form, texts = "table", _rows(fs, place)
    elif lower.endswith(JSON):
        form, texts = "JSON records", map(_entry, records(path, Counter()))
    elif lower.endswith(YAML):
        form, texts = "seeds", _seeds(path)
    elif lower.endswith(".txt"):
        form, texts = "lines", _lines(path)
    else:
        raise ValueError(f"{path}: its name ends in no known form. Known are {FORMS}")
    one = _distinct(path, form, texts)
    if not one.texts:
        why = ", ".join(f"{count} {reason}" for reason, count in one.unused.items()) or "it has no entries"
        raise ValueError(f"{path} holds no instruction ({why}). Known are {FORMS}")
    return one


def _distinct(name: str, form: str, found: Iterable[str]) -> TextSet:
    texts: dict[str, str] = {}
    unused: Counter[str] = Counter()
    entries = repeats = 0
    for text in found:
        entries += 1
        if isinstance(text, _Unused):
            unused[text] += 1
            continue
        key = instruction_id(text)
        repeats += key in texts
        texts[key] = min(text, texts.get(key, text))
    return TextSet(
        name, form, tuple(texts[key] for key in sorted(texts)), entries, repeats, dict(sorted(unused.items()))
    )


def _text(value: Any) -> str:
    """*value* as an instruction."""
    if value is None or value == "":
        return _Unused("no_question")
    if not isinstance(value, str):
        return _Unused("malformed")
    return repair(value).replace(conversation.IMAGE, "").strip() or _Unused("no_question")


def _entry(entry: dict[str, Any] | BadRow) -> str:
    """The text of one record, whatever its images."""
    if isinstance(entry, BadRow):
        return _Unused("unreadable")
    if any(entry.get(name) for name in _TEXT):
        return _text(next(entry[name] for name in _TEXT if entry.get(name)))
    found = question({**entry, "question_id": 1}, "it")
    return found.question if isinstance(found, Question) else _Unused(found.reason)


def _rows(fs: Any, path: str) -> Iterator[str]:
    for row in table.rows(fs, path, seen=Counter()):
        if isinstance(row, dict) and not any(name in row for name in _TEXT):
            raise ValueError(f"{path} has columns {', '.join(map(repr, row))}; rename the one to be read: {_TEXT[0]}")
        yield _entry(row)


def _seeds(path: str) -> Iterator[str]:
    with fsspec.open(path, "rb") as file:
        text = decode(file.read(), path, Counter())
    try:
        kinds = yaml.load(text, yaml.BaseLoader)  # every scalar stays the text that it is
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(kinds, dict) or not all(isinstance(some, list) or some in _NULLS for some in kinds.values()):
        raise ValueError(f"{path} is no list of instructions: write 'kind of task: [instruction, ...]'")
    for some in kinds.values():
        yield from map(_text, some if isinstance(some, list) else ())


def _lines(path: str) -> Iterator[str]:
    with fsspec.open(path, "rb") as file:
        for line in lines(file, path, Counter(), returns=True):
            if isinstance(line, BadRow):
                yield _Unused("unreadable")
            elif line[1].strip(BLANK):
                yield _text(line[1])
