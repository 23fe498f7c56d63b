"""The driver's part of a training run: check the configuration, read the data, write the manifest."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mminstruct.models.model import Model
from mminstruct.models.transcript import source
from mminstruct.readers.conversation import IMAGE
from mminstruct.stage import fingerprint, identity
from mminstruct.store.tables import Store
from mminstruct.training import data, llava
from mminstruct.training.config import Train, check
from mminstruct.training.loop import DONE, HALT, HELD_OUT, MANIFEST, RECORDS
from mminstruct.training.template import V1, encode

_PACKAGES = ("mminstruct", "torch", "transformers", "deepspeed", "peft", "ray", "liger_kernel")


def prepare(config: Train, commit: str | None = None) -> dict[str, Any]:
    """Prepare ``OUT/train`` for *config*, unless an earlier call did; returns the manifest.

    Args:
        commit: the code's commit, for the manifest.

    Raises:
        ValueError: the configuration or the data cannot be used, or the folder holds a different training run.
    """
    check(config)
    _installed(config)
    _anchor(config)
    if config.base.model:  # for embedded weights the revision is their hash
        config.base.revision = Model(name=config.base.model, revision=config.base.revision).revision
    store = Store(config.out + "/train")
    table, facts = data.read(config.data.path, config.data.images)
    known: dict[str, Any] = {"train": facts}
    tables = {RECORDS: table}
    if config.data.eval:
        tables[HELD_OUT], known["eval"] = data.read(config.data.eval, config.data.images)
    # the data's content is part of the identity, its path is not
    mine = identity(config) | {"out": "", "data": {name: of["sha256"] for name, of in known.items()}}
    before = store.read(MANIFEST)
    if before is not None:
        manifest: dict[str, Any] = json.loads(before)
        changed = sorted(set(_differences(manifest["identity"], mine)))
        if changed:
            said = f"{config.out}/train was started with other settings: {', '.join(changed)} changed"
            raise ValueError(f"{said}; use another out=, or restore them")
    else:
        manifest = {"identity": mine, "manifest": fingerprint(mine), "data": known, "commit": commit}
        manifest["packages"] = {name: _version(name) for name in _PACKAGES if _version(name)}
        _check_template(config, tables)
    missing = [name for name in tables if not store.exists(name)]
    for name in missing:
        store.write(data.save(tables[name]), name)
    if config.base.llm and not store.exists("base", "processor_config.json"):
        _assemble(config, store)
    if before is None:
        store.write(json.dumps(manifest, indent=1, ensure_ascii=False).encode(), MANIFEST)
    store.remove(HALT)
    return manifest


def done(config: Train) -> bool:
    """Whether the run is complete."""
    return Store(config.out + "/train").read(DONE) is not None


def _anchor(config: Train) -> None:
    """Make local paths absolute, since Ray's workers start in other folders. Hub ids and URLs stay unchanged."""
    places = ((config, ["out"]), (config.data, ["path", "images", "eval"]), (config.base, ["model", "llm", "vision"]))
    for holder, names in places:
        for name in names:
            value = getattr(holder, name)
            if value and "://" not in value and (name == "out" or os.path.exists(value)):
                setattr(holder, name, os.path.abspath(value))


def _assemble(config: Train, store: Store) -> None:
    """Build the base model from its parts, once, in the store, from which every worker loads it."""
    base = config.base
    with tempfile.TemporaryDirectory(dir=store.path() if store.local else None) as scratch:
        dtype = "float32" if config.train.precision == "fp32" or not config.workers.gpu else "bfloat16"
        made = llava.assemble(str(base.llm), str(base.vision), Path(scratch) / "base", seed=config.seed, dtype=dtype)
        if store.local:
            made.rename(store.path("base"))
        else:
            store.fs.put(f"{made}/", store.path("base") + "/", recursive=True)


def _check_template(config: Train, tables: Mapping[str, pa.Table]) -> None:
    """Encode one row of each kind (with and without an image, a system prompt, later turns) with the chat template.

    Raises:
        ValueError: a row cannot be encoded; names its id.
    """
    import transformers

    base = config.base
    if base.llm:  # as ``llava.assemble`` will build it
        tokenizer = transformers.AutoTokenizer.from_pretrained(base.llm)
        tokenizer.add_tokens([IMAGE], special_tokens=True)
        template = V1 if config.train.template == "own" else config.train.template
        seen = transformers.AutoConfig.from_pretrained(base.vision)
        seen = getattr(seen, "vision_config", seen)
        image_tokens = (seen.image_size // seen.patch_size) ** 2
    else:
        where = source(Model(name=str(base.model), revision=base.revision))
        processor = transformers.AutoProcessor.from_pretrained(**where)
        tokenizer, template = processor.tokenizer, data.template_of(config.train.template, processor)
        image_tokens = llava.image_tokens(transformers.AutoConfig.from_pretrained(**where))
    how = {"image_tokens": image_tokens, "template": template, "max_length": config.train.max_length}
    for table in tables.values():
        talks = table["conversations"].combine_chunks()
        first = pc.list_element(talks, 0).field("from")
        kinds = [table["image"].is_valid(), pc.equal(first, "system"), pc.greater(pc.list_value_length(talks), 3)]
        marks = sum(np.asarray(kind).astype(int) << place for place, kind in enumerate(kinds))
        for number in np.unique(marks, return_index=True)[1]:
            row = table.slice(int(number), 1).to_pylist()[0]
            try:
                encode(row["conversations"], tokenizer, image=row["image"] is not None, **how)
            except ValueError as error:
                raise ValueError(f"train.template, with row {row['id']}: {error}") from error


def _installed(config: Train) -> None:
    """Raise ValueError if a package that *config* needs is not installed."""
    needs = {"deepspeed": "pip install 'mminstruct[train]'"}
    needs |= {name: f"pip install {name}, or remove it from trackers" for name in config.trackers}
    needs |= {"peft": "pip install 'mminstruct[train]'"} if config.train.lora.r else {}
    needs |= {"liger_kernel": "pip install liger-kernel, or set train.liger=false"} if config.train.liger else {}
    if config.train.attention == "flash_attention_2":
        needs["flash_attn"] = "pip install flash-attn, or set train.attention=sdpa"
    missing = [f"{name} is not installed: {fix}" for name, fix in needs.items() if not importlib.util.find_spec(name)]
    if missing:
        raise ValueError("\n".join(missing))


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _differences(before: Any, now: Any, where: str = "") -> Iterator[str]:
    """Dotted names of the values that differ."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in before.keys() | now.keys():
            yield from _differences(before.get(key), now.get(key), f"{where}.{key}" if where else key)
    elif before != now:
        yield where
