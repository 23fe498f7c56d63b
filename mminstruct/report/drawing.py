"""Charts as inline SVG, without scripts or fonts. The page's style sets colours; all text is escaped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

WIDTH = 760
"""Width of every chart in SVG units; the page scales it."""
_LABEL = 220
_ROW = 26
_SLANT = 80
"""Space right of the last column for its slanted name."""
_CHARS = 25
"""Characters of a label that fit beside a chart; if one label of a chart is longer, all are above their bars."""
_COLUMN = 16
"""Characters of a name that fit above a column; if one is longer, columns have numbers, and a list names them."""


@dataclass(frozen=True, slots=True)
class _Rows:
    """Where the bars of a chart are: beside their labels, or below them."""

    left: int
    tall: int
    above: int
    """Height of a label above its bar."""

    @classmethod
    def of(cls, labels: Iterable[str]) -> _Rows:
        if max(map(len, labels), default=0) <= _CHARS:
            return cls(_LABEL, _ROW, 0)
        return cls(24, _ROW + 18, 18)

    def top(self, place: int) -> int:
        """Upper edge of the bar of row *place*."""
        return place * self.tall + self.above

    def label(self, text: str, place: int) -> Markup:
        if self.above:
            return _text(self.left, place * self.tall + 15, text, "above")
        return _text(self.left - 8, place * self.tall + 17, text, "label")


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a stacked bar."""

    value: float
    style: str
    """CSS class, named after the meaning."""
    title: str
    """Tooltip, also for screen readers."""


def stacked(rows: Sequence[tuple[str, Sequence[Segment], str]], title: str) -> Markup:
    """Horizontal bars of equal length; one (label, segments, note to the right) per row.

    Segments above zero have a minimum width, so that one failed row in a million is visible; the longest one of the row
    gives way to them.
    """
    at = _Rows.of(label for label, _, _ in rows)
    span = WIDTH - at.left - 150
    pieces = []
    for place, (label, segments, note) in enumerate(rows):
        y, x, shown = at.top(place), float(at.left), [segment for segment in segments if segment.value > 0]
        whole = sum(segment.value for segment in shown)
        widths = [max(1.5, span * segment.value / whole) for segment in shown]
        if widths:
            widths[widths.index(max(widths))] -= sum(widths) - span
        pieces.append(at.label(label, place))
        for segment, width in zip(shown, widths, strict=True):
            pieces.append(_box(x, y + 4, width, _ROW - 8, segment.style, segment.title))
            x += width
        pieces.append(_text(at.left + span + 10, y + 17, note, "note"))
    return _svg(pieces, len(rows) * at.tall, title)


def lengths(rows: Sequence[tuple[str, float, str]], title: str) -> Markup:
    """Horizontal bars on a common scale; one (label, value, note) per row."""
    at = _Rows.of(label for label, _, _ in rows)
    span = WIDTH - at.left - 190
    most = max((value for _, value, _ in rows), default=0) or 1
    pieces = []
    for place, (label, value, note) in enumerate(rows):
        y, wide = at.top(place), span * value / most
        pieces += [at.label(label, place), _box(at.left, y + 4, wide, _ROW - 8, "bar", f"{label}: {note}")]
        pieces.append(_text(at.left + wide + 8, y + 17, note, "note"))
    return _svg(pieces, len(rows) * at.tall, title)


def whiskers(
    rows: Sequence[tuple[str, dict[str, Any]]],
    title: str,
    *,
    low: float,
    high: float,
    zero: float,
    show: Callable[[float], str],
) -> Markup:
    """Bars from *zero* to each estimate with its interval; one (label, ``Estimate`` as a dict) per row.

    Args:
        rows: An estimate without a value becomes a note; one without an interval has no whiskers.
        title: For screen readers.
        low: Left end of the axis.
        high: Right end of the axis; values outside the axis are clipped.
        zero: The value that means no difference.
        show: Formats a number.
    """
    rows_at = _Rows.of(label for label, _ in rows)
    span, height = WIDTH - rows_at.left - 190, len(rows) * rows_at.tall

    def at(value: float) -> float:
        return rows_at.left + span * (min(max(value, low), high) - low) / ((high - low) or 1)

    pieces = []
    for tick in range(5):
        value = low + (high - low) * tick / 4
        pieces.append(_line(at(value), 0, at(value), height, "grid"))
        pieces.append(_text(at(value), height + 14, show(value), "tick"))
    for place, (label, estimate) in enumerate(rows):
        y, value = rows_at.top(place), estimate["value"]
        pieces.append(rows_at.label(label, place))
        if value is None:
            pieces.append(_text(rows_at.left + span + 10, y + 17, "nothing to estimate from", "note"))
            continue
        told, style = show(value), "better" if value > zero else "worse"
        left, right = sorted((at(value), at(zero)))
        if estimate["low"] is not None:
            told += f" [{show(estimate['low'])}, {show(estimate['high'])}]"
            if estimate["low"] <= zero <= estimate["high"]:
                style = "open"
        pieces.append(_box(left, y + 6, right - left, _ROW - 12, style, f"{label}: {told}, n = {estimate['n']}"))
        if estimate["low"] is not None:
            pieces.append(_line(at(estimate["low"]), y + _ROW / 2, at(estimate["high"]), y + _ROW / 2, "whisker"))
            pieces += [_line(at(estimate[e]), y + 8, at(estimate[e]), y + _ROW - 8, "whisker") for e in ("low", "high")]
        pieces.append(_text(rows_at.left + span + 10, y + 17, told, "note"))
    pieces.append(_line(at(zero), 0, at(zero), height, "zero"))
    return _svg(pieces, height + 20, title)


def heat(
    rows: Sequence[str], columns: Sequence[str], cells: Sequence[Sequence[dict[str, Any] | None]], title: str
) -> Markup:
    """Win rates (``Estimate`` as a dict) of *rows* by *columns*, in two colours that fade towards 1/2.

    A rate whose interval contains 1/2 is pale and not bold, because the difference may be chance.
    """

    def cell(name: str, column: str, estimate: dict[str, Any] | None) -> _Cell | None:
        if estimate is None or estimate["value"] is None:
            return None
        value, sure = estimate["value"], estimate["low"] is not None and not estimate["low"] <= 0.5 <= estimate["high"]
        ends = "" if estimate["low"] is None else f" [{estimate['low']:.0%}, {estimate['high']:.0%}]"
        return _Cell(
            f"{value:.0%}", f"{name}, {column}: {value:.0%}{ends}, n = {estimate['n']}",
            "better" if value > 0.5 else "worse", min(1.0, abs(value - 0.5) * 2) * (1.0 if sure else 0.45), sure,
        )  # fmt: skip

    drawn = [
        [cell(name, *one) for one in zip(columns, row, strict=True)] for name, row in zip(rows, cells, strict=True)
    ]
    return _grid(rows, columns, drawn, title)


@dataclass(frozen=True, slots=True)
class _Cell:
    text: str
    title: str
    style: str
    opacity: float
    bold: bool


def _grid(rows: Sequence[str], columns: Sequence[str], cells: Sequence[Sequence[_Cell | None]], title: str) -> Markup:
    """Coloured cells under slanted column names; a dash for None. Long names are listed below, by their number."""
    ways = [names if max(map(len, names), default=0) <= most else [f"{n}" for n in range(1, len(names) + 1)]
            for names, most in ((rows, _CHARS), (columns, _COLUMN))]  # fmt: skip
    left = _LABEL if ways[0] is rows else 40
    wide = max(44.0, min(120.0, (WIDTH - left - _SLANT) / max(1, len(columns))))
    tall, top = 30, 78 if ways[1] is columns else 30
    pieces = []
    for place, name in enumerate(ways[1]):
        x = left + wide * place + wide / 2
        turn = -35 if ways[1] is columns else 0
        pieces.append(Markup('<g transform="translate({:.1f} {}) rotate({})">{}</g>').format(
            x - 4, top - 8, turn, _text(0, 0, name, "column")))  # fmt: skip
    for r, name in enumerate(ways[0]):
        y = top + r * tall
        pieces.append(_text(left - 8, y + 19, name, "label"))
        for c, cell in enumerate(cells[r]):
            x = left + wide * c
            if cell is None:
                pieces.append(_text(x + wide / 2, y + tall / 2 + 4, "–", "cell"))
                continue
            pieces.append(_box(x + 1, y + 1, wide - 2, tall - 2, cell.style, cell.title, cell.opacity))
            pieces.append(_text(x + wide / 2, y + tall / 2 + 4, cell.text, "cell sure" if cell.bold else "cell"))
    drawn = _svg(pieces, top + tall * len(rows), title, left + wide * len(columns) + _SLANT)
    listed = [
        Markup('<p class="soft">{}: {}</p>').format(what, "; ".join(f"{n} {name}" for n, name in enumerate(names, 1)))
        for what, names, shown in (("Rows", rows, ways[0]), ("Columns", columns, ways[1])) if shown is not names
    ]  # fmt: skip
    if len(listed) == 2 and list(rows) == list(columns):
        listed = [Markup('<p class="soft">{}</p>').format("; ".join(f"{n} {name}" for n, name in enumerate(rows, 1)))]
    return drawn + Markup("").join(listed)


def histogram(counts: Sequence[int], names: Sequence[str], title: str) -> Markup:
    """Vertical bars with the bins' *names* below."""
    tall, most, wide = 130, max(counts, default=0) or 1, WIDTH / max(1, len(counts))
    pieces = []
    for place, (count, name) in enumerate(zip(counts, names, strict=True)):
        height = tall * count / most
        pieces.append(_box(place * wide + 2, tall - height + 14, wide - 4, height, "bar", f"{name}: {count:,}"))
        pieces.append(_text(place * wide + wide / 2, tall + 30, name, "tick"))
        if count:
            pieces.append(_text(place * wide + wide / 2, tall - height + 10, f"{count:,}", "tick"))
    return _svg(pieces, tall + 36, title)


def _svg(pieces: Sequence[Markup], height: float, title: str, width: float = WIDTH) -> Markup:
    size = max(width, WIDTH), max(height, 1)
    head = Markup('<svg viewBox="0 0 {:.0f} {:.0f}" role="img" aria-label="{}">').format(*size, title)
    return head + Markup("").join(pieces) + Markup("</svg>")


def _text(x: float, y: float, text: str, style: str) -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" class="{}">{}</text>').format(x, y, style, text)


def _box(x: float, y: float, width: float, height: float, style: str, title: str, opacity: float = 1) -> Markup:
    box = Markup('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" class="{}"{}><title>{}</title></rect>')
    pale = Markup(' fill-opacity="{:.2f}"').format(opacity) if opacity < 1 else ""
    return box.format(x, y, width, height, style, pale, title)


def _line(x1: float, y1: float, x2: float, y2: float, style: str) -> Markup:
    return Markup('<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" class="{}"/>').format(x1, y1, x2, y2, style)
