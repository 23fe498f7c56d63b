"""The OpenAI protocol, server side: request models, and replies and errors in its shape.

What would change a reply and is not supported (streams, tools, several choices, stop words) is refused by name, never
ignored. Images must be ``data:`` URLs: no address in a request is ever fetched.
"""

from __future__ import annotations

import base64
import binascii
import itertools
import random
import re
import reprlib
import time
import uuid
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WrapValidator

from mminstruct.models.model import Reply, Sampling
from mminstruct.prompts import Message

_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "stream": (False,), "n": (1,), "stop": ([],), "tools": ([],), "tool_choice": ("none", "auto"), "logprobs": (False,),
    "presence_penalty": (0,), "frequency_penalty": (0,), "logit_bias": ({},), "top_logprobs": (0,),
}  # fmt: skip
"""Fields that would change a reply, and the values that do not."""
_IGNORED = {
    "model", "user", "metadata", "store", "service_tier", "stream_options", "safety_identifier", "parallel_tool_calls",
}  # fmt: skip
_DATA_URL = re.compile(r"data:image/[a-z+.-]+;base64,", re.IGNORECASE)
_TOO_LONG = re.compile(r"context|max_model_len", re.IGNORECASE)
_M = TypeVar("_M", bound="_Model")


class RequestError(Exception):
    """A request that is answered with an error: an HTTP *status* and OpenAI's error body."""

    def __init__(self, status: int, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.param = status, code, param

    def body(self) -> dict[str, Any]:
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}


def _data_url(url: str) -> str:
    head = _DATA_URL.match(url)
    if head is None:
        raise ValueError("an image must be a data:image/...;base64, URL; no address is fetched")
    try:
        base64.b64decode(url[head.end() :], validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None
    return url


class _Model(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class _ImageURL(_Model):
    url: Annotated[str, AfterValidator(_data_url)]


class _Image(_Model):
    type: Literal["image_url"]
    image_url: Annotated[_ImageURL, BeforeValidator(lambda given: {"url": given} if isinstance(given, str) else given)]


class _Text(_Model):
    type: Literal["text"]
    text: str


_Parts = Annotated[list[Annotated[_Text | _Image, Field(discriminator="type")]], Field(min_length=1)]


class _Turn(_Model):
    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[
        _Parts, WrapValidator(lambda given, parts: given if isinstance(given, str) else parts(given))
    ]  # a text stays one, so that errors name no member of a union

    def message(self) -> Message:
        content: Any = self.content if isinstance(self.content, str) else [part.model_dump() for part in self.content]
        return {"role": "system" if self.role == "developer" else self.role, "content": content}


class _JSONSchema(_Model):
    definition: dict[str, Any] = Field(alias="schema")


class _ResponseFormat(_Model):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: _JSONSchema | None = None


class _ChatBody(_Model):
    model_config = ConfigDict(extra="allow")

    messages: list[_Turn] = Field(min_length=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=1e-6, le=1)
    max_tokens: int | None = Field(None, ge=1, le=2**31)
    max_completion_tokens: int | None = Field(None, ge=1, le=2**31)
    seed: int | None = Field(None, ge=-(2**63), le=2**64)
    response_format: _ResponseFormat | None = None


class EmbeddingRequest(_Model):
    """The body of a request for embeddings."""

    input: Annotated[
        list[Annotated[str, Field(min_length=1)]],
        Field(min_length=1),
        BeforeValidator(lambda given: [given] if isinstance(given, str) else given),
    ]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: None = None


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One chat completion, with defaults for what the request leaves out."""

    messages: list[Message]
    seed: int
    sampling: Sampling
    schema: dict[str, Any] | None = None


def chat_request(body: Any, *, name: str, sampling: Sampling, grammar: bool) -> ChatRequest:
    """The request in *body*.

    Args:
        name: The one model that is served.
        sampling: Defaults for what the request leaves out.
        grammar: Whether the backend can constrain replies to a JSON schema.

    Raises:
        RequestError: the request is invalid, or asks for what is not supported.
    """
    found = _parsed(_ChatBody, body, name)
    for field, value in (found.model_extra or {}).items():
        if field in _NEUTRAL and value is not None and value not in _NEUTRAL[field]:
            raise RequestError(400, f"{field}={reprlib.repr(value)} is not supported here; leave it out", param=field)
        if field not in _NEUTRAL and field not in _IGNORED:
            raise RequestError(400, f"unrecognized request argument: {field}", param=field)
    return ChatRequest(
        messages=[turn.message() for turn in found.messages],
        seed=random.getrandbits(31) if found.seed is None else found.seed & 0x7FFFFFFF,
        sampling=Sampling(
            temperature=sampling.temperature if found.temperature is None else found.temperature,
            top_p=sampling.top_p if found.top_p is None else found.top_p,
            max_tokens=found.max_completion_tokens or found.max_tokens or sampling.max_tokens,
        ),
        schema=_schema(found.response_format, grammar),
    )


def embedding_request(body: Any, name: str) -> EmbeddingRequest:
    """The request for embeddings in *body*; see ``chat_request``."""
    return _parsed(EmbeddingRequest, body, name)


def _parsed(kind: type[_M], body: Any, name: str) -> _M:
    if not isinstance(body, dict):
        raise RequestError(400, "the body must be a JSON object")
    if body.get("model") != name:
        said = f"the model `{body.get('model')}` does not exist; this endpoint serves `{name}`"
        raise RequestError(404, said, code="model_not_found", param="model")
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
    steps = [step for step, _ in itertools.groupby(first["loc"])]  # a union's member is named before its field
    field = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).lstrip(".")
    given = "" if first["type"] == "missing" else f" (got {reprlib.repr(first['input'])})"
    raise RequestError(400, f"{field}: {first['msg'].removeprefix('Value error, ')}{given}", param=field)


def _schema(given: _ResponseFormat | None, grammar: bool) -> dict[str, Any] | None:
    if given is None or given.type == "text":
        return None
    if not grammar:
        said = "response_format: this model's backend cannot constrain replies to JSON; leave it out and ask for JSON"
        raise RequestError(400, said, param="response_format")
    if given.type == "json_object":
        return {"type": "object"}
    if given.json_schema is None:
        raise RequestError(400, "response_format: json_schema with a schema is required", param="response_format")
    return given.json_schema.definition


def completion(reply: Reply, name: str) -> dict[str, Any]:
    """The body of a 200.

    Raises:
        RequestError: *reply* is an error that the request caused.
    """
    if reply.finish == "error":
        said = reply.error or "the request could not be answered"
        code = "context_length_exceeded" if _TOO_LONG.search(said) else None
        raise RequestError(400, said, code=code, param="messages")
    finish = "content_filter" if reply.finish == "filtered" else reply.finish
    choice = {
        "index": 0, "message": {"role": "assistant", "content": reply.text, "refusal": None}, "logprobs": None,
        "finish_reason": finish,
    }  # fmt: skip
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}", "object": "chat.completion", "created": int(time.time()), "model": name,
        "choices": [choice], "usage": _usage(reply.tokens_in, reply.tokens_out),
    }  # fmt: skip


def embeddings(vectors: Any, name: str, encoding_format: str) -> dict[str, Any]:
    """The body of a 200 with *vectors*, float32 ``(N, D)``, as lists or (base64) little-endian bytes."""
    rows = [
        base64.b64encode(row.astype("<f4").tobytes()).decode() if encoding_format == "base64" else row.tolist()
        for row in vectors
    ]
    data = [{"object": "embedding", "index": place, "embedding": row} for place, row in enumerate(rows)]
    return {"object": "list", "model": name, "data": data, "usage": {"prompt_tokens": 0, "total_tokens": 0}}


def models(name: str, created: int) -> dict[str, Any]:
    """The list of models, which has one entry; *created* in seconds since 1970."""
    return {"object": "list", "data": [{"id": name, "object": "model", "created": created, "owned_by": "mminstruct"}]}


def _usage(tokens_in: int, tokens_out: int) -> dict[str, int]:
    return {"prompt_tokens": tokens_in, "completion_tokens": tokens_out, "total_tokens": tokens_in + tokens_out}
