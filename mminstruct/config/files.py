"""Configuration files that Hydra does not compose: prompts, seed instructions, speeds and prices of GPUs."""

from __future__ import annotations

import difflib
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from mminstruct.errors import ConfigurationError
from mminstruct.readers import text
from mminstruct.readers.domains import Domain, read_domains

log = logging.getLogger(__name__)


def conf() -> Path:
    """The conf folder: inside the installed package, or next to it in a checkout."""
    package = Path(__file__).parents[1]
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def read(kind: str, name: str, suffix: str, where: str, folders: list[Path] | None) -> str:
    """The text of a file in the folder *kind* of *folders* or conf/; a prompt may also be the path of its file.

    Raises:
        ConfigurationError: There is no such file; the message lists what there is.
    """
    places = [*(folders or []), conf()]
    for place in places:
        file = place / kind / f"{name}{suffix}" if kind else place / f"{name}{suffix}"
        if file.is_file():
            return _text(file)
    if kind == "prompts" and name.endswith(suffix):
        if Path(name).is_file():
            return _text(Path(name))
        raise ConfigurationError(f"{where}={name}: there is no such file (seen from {Path.cwd()})")
    there = [file.stem for place in places for file in sorted((place / kind).glob(f"*{suffix}"))]
    near = difflib.get_close_matches(name, there, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; there is {', '.join(there)}"
    own = "take the path of your own .md file, or add its folder" if kind == "prompts" else "add your own folder"
    raise ConfigurationError(f"{where}: no file {kind}/{name}{suffix}{hint} ({own} with --config-dir)")


def _text(file: Path) -> str:
    seen: Counter[str] = Counter()
    found = text.read(file, seen)
    if seen:
        log.warning("%s is not UTF-8 and was read as %s", file, ", ".join(seen))
    return found


def rates(folders: list[Path] | None = None) -> dict[str, Any]:
    """``rates.yaml``, from *folders* if one has it, else from conf/: speeds of models and GPUs, prices of GPUs."""
    return dict(yaml.safe_load(read("", "rates", ".yaml", "rates", folders)))


def seeds(name: str, where: str, folders: list[Path] | None) -> list[str]:
    """Instructions of a YAML file ``kind of task: [instructions]``."""
    try:
        kinds = yaml.safe_load(read("", name, ".yaml", where, folders))
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{where}: {name}.yaml is no valid YAML: {' '.join(str(error).split())}") from error
    texts = [text for some in kinds.values() for text in some or []] if isinstance(kinds, dict) else []
    if not texts or not all(isinstance(text, str) for text in texts):
        raise ConfigurationError(
            f"{where}: {name}.yaml is no list of instructions: write 'kind of task: [instruction, ...]'"
        )
    return texts


def domains(name: str, where: str, folders: list[Path] | None) -> list[Domain]:
    """The domains of a file (``readers.domains``)."""
    try:
        return read_domains(read("", name, ".yaml", where, folders), f"{name}.yaml")
    except text.Unreadable as error:
        raise ConfigurationError("\n".join(f"{where}: {line}" for line in str(error).split("\n"))) from error
