"""`mminstruct preview STAGE`: runs the stages up to one on a few rows, and shows what it made.

For writing prompts: change the prompt, and look again. Tables of earlier stages are kept in the user's cache folder
(``XDG_CACHE_HOME``) and reused while nothing before the change differs, so only the stage itself runs again.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from mminstruct import config as configuration
from mminstruct import job
from mminstruct.checksum import Damaged
from mminstruct.engine.config import EngineConfig
from mminstruct.errors import ConfigurationError
from mminstruct.models.model import Chat, Model, Reply
from mminstruct.prompts import Message
from mminstruct.recipe import Recipe, inputs
from mminstruct.report import previews
from mminstruct.report.previews import Exchange, Shown
from mminstruct.run import FailedUnits, Run, claim, execute
from mminstruct.stage import Stage, content_id
from mminstruct.status.progress import Progress
from mminstruct.store import lease
from mminstruct.terminal import say

_ALONE = ("-m", "--multirun")
"""Options that are followed by no value of theirs, as ``--config-dir`` is."""
_KEPT = "kept"
"""The run of the latest preview of some images."""
_EXCHANGES = "exchanges.json"
"""In a kept run, by stage: what its models were asked, and their replies."""


def main(words: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    if {"-h", "--help"} & set(words):
        say("mminstruct preview STAGE source=IMAGES [rows=5] [to=PAGE.html] [any key of build]")
        say(__doc__)
        return 0
    try:
        preview, rest = Preview.of(words)
    except ConfigurationError as error:
        say(f"mminstruct preview: {error}", to=sys.stderr)
        return job.EXIT_CONFIG
    code = job.run("preview", rest, preview.add)
    preview.tell()
    return code


@dataclass
class Preview:
    """One command; ``add`` is called with each configuration (several if a key has several values)."""

    stage: str
    rows: int
    to: str | None
    shown: list[Shown] = field(default_factory=list)

    @classmethod
    def of(cls, words: Sequence[str]) -> tuple[Preview, list[str]]:
        """The preview that the words of a command ask for, and the words that configure the build.

        Raises:
            ConfigurationError: No stage is named, ``rows`` is no number, or the folder of ``to`` does not exist.
        """
        named = [
            at
            for at, (before, word) in enumerate(pairwise(["", *words]))
            if not ("=" in word or word.startswith("-"))
            and (before in _ALONE or "=" in before or not before.startswith("-"))
        ]
        if len(named) != 1:
            raise ConfigurationError("name one stage: mminstruct preview answer source=/data/photos rows=5")
        own = {key: value for key, _, value in (word.partition("=") for word in words) if key in ("rows", "to")}
        if not own.get("rows", "5").isdecimal() or int(own.get("rows", "5")) < 1:
            raise ConfigurationError(f"rows={own['rows']}: take a number of images, 1 or more")
        if not Path(own.get("to", "")).parent.is_dir():
            raise ConfigurationError(f"to={own['to']}: its folder does not exist")
        rest = [
            word for at, word in enumerate(words) if at not in named and word.partition("=")[0] not in ("rows", "to")
        ]
        if any("," in word and "=" in word and not set("[]{}'\"") & set(word) for word in rest):
            rest.append("--multirun")  # two prompts, side by side
        if not any(word.startswith("engine=") for word in rest):
            rest.append("engine=local")
        return cls(words[named[0]], int(own.get("rows", "5")), own.get("to")), ["out=preview", *rest]

    def add(self, config: DictConfig) -> int:
        """Run the stages up to this one, and keep what is to be shown."""
        made, run = configuration.build(config, job.folders())
        if self.stage not in run.stages:
            raise ConfigurationError(f"no stage {self.stage}: this recipe has {', '.join(run.stages)}")
        place = _cache() / content_id(os.path.abspath(made.source), str(self.rows), type(made.recipe).__name__)
        source = run.stages[run.first]
        if hasattr(source, "rows"):
            source.rows = min(source.rows, self.rows)
        with lease.hold(str(place)):
            try:
                self.shown.append(self._made(UpTo(recipe=made.recipe, last=self.stage), made.engine, place))
            except (Damaged, FailedUnits) as error:
                if isinstance(error, FailedUnits) and ": Damaged: " not in str(error):
                    raise
                shutil.rmtree(place / _KEPT, ignore_errors=True)
                raise Damaged(
                    f"{error}\nThe tables kept by earlier previews are removed: run the same command again"
                ) from error
        return 0

    def _made(self, recipe: UpTo, engine: EngineConfig, place: Path) -> Shown:
        """Run *recipe* with the tables kept in *place*, and keep its own there; those kept stay if it fails."""
        kept, new, gone = (place / name for name in (_KEPT, "new", "gone"))
        for left in (new, gone):  # by a preview that was killed
            shutil.rmtree(left, ignore_errors=True)
        first = next(iter(recipe.stages().values()))
        run = Run(url=str(new), recipe=recipe, images=self.rows if first.counts_images else None)
        taken = claim(run, str(kept) if kept.is_dir() else None, units=1)
        made = configuration.engine(engine)
        with Progress(in_hand=made.in_hand) as progress:
            execute(run, made, units=1, watch=progress.watch, begin=progress.begin)
        file = kept / _EXCHANGES
        before = json.loads(file.read_text()) if file.is_file() else {}
        heard = {name: [dataclasses.asdict(one) for one in recipe.heard[name]] for name in run.stages}
        heard = {name: some or (before.get(name, []) if taken.get(name) else []) for name, some in heard.items()}
        (new / _EXCHANGES).write_text(json.dumps(heard))
        found = previews.shown(str(new), self.stage, job.overrides(), [Exchange(**one) for one in heard[self.stage]])
        if kept.is_dir():
            kept.rename(gone)
        new.rename(kept)
        shutil.rmtree(gone, ignore_errors=True)
        return found

    def tell(self) -> None:
        """Print what was made, and write the page."""
        if self.shown:
            to = Path(self.to) if self.to else _cache() / "preview.html"
            to.write_text(previews.page(self.stage, self.shown), encoding="utf-8", errors="backslashreplace")
            say(previews.as_text(self.shown))
            say(f"\nThe same with pictures, and every prompt as it was sent: {to}")


def _cache() -> Path:
    place = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "mminstruct" / "preview"
    place.mkdir(parents=True, exist_ok=True)
    return place


@dataclass(kw_only=True)
class UpTo(Recipe):
    """The stages of *recipe* that table *last* needs, and the stage itself; their models are overheard."""

    recipe: Recipe
    last: str
    heard: dict[str, list[Exchange]] = field(default_factory=lambda: defaultdict(list))
    """By stage."""

    def stages(self) -> dict[str, Stage]:
        given = self.recipe.stages()
        wanted = {self.last}
        for name in reversed(given):
            if name in wanted:
                wanted |= {table for table, _ in inputs(given[name]).values()}
        for name, stage in given.items():
            for item in dataclasses.fields(stage):
                model = getattr(stage, item.name)
                if type(model) is Model:
                    setattr(stage, item.name, Overheard(**vars(model), heard=self.heard[name]))
        return {name: one for name, one in given.items() if name in wanted}


@dataclass(kw_only=True)
class Overheard(Model):
    """A model that keeps what it is asked and what it replies. Its identity is that of the model."""

    heard: list[Exchange] = field(repr=False, metadata={"runtime": True})
    """Not in ``repr``, by which stages with the same model share it."""

    def chat(self) -> Chat:
        return _Overhearing(super().chat(), self.heard)


class _Overhearing:
    def __init__(self, chat: Chat, heard: list[Exchange]) -> None:
        self._chat, self._heard = chat, heard

    def chat(self, messages: list[list[Message]], **how: Any) -> list[Reply]:
        replies = self._chat.chat(messages, **how)
        self._heard += [
            Exchange([(turn["role"], previews.plain(turn["content"])) for turn in one], reply.text, reply.finish)
            for one, reply in zip(messages, replies, strict=True)
        ]
        return replies
