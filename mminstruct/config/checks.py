"""Refuses a composed configuration with keys, roles or pools that have no effect, or with a secret in it."""

from __future__ import annotations

import dataclasses
import difflib
import re
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mminstruct.config import explain
from mminstruct.engine.config import EngineConfig
from mminstruct.recipe import Recipe
from mminstruct.recipes import RECIPES


def check_keys(node: DictConfig, root: type, where: str = "") -> None:
    """Refuse keys that ``+key=`` or ``++key=`` forced in: they would have no effect."""
    kind = OmegaConf.get_type(node)
    fields = {item.name for item in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else None
    for key in map(str, node):
        place = f"{where}.{key}" if where else key
        if fields is not None and key not in fields:
            raise ValueError(explain.unknown(place, root))
        item = None if OmegaConf.is_missing(node, key) or OmegaConf.is_interpolation(node, key) else node[key]
        if isinstance(item, DictConfig):
            check_keys(item, root, place)


_SECRET = re.compile(r"(api_?key|token|password|secret|authorization)$", re.IGNORECASE)


def check_secrets(value: Any, where: str = "") -> None:
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
            check_secrets(item, place)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            check_secrets(item, f"{where}.{number}")
    elif isinstance(value, str) and re.search(r"://[^/@\s]*:[^/@\s]+@", value):
        raise ValueError(f"{where} has a password in its URL: give it by the environment or fsspec's configuration")


def check_pools(config: EngineConfig, recipe: Recipe) -> None:
    """Refuse pools that go by the name of no stage, of *recipe* or of another that the same engine may carry out."""
    known = {*recipe.stages(), *(item.name for kind in RECIPES.values() for item in dataclasses.fields(kind))}
    for name in config.pools:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there is {', '.join(recipe.stages())}"
            raise ValueError(f"engine.pools.{name}: no stage of that name; {hint}")
