"""Our benchmark as an lmms-eval task. It runs in lmms-eval's environment, so it does not import mminstruct.

`mminstruct lmms-task` copies this file into the task folder, with the questions and the judge's prompt.
"""

from __future__ import annotations

import base64
import functools
import io
import json
import os
import re
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Doc = dict[str, Any]
_TURN = re.compile(r"^## (system|user|assistant)[ \t]*$", re.MULTILINE)
_FRAME = re.compile(r"<(?=/?\s*(?:answer|caption|question|reference)\b)", re.IGNORECASE)
_VERDICT = {
    "type": "object",
    "properties": {"reason": {"type": "string"}, "verdict": {"type": "string", "enum": ["A", "B", "neither"]}},
    "required": ["reason", "verdict"],
    "additionalProperties": False,
}
FAILED = "[LMMS_EVAL_REQUEST_FAILED"
"""lmms-eval writes this as the answer if a request failed."""


def doc_to_visual(doc: Doc) -> list[Any]:
    return [doc["image"].convert("RGB")] if doc["image"] is not None else []


def doc_to_text(doc: Doc, lmms_eval_specific_kwargs: dict[str, str] | None = None) -> str:
    around = lmms_eval_specific_kwargs or {}
    return f"{around.get('pre_prompt', '')}{doc['question']}{around.get('post_prompt', '')}"


def doc_to_target(doc: Doc) -> str:
    return doc["reference"] or ""


def answered(doc: Doc, results: Sequence[str]) -> dict[str, Any]:
    """Whether there is an answer, and its number of words; `mminstruct bench` reads the other keys from the samples."""
    text = None if results[0].startswith(FAILED) else results[0]
    words = len((text or "").split())
    return {"answered": float(words > 0), "words": float(words), "question_id": doc["question_id"], "text": text}


def judged(doc: Doc, results: Sequence[str]) -> dict[str, Any]:
    """The judge's verdicts on the answer (a) and the reference (b), in both orders."""
    answer = results[0]
    if not doc["reference"]:
        raise ValueError(f"question {doc['question_id']}: mminstruct_judged needs references")
    if answer.startswith(FAILED):
        said = ["unparsed", "unparsed"]
    else:
        said = [verdict(doc, answer, doc["reference"]), verdict(doc, doc["reference"], answer)]
        said[1] = {"a": "b", "b": "a"}.get(said[1], said[1])
    return dict.fromkeys(("win_rate", "win_rate_error", "consistent", "undecided"), said)


def verdict(doc: Doc, first: str, second: str) -> str:
    """``a`` (the first is better), ``b``, ``neither`` or ``unparsed``."""
    messages = _messages(question=doc["question"], caption=doc["caption"], first=first, second=second)
    if doc["image"] is not None:
        buffer = io.BytesIO()
        doc["image"].convert("RGB").save(buffer, "JPEG", quality=90)
        url = f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
        shown = {"type": "image_url", "image_url": {"url": url}}
        messages[-1]["content"] = [shown, {"type": "text", "text": messages[-1]["content"]}]
    schema = {"type": "json_schema", "json_schema": {"name": "verdict", "schema": _VERDICT, "strict": True}}
    reply = _client().chat.completions.create(
        model=os.environ["MMINSTRUCT_JUDGE"],
        messages=messages,
        temperature=0,
        max_tokens=512,
        response_format=schema,
    )
    try:
        word = json.loads(reply.choices[0].message.content or "")["verdict"]
    except (ValueError, TypeError, KeyError):
        return "unparsed"
    return {"A": "a", "B": "b", "neither": "neither"}.get(word, "unparsed")


@functools.cache
def _client() -> Any:
    import openai

    if not os.environ.get("MMINSTRUCT_JUDGE"):
        raise ValueError("mminstruct_judged asks a judge: set MMINSTRUCT_JUDGE (its model) and MMINSTRUCT_JUDGE_URL")
    return openai.OpenAI(
        base_url=os.environ.get("MMINSTRUCT_JUDGE_URL"), api_key=os.environ.get("MMINSTRUCT_JUDGE_KEY", "none")
    )


def _messages(**texts: str | None) -> list[Doc]:
    """The judge's prompt. It is split into turns before it is rendered, so that an answer cannot open a turn."""
    import jinja2.sandbox

    clean = {name: text and _FRAME.sub("‹", text) for name, text in texts.items()}
    pieces = _TURN.split((Path(__file__).parent / "judge.md").read_text(encoding="utf-8"))[1:]
    jinja = jinja2.sandbox.SandboxedEnvironment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return [
        {"role": role, "content": jinja.from_string(text).render(**clean).strip()}
        for role, text in zip(pieces[::2], pieces[1::2], strict=True)
    ]


def _scores(said: Sequence[Sequence[str]]) -> list[float | None]:
    """Score of each answer against the reference by the paper's rule: 1 won, 1/2 tied, 0 lost, None undecided."""
    worth = {"a": 1, "b": -1, "neither": 0}
    found: list[float | None] = []
    for one, two in said:
        if "unparsed" in (one, two):
            found.append(None)
        else:
            both = worth[one] + worth[two]
            found.append((both > 0) + (both == 0) / 2)
    return found


def win_rate(said: Sequence[Sequence[str]]) -> float:
    """Ties count half, undecided questions are ignored; NaN if nothing was decided."""
    decided = [score for score in _scores(said) if score is not None]
    return sum(decided) / len(decided) if decided else float("nan")


def win_rate_error(said: Sequence[Sequence[str]]) -> float:
    """Standard error of the win rate; NaN with fewer than two decided questions."""
    decided = [score for score in _scores(said) if score is not None]
    return statistics.stdev(decided) / len(decided) ** 0.5 if len(decided) > 1 else float("nan")


def consistent(said: Sequence[Sequence[str]]) -> float:
    """Share of decided questions with the same verdict in both orders."""
    decided = [one == two for one, two in said if "unparsed" not in (one, two)]
    return sum(decided) / len(decided) if decided else float("nan")


def undecided(said: Sequence[Sequence[str]]) -> float:
    """Share of questions with an unparsed verdict in at least one order."""
    return sum("unparsed" in pair for pair in said) / len(said) if said else float("nan")
