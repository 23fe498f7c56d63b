"""Refuses a composed configuration that has keys, roles or pools without effect, or secrets."""

from __future__ import annotations

import dataclasses
import difflib
import re
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mminstruct.config import explain
from mminstruct.engine.config import EngineConfig
from mminstruct.errors import ConfigurationError
from mminstruct.recipe import Recipe
from mminstruct.recipes import RECIPES


def check_keys(node: DictConfig, root: type, where: str = "") -> None:
    """Refuse unknown keys that ``+key=`` or ``++key=`` added: they would have no effect."""
    kind = OmegaConf.get_type(node)
    fields = {item.name for item in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else None
    for key in map(str, node):
        place = f"{where}.{key}" if where else key
        if fields is not None and key not in fields:
            raise ConfigurationError(explain.unknown(place, root))
        item = None if OmegaConf.is_missing(node, key) or OmegaConf.is_interpolation(node, key) else node[key]
        if isinstance(item, DictConfig):
            check_keys(item, root, place)


_SECRET = re.compile(r"(api_?key|token|password|secret|authorization)$", re.IGNORECASE)


def check_secrets(value: Any, where: str = "") -> None:
    """Refuse API keys and passwords, since config.yaml stores the configuration. Messages never contain them."""
    if isinstance(value, dict):
        for key, item in value.items():
            place = f"{where}.{key}" if where else str(key)
            plain = isinstance(item, str) and item and not item.startswith("${")
            if plain and (_SECRET.search(str(key)) or (key == "key_env" and not item.isidentifier())):
                raise ConfigurationError(
                    f"{place} seems to hold a secret: put it in an environment variable, and that variable's NAME"
                    " in key_env (or '${oc.env:NAME}' here)"
                )
            check_secrets(item, place)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            check_secrets(item, f"{where}.{number}")
    elif isinstance(value, str) and re.search(r"://[^/@\s]*:[^/@\s]+@", value):
        raise ConfigurationError(
            f"{where} has a password in its URL: put it into the environment or fsspec's configuration"
        )


def check_pools(config: EngineConfig, recipe: Recipe) -> None:
    """Refuse pools whose name is no stage of *recipe* or of another recipe that the same engine can execute."""
    known = {*recipe.stages(), *(item.name for kind in RECIPES.values() for item in dataclasses.fields(kind))}
    for name in config.pools:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there is {', '.join(recipe.stages())}"
            raise ConfigurationError(f"engine.pools.{name}: no stage of that name; {hint}")


def check_images(images: int, units: int | None, recipe: Recipe) -> None:
    """Refuse ``images=N`` if it is no number of images, or the recipe does not begin with images."""
    name, stage = next(iter(recipe.stages().items()))
    if images < 1:
        raise ConfigurationError(f"images={images}: take 1 or more images, or leave it out for all")
    if units is not None:
        raise ConfigurationError(f"images={images} and units={units} both limit the run: take one of them")
    if not stage.counts_images:
        raise ConfigurationError(f"images={images}: the first stage, {name}, reads no images; units=N takes N parts")
