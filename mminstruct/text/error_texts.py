"""Finds messages of servers, content filters and programs that arrived in place of a text."""

# ruff: noqa: E501 - patterns are easier to read on one line
from __future__ import annotations

import json
import re
from http import HTTPStatus

ASKS_CODE = re.compile(
    r"\b(?:html|xml|svg|css|json|ya?ml|toml|csv|bbcode|code|coding|programs?|python|javascript|typescript|java|sql|regex|regular expressions?"
    r"|latex|tex|markdown|markup|web ?(?:page|site)|snippet|pseudo-?code|function|api|schema)\b",
    re.IGNORECASE,
)
"""Matches instructions whose answers may contain tags, entities and escapes, even an error page."""

_PHRASES = "|".join(re.escape(status.phrase) for status in HTTPStatus if status >= 400 and " " in status.phrase)
_NAMED = "|".join(re.escape(status.phrase) for status in HTTPStatus if status >= 400)
_SERVICE = re.compile(
    r"\A\W{0,4}(?:"
    rf"(?:(?:http|https|api|status|error|code|client|server)(?:/[\d.]+)?\W{{0,3}}){{0,3}}[45]\d\d\W{{1,4}}(?:(?:client|server) error\W{{1,3}})?(?:{_NAMED})\b"
    rf"|(?:(?:http|api|server)\W{{0,2}})?error\W{{1,4}}(?:(?:code|status)\W{{1,3}})*(?:[45]\d\d\b(?=\W*\Z|\W{{1,4}}[{{\[])|(?:{_PHRASES})\b)"
    rf"|(?:{_PHRASES})\W*\Z"
    r"|(?:the |this |your )?(?:api |model |server |upstream |read |gateway |connection )*(?:request|operation|connection|response|inference|generation|model|query|server)"
    r" (?:has |was |is |had |have )?(?:timed[ -]?out|time[- ]out|aborted|refused|reset|cancell?ed|overloaded|too large|rate[- ]limited|an error|currently (?:overloaded|unavailable|loading))\b"
    r"|(?:(?:read|gateway|connection|request|operation) )?(?:timed?[- ]?out|deadline exceeded|connection (?:error|reset|aborted|refused|closed))(?: error| exceeded)?\W*(?:\Z|please\b|try\b|after\b|while\b|error\b|\d)"
    r"|(?:error|exception|failed|failure)\W{0,2}[:!]\W{0,3}[\w .'’-]{0,60}?\b(?:request|response|time[d ]*[- ]?out|rate[- ]?limit\w*|quota|api|tokens?|server|connection|context (?:length|window)|generat\w+|process\w*|fetch\w*|unauthori[sz]ed|invalid)\b"
    r"|error (?:generating|fetching|loading|processing|calling|connecting|reading|decoding|in|from|while)\b[^.!?\n]{0,60}\b(?:response|request|image|model|api|server|content|endpoint|output)\b"
    r"|(?:(?:sorry|oops|apologies|unfortunately|we['’]re sorry)\W+)?(?:but )?(?:an? (?:\w+ ){0,2}(?:error|exception) (?:has )?(?:occurr?ed|happened|was encountered)|we (?:encountered|ran into) an? (?:\w+ )?error)\b"
    r"|(?:(?:sorry|oops|apologies)\W+)?(?:but )?something went wrong\b(?=\W*\Z|.{0,200}\b(?:try again|retry|refresh|request|server|support)\b)"
    r"|(?:failed|unable) to (?:generate|get|fetch|load|process|connect|reach|parse|retrieve|complete|decode|download|open)\b[^.!?\n]{0,80}\b(?:response|request|reply|answer|content|output|server|model|api|endpoint|image|url|data|completion|caption)\b[^\n]{0,120}\Z"
    r"|(?:rate limit|quota|usage limit|token limit|request limit|(?:maximum )?context length|max(?:imum)? retries|deadline) (?:has been |was |is )?(?:exceeded|reached|hit)\b|insufficient[_ ](?:quota|credits?|balance|funds)\b"
    r"|you(?:['’]ve| have)? (?:exceeded|reached|hit) (?:your|the) (?:\w+ ){0,3}(?:limit|quota|cap)\b"
    r"|too many requests|service (?:is )?(?:temporarily |currently )?unavailable|internal server error|bad gateway|invalid (?:api key|request|image url)|no healthy upstream"
    r"|(?:unauthori[sz]ed|access denied|permission denied)\W*\Z|cuda (?:out of memory|error)|this model['’]s maximum context length is\b"
    r")", re.IGNORECASE | re.DOTALL,
)  # fmt: skip
_WHAT = r"(?:the |this |your |my )?(?:[\w']+ )?(?:content|response|message|output|text|answer|reply|completion|caption|description|comment|prompt|request|image)"
_HOW = r"(?: (?:has|have) been| was| were| is)? (?:removed|blocked|filtered|redacted|withheld|omitted|flagged|deleted|unavailable|rejected|hidden|moderated|not available)"
_POLICY = r"(?:polic(?:y|ies)|filter\w*|guidelines?|safety|moderat\w+|violat\w+|terms of|harmful|unsafe|inappropriate)"
_GONE = re.compile(
    rf"\A[\[(<{{*_\s]+{_WHAT}{_HOW}\b[^\n]{{0,120}}[\])>}}*_]+\s*\Z|\A\W{{0,4}}{_WHAT}{_HOW}(?:\W*\Z|\b[^\n]{{0,200}}\b{_POLICY})"
    rf"|\A\W{{0,4}}(?:content|safety|moderation)[ _-](?:filter|policy|warning|violation|block)(?:ed)?\b(?=\W*\Z|\W{{0,3}}[:\]]|.{{0,80}}\b(?:triggered|violat|block|error))"
    r"|\A\W{0,4}blocked by (?:the |our )?(?:content|safety|moderation|policy)\b"
    r"|\A\W{0,4}no (?:response|content|output|answer|text|reply|completion|caption|description)(?: (?:was|is|has been|were))?(?: (?:generated|available|returned|received|provided|produced|found|given))?\W*\Z"
    r"|\A\W{0,4}(?:removed|deleted|redacted|filtered|blocked|flagged|withheld|empty (?:response|string|output)|prohibited_content|recitation|content_filter)\W*\Z",
    re.IGNORECASE,
)  # fmt: skip
_NOTHING = re.compile(
    r"\A(?:[\W_]*(?:null|none|nan|nil|undefined|n/a|n\.a\.?|void|empty|unknown|object object|tbd|todo|string|placeholder)(?![^\W_]))+[\W_]*\Z",
    re.IGNORECASE,
)
_TRACEBACK = re.compile(
    r"^Traceback \(most recent call last\):|^\s+File \"[^\"\n]{1,200}\", line \d+|^\s+at [\w$.<>]{1,80}\([\w.:]{1,80}\)$"
    r"|\b(?:[a-z_]{2,30}\.){1,6}[A-Z]\w{0,40}(?:Error|Exception): |\A\W{0,4}[A-Z][a-z]\w{1,40}(?:Error|Exception): ", re.MULTILINE
)  # fmt: skip
_PAGE = re.compile(r"\A\s*(?:<!doctype|<\?xml|<html|<head|<body)", re.IGNORECASE)
_PAGE_FAILED = re.compile(rf"<(?:title|h1|code)>[^<]{{0,80}}(?:\b[45]\d\d\b|error|{_PHRASES})", re.IGNORECASE)
_FAILURE_KEYS = {"error", "errors", "exception", "traceback", "errormessage", "error_message", "error_code"}
_ENVELOPE_KEYS = {
    "code", "message", "status", "statuscode", "status_code", "detail", "details", "type", "param", "success", "request_id", "requestid",
    "timestamp", "path", "object", "id", "data", "result", "ok", "msg", "reason", "name",
}  # fmt: skip


def error_text(text: str, asked: str = "") -> str | None:
    """The part of *text* that shows it is a server's message or a null value instead of an answer to *asked*; or None."""
    bare = text.strip()
    return bare if _NOTHING.match(bare) else server_message(bare, asked)


def server_message(text: str, asked: str = "") -> str | None:
    """The message of a server, filter or program in place of an answer to *asked*; or None."""
    bare = text.strip()
    if bare.startswith(("{", "[")) and (found := _error_object(bare)):
        return found
    if _PAGE.match(bare) and (not ASKS_CODE.search(asked) or _PAGE_FAILED.search(bare[:2000])):
        return bare
    if not ASKS_CODE.search(asked) and (trace := _TRACEBACK.search(bare)):
        return trace.group()
    if len(bare) > 600:  # messages are short; a longer text quotes one
        return None
    message = _SERVICE.match(bare) or _GONE.match(bare)
    return message.group() if message else None


def _error_object(text: str) -> str | None:
    """*text* if it is a JSON object that reports only an error, such as ``{"error": {"message": ...}}``."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    value = value[0] if isinstance(value, list) and len(value) == 1 else value
    if not isinstance(value, dict) or not value:
        return None
    keys = {str(key).casefold() for key in value}
    failed = bool(keys & _FAILURE_KEYS) or keys <= {"detail"} or (
        {"code", "message"} <= keys or {"status", "message"} <= keys or {"success", "message"} <= keys
    )  # fmt: skip
    return text if failed and keys <= _FAILURE_KEYS | _ENVELOPE_KEYS else None
