"""Who a model is, how it is reached, and the two things a stage may ask of one: ``Chat`` and ``Embed``."""

from __future__ import annotations

import base64
import difflib
import importlib
import importlib.resources
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, cast, get_args

import numpy as np

from mminstruct import content
from mminstruct.prompts import Message
from mminstruct.stage import files, fingerprint, runtime

MICRO = "micro:"
"""Names that start so mean embedded weights: ``micro:llm``, ``micro:captioner``, ``micro:clip``, ``micro:embedder``."""

EXTRAS = {"vllm": "cluster", "openai": "", "transformers": "cpu", "open_clip": "cpu", "cogvlm": "cpu", "oracle": ""}
"""Backends, and the extra of this package that installs each."""
NEEDS = {"cogvlm": "torch", "oracle": "mminstruct.microworld"}
"""Backends that are called otherwise than the module that they need."""

OPTIONS: dict[str, tuple[str, ...]] = {
    "transformers": ("batch_size", "chat_template", "context", "device", "dtype", "threads", "trust_remote_code"),
    "open_clip": ("batch_size", "cache_dir", "decoders", "device", "precision", "text_batch_size", "threads"),
    "cogvlm": ("batch_size", "device", "dtype", "template", "threads", "tokenizer", "tokenizer_revision"),
    "oracle": ("threads", "truth"),
}
"""Options of the backends that would not notice an unknown one; vllm and openai refuse it themselves."""

Finish = Literal["stop", "length", "filtered", "error"]


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer of a chat model; for ``error``, *error* says what happened, and the text is what there was, if any."""

    text: str
    finish: Finish
    tokens_in: int = 0
    tokens_out: int = 0
    error: str | None = None

    def __post_init__(self) -> None:
        if self.finish not in get_args(Finish):  # a backend's own word would pass for a whole reply further down
            raise ValueError(f"a reply ends as {', '.join(get_args(Finish))}, not as {self.finish!r}")


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn, and how many; as the fields of ``Model`` that bear these names."""

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
        """One reply for each transcript, in order, whatever happens to the others.

        Safe to call from several threads. *seeds* are per transcript, 0 to 2**31 - 1, and make sampling
        independent of the batch; *schema* asks for JSON of that JSON schema where the backend can; *sampling* stands
        in for the model's own, for whoever serves other people's requests.
        A transcript that cannot be answered gets ``finish="error"``; only a dead engine raises.
        """
        ...


class Embed(Protocol):
    """A model that turns texts, or images, or both, into unit vectors of one space."""

    def texts(self, texts: list[str]) -> np.ndarray:
        """float32 ``(N, D)``, rows of unit length."""
        ...

    def images(self, images: list[bytes]) -> np.ndarray:
        """Encoded images to float32 ``(N, D)``, rows of unit length."""
        ...


def weights(name: str, model: Any = None) -> str:
    """What identity holds of a model: its name, or a digest of a local folder of weights.

    Hidden names do not count: hubs keep notes of downloads there. Names that only a server knows are not looked for on
    this disk.
    """
    served = getattr(model, "backend", "") in ("openai", "oracle")
    if served or not name or name.startswith(MICRO) or not Path(name).is_dir():
        return name
    return str(content.look(name, hidden=False))


def _truth(options: dict[str, Any], model: Any) -> dict[str, Any] | None:
    """Of the options the only one that decides what is said: the scenes that the oracle knows."""
    folders = options.get("truth") or []
    folders = [folders] if isinstance(folders, str) else folders
    return {"truth": [str(content.look(f"{folder}/_truth")) for folder in folders]} if folders else None


@dataclass(kw_only=True)
class Model:
    """A model: who it is (identity), and how it is reached (runtime)."""

    name: str = files(read=weights)
    """A hub id, a local folder, the name an endpoint knows, or ``micro:...``."""
    revision: str | None = None
    """Commit or tag on the hub; filled in with the weights' hash for ``micro:...``."""
    temperature: float = 0.0
    """0 is greedy."""
    top_p: float = 1.0
    max_tokens: int = 512
    """Longest reply, tokens."""
    backend: str = runtime("transformers")
    """vllm, openai, transformers (chat and text embedding), open_clip (image and text embedding), cogvlm or oracle
    (judges drawn scenes)."""
    url: str | None = runtime(None)
    """Base URL of an OpenAI-compatible endpoint."""
    key_env: str | None = runtime(None)
    """NAME of the environment variable that holds the key; never the key."""
    options: dict[str, Any] = files(factory=dict, read=_truth)
    """Backend's own settings: engine arguments, concurrency, batch sizes, price table... No part of identity, but for
    the folders of ``truth`` that the oracle judges by."""

    def __post_init__(self) -> None:
        if self.name.startswith(MICRO) and self.revision is None:
            manifest = self.folder() / "manifest.json"
            if not manifest.is_file():
                found = sorted(manifest.parent.parent.glob("*/manifest.json"))
                there = ", ".join(f"{MICRO}{path.parent.name}" for path in found)
                raise ValueError(f"{self.name}: no embedded weights of that name; there is {there or 'none'}")
            self.revision = fingerprint(json.loads(manifest.read_text())["files"])

    @property
    def pinned(self) -> bool:
        """Whether its weights are part of identity: by a revision, or because they are in a local folder."""
        return self.revision is not None or weights(self.name, self) != self.name

    @property
    def sampling(self) -> Sampling:
        return Sampling(self.temperature, self.top_p, self.max_tokens)

    def folder(self) -> Path:
        """Where embedded weights lie; only for ``micro:`` names."""
        root = importlib.resources.files("mminstruct.microworld") / "weights"
        return Path(str(root)) / self.name.removeprefix(MICRO)

    def location(self) -> str:
        """What loaders take: a folder for embedded weights, the name for all else."""
        return str(self.folder()) if self.name.startswith(MICRO) else self.name

    def unknown(self) -> list[str]:
        """What names neither a backend nor an option of it, one line each: it would change nothing."""
        if self.backend not in EXTRAS:
            return [f"{self.name}: backend {self.backend!r} is not one of {', '.join(EXTRAS)}"]
        known = OPTIONS.get(self.backend, ())
        found = []
        for key in self.options if known else {}:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(known)}"
                found.append(f"{self.name}: backend {self.backend} has no option {key!r}; {hint}")
        return found

    def chat(self) -> Chat:
        """Load the model, or connect to it."""
        return cast(Chat, self._backend().Chatter(self))

    def embed(self) -> Embed:
        """Load the encoder."""
        backend = self._backend()
        if not hasattr(backend, "Encoder"):
            raise ValueError(f"{self.name}: backend {self.backend} embeds nothing; take transformers or open_clip")
        return cast(Embed, backend.Encoder(self))

    def _backend(self) -> Any:
        if unknown := self.unknown():
            raise ValueError("\n".join(unknown))
        place = "quality.judges" if self.backend == "oracle" else f"models.{self.backend}"
        return importlib.import_module(f"mminstruct.{place}")


def with_image(messages: list[Message], image: bytes) -> list[Message]:
    """*messages* with *image* (encoded bytes) before the text of the last user turn, as an OpenAI content part.

    The bytes travel as a data URL; no URL or path is ever handed to a backend.
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
