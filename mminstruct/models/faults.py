"""Classifies failures of an endpoint: retry, fail the row, or stop the run. Keeps keys out of messages."""

from __future__ import annotations

import email.utils
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mminstruct.errors import ModelError
from mminstruct.stage import Halt


class EndpointError(Halt):
    """No request to this endpoint can succeed until somebody fixes something."""


class TooLarge(ModelError):
    """A decompressed reply is larger than the limit."""


Kind = Literal["refused", "fault", "garbage", "unusable", "offline", "row", "filtered", "fatal"]
"""Retried: refused (429), fault (5xx, timeout), garbage (200 without a reply), unusable (a reply that cannot be
kept), offline (no connection).
Not retried: row (this request is wrong), filtered (by its content), fatal (no request can succeed)."""

LONGEST_MESSAGE = 300
"""Characters of an endpoint's message that are kept."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One failed request."""

    kind: Kind
    message: str
    """One line without secrets."""
    wait: float = 0.0
    """Seconds to wait, as the endpoint asked."""
    cost: float | None = 0.0
    """US dollars that the endpoint still charges; None: unknown, because it may have done the work."""


_QUOTA = re.compile(
    r"insufficient[_ ]quota|exceeded your current quota|billing[_ ]hard[_ ]limit|payment required|credit balance", re.I
)
_PER_MINUTE = re.compile(r"per ?(?:second|minute)|retrydelay", re.I)
_FILTER = re.compile(
    r"content[_ ]?(?:filter|policy|management)|responsible ?ai|moderation|flagged|safety system|invalid_prompt", re.I
)
_LENGTH = re.compile(
    r"context[_ ]length|maximum context|context window|too many tokens|prompt is too long|reduce the length"
    r"|longer than the maximum|max_model_len",
    re.I,
)
_TOO_LARGE = re.compile(r"request too large", re.I)


def of_status(status: int, headers: Mapping[str, str], body: Any, *, who: str) -> Fault:
    """The fault that an HTTP error response means.

    Args:
        body: Bytes or text as received, or parsed JSON.
        who: The endpoint's name in messages.
    """
    code, message = _words(body)
    words = f"{code} {message}"
    said = f"HTTP {status}" + (f" {code}" if code else "") + (f": {message}" if message else "")
    wait = retry_after(headers)
    if status == 402 or (status in (403, 429) and _QUOTA.search(words) and not _PER_MINUTE.search(words)):
        return Fault("fatal", f"{who}: no money left ({said}); add credit, then run the same command again")
    if status == 429:
        if _TOO_LARGE.search(words):  # larger than the limit for a whole minute: no retry can succeed
            return Fault("row", f"too long: {said}")
        return Fault("refused", said, wait)
    if status in (400, 403, 451) and _FILTER.search(words):
        return Fault("filtered", said)
    if status in (401, 403):
        return Fault("fatal", f"{who}: the key is refused ({said}); check the variable that key_env names")
    if status == 404:
        return Fault("fatal", f"{who}: no such model or path ({said}); check name and url (most end in /v1)")
    if status in (408, 409, 425) or status >= 500:
        return Fault("fault", said, wait)
    if status < 400:
        to = short(str(headers.get("location") or "nowhere"))
        return Fault(
            "fatal",
            f"{who}: redirects to {to} (HTTP {status}); prompts, images and keys are sent only to the host in url;"
            " set url to the final address",
        )
    if status == 413 or _LENGTH.search(words):
        return Fault("row", f"too long: {said}")
    return Fault("row", said)


def of_exception(error: Exception, *, who: str) -> Fault:
    """The fault that an exception of ``capped.Poster`` or of the ``openai`` client means; raises other exceptions."""
    import aiohttp
    import httpx2
    import openai

    if isinstance(error, openai.APIStatusError):
        return of_status(error.status_code, error.response.headers, error.response.content, who=who)
    if isinstance(error, TooLarge):
        return Fault("unusable", str(error), cost=None)
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):  # nothing was sent
        return Fault("offline", f"connection: {type(error).__name__}")
    if isinstance(error, TimeoutError | openai.APITimeoutError | httpx2.TimeoutException):
        return Fault("fault", "timeout: no complete answer", cost=None)
    if isinstance(error, aiohttp.ClientError):
        return Fault("fault", f"connection: {type(error).__name__}", cost=None)
    if isinstance(error, openai.APIConnectionError | httpx2.HTTPError):
        cause = type(error.__cause__ if isinstance(error, openai.APIConnectionError) else error).__name__
        if cause.startswith("Connect"):
            return Fault("offline", f"connection: {cause}")
        return Fault("fault", f"connection: {cause}", cost=None)
    if isinstance(error, openai.APIError):
        return Fault("garbage", short(str(error)), cost=None)
    raise error


def retry_after(headers: Mapping[str, str]) -> float:
    """Seconds to wait from ``retry-after-ms`` or ``retry-after`` (seconds, or a date); 0 where there is none.

    A date is compared with the endpoint's own ``date``, so the clocks need not agree.
    """
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) / unit
        except ValueError:
            continue
        return seconds if 0 <= seconds < float("inf") else 0.0
    until, now = _stamp(headers.get("retry-after")), _stamp(headers.get("date"))
    return 0.0 if until is None else max(0.0, until - (time.time() if now is None else now))


def _stamp(text: str | None) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(text or "").timestamp()
    except (ValueError, OverflowError):
        return None


def _words(body: Any) -> tuple[str, str]:
    """Code and message of an error body; for a body that is not JSON, its start."""
    data = body
    if isinstance(body, bytes | str):
        text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
        try:
            data = json.loads(text)
        except (ValueError, RecursionError):
            return "", short(re.sub(r"<[^>]*>", " ", text[:2000]))
    error = data.get("error", data) if isinstance(data, dict) else data
    if not isinstance(error, dict):
        return "", short(text_of(error))
    codes = [error.get("code"), error.get("type")]
    inner = error.get("innererror") or error.get("inner_error")
    if isinstance(inner, dict):
        codes.append(inner.get("code"))
    code = "/".join(dict.fromkeys(text_of(code) for code in codes if code))
    return short(code), short(text_of(error.get("message") or error.get("detail") or ""))


def text_of(value: Any) -> str:
    """*value* as text, or the name of its type where it is nested too deep or too long a number."""
    try:
        return str(value)
    except (ValueError, RecursionError):
        return type(value).__name__


def short(text: str) -> str:
    """*text* on one line of at most ``LONGEST_MESSAGE`` characters that UTF-8 can encode."""
    text = " ".join(text[: 10 * LONGEST_MESSAGE].encode("utf-8", "replace").decode().split())
    return text if len(text) <= LONGEST_MESSAGE else f"{text[: LONGEST_MESSAGE - 1]}…"


class Secret:
    """A key that only ``reveal`` shows: it is not in reprs, logs, pickles or the locals of tracebacks."""

    __slots__ = ("_shortened", "_value")

    def __init__(self, value: str) -> None:
        self._value = value
        self._shortened = re.compile(rf"({re.escape(value[:4])}[^\s*…]*?)(?:\*+|\.{{3,}}|…)([\w-]*)")

    def __repr__(self) -> str:
        return "Secret(***)"

    def __reduce__(self) -> Any:
        raise TypeError("a key is never pickled: the worker reads it from its own environment")

    def reveal(self) -> str:
        return self._value

    def scrub(self, text: str, *, shortest: int = 1) -> str:
        """*text* without the key, whole or abbreviated as endpoints echo it (``sk-abc***xyz``).

        Args:
            shortest: Shorter keys are kept: ``EMPTY`` and the like are not secret, and may be words.
        """
        if len(self._value) < shortest or not self._value:
            return text
        text = text.replace(self._value, "***")
        return self._shortened.sub(self._hide, text) if len(self._value) >= 8 else text

    def _hide(self, found: re.Match[str]) -> str:
        head, tail = found.groups()
        return "***" if self._value.startswith(head) and self._value.endswith(tail) else found.group()
