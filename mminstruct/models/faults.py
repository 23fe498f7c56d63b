"""What an endpoint's failure means: try again, give up this row, or stop everything."""

from __future__ import annotations

import email.utils
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mminstruct.stage import Halt


class EndpointError(Halt):
    """No request to this endpoint can succeed before somebody mends something."""


Kind = Literal["refused", "fault", "garbage", "offline", "row", "filtered", "fatal"]
"""Try again: refused (429), fault (5xx, timeout), garbage (200 that is no reply), offline (no connection).
Never again: row (this request), filtered (its content), fatal (all requests)."""

LONGEST_SAID = 300
"""Characters of an endpoint's own words that we pass on."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One failed request."""

    kind: Kind
    said: str
    """What happened, in one line without secrets."""
    wait: float = 0.0
    """Seconds that the endpoint asked to wait."""


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


def of_status(status: int, headers: Mapping[str, str], body: bytes | str, *, who: str) -> Fault:
    """What an HTTP answer other than a reply means.

    Args:
        who: The endpoint as a person knows it, for messages.
    """
    code, message = _words(body)
    words = f"{code} {message}"
    said = f"HTTP {status}" + (f" {code}" if code else "") + (f": {message}" if message else "")
    wait = retry_after(headers)
    if status == 402 or (status in (403, 429) and _QUOTA.search(words) and not _PER_MINUTE.search(words)):
        return Fault("fatal", f"{who}: no money left ({said}); top the account up and run the same command again")
    if status == 429:
        if _TOO_LARGE.search(words):  # larger than the limit of a whole minute: it can never pass
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
        return Fault("fatal", f"{who}: answers with a redirection ({said}); set url to where it points")
    if status == 413 or _LENGTH.search(words):
        return Fault("row", f"too long: {said}")
    return Fault("row", said)


def of_reply(data: Any, *, who: str) -> Fault | None:
    """What is wrong with the JSON of a 200; None if it is a chat completion."""
    if not isinstance(data, dict):
        return Fault("garbage", f"HTTP 200 with {type(data).__name__} instead of a reply")
    error = data.get("error")
    if error:  # some gateways put their own errors behind a 200
        code = error.get("code") if isinstance(error, dict) else None
        status = int(str(code)) if str(code).isdigit() and 400 <= int(str(code)) < 600 else 500
        return of_status(status, {}, json.dumps(data), who=who)
    choices = data.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    message = first.get("message") if isinstance(first, dict) else None
    if not isinstance(message, dict) or not isinstance(message.get("content"), str | None):
        return Fault("garbage", "HTTP 200 without choices[0].message")
    return None


def of_exception(error: Exception, *, who: str) -> Fault:
    """What an exception of the ``openai`` client, or of a deadline around it, means; raises what is neither."""
    import openai

    if isinstance(error, openai.APIStatusError):
        return of_status(error.status_code, error.response.headers, error.response.content, who=who)
    if isinstance(error, TimeoutError | openai.APITimeoutError):
        return Fault("fault", "no whole answer in time")
    if isinstance(error, openai.APIConnectionError):
        cause = type(error.__cause__).__name__
        return Fault("offline" if cause.startswith("Connect") else "fault", f"connection: {cause}")
    if isinstance(error, openai.APIError):
        return Fault("garbage", _short(str(error)))
    raise error


def retry_after(headers: Mapping[str, str]) -> float:
    """Seconds to wait from ``retry-after-ms`` or ``retry-after`` (seconds, or a date); 0 where there is none.

    A date counts from the endpoint's own ``date``, so that clocks need not agree.
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


def _words(body: bytes | str) -> tuple[str, str]:
    """Code and message of an error body; the start of a body that is no JSON."""
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return "", _short(re.sub(r"<[^>]*>", " ", text[:2000]))
    error = data.get("error", data) if isinstance(data, dict) else data
    if not isinstance(error, dict):
        return "", _short(str(error))
    codes = [error.get("code"), error.get("type")]
    inner = error.get("innererror") or error.get("inner_error")
    if isinstance(inner, dict):
        codes.append(inner.get("code"))
    code = "/".join(dict.fromkeys(str(code) for code in codes if code))
    return _short(code), _short(str(error.get("message") or error.get("detail") or ""))


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= LONGEST_SAID else f"{text[: LONGEST_SAID - 1]}…"


class Secret:
    """A key that shows itself to nobody but ``reveal``: not in reprs, logs, pickles or tracebacks' locals."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def __repr__(self) -> str:
        return "Secret(***)"

    def __reduce__(self) -> Any:
        raise TypeError("a key is never pickled: the worker reads it from its own environment")

    def reveal(self) -> str:
        return self._value

    def scrub(self, text: str) -> str:
        """*text* without the key, whole or shortened as endpoints echo it (``sk-abc***xyz``)."""
        if not self._value:
            return text
        text = text.replace(self._value, "***")
        head = re.escape(self._value[:4])
        return re.sub(rf"{head}[\w-]*(?:\*+|\.{{3}}|…)[\w-]*", "***", text) if len(self._value) >= 8 else text
