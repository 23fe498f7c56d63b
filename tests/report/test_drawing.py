from __future__ import annotations

import re
from typing import Any

import pytest
from markupsafe import Markup

from mminstruct.report import drawing
from mminstruct.report.drawing import Segment


def boxes(svg: Markup) -> list[tuple[str, float, float]]:
    """(class, x, width) of every box."""
    found = re.findall(r'<rect x="([\d.]+)" y="[\d.]+" width="([\d.]+)" height="[\d.]+" class="(\w+)"', svg)
    return [(style, float(x), float(width)) for x, width, style in found]


def share(value: float | None, low: float | None, high: float | None) -> dict[str, Any]:
    return {"value": value, "low": low, "high": high, "n": 10}


def test_segments_are_in_proportion_touch_and_one_of_a_million_is_seen() -> None:
    (one, two) = boxes(drawing.stacked([("s", [Segment(75, "kept", ""), Segment(25, "dropped", "")], "")], ""))
    assert one[2] == pytest.approx(3 * two[2], abs=0.2)
    assert two[1] == pytest.approx(one[1] + one[2], abs=0.1)
    found = boxes(
        drawing.stacked([("s", [Segment(1e6, "kept", ""), Segment(1, "dropped", ""), Segment(0, "open", "")], "")], "")
    )
    assert [style for style, _, _ in found] == ["kept", "dropped"]
    assert found[1][2] >= 1
    assert boxes(drawing.stacked([("nothing", [Segment(0, "kept", "")], "")], "")) == []


def test_many_small_segments_make_a_bar_no_longer_than_the_others() -> None:
    rare = [Segment(1, "dropped", "") for _ in range(30)]
    found = boxes(
        drawing.stacked([("a", [Segment(1000, "kept", ""), *rare], ""), ("b", [Segment(1, "kept", "")], "")], "")
    )
    assert found[-2][1] + found[-2][2] == pytest.approx(found[-1][1] + found[-1][2], abs=0.5)


def test_a_bar_goes_from_the_middle_to_its_value_and_is_grey_while_nothing_is_sure() -> None:
    rows = [
        ("won", share(0.75, 0.6, 0.9)),
        ("lost", share(0.25, 0.1, 0.4)),
        ("open", share(0.75, 0.4, 0.9)),
        ("none", share(None, None, None)),
    ]
    svg = drawing.whiskers(rows, "t", low=0, high=1, zero=0.5, show="{:.0%}".format)
    won, lost, unsure = boxes(svg)
    assert [won[0], lost[0], unsure[0]] == ["better", "worse", "open"]
    assert won[1] == pytest.approx(lost[1] + lost[2], abs=0.2)
    assert won[2] == pytest.approx(lost[2], abs=0.2)
    assert "75% [60%, 90%]" in svg
    assert "nothing to estimate from" in svg


def test_a_cell_whose_interval_holds_the_half_is_pale_and_not_bold() -> None:
    svg = drawing.heat(["a : b"], ["x", "y", "z"], [[share(0.9, 0.6, 1.0), share(0.9, 0.4, 1.0), None]], "t")
    assert svg.count("sure") == 1
    assert 'fill-opacity="0.80"' in svg
    assert 'fill-opacity="0.36"' in svg
    assert "a : b, y: 90% [40%, 100%], n = 10" in svg


def test_long_labels_are_above_their_bars_and_long_names_of_a_grid_are_listed_by_number() -> None:
    long = "qwen3-vl-8b-instruct fine-tuned with instructions, seed 1"
    for svg in (
        drawing.lengths([(long, 1, "n"), ("short", 1, "n")], "t"),
        drawing.whiskers([(long, share(0.5, 0.4, 0.6))], "t", low=0, high=1, zero=0, show=str),
    ):
        assert f'class="above">{long}</text>' in svg
        assert 'class="label"' not in svg
    grid = drawing.heat([long, long.replace("1", "2")], ["a", "b"], [[None] * 2] * 2, "t")
    assert f"Rows: 1 {long}; 2 {long.replace('1', '2')}" in grid
    assert 'class="column">a</text>' in grid


def test_charts_escape_what_they_show() -> None:
    bad = "<script>&'\"" + "x" * 60
    for svg in (
        drawing.stacked([(bad, [Segment(1, "kept", bad)], bad)], bad),
        drawing.lengths([(bad, 1, bad)], bad),
        drawing.whiskers([(bad, share(0.5, 0.4, 0.6))], bad, low=0, high=1, zero=0, show=str),
        drawing.heat([bad], [bad], [[share(0.5, 0.4, 0.6)]], bad),
        drawing.histogram([1], [bad], bad),
    ):
        assert "<script" not in svg
        assert "&lt;script&gt;" in svg
