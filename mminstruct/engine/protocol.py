"""The OpenAI protocol, server side: requests read and checked, replies and errors written in its shape.

What would change a reply and cannot be done here (streams, tools, several choices, stop words) is refused by name,
never ignored. Images come as data URLs alone: nothing is ever fetched from an address that a request names.
"""

from __future__ import annotations

import base64
import binascii
import random
import re
import time
import uuid
from dataclasses import dataclass
from typing import Any

from mminstruct.models.model import Reply, Sampling
from mminstruct.prompts import Message, Role

_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "stream": (False,), "n": (1,), "stop": ([],), "tools": ([],), "tool_choice": ("none", "auto"), "logprobs": (False,),
    "presence_penalty": (0,), "frequency_penalty": (0,), "logit_bias": ({},), "top_logprobs": (0,),
}  # fmt: skip
"""Fields that would change a reply, and the values with which they do not."""
_IGNORED = {"user", "metadata", "store", "service_tier", "stream_options", "safety_identifier", "parallel_tool_calls"}
_KNOWN = {"model", "messages", "temperature", "top_p", "max_tokens", "max_completion_tokens", "seed", "response_format"}
_ROLES: dict[str, Role] = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
_DATA = re.compile(r"data:image/[a-z+.-]+;base64,", re.IGNORECASE)
_TOO_LONG = re.compile(r"context|max_model_len", re.IGNORECASE)


class Refused(Exception):
    """A request that gets no reply, in the words of the answer to it."""

    def __init__(self, status: int, said: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(said)
        self.status, self.code, self.param = status, code, param

    def body(self) -> dict[str, Any]:
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}


@dataclass(frozen=True, slots=True)
class Asked:
    """One chat completion that was asked for."""

    messages: list[Message]
    seed: int
    sampling: Sampling
    schema: dict[str, Any] | None = None


def asked(body: Any, *, name: str, sampling: Sampling, grammar: bool) -> Asked:
    """The request in *body*.

    Args:
        name: The one model that is served.
        sampling: What holds where the request says nothing.
        grammar: Whether replies can be held to a JSON schema.

    Raises:
        Refused: for what is not understood or cannot be done.
    """
    if not isinstance(body, dict):
        raise Refused(400, "the body is a JSON object with model and messages")
    check_model(body, name)
    for field, value in body.items():
        if field in _NEUTRAL and value is not None and value not in _NEUTRAL[field]:
            raise Refused(400, f"{field}={value!r} is not supported here; leave it out", param=field)
        if field not in _NEUTRAL and field not in _IGNORED | _KNOWN:
            raise Refused(400, f"unrecognized request argument: {field}", param=field)
    most = body.get("max_completion_tokens") or body.get("max_tokens")
    seed = _number(body, "seed", None, -(2**63), 2**64, whole=True)
    return Asked(
        messages=_messages(body.get("messages")),
        seed=random.getrandbits(31) if seed is None else int(seed) & 0x7FFFFFFF,
        sampling=Sampling(
            temperature=_number(body, "temperature", sampling.temperature, 0, 2) or 0.0,
            top_p=_number(body, "top_p", sampling.top_p, 1e-6, 1) or 1.0,
            max_tokens=int(_number({"max_tokens": most}, "max_tokens", sampling.max_tokens, 1, 2**31, whole=True) or 1),
        ),
        schema=_schema(body.get("response_format"), grammar),
    )


def check_model(body: dict[str, Any], name: str) -> None:
    if body.get("model") != name:
        said = f"the model `{body.get('model')}` does not exist; this endpoint serves `{name}`"
        raise Refused(404, said, code="model_not_found", param="model")


def completion(reply: Reply, name: str) -> dict[str, Any]:
    """The body of a 200.

    Raises:
        Refused: where the reply is an error of its request.
    """
    if reply.finish == "error":
        said = reply.error or "the request could not be answered"
        raise Refused(400, said, code="context_length_exceeded" if _TOO_LONG.search(said) else None, param="messages")
    finish = "content_filter" if reply.finish == "filtered" else reply.finish
    choice = {
        "index": 0, "message": {"role": "assistant", "content": reply.text, "refusal": None}, "logprobs": None,
        "finish_reason": finish,
    }  # fmt: skip
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}", "object": "chat.completion", "created": int(time.time()), "model": name,
        "choices": [choice], "usage": _usage(reply.tokens_in, reply.tokens_out),
    }  # fmt: skip


def texts(body: Any, name: str) -> list[str]:
    """The texts of a request for embeddings."""
    if not isinstance(body, dict):
        raise Refused(400, "the body is a JSON object with model and input")
    check_model(body, name)
    given = body.get("input")
    found = [given] if isinstance(given, str) else given
    if not isinstance(found, list) or not found or not all(isinstance(text, str) and text for text in found):
        raise Refused(400, "input is a text or a list of texts, none empty", param="input")
    if body.get("encoding_format", "float") not in ("float", "base64") or body.get("dimensions") is not None:
        raise Refused(400, "encoding_format is float or base64, and dimensions are the model's own", param="dimensions")
    return found


def embeddings(vectors: Any, name: str, form: str) -> dict[str, Any]:
    """The body of a 200 with *vectors*, float32 ``(N, D)``, as lists or (base64) little-endian bytes."""
    rows = [
        base64.b64encode(row.astype("<f4").tobytes()).decode() if form == "base64" else row.tolist() for row in vectors
    ]
    data = [{"object": "embedding", "index": place, "embedding": row} for place, row in enumerate(rows)]
    return {"object": "list", "model": name, "data": data, "usage": {"prompt_tokens": 0, "total_tokens": 0}}


def models(name: str, since: int) -> dict[str, Any]:
    """The list of models: one."""
    return {"object": "list", "data": [{"id": name, "object": "model", "created": since, "owned_by": "mminstruct"}]}


def _usage(tokens_in: int, tokens_out: int) -> dict[str, int]:
    return {"prompt_tokens": tokens_in, "completion_tokens": tokens_out, "total_tokens": tokens_in + tokens_out}


def _number(
    body: dict[str, Any], name: str, default: float | None, least: float, most: float, *, whole: bool = False
) -> float | None:
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or not least <= value <= most:
        raise Refused(400, f"{name} is {value!r}: take {least:g} to {most:g}", param=name)
    return value


def _messages(given: Any) -> list[Message]:
    if not isinstance(given, list) or not given:
        raise Refused(400, "messages is a list of turns, and not empty", param="messages")
    found: list[Message] = []
    for place, turn in enumerate(given):
        where = f"messages[{place}]"
        said = turn.get("role") if isinstance(turn, dict) else None
        role = _ROLES.get(str(said))
        if role is None:
            raise Refused(400, f"{where}.role is system, user or assistant, not {said!r}", param=where)
        found.append({"role": role, "content": _content(turn.get("content"), where)})
    return found


def _content(given: Any, where: str) -> Any:
    if isinstance(given, str):
        return given
    if not isinstance(given, list) or not given:
        raise Refused(400, f"{where}.content is a text or a list of parts", param=where)
    return [_part(item, f"{where}.content[{place}]") for place, item in enumerate(given)]


def _part(item: Any, where: str) -> dict[str, Any]:
    kind = item.get("type") if isinstance(item, dict) else None
    if kind == "text" and isinstance(item.get("text"), str):
        return {"type": "text", "text": item["text"]}
    url = item.get("image_url") if kind == "image_url" else None
    url = url.get("url") if isinstance(url, dict) else url
    if not isinstance(url, str):
        raise Refused(400, f"{where} is no part of type text or image_url", param=where)
    head = _DATA.match(url)
    if head is None:
        raise Refused(400, f"{where}: images come as data:image/...;base64, URLs; no address is fetched", param=where)
    try:
        base64.b64decode(url[head.end() :], validate=True)
    except binascii.Error as error:
        raise Refused(400, f"{where}: {error}", param=where) from None
    return {"type": "image_url", "image_url": {"url": url}}


def _schema(given: Any, grammar: bool) -> dict[str, Any] | None:
    kind = given.get("type") if isinstance(given, dict) else None
    if given is None or kind == "text":
        return None
    form = given.get("json_schema") if kind == "json_schema" else None
    found = {"type": "object"} if kind == "json_object" else form.get("schema") if isinstance(form, dict) else None
    if not isinstance(found, dict):
        raise Refused(
            400, "response_format is text, json_object, or json_schema with a schema", param="response_format"
        )
    if not grammar:
        said = "this model's backend cannot hold a reply to JSON: leave response_format out and ask for it in words"
        raise Refused(400, said, param="response_format")
    return found
