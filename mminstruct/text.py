"""What models reply, made fit to keep: repaired characters, bare instructions, and signs that a text went wrong.

Everything here is a pure function of its text. Words are counted as people do: runs of letters and digits, and every
Chinese or Japanese character by itself.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(rf"[{_CJK}]|[^\W_{_CJK}]+(?:['’\-][^\W_{_CJK}]+)*")
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters, but not tab and newline
    "\u00ad\u200b\u2060-\u2064\ufeff"  # soft hyphen, zero-width space, word joiner, byte order mark
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # writing direction: can show another text than is stored
    "\ufdd0-\ufdef\ufffe\uffff\U000e0000-\U000e007f]"  # noncharacters; tags, which can carry hidden text
)
_JOINERS = re.compile("(?<![^\x00-\x7f])[\u200c\u200d]+|[\u200c\u200d]+(?![^\x00-\x7f])")  # emoji and Persian need them
_THOUGHT = re.compile(r"\A.*</think(?:ing)?>|\A\s*<think(?:ing)?>.*", re.DOTALL | re.IGNORECASE)
_TEMPLATE = re.compile(r"(?:<\|[\w-]{1,30}\|>|</?s>|<eos>|<end_of_turn>|\[/INST\])\Z")

_CANNOT = r"(?:can(?:no|['’])t|(?:am |['’]m )?(?:unable|not able) to|won['’]t|will not|must decline to)"
_REFUSAL = re.compile(
    rf"\A\W*(?:(?:(?:i['’]?m|i am) (?:so |very |really |deeply )*(?:sorry|afraid)|sorry|apologies|i apologi[sz]e"
    rf"|unfortunately)\b[^.!?\n]{{0,80}}(?:\b{_CANNOT}|\bno image|\bdo(?:n['’]t| not) (?:see|have))"
    r"|as an? (?:ai|language model|text-based|large language)\b"
    rf"|i ?{_CANNOT} (?:\w+ )?(?:access|analy[sz]e|answer|assist|complete|comply|create|describe|discuss|fulfil"
    r"|generate|help|identify|process|provide|recogni[sz]e|see|view|write)\w*"
    r"|(?:there is|i (?:do not|don['’]t) (?:see|have)) (?:no|an|any) image|no image (?:was|has been|is)"
    r"|please (?:provide|upload|share) (?:the|an|your) image)",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"(?<=[.!?。！？])[\"”')\]]*\s+|\n+|(?<=[。！？])")
_POLITE = re.compile(
    r"\A(?:sure(?: thing)?|certainly|of course|absolutely|okay|ok|alright|all right|got it|great|yes|no problem)"
    r"(?:[!,.…]+\s*|\s+(?=here\b|i\b))",
    re.IGNORECASE,
)
_ANNOUNCED = re.compile(
    r"\A(?:(?:here|i)\b[^.!:：]*\b(?:instruction|task|prompt|request|command|one)s?\b[^.!:：]*[.!:：]+"
    r"|here\b[^.!:：]*[:：])\s*",
    re.IGNORECASE,
)
_BULLET = re.compile(r"\A(?:[-*+•·>#–—]+\s+|[•·]|\(?\d{1,3}[.):、]\s*(?=\D)|\(?[a-eA-E][.)]\s+)+")
_TAGS = re.compile(r"</?\w*instruction>|\*\*|__", re.IGNORECASE)
_EXPLAINED = re.compile(
    r"(?:\A[(\[*]*this (?:new )?(?:instruction|prompt)\b"
    r"|(?:(?<=[.!?\"”])\s*|\s+[\-–—]\s+)[(\[*]*(?:this|that|the|my) (?:new |final )*(?:instruction|task|prompt)\b"
    r"|(?:\A|(?<=[.!?\"”])\s*)[(\[*]*(?:explanation|rationale|reasoning|note)\s*[:：]).*\Z",
    re.IGNORECASE,
)
_NOT_IT = frozenset(
    ("image", "description", "text description", "caption", "answer", "examples", "examples of instructions", "user")
)
_NOUNS = frozenset(("instruction", "instructions", "task", "prompt", "request", "command"))
_LABEL_WORDS = {
    *("a", "an", "the", "this", "my", "your", "our", "one", "another", "next", "new", "final", "general", "reusable"),
    *("common", "possible", "proposed", "suggested", "generated", "single", "number", "no", "for", "image", "output"),
    *_NOUNS,
}
_LONGEST = 4000
"""Characters of a line that are looked at: no instruction is as long, and every pass over a line takes its time."""
_PAIRS = {'"': '"', "“": "”", "„": "“", "«": "»", "「": "」", "『": "』", "‘": "’", "'": "'", "`": "`"}


def repair(text: str) -> str:
    r"""*text* in NFC without lone surrogates, control, direction, tag and stray zero-width characters.

    Surrogate pairs become the character they mean; line ends become ``\n``; the ends are stripped.
    """
    text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "ignore")
    text = re.sub("\r\n?|[\u2028\u2029\x85]", "\n", text)
    text = _JOINERS.sub("", _INVISIBLE.sub("", text))
    return unicodedata.normalize("NFC", text).strip()


def one_line(text: str) -> str:
    """*text* with every run of white space as one space: it cannot open a line of the prompt it is put in."""
    return " ".join(text.split())


def spoken(reply: str) -> str:
    """What *reply* says: repaired, without a reasoning model's thoughts and left-over tokens of a chat template."""
    text = _THOUGHT.sub("", repair(reply)).strip()
    while token := _TEMPLATE.search(text, max(0, len(text) - 40)):
        text = text[: token.start()].rstrip()
    return text


def words(text: str) -> list[str]:
    """The words of *text*, in order, as written."""
    return _WORD.findall(text)


def cut(text: str, limit: int) -> str:
    """*text* up to the end of its word number *limit*."""
    for count, word in enumerate(_WORD.finditer(text), 1):
        if count > limit:
            return text[: word.start()].rstrip()
    return text


def fault(finish: str, text: str, what: str) -> str | None:
    """Why a reply cannot be kept: ``model_error``, ``model_filtered``, ``WHAT_truncated``, ``WHAT_empty``; or None.

    *text* is the reply as cleaned, *finish* a ``models.model.Finish``.
    """
    if finish in ("error", "filtered"):
        return f"model_{finish}"
    if finish == "length":
        return f"{what}_truncated"
    return None if words(text) else f"{what}_empty"


def refuses(text: str) -> bool:
    """Whether *text* starts by declining, or by saying that there is no image."""
    return _REFUSAL.match(text) is not None


def loops(text: str, repeats: int = 4) -> bool:
    """Whether *text* got stuck: some words come *repeats* times in a row, or a third of 6 and more sentences are one.

    Numbers are left out, so that a list which counts while it says the same is found too.
    """
    spelled = [word.casefold() for word in words(text) if not word.isdigit()]
    for period in range(1, min(40, len(spelled) // repeats) + 1):
        run = 0
        for here, before in zip(spelled[period:], spelled, strict=False):
            run = run + 1 if here == before else 0
            if run >= period * (repeats - 1):
                return True
    sentences = [" ".join(words(piece)).casefold() for piece in _SENTENCE.split(text)]
    sentences = [sentence for sentence in sentences if len(sentence) > 12]
    most = max(Counter(sentences).values(), default=0)
    if len(sentences) >= 6 and most * 3 >= len(sentences):
        return True
    return re.search(r"([^\s\-=_*#.~|])\1{29}", text) is not None


def unlabelled(text: str, *labels: str) -> str:
    """*text* without a leading label such as ``Answer:``, in any case and however emphasised."""
    names = "|".join(re.escape(label) for label in labels)
    return re.sub(rf"\A[#\s]*(?P<mark>[*_]*)(?:{names})(?P=mark)?\s*[:：](?P=mark)?\s*", "", text, flags=re.IGNORECASE)


def parse_instruction(reply: str) -> str | None:
    """The one instruction in *reply*, on one line; None where there is none.

    Survives numbering, quotes, markdown, labels ("New instruction:"), politeness ("Sure! Here is one:"), JSON with one
    such key, several instructions (the first is taken) and explanations behind.
    """
    text = "\n".join(line for line in spoken(reply).split("\n") if not re.match(r"\s*```", line)).strip()
    if text.startswith("{"):
        text = _from_json(text)
    lines = [line for line in text.split("\n") if line.strip()]
    for place, line in enumerate(lines):
        bare = _undress(line)
        if bare.endswith((":", "：")):  # what it announces follows: its own list, or another line
            items = []
            for follower in lines[place + 1 :]:
                if not _BULLET.match(follower.strip()):
                    break
                items.append(_undress(follower))
            if not items or not _real(bare):
                continue
            bare = f"{bare} {'; '.join(item for item in items if item)}"
        if _real(bare):
            return bare
    return None


def _from_json(text: str) -> str:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return text
    for key, value in found.items():
        if "instruction" in key.casefold() and isinstance(value, str):
            return spoken(value)
    return ""


def _real(line: str) -> bool:
    head = re.split("[:：]", line, maxsplit=1)[0].strip().casefold()
    return len(words(line)) > 1 and (":" not in line or head not in _NOT_IT) and not refuses(line)


def _undress(line: str) -> str:
    """*line* without what is not the instruction, peeled until nothing more comes off."""
    line = one_line(line)[:_LONGEST]
    while True:
        before = line
        line = _TAGS.sub("", line).strip()
        line = _BULLET.sub("", line)
        line = _POLITE.sub("", line)
        line = _ANNOUNCED.sub("", line)
        line = _EXPLAINED.sub("", line)
        head, *rest = re.split("[:：]", line, maxsplit=1)
        named = set(re.findall(r"[a-z]+", head.casefold()))
        if rest and named & _NOUNS and named <= _LABEL_WORDS:
            line = rest[0]
        elif not rest and named & _NOUNS and named <= _LABEL_WORDS:  # a heading
            line = ""
        line = _unquoted(one_line(line))
        if line == before:
            return line


def _unquoted(line: str) -> str:
    """What stands in the quotes that *line* opens with, if nothing but an explanation follows them."""
    closing = _PAIRS.get(line[:1])
    if closing is None:
        return line[:-1] if line.endswith('"') and line.count('"') == 1 else line
    for place in (i for i, letter in enumerate(line) if i and letter == closing):
        inner, after = line[1:place], line[place + 1 :]
        whole = not after.strip(" .,")
        if whole or (len(words(inner)) > 2 and re.match(r"[.,]?\s+[A-Z(\-–—]", after)):
            return inner.strip()
    return line[1:].strip() if line.count(closing) < 2 and line[0] in '"“' else line
