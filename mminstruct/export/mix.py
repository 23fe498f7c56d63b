"""A mixture of several sources: LLaVA's and ShareGPT's files, exports and runs, by weight or count.

    seed: 0
    sources:
      llava: {path: llava_v1_5_mix665k.json, images: /data/llava, licence: CC BY 4.0}
      ours:  {path: runs/mine, weight: 2}
      chat:  {path: sharegpt.json, count: 40000}

Which rows are taken, and their order, follows from digests of their content and the seed: neither the order of a file
nor of the sources matters, and more rows of a source are the same ones and others.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from mminstruct.export import FORMATS, ExportError, card, format_of, free, measured, said, save
from mminstruct.export.card import CardFacts
from mminstruct.export.proof import Check, Target, repeated
from mminstruct.export.records import records, row_of
from mminstruct.export.row import TURNS, Image, Row, check_turns
from mminstruct.export.table import Exported
from mminstruct.readers import text
from mminstruct.readers.conversation import InvalidRow
from mminstruct.readers.records import parse


@dataclass(kw_only=True)
class Source:
    """A source and how many of its rows are taken: each once, a count, or by weight among weighted sources."""

    path: str = MISSING
    """A run, the folder of an export (its train split), or a JSON list or JSON Lines of conversations."""
    images: str | None = None
    """Folder that the images of a file are named from; the file's own by default."""
    licence: str | None = None
    """Of rows that do not say theirs."""
    format: str | None = None
    """Of an export in a format of your own: its module."""
    weight: float | None = None
    count: int | None = None
    repeat: bool = False
    """Whether rows may be taken more than once where more are asked for than there are."""


@dataclass(kw_only=True)
class Mix:
    """A mixture."""

    sources: dict[str, Source] = field(default_factory=dict)
    rows: int | None = None
    """Of the whole; by default as many as leave no weighted source short."""
    seed: int = 0


def mix(
    file: str | Path,
    format: str,
    to: str | Path,
    *,
    overwrite: bool = False,
    target: Target | None = None,
    model: str | None = None,
) -> str:
    """Write the mixture that *file* describes; what came from where, and a line that says what was written.

    Rows that are not sound are left out and counted, by reason: other people's files have them.

    Raises:
        FileNotFoundError: a source is not there.
        ExportError: the file asks for what cannot be, or the target cannot be written.
    """
    wanted = load(Path(file))
    check = Check(target)
    facts = CardFacts(name=Path(to).absolute().name, shares=check.shares)
    facts.target = target.facts() if target else {}
    folder = free(Path(to), overwrite)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.mix.", dir=folder.parent) as spool:
        mixture = Mixture(wanted, check, Path(spool), most=getattr(format_of(format), "IMAGES", None))
        save(mixture, facts, format, to, overwrite=overwrite, model=model)
    table = "\n".join([*card.mixture(facts), *card.shares(facts), *card.licences(facts)])
    return f"{table}\n{said(facts)} in {to}, each read back and checked{measured(facts)}"


def load(file: Path) -> Mix:
    """The mixture that a YAML file describes.

    Raises:
        ExportError: it has an unknown key or a value of the wrong kind; says which.
    """
    try:
        given = OmegaConf.create(text.read(file))
        made = cast(Mix, OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Mix), given)))
    except (OmegaConfBaseException, YAMLError, TypeError) as error:
        raise ExportError(f"{file}: {str(error).splitlines()[0]}") from error
    if not made.sources:
        raise ExportError(f"{file}: no sources")
    for name, source in made.sources.items():
        if source.weight is not None and source.count is not None:
            raise ExportError(f"{file}: sources.{name}: a weight or a count, not both")
        if (source.weight is not None and source.weight <= 0) or (source.count is not None and source.count < 0):
            raise ExportError(f"{file}: sources.{name}: a weight is above 0, a count not below")
    return made


def shares(wanted: Mix, there: dict[str, int], unsound: Mapping[str, Counter[str]] | None = None) -> dict[str, int]:
    """How many rows each source gives, of those that are *there*; *unsound* ones are only named in the error.

    Raises:
        ExportError: more are asked for than there are.
    """
    sources = wanted.sources
    taken = {name: there[name] if s.count is None else s.count for name, s in sources.items() if s.weight is None}
    weights = {name: source.weight for name, source in sources.items() if source.weight is not None}
    scale = sum(weights.values())
    if wanted.rows is not None:
        left = wanted.rows - sum(taken.values())
        if left < 0 or (left and not weights):
            raise ExportError(f"rows: {wanted.rows}, but sources without a weight give {sum(taken.values())}")
    else:
        short = [there[name] * scale / weight for name, weight in weights.items() if not sources[name].repeat]
        if weights and not short:
            raise ExportError("all weighted sources may repeat: say how many rows it shall be (rows: N)")
        left = int(min(short, default=0) + 1e-9)
    exact = {name: left * weight / scale for name, weight in weights.items()}
    taken |= {name: int(share) for name, share in exact.items()}
    rest = left - sum(int(share) for share in exact.values())  # by largest remainder
    for name in sorted(exact, key=lambda name: (int(exact[name]) - exact[name], name))[:rest]:
        taken[name] += 1
    for name, count in taken.items():
        if count > there[name] and not (sources[name].repeat and there[name]):
            out = _counted((unsound or {}).get(name, {}))
            raise ExportError(
                f"sources.{name}: {count} rows are asked for and {there[name]} sound ones are there"
                f"{f' ({out})' if out else ''}: ask for fewer, or let them repeat (repeat: true)"
            )
    return taken


class Mixture:
    """The rows of a mixture, in one split, train.

    Args:
        check: looks at every row taken, its images too.
        spool: an empty folder beside the target, for the rows until they are put in order.
        most: images that a row may have.
    """

    def __init__(self, wanted: Mix, check: Check, spool: Path, most: int | None = None) -> None:
        self.wanted, self.check, self.spool, self.most = wanted, check, spool, most
        self.report: list[dict[str, Any]] = []
        self._keys, self._offsets = array("Q"), array("Q")
        surveys = {name: self._survey(source) for name, source in wanted.sources.items()}
        there = {name: len(survey.keys) for name, survey in surveys.items()}
        taken = shares(wanted, there, {name: survey.unsound for name, survey in surveys.items()})
        self.digests = {name: f"{survey.total:016x}" for name, survey in surveys.items()}
        with open(spool / "rows.jsonl", "wb") as file:
            for name in sorted(surveys):
                self._take(name, surveys[name], taken[name], file)

    def splits(self) -> list[str]:
        return ["train"]

    def rows(self, split: str) -> Iterator[Row]:
        """In the order of their keys."""
        order = np.argsort(np.frombuffer(self._keys, np.uint64), kind="stable")
        with open(self.spool / "rows.jsonl", "rb") as file:
            for offset in np.frombuffer(self._offsets, np.uint64)[order]:
                file.seek(int(offset))
                found = json.loads(file.readline())
                images = tuple(Image(name, path=Path(path)) for name, path in found.pop("images"))
                yield Row(turns=found.pop("talk"), questions=found.pop(TURNS, None), images=images, **found)

    def nothing(self) -> str:
        each = (f"{one['source']}: {one['in']} rows, {_counted(one['unsound']) or 'none taken'}" for one in self.report)
        return f"there are no rows: none of the mixture is sound. {'; '.join(each)}"

    def close(self, facts: CardFacts) -> None:
        facts.mixture = self.report
        facts.made_from = {"seed": self.wanted.seed, "sources": self.digests}

    def _survey(self, source: Source) -> _Survey:
        """Look at all rows of a source, but not into their images."""
        survey = _Survey()
        ids = array("Q")
        for row in self._sound(source, survey.unsound, survey.mended, pixels=False):
            content = _content(row)
            survey.keys.append(_key(self.wanted.seed, content))
            survey.total = (survey.total + _key(content)) % (1 << 64)
            ids.append(_key(row.id))
        survey.same_ids, survey.same_rows = repeated(ids), repeated(survey.keys)
        return survey

    def _sound(
        self, source: Source, unsound: Counter[str], mended: Counter[str], *, pixels: bool = True
    ) -> Iterator[Row]:
        """Rows of a source that are conversations; the others are counted by reason."""
        for row, done in _read(source, unsound, mended, pixels):
            try:
                check_turns(row.turns, len(row.images))
            except InvalidRow as error:
                unsound[error.reason] += 1
            else:
                mended.update(done)
                if self.most is None or len(row.images) <= self.most:
                    yield row
                else:
                    unsound["several_images"] += 1

    def _take(self, name: str, survey: _Survey, count: int, file: BinaryIO) -> None:
        """Spool the *count* rows with the lowest keys, and their images where those are no files."""
        keys = np.frombuffer(survey.keys, np.uint64)
        copies = np.full(len(keys), count // max(len(keys), 1), np.int32)
        copies[np.argsort(keys, kind="stable")[: count % max(len(keys), 1)]] += 1
        unsound, seen, rows = survey.unsound.copy(), Counter[int](), 0
        source = self.wanted.sources[name]
        sound = self._sound(source, Counter(), Counter())  # they are counted already
        for row, key, times in zip(sound, survey.keys, map(int, copies), strict=True):
            if not times:
                continue
            try:
                made = self.check(self._settled(name, row, source.licence), times)
            except InvalidRow as error:
                unsound[error.reason] += 1
                continue
            content = _content(row)
            id_ = f"{name}/{row.id}" if row.id and _key(row.id) not in survey.same_ids else f"{name}/{row.id}-{content}"
            facts = {"talk": made.turns, "images": [(i.name, str(i.path)) for i in made.images], **made.provenance()}
            for _ in range(times):
                seen[key] += 1
                copy = f"#{seen[key]}" if seen[key] > 1 else ""
                self._keys.append(_key(self.wanted.seed, "order", name, content, copy))
                self._offsets.append(file.tell())
                file.write(json.dumps({"id": id_ + copy, **facts}).encode() + b"\n")
            rows += times
            if key not in survey.same_rows:
                del seen[key]
        taken = int(np.count_nonzero(copies)) - (unsound.total() - survey.unsound.total())
        there = len(keys) + survey.unsound.total()
        left = there - unsound.total() - taken
        counted = {"in": there, "unsound": dict(unsound), "left": left, "taken": taken, "rows": rows}
        self.report.append({"source": name, **counted, "mended": dict(survey.mended)})

    def _settled(self, name: str, row: Row, licence: str | None) -> Row:
        """The row with images that are files and go by the digests of their content."""
        images = []
        for image in row.images:
            data = image.read()
            digest = hashlib.sha256(data).hexdigest()[:16]
            path = image.path
            if path is None:
                path = self.spool / digest[:2] / digest
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(data)
            images.append(Image(f"{digest}.{self.check.ending(data)}", path=path.absolute()))
        image_id = row.image_id or (images[0].name.partition(".")[0] if images else None)
        return replace(row, images=tuple(images), image_id=image_id, source=name, licence=row.licence or licence)


@dataclass(slots=True)
class _Survey:
    """What a source has."""

    keys: array[int] = field(default_factory=lambda: array("Q"))
    """Of each sound row, in the source's order: those with the lowest are taken first."""
    unsound: Counter[str] = field(default_factory=Counter)
    mended: Counter[str] = field(default_factory=Counter)
    """What was done to rows and their text to make them sound."""
    total: int = 0
    """Sum of the digests of its rows."""
    same_ids: set[int] = field(default_factory=set)
    """Keys of ids that several rows have."""
    same_rows: set[int] = field(default_factory=set)
    """Keys of rows that are there several times."""


def _read(
    source: Source, unsound: Counter[str], mended: Counter[str], pixels: bool
) -> Iterator[tuple[Row, Counter[str]]]:
    """Each row, and what was done to it to make it sound."""
    none = Counter[str]()
    path = Path(source.path)
    if path.is_file():
        folder = Path(source.images) if source.images else path.parent
        for record in records(path, mended):
            if isinstance(record, text.BadRow):
                unsound["not_json"] += 1
                continue
            done: Counter[str] = Counter()
            try:
                row = row_of(record, folder, done)
            except InvalidRow as error:
                unsound[error.reason] += 1
            else:
                yield row, done
    elif (path / "export.json").is_file():
        facts = parse(text.read(path / "export.json"), str(path / "export.json"))
        named = source.format or facts["format"]
        if named not in FORMATS and source.format is None:  # data never says which code is loaded
            raise ExportError(
                f"{path} is in the format {named}, not one of ours: name its module in the source's `format`"
            )
        yield from ((row, none) for row in format_of(named).read(path, "train"))
    else:
        try:
            run = Exported(source.path, Check())
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{source.path}: no file, no export and no run is there") from error
        deleted, cut = Counter[str](), Counter[str]()
        yield from ((row, none) for row in run.kept("train", deleted, cut, pixels=pixels))
        unsound.update({f"deleted ({reason})": count for reason, count in deleted.items()})
        mended.update({f"question deleted ({reason})": count for reason, count in cut.items()})


def _counted(counted: Mapping[str, int]) -> str:
    return ", ".join(f"{count} x {reason}" for reason, count in sorted(counted.items()))


def _content(row: Row) -> str:
    """Digest of what a row says, and of which images, by name."""
    facts = [row.id, row.turns, [image.name for image in row.images]]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def _key(*pieces: object) -> int:
    """64 bits of a digest."""
    return int.from_bytes(hashlib.sha256("\n".join(map(str, pieces)).encode()).digest()[:8], "big")
