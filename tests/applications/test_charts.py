"""applications.charts: whole SVG files whose shapes are where the numbers are."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from applications.charts import BINS, Histogram, histograms, line_chart, ticks, write_chart

SVG = "{http://www.w3.org/2000/svg}"


def texts(svg):
    return [element.text for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def bars(svg):
    """Return the heights of the bars in pixels."""
    rects = ElementTree.fromstring(svg).iter(f"{SVG}rect")
    return [float(rect.get("height")) for rect in rects if not rect.get("height").endswith("%")]


def panel(values, **changes):
    return Histogram(**{"title": "name", "values": values, "unit": "metres", "counted": "people"} | changes)


def curves(svg):
    lines = ElementTree.fromstring(svg).iter(f"{SVG}polyline")
    return [np.array([pair.split(",") for pair in line.get("points").split()], float) for line in lines]


TICKS = [
    (0, 1, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
    (0, 250, ["0", "50", "100", "150", "200", "250"]),
    (-0.011, 0.021, ["-0.01", "0.00", "0.01", "0.02"]),
    (0.99981, 0.99994, ["0.99985", "0.99990"]),
    (3, 11, ["4", "6", "8", "10"]),
]


@pytest.mark.parametrize("low, high, numbers", TICKS)
def test_ticks_are_round(low, high, numbers):
    found = ticks(low, high)
    assert [number for _, number in found] == numbers
    assert [value for value, _ in found] == [float(number) for number in numbers]


def test_bars_are_as_high_as_their_counts():
    values = [0.0] * 30 + [0.5] * 10 + [1.0] * 20
    heights = bars(histograms("title", [panel(values)]))
    assert len(heights) == BINS
    shown = [height for height in heights if height > 0]
    assert np.array(shown) / max(shown) == pytest.approx([1, 1 / 3, 2 / 3], abs=0.005)


def test_a_histogram_says_what_it_shows():
    shown = texts(histograms("whole", [panel([1.0, 2.0]), panel([4.0, 4.0], unit="seconds")]))
    for text in ("whole", "name", "metres", "seconds", "people", "mean 1.5", "mean 4"):
        assert text in shown


@pytest.mark.parametrize("values", [[0.0], [1.0, 1.0], [1.0, 1.0 + 1e-12], [-5e8, -5e8], [1e-9, 1e-9]])
def test_equal_numbers_have_a_histogram(values):
    svg = histograms("title", [panel(values)])
    assert "nan" not in svg
    assert sum(height > 0 for height in bars(svg)) == 1


def test_curves_go_through_their_points():
    svg = line_chart("title", [0, 0.5, 1], {"a": [[0, 4, 2]], "b": [[1, 1, 1], [2, 2, 2]]}, x_label="t", y_label="size")
    rising, *flat = curves(svg)
    left, middle, right = rising[:, 0]
    assert middle == pytest.approx((left + right) / 2, abs=0.1)
    bottom, top, half = rising[:, 1]
    assert half == pytest.approx((bottom + top) / 2, abs=0.1)
    assert top < bottom  # SVG counts pixels downwards
    for curve, height in zip(flat, [0.25, 0.5], strict=True):
        assert curve[:, 1] == pytest.approx([bottom + height * (top - bottom)] * 3, abs=0.1)


def test_a_group_shares_a_colour_and_groups_differ():
    groups = {f"group {number}": [[0, number], [0, number + 0.5]] for number in range(12)}
    svg = line_chart("title", [0, 1], groups, x_label="t", y_label="size")
    pens = [
        (line.get("stroke"), line.get("stroke-dasharray"))
        for line in ElementTree.fromstring(svg).iter(f"{SVG}polyline")
    ]
    assert pens[::2] == pens[1::2]
    assert len(set(pens)) == 12
    assert set(groups) < set(texts(svg))


def test_curves_of_zeros_are_drawn():
    assert "nan" not in line_chart("title", [0, 1], {"a": [[0, 0]]}, x_label="t", y_label="size")


def test_a_file_stands_alone_and_text_is_no_markup(tmp_path):
    svg = histograms("<script>", [panel([1.0], title="a & b")])
    write_chart(tmp_path / "chart.svg", svg)
    written = (tmp_path / "chart.svg").read_text(encoding="utf-8")
    assert {"<script>", "a & b"} < set(texts(written))
    assert "<script>" not in written
    assert re.findall(r"https?://[^\"]*", written) == ["http://www.w3.org/2000/svg"]
    assert "prefers-color-scheme: dark" in written
