"""A model's identity and backend, and the two protocols of models: ``Chat`` and ``Embed``."""

from __future__ import annotations

import base64
import difflib
import importlib.resources
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol, cast, get_args

import numpy as np

from mminstruct import content
from mminstruct.models import loaded
from mminstruct.models.backends import BACKENDS, Backend, find, load
from mminstruct.prompts import Message
from mminstruct.stage import files, fingerprint, runtime
from mminstruct.unit import Endpoint

MICRO = "micro:"
"""Prefix of the embedded weights: ``micro:`` and llm, captioner, clip, embedder, asker, or the weak ``captioner_small``
and ``llm_small``."""

Finish = Literal["stop", "length", "filtered", "error"]


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer of a chat model; for the finish ``error``, *error* has the reason, and *text* what was received."""

    text: str
    finish: Finish
    tokens_in: int = 0
    tokens_out: int = 0
    error: str | None = None

    def __post_init__(self) -> None:
        if self.finish not in get_args(Finish):  # a backend's own reason would pass for a complete reply later
            raise ValueError(f"a reply's finish is {', '.join(get_args(Finish))}, not {self.finish!r}")


@dataclass(frozen=True, slots=True)
class Sampling:
    """Sampling settings, as the fields of ``Model`` with these names."""

    temperature: float
    top_p: float
    max_tokens: int


class Chat(Protocol):
    """A model that answers transcripts."""

    def chat(
        self,
        messages: list[list[Message]],
        *,
        seeds: list[int],
        schema: dict[str, Any] | None = None,
        sampling: Sampling | None = None,
    ) -> list[Reply]:
        """One reply for each transcript, in order; one that cannot be answered gets ``finish="error"``.

        Thread-safe. Raises only if the engine is dead.

        Args:
            messages: Transcripts.
            seeds: One for each transcript, 0 to 2**31 - 1; they make sampling independent of the batch.
            schema: JSON schema of the reply, for backends that can enforce one.
            sampling: Replaces the model's own settings; a server passes those of its clients.
        """
        ...


class Embed(Protocol):
    """A model that embeds texts, images or both as unit vectors in one space."""

    def texts(self, texts: list[str]) -> np.ndarray:
        """float32 ``(N, D)``, rows of unit length."""
        ...

    def images(self, images: list[bytes]) -> np.ndarray:
        """From encoded images to float32 ``(N, D)``, rows of unit length."""
        ...


def weights(name: str, model: Any = None) -> str:
    """What identity holds of a model: its name, or a digest of a local folder of weights.

    Hidden files are skipped, because hubs keep download records there. The name of a remote model is never a path.
    """
    remote = isinstance(model, Model) and model.remote
    if remote or not name or name.startswith(MICRO) or not Path(name).is_dir():
        return name
    return str(content.look(name, hidden=False))


def _truth(options: dict[str, Any], model: Any) -> dict[str, Any] | None:
    """The only option that changes replies: the scenes by which the oracle judges."""
    folders = options.get("truth") or []
    folders = [folders] if isinstance(folders, str) else folders
    return {"truth": [str(content.look(f"{folder}/_truth")) for folder in folders]} if folders else None


@dataclass(kw_only=True)
class Model:
    """A model: its identity, and how it is reached (runtime)."""

    name: str = files(read=weights)
    """A hub id, a local folder, the name at an endpoint, or ``micro:...``."""
    revision: str | None = None
    """Commit or tag on the hub; for ``micro:...`` it is set to the hash of the weights."""
    temperature: float = 0.0
    """0 is greedy."""
    top_p: float = 1.0
    max_tokens: int = 512
    """Longest reply, in tokens."""
    backend: str = runtime("transformers")
    """vllm, openai, transformers (chat and text embedding), open_clip (image and text embedding), cogvlm, oracle
    (judges drawn scenes), or the import path of your own, ``my_package.my_module:MyBackend``."""
    url: str | None = runtime(None)
    """Base URL of an OpenAI-compatible endpoint."""
    key_env: str | None = runtime(None)
    """NAME of the environment variable that holds the key; never the key itself."""
    prompts: dict[str, str] = runtime(factory=dict)
    """Prompts in whose words this model was trained, by stage: the recipe takes them unless it names another."""
    options: dict[str, Any] = files(factory=dict, read=_truth)
    """Settings of the backend: engine arguments, concurrency, batch sizes, prices... Not part of identity, except the
    oracle's ``truth`` folders."""

    def __post_init__(self) -> None:
        if self.name.startswith(MICRO) and self.revision is None:
            manifest = self.folder() / "manifest.json"
            if not manifest.is_file():
                found = sorted(manifest.parent.parent.glob("*/manifest.json"))
                there = ", ".join(f"{MICRO}{path.parent.name}" for path in found)
                raise ValueError(f"{self.name}: no embedded weights have this name; there are {there or 'none'}")
            self.revision = fingerprint(json.loads(manifest.read_text())["files"])

    @property
    def pinned(self) -> bool:
        """Whether identity includes its weights, by a revision or by the digest of a local folder."""
        return self.revision is not None or weights(self.name, self) != self.name

    @property
    def sampling(self) -> Sampling:
        return Sampling(self.temperature, self.top_p, self.max_tokens)

    def folder(self) -> Path:
        """Folder of embedded weights; only for ``micro:`` names."""
        root = importlib.resources.files("mminstruct.microworld") / "weights"
        return Path(str(root)) / self.name.removeprefix(MICRO)

    def location(self) -> str:
        """What loaders take: the folder of embedded weights, or the name."""
        return str(self.folder()) if self.name.startswith(MICRO) else self.name

    @property
    def remote(self) -> bool:
        """Whether *name* is known elsewhere (to a server, to the drawn world) and never a local path."""
        return self.backend in BACKENDS and BACKENDS[self.backend].remote

    @property
    def endpoint(self) -> Endpoint | None:
        """The endpoint that it is asked at; None for models in this process."""
        return (self.url, self.key_env) if self.backend == "openai" else None

    def unknown(self) -> list[str]:
        """One line for an unknown backend, or for each unknown option of it; these would have no effect."""
        try:
            known = find(self.backend).options
        except ValueError as error:
            return [f"{self.name}: {error}"]
        found = []
        for key in self.options if known else {}:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(known)}"
                found.append(f"{self.name}: backend {self.backend} has no option {key!r}; {hint}")
        return found

    def chat(self) -> Chat:
        """Load the model, or connect to it; a worker that uses it already does not load it again.

        Raises:
            ValueError: for a backend that does not chat, or an option that it does not know.
        """
        backend = self._backend()
        if backend.chat is None:
            raise ValueError(f"{self.name}: backend {self.backend} does not chat")
        chat = cast(Chat, loaded.once(self, "chat", partial(load(backend.chat), self)))
        if not self.name.startswith(MICRO):
            return chat
        from mminstruct.models.drawn import WarningChat  # it imports this module

        return WarningChat(chat)

    def embed(self) -> Embed:
        """Load the encoder, unless this worker uses it already.

        Raises:
            ValueError: for a backend that does not embed, or an option that it does not know.
        """
        backend = self._backend()
        if backend.embed is None:
            able = " or ".join(name for name, one in BACKENDS.items() if one.embed)
            raise ValueError(f"{self.name}: backend {self.backend} does not embed; take {able}")
        embed = cast(Embed, loaded.once(self, "embed", partial(load(backend.embed), self)))
        if not self.name.startswith(MICRO):
            return embed
        from mminstruct.models.drawn import WarningEmbed  # it imports this module

        return WarningEmbed(embed)

    def _backend(self) -> Backend:
        if unknown := self.unknown():
            raise ValueError("\n".join(unknown))
        return find(self.backend)


def with_image(messages: list[Message], image: bytes) -> list[Message]:
    """*messages* with *image* (encoded bytes) before the text of the last user turn, as an OpenAI content part.

    The bytes are sent as a data URL; a backend never gets a URL or path.
    """
    last = max(i for i, message in enumerate(messages) if message["role"] == "user")
    mime = "image/png" if image[:4] == b"\x89PNG" else "image/jpeg"
    url = f"data:{mime};base64,{base64.b64encode(image).decode()}"
    turn: Message = {
        "role": "user",
        "content": [
            {"type": "image_url", "image_url": {"url": url}},
            {"type": "text", "text": messages[last]["content"]},
        ],
    }
    return [*messages[:last], turn, *messages[last + 1 :]]


def images_of(message: Message) -> list[bytes]:
    """The encoded images in *message*, in order: data URLs, as ``with_image`` makes them."""
    content = message["content"]
    parts = content if isinstance(content, list) else []
    return [
        base64.b64decode(item["image_url"]["url"].partition(",")[2]) for item in parts if item["type"] == "image_url"
    ]
