"""What the driver does before any worker starts: refuse what cannot work, read the data, write down what is trained."""

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
from mminstruct.store import Store
from mminstruct.training import data, llava
from mminstruct.training.config import Train, check
from mminstruct.training.loop import DONE, HALT, HELD_OUT, MANIFEST, RECORDS
from mminstruct.training.template import V1, encode

_PACKAGES = ("mminstruct", "torch", "transformers", "deepspeed", "peft", "ray", "liger_kernel")


def prepare(config: Train, commit: str | None = None) -> dict[str, Any]:
    """Claim ``OUT/train`` for *config*, or find that it is ours already; its manifest.

    Args:
        commit: of the code, for the manifest.

    Raises:
        ValueError: the configuration or the data cannot be trained on, or the folder holds another training.
    """
    check(config)
    _installed(config)
    _anchor(config)
    if config.base.model:  # embedded weights have no revision but their own hash
        config.base.revision = Model(name=config.base.model, revision=config.base.revision).revision
    store = Store(config.out + "/train")
    table, facts = data.read(config.data.path, config.data.images)
    known: dict[str, Any] = {"train": facts}
    tables = {RECORDS: table}
    if config.data.eval:
        tables[HELD_OUT], known["eval"] = data.read(config.data.eval, config.data.images)
    # where the data lies is no identity, what it holds is
    mine = identity(config) | {"out": "", "data": {name: of["sha256"] for name, of in known.items()}}
    before = store.read(MANIFEST)
    if before is not None:
        manifest: dict[str, Any] = json.loads(before)
        changed = sorted(set(_differences(manifest["identity"], mine)))
        if changed:
            said = f"{config.out}/train was begun otherwise: {', '.join(changed)} changed"
            raise ValueError(f"{said}; take another out=, or set it back")
    else:
        manifest = {"identity": mine, "manifest": fingerprint(mine), "data": known, "commit": commit}
        manifest["packages"] = {name: _version(name) for name in _PACKAGES if _version(name)}
        _prove(config, tables)
    missing = [name for name in tables if not store.fs.exists(store.path(name))]
    for name in missing:
        store.write(data.save(tables[name]), name)
    if config.base.llm and not store.fs.exists(store.path("base", "processor_config.json")):
        _assemble(config, store)
    if before is None:
        store.write(json.dumps(manifest, indent=1, ensure_ascii=False).encode(), MANIFEST)
    store.remove(HALT)
    return manifest


def done(config: Train) -> bool:
    """Whether the run has come to its end."""
    return Store(config.out + "/train").read(DONE) is not None


def _anchor(config: Train) -> None:
    """Make local paths absolute: Ray's workers start in folders of their own. Hub ids and URLs stay as they are."""
    places = ((config, ["out"]), (config.data, ["path", "images", "eval"]), (config.base, ["model", "llm", "vision"]))
    for holder, names in places:
        for name in names:
            value = getattr(holder, name)
            if value and "://" not in value and (name == "out" or os.path.exists(value)):
                setattr(holder, name, os.path.abspath(value))


def _assemble(config: Train, store: Store) -> None:
    """Build the base of its parts, once, where every worker finds it."""
    base = config.base
    with tempfile.TemporaryDirectory(dir=store.path() if store.local else None) as scratch:
        dtype = "float32" if config.train.precision == "fp32" or not config.workers.gpu else "bfloat16"
        made = llava.assemble(str(base.llm), str(base.vision), Path(scratch) / "base", seed=config.seed, dtype=dtype)
        if store.local:
            made.rename(store.path("base"))
        else:
            store.fs.put(f"{made}/", store.path("base") + "/", recursive=True)


def _prove(config: Train, tables: Mapping[str, pa.Table]) -> None:
    """See that the chat template takes a row of each kind there is: with and without image, system and later turns.

    Raises:
        ValueError: it refuses one, by its id.
    """
    import transformers

    base = config.base
    if base.llm:  # what ``llava.assemble`` builds
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
    """Refuse what needs a package that is not there."""
    needs = {"deepspeed": "pip install 'mminstruct[train]'"}
    needs |= {name: f"pip install {name}, or leave it out of trackers" for name in config.trackers}
    needs |= {"peft": "pip install 'mminstruct[train]'"} if config.train.lora.r else {}
    needs |= {"liger_kernel": "pip install liger-kernel, or train.liger=false"} if config.train.liger else {}
    if config.train.attention == "flash_attention_2":
        needs["flash_attn"] = "pip install flash-attn, or train.attention=sdpa"
    missing = [f"{name} is not installed: {mend}" for name, mend in needs.items() if not importlib.util.find_spec(name)]
    if missing:
        raise ValueError("\n".join(missing))


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _differences(before: Any, now: Any, where: str = "") -> Iterator[str]:
    """Dotted names of what differs."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in before.keys() | now.keys():
            yield from _differences(before.get(key), now.get(key), f"{where}.{key}" if where else key)
    elif before != now:
        yield where
