"""Finds technical residue in texts: markers of models and servers, undecoded bytes, error messages, markup.

Markers are recognised by their shape, because no list of names is complete. What an instruction may ask for (HTML, code,
JSON) is allowed if it was asked for, and so is text in code fences, in back quotes or, such as words on a sign, in quotes.
``tests/text/test_leaks.py`` and ``benchmarks/replies.py`` list what must be found and what must pass.
"""

# ruff: noqa: E501 - patterns are easier to read on one line
from __future__ import annotations

import html
import json
import re

from mminstruct.text.error_texts import ASKS_CODE, error_text
from mminstruct.text.thoughts import thoughts_left

Found = tuple[str, str]
"""Name of the fault, and the part of the text that shows it."""


def leak(text: str, asked: str = "") -> Found | None:
    """The first residue in *text*, the answer to the instruction *asked*; None if there is none.

    Names are those of ``broken``; also ``special_token`` for further shapes, ``escaped`` (literal escapes, HTML entities)
    and ``markup`` (tags that were not asked for).
    """
    if found := broken(text, asked):
        return found
    if ASKS_CODE.search(asked) or _is_json(text):
        return None
    prose = _CODE.sub(" ", text)
    loose = _QUOTED.sub(" ", prose)
    return _named(
        undecoded=_first(_PIECES, prose),
        escaped=_first(_ESCAPED, prose) or _entity(prose),
        special_token=_first(_SOFT_TOKEN, loose),
        markup=_first(_MARKUP, _without_breaks_in_tables(loose)) or _first(_TAG, loose),
    )


def broken(text: str, asked: str = "") -> Found | None:
    """Residue that is wrong in any *text*, whatever was asked for; None if there is none.

    Names are ``reasoning_left`` (thoughts or their markers), ``error_text`` (a server's message instead of a text),
    ``special_token`` (of a tokenizer or a chat template) and ``undecoded`` (bytes that are not characters).
    """
    return _named(
        reasoning_left=thoughts_left(text, asked),
        error_text=error_text(text, asked),
        special_token=special_token(text),
        undecoded=_first(_UNDECODED, text),
    )


_CODE = re.compile(r"```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)|`[^`\n]{1,200}`", re.DOTALL)
_QUOTED = re.compile(r"\"[^\"\n]{1,80}\"|“[^”\n]{1,80}”|«[^»\n]{1,80}»|(?<!\w)'[^'\n]{1,80}'(?!\w)|‘[^’\n]{1,80}’")
_BREAK = re.compile(r"<br ?/?>", re.IGNORECASE)

_TOKEN = re.compile(
    r"<[|｜]/?\w[\w:/.\-▁ ]{0,40}[|｜]?>|</?\w[\w:.-]{0,40}[|｜]>|</?[a-z]{1,12}\|\w{1,40}>|◁/?\w{1,30}▷|<\[[\w:/-]{1,30}\]>"
    r"|(?i:</?(?:image|video|audio|im_patch|unk|pad|bos|eos|cls|sep|mask|s|img|sop|eop|tool_calls?|tool_response|imgpad|answer)>|</w>)"
    r"|(?i:<0x[0-9a-f]{2}>|<(?:extra_id|extra|unused|reserved|loc|seg|placeholder|control|speaker|patch|image|img|vis)[_-]?\d{1,5}>)"
    r"|(?i:</?(?:im|vision|vis|fim|fake|bos|eos|pad)_\w{1,40}>"
    r"|</?(?:\w{1,20}_)?(?:image|img|video|audio|box|quad|ref|row|col|patch)_(?:start|end|pad|token|placeholder|patch|newline|soft|sep|context|break|index|bos|eos|\d)\w{0,20}>)"
    r"|(?i:</?(?:start|end|begin)_of_\w{1,30}>|</?\w{1,30}_token(?:_\w{1,20})?>)"
    r"|(?i:\[/?INST\]|<</?SYS>>|\[/?SYS(?:TEM)?_?(?:PROMPT)?\])"
    r"|\[/?(?:AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|[gs]MASK|IMG(?:_BREAK|_END)?|IMAGE|PAD|UNK|CLS|SEP|MASK|BOS|EOS|control_\d+|unused\d+)\]"
    r"|(?<!\S)ASSISTANT: "  # LLaVA's data loader splits at it to find the trained tokens
)
"""Tokens of models and chat templates; in a text they would split turns or add images."""
_SOFT_TOKEN = re.compile(
    r"</?[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+>|</?[a-z]+\d*(?:_[a-z0-9]+)+>"
    r"|</?(?:box|ref|quad|points?|poly|polygon|bbox|obj|object|grounding|phrase|delim|region|roi|det|od)\b[^<>\n]{0,120}>"
)
_UNDECODED = re.compile(
    "\ufffd"
    r"|(?<=[a-z0-9.,;:!?)\]}])[ĠĊ]"  # byte-level BPE; in Maltese no lower-case letter precedes these capitals
    "|âĢ[\u0100-\u0148]|ðŁ[\u0100-\u0148\u00a1-\u00ff]"
    r"|▁(?=[^\W_]|<)|(?<=[^\W_])▁"  # SentencePiece; bars of a chart are next to other bars
    r"|(?<=[a-z])@@ (?=[a-z])"
    "|(?<![A-ZÀ-Þ])[ÂÃ][\u0080-\u00bf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]|â€[\u0080-\u00bf™œžŸš›“”˜¦¢]|ðŸ[\u0080-\u00bf˜‘’“”Œ]"  # UTF-8 read as cp1252
)
_PIECES = re.compile(r"(?<=[a-z]{2}) ##[a-z]{1,12}\b")  # WordPiece
_ESCAPED = re.compile(
    r"\\r?\\n|(?:\\n){2}|\\n(?=[A-Z\d*•\-]|\s*\Z)|(?<=[.!?])\\[nr]|\\u[0-9a-fA-F]{4}|\\x[0-9a-f]{2}"
    r"|(?<!\S)\\\"[^\"\n]{1,200}\\\""
)
r"""LaTeX has \nu and \rho, paths have \new, so a literal line end is matched only after or before a sentence."""
_ENTITY = re.compile(r"&(?:[a-z]{2,8}\d{0,2}|#\d{2,6}|#x[0-9a-f]{2,5});", re.IGNORECASE)
_INLINE = "b|i|u|em|strong|sub|sup|kbd|small|mark|del|ins|cite|q|abbr|var|samp|code|tt|details|summary"
"""Tags without a Markdown equivalent, or harmless ones."""
_MARKUP = re.compile(
    r"</?(?:br|p|div|span|font|center|html|head|body|title|script|style|table|thead|tbody|tr|td|th|h[1-6]|ul|ol|li|hr|a|img"
    r"|pre|blockquote|iframe|section|article|header|footer|button|input|form|label|meta|link)(?:\s[^<>]{0,300})?/?>|<!--|<!doctype",
    re.IGNORECASE,
)
_TAG = re.compile(
    rf"</(?!(?:{_INLINE})>)[A-Za-z_][\w:.|-]{{0,40}}/?>"
    rf"|(?<!\w)<(?!(?:{_INLINE})[\s/>])[A-Za-z][\w:.|-]{{0,40}}(?:\s[^<>=]{{0,60}}=[^<>]{{0,300}})?\s?/?>"
)
"""Any other tag; the brackets of a type follow a word, as in List<int>."""


def special_token(text: str) -> str | None:
    """The first token of a tokenizer or a chat template in *text*; no instruction can ask for one."""
    return _first(_TOKEN, text)


def _named(**found: str | None) -> Found | None:
    return next(((name, " ".join(what.split())[:80] or repr(what)) for name, what in found.items() if what), None)


def _first(pattern: re.Pattern[str], text: str) -> str | None:
    found = pattern.search(text)
    return None if found is None else found.group()


def _without_breaks_in_tables(text: str) -> str:
    """*text* without ``<br>`` in Markdown tables, where it is the only way to break a line in a cell."""
    return "\n".join(_BREAK.sub(" ", line) if line.lstrip().startswith("|") else line for line in text.split("\n"))


def _entity(text: str) -> str | None:
    return next((found for found in _ENTITY.findall(text) if html.unescape(found) != found), None)


def _is_json(text: str) -> bool:
    bare = text.strip()
    if not (bare.startswith(("{", "[")) and bare.endswith(("}", "]"))):
        return False
    try:
        json.loads(bare)
    except (ValueError, RecursionError):
        return False
    return True
