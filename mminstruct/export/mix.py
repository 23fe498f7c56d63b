"""A mixture of several sources (LLaVA and ShareGPT files, exports, runs), by weight or count.

    seed: 0
    sources:
      llava: {path: llava_v1_5_mix665k.json, images: /data/llava, licence: CC BY 4.0}
      ours:  {path: runs/mine, weight: 2}
      chat:  {path: sharegpt.json, count: 40000}

Digests of content and seed decide which rows are taken and their order. The order of files and sources has no effect,
and a larger count of a source adds rows to those of a smaller count.
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
from mminstruct.export.table import Exported, warnings
from mminstruct.readers import text
from mminstruct.readers.conversation import InvalidRow
from mminstruct.readers.values import parse


@dataclass(kw_only=True)
class Source:
    """A source, and how many of its rows are taken: all, a count, or a share by weight."""

    path: str = MISSING
    """A run, the folder of an export (its train split), or a JSON list or JSON Lines of conversations."""
    images: str | None = None
    """Folder of a file's images; by default the folder of the file."""
    licence: str | None = None
    """Licence of rows without a licence of their own."""
    format: str | None = None
    """Module of the format, for an export in your own format."""
    weight: float | None = None
    count: int | None = None
    repeat: bool = False
    """Whether rows may be taken more than once if there are fewer than requested."""


@dataclass(kw_only=True)
class Mix:
    """Configuration of a mixture."""

    sources: dict[str, Source] = field(default_factory=dict)
    rows: int | None = None
    """Total number of rows; by default the largest for which every weighted source has enough rows."""
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
    """Write the mixture that *file* describes; returns tables of its sources and a one-line summary.

    Invalid rows are skipped and counted by reason, because foreign files may contain them.

    Raises:
        FileNotFoundError: a source does not exist.
        ExportError: the file is invalid, or the target cannot be written.
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
        ExportError: an unknown key, or a value of the wrong type; the message names it.
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
            raise ExportError(f"{file}: sources.{name}: set weight or count, not both")
        if (source.weight is not None and source.weight <= 0) or (source.count is not None and source.count < 0):
            raise ExportError(f"{file}: sources.{name}: weight must be above 0, and count 0 or more")
    return made


def shares(wanted: Mix, there: dict[str, int], unsound: Mapping[str, Counter[str]] | None = None) -> dict[str, int]:
    """How many rows to take from each source, given the valid rows *there*; *unsound* is only used in the error.

    Raises:
        ExportError: a source has too few rows.
    """
    sources = wanted.sources
    taken = {name: there[name] if s.count is None else s.count for name, s in sources.items() if s.weight is None}
    weights = {name: source.weight for name, source in sources.items() if source.weight is not None}
    scale = sum(weights.values())
    if wanted.rows is not None:
        left = wanted.rows - sum(taken.values())
        if left < 0 or (left and not weights):
            raise ExportError(f"rows: {wanted.rows}, but the sources without a weight have {sum(taken.values())} rows")
    else:
        short = [there[name] * scale / weight for name, weight in weights.items() if not sources[name].repeat]
        if weights and not short:
            raise ExportError("all weighted sources have repeat: true, so the total is unlimited: set it (rows: N)")
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
                f"sources.{name}: {count} rows are requested, but there are {there[name]} valid ones"
                f"{f' ({out})' if out else ''}: request fewer, or allow repeats (repeat: true)"
            )
    return taken


class Mixture:
    """The rows of a mixture, all in the split train.

    Args:
        check: checks every row that is taken, with its images.
        spool: an empty folder beside the target, which holds the rows until they are sorted.
        most: maximum number of images in a row.
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
        """All rows, sorted by key."""
        order = np.argsort(np.frombuffer(self._keys, np.uint64), kind="stable")
        with open(self.spool / "rows.jsonl", "rb") as file:
            for offset in np.frombuffer(self._offsets, np.uint64)[order]:
                file.seek(int(offset))
                found = json.loads(file.readline())
                images = tuple(Image(name, path=Path(path)) for name, path in found.pop("images"))
                yield Row(turns=found.pop("talk"), questions=found.pop(TURNS, None), images=images, **found)

    def nothing(self) -> str:
        each = (f"{one['source']}: {one['in']} rows, {_counted(one['unsound']) or 'none taken'}" for one in self.report)
        return f"there are no rows: no row of the mixture is valid. {'; '.join(each)}"

    def close(self, facts: CardFacts) -> None:
        facts.mixture = self.report
        taken = (one["source"] for one in self.report if one["rows"])
        facts.warnings = [f"{name}: {line}" for name in taken for line in warnings(self.wanted.sources[name].path)]
        facts.made_from = {"seed": self.wanted.seed, "sources": self.digests}

    def _survey(self, source: Source) -> _Survey:
        """Read all rows of a source, without decoding images."""
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
        """Valid rows of a source; invalid ones are counted by reason."""
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
        """Spool the *count* rows with the lowest keys, and those of their images that are not files yet."""
        keys = np.frombuffer(survey.keys, np.uint64)
        copies = np.full(len(keys), count // max(len(keys), 1), np.int32)
        copies[np.argsort(keys, kind="stable")[: count % max(len(keys), 1)]] += 1
        unsound, seen, rows = survey.unsound.copy(), Counter[int](), 0
        source = self.wanted.sources[name]
        sound = self._sound(source, Counter(), Counter())  # already counted
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
        """The row with images as files, named by the digests of their content."""
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
    """Keys and counts of a source's rows."""

    keys: array[int] = field(default_factory=lambda: array("Q"))
    """Key of each valid row, in the source's order; rows with the lowest keys are taken first."""
    unsound: Counter[str] = field(default_factory=Counter)
    mended: Counter[str] = field(default_factory=Counter)
    """Counts of repairs to rows and their text."""
    total: int = 0
    """Sum of the digests of its rows."""
    same_ids: set[int] = field(default_factory=set)
    """Keys of ids that occur more than once."""
    same_rows: set[int] = field(default_factory=set)
    """Keys of rows that occur more than once."""


def _read(
    source: Source, unsound: Counter[str], mended: Counter[str], pixels: bool
) -> Iterator[tuple[Row, Counter[str]]]:
    """Each row, with counts of repairs to it."""
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
        if named not in FORMATS and source.format is None:  # data must not decide which code is loaded
            raise ExportError(
                f"{path} has the format {named}, which is not built in: give its module in the source's key `format`"
            )
        yield from ((row, none) for row in format_of(named).read(path, "train"))
    else:
        try:
            run = Exported(source.path, Check())
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{source.path}: there is no file, export or run") from error
        deleted, cut = Counter[str](), Counter[str]()
        yield from ((row, none) for row in run.kept("train", deleted, cut, pixels=pixels))
        unsound.update({f"deleted ({reason})": count for reason, count in deleted.items()})
        mended.update({f"question deleted ({reason})": count for reason, count in cut.items()})


def _counted(counted: Mapping[str, int]) -> str:
    return ", ".join(f"{count} x {reason}" for reason, count in sorted(counted.items()))


def _content(row: Row) -> str:
    """Digest of a row's id, turns and image names."""
    facts = [row.id, row.turns, [image.name for image in row.images]]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def _key(*pieces: object) -> int:
    """64 bits of a digest."""
    return int.from_bytes(hashlib.sha256("\n".join(map(str, pieces)).encode()).digest()[:8], "big")
