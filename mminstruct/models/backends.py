"""The table of backends, and how a user's own backend is loaded.

A backend is a class that is constructed with a ``Model`` and has the methods of ``Chat``, of ``Embed``, or of both.
``models.ROLE.backend`` names one of ``BACKENDS``, or the import path of any other class::

    models.answerer.backend=my_package.my_module:MyBackend

    class MyBackend:
        def __init__(self, model: Model) -> None:
            # Runs once on each worker: load the weights, or connect. ``model.options`` are this backend's settings;
            # raise ValueError for an unknown one. Import heavy libraries here, not at the top of the module.

        def chat(self, messages, *, seeds, schema=None, sampling=None) -> list[Reply]:  # Chat, for roles that write
        def texts(self, texts) -> np.ndarray:                                           # Embed, for roles that embed
        def images(self, images) -> np.ndarray:

``models.model`` documents the methods. Workers receive the import path only, so the module must be importable on
every node: installed, on PYTHONPATH, or in the current folder. The driver imports it, too, to check it.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

from mminstruct import plugin


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """How models of one backend are loaded."""

    chat: str | None = None
    """Import path ``module:Class`` of the class with the methods of ``Chat``; None: it does not chat."""
    embed: str | None = None
    """The same for ``Embed``."""
    package: str | None = None
    """Python package that it needs; None: nothing beyond the core dependencies."""
    extra: str | None = None
    """Extra of this package that installs *package*."""
    options: tuple[str, ...] = ()
    """Keys of ``model.options``; empty: the class checks them."""
    remote: bool = False
    """The model's name is never a local path, and its revision cannot be pinned."""
    continuous: bool = False
    """Batches concurrent calls by itself, and can constrain a reply to a JSON schema."""


BACKENDS: dict[str, Backend] = {
    "vllm": Backend(chat="mminstruct.models.vllm:Chatter", package="vllm", extra="cluster", continuous=True),
    "openai": Backend(chat="mminstruct.models.openai:Chatter", package="openai", remote=True, continuous=True),
    "transformers": Backend(
        chat="mminstruct.models.transformers:Chatter",
        embed="mminstruct.models.transformers:Encoder",
        package="transformers",
        extra="cpu",
        options=(
            "batch_size",
            "chat_template",
            "context",
            "decoders",
            "device",
            "dtype",
            "threads",
            "trust_remote_code",
        ),
    ),
    "open_clip": Backend(
        embed="mminstruct.models.open_clip:Encoder",
        package="open_clip",
        extra="cpu",
        options=("batch_size", "cache_dir", "decoders", "device", "precision", "text_batch_size", "threads"),
    ),
    "cogvlm": Backend(
        chat="mminstruct.models.cogvlm:Chatter",
        package="torch",
        extra="cpu",
        options=(
            "batch_size",
            "decoders",
            "device",
            "dtype",
            "graphs",
            "template",
            "threads",
            "tokenizer",
            "tokenizer_revision",
        ),
    ),
    "oracle": Backend(chat="mminstruct.quality.judges:Chatter", options=("threads", "truth"), remote=True),
}


def find(name: str) -> Backend:
    """The backend called *name*, or the one at the import path *name*.

    Raises:
        ValueError: for an unknown name, a path that cannot be imported, or a class without the methods of a backend.
    """
    if name in BACKENDS:
        return BACKENDS[name]
    if not plugin.is_outside(name):
        near = difflib.get_close_matches(name, BACKENDS, n=1)
        hint = f"did you mean {near[0]}?" if near else "for your own, give my_package.my_module:MyBackend"
        raise ValueError(f"backend {name!r} is not one of {', '.join(BACKENDS)}; {hint}")
    kind = load(name)
    chats, embeds = _has(kind, "chat"), _has(kind, "texts", "images")
    if not isinstance(kind, type) or not (chats or embeds):
        raise ValueError(
            f"backend={name} is not a class with the method chat, or with texts and images; mminstruct.models.backends"
            " documents them"
        )
    return Backend(chat=name if chats else None, embed=name if embeds else None)


def load(path: str) -> Any:
    """The class at an import path.

    Raises:
        ValueError: if it cannot be imported.
    """
    return plugin.load(path, "backend")


def _has(kind: Any, *methods: str) -> bool:
    return all(callable(getattr(kind, method, None)) for method in methods)
