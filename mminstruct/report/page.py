"""Self-contained HTML pages: Jinja with autoescape, pictures as data URIs, and a content security policy."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from mminstruct.readers.container import BadImage
from mminstruct.readers.image import load

PICTURE = 256
"""Longest side of a picture on a page, pixels: about 10 kB each."""
_QUALITY = 70


def render(template: str, **facts: Any) -> str:
    """Render a template of this folder; equal facts give equal bytes.

    Raises:
        jinja2.UndefinedError: the template uses a name that is not in *facts*.
    """
    jinja = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    jinja.filters["share"] = share
    jinja.globals.update(number=number, duration=duration, broken=broken)
    return jinja.get_template(template).render(**facts)


def picture(data: bytes | None, longest: int = PICTURE) -> str | None:
    """Image bytes as a small JPEG in a data URI; None if there is no image, or it cannot be decoded."""
    if not data:
        return None
    try:
        small = load(data, longest=longest)
    except BadImage:
        return None
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def number(value: float | None) -> str:
    """12,345; 0.0123; a dash for None."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if value == int(value) or abs(value) >= 100 else f"{value:.3g}"


def broken(name: str) -> Markup:
    """*name* with places where a narrow page may break it: after each underscore."""
    return Markup("_<wbr>").join(name.split("_"))


def share(estimate: dict[str, Any] | None) -> str:
    """An ``Estimate`` (as a dict) in percent, with its interval."""
    if estimate is None or estimate["value"] is None:
        return "–"
    ends = "" if estimate["low"] is None else f" [{estimate['low']:.0%}, {estimate['high']:.0%}]"
    return f"{estimate['value']:.0%}{ends}"


def duration(seconds: float) -> str:
    """45 s, 12 min, 3.5 h."""
    if seconds < 100:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:,.1f} h"
