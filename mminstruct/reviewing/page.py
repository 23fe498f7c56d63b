"""A sheet as one HTML page that works offline: pictures inside, no request, and only its own script may run."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from mminstruct.reviewing.pictures import Picture
from mminstruct.reviewing.rows import Item
from mminstruct.reviewing.sheet import Sheet
from mminstruct.reviewing.words import AXES, REASONS, TASKS
from mminstruct.stage import content_id

SCRIPT = ("decisions.js", "display.js", "keys.js")
_HERE = Path(__file__).parent


def render(
    sheet: Sheet, person: str, what: str, items: Mapping[str, Item], pictures: Mapping[str, Picture | None]
) -> str:
    """The page of one person; equal arguments give equal bytes.

    Args:
        sheet: Its rows.
        items: What is displayed, by id.
        pictures: By image id; None for one that cannot be shown.
    """
    style, script = _code()
    shown: dict[str, int] = {}
    rows = [_row(row.id, row.shown, items[row.id], shown) for row in sheet.rows]
    data = {
        "sheet": sheet.sheet, "person": person, "what": what, "page": content_id(style, script),
        "task": TASKS[what], "reasons": REASONS, "axes": AXES.get(what, {}), "rows": rows,
        "pictures": [_picture(pictures.get(image)) for image in shown],
    }  # fmt: skip
    return _template().render(
        title=f"Review of {what}: {person}", heading=what.capitalize(), person=person, reasons=len(REASONS),
        style=Markup(style), script=Markup(script), hashes={"style": _hash(style), "script": _hash(script)},
        data=Markup(_inert(data)),
    )  # fmt: skip


def _row(id_: str, shown: str, item: Item, pictures: dict[str, int]) -> dict[str, Any]:
    """A row as the script reads it; equal images are stored once."""
    place = None if item.image is None else pictures.setdefault(item.image, len(pictures))
    return {
        "id": id_, "shown": shown, "question": item.question, "answer": item.answer, "choices": item.choices,
        "right": item.right, "phrase": item.phrase, "picture": place, "before": item.before,
    }  # fmt: skip


def _picture(one: Picture | None) -> list[Any] | None:
    return None if one is None else [one.uri, one.width, one.height]


def _code() -> tuple[str, str]:
    """Style and script; the files of the script share one scope, in this order."""
    style, *parts = ((_HERE / name).read_text(encoding="utf-8") for name in ("page.css", *SCRIPT))
    return f"\n{style}", '\n"use strict";\n(() => {\n' + "\n".join(parts) + "})();\n"


def _template() -> jinja2.Template:
    return jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
        (_HERE / "page.html").read_text(encoding="utf-8")
    )


def _hash(code: str) -> str:
    """As a content security policy names inline code."""
    return base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()


def _inert(data: Mapping[str, Any] | Sequence[Any]) -> str:
    """JSON without a character that could end its script element; a lone surrogate is escaped too."""
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
