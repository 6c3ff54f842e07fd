"""dnnlib.page: one file that holds everything, and charts whose lines may have gaps."""

import base64
import re
import xml.etree.ElementTree as ElementTree

import pytest

from dnnlib.page import COLOURS, Page, folded, legend, line_chart, numbers, picture, table


def polylines(svg: str) -> list[list[tuple[float, float]]]:
    """Points of the lines of a chart, in pixels."""
    lines = ElementTree.fromstring(svg).findall("polyline")
    return [[tuple(map(float, point.split(","))) for point in line.get("points").split()] for line in lines]


def test_a_page_holds_its_videos(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"not really a video")
    page = Page("Heads & tails")
    page.heading("First <part>", "A note.")
    page.heading("Second")
    page.code("python train.py --a < b")
    page.videos([(tmp_path / "a.mp4", "A caption & more.")])
    page.charts([("Losses.", [0, 1], {"g": [1.0, 2.0]})], "hours")
    page.write(tmp_path / "new" / "index.html")
    text = (tmp_path / "new" / "index.html").read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>") and "<title>Heads &amp; tails</title>" in text
    video = re.search(r'<video [^>]*src="data:video/mp4;base64,([^"]+)"', text)
    assert base64.b64decode(video.group(1)) == b"not really a video"
    for part in ("First &lt;part&gt;", "A note.", "--a &lt; b", "A caption &amp; more.", "<svg", "Losses."):
        assert part in text
    assert not re.search(r'(src|href)="(?!data:)', text) and "http" not in text, "nothing is fetched from elsewhere"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["index.html"]


def test_a_chart_spans_its_ranges():
    svg = line_chart([0.0, 1.0, 4.0], {"up": [0.0, 1.0, 2.0], "down": [2.0, 1.0, -2.0]}, "hours")
    up, down = polylines(svg)
    left, middle, right = (x for x, _ in up)
    assert middle - left == pytest.approx((right - left) / 4, abs=0.2), "x is to scale"
    assert up[2][1] == down[0][1] < up[1][1] < up[0][1] < down[2][1], "y points up"
    assert "0 hours" in svg and "4 hours" in svg and ">2<" in svg and ">-2<" in svg and ">up<" in svg


def test_a_chart_leaves_out_what_is_not_known():
    (line,) = polylines(line_chart([0, 1, 2, 3], {"loss": [1.0, None, float("nan"), 3.0]}, "hours"))
    assert len(line) == 2
    (line,) = polylines(line_chart([0, 1], {"flat": [5.0, 5.0]}, "hours"))
    assert len({y for _, y in line}) == 1
    assert polylines(line_chart([0, 1], {"gone": [None, None], "there": [0.0, 1.0]}, "hours"))[0] == []


def test_a_chart_of_many_lines_draws_them_all():
    lines = {f"line {index}": [0.0, float(index)] for index in range(7)}
    assert len(polylines(line_chart([0, 1], lines, "hours"))) == 7


def test_a_legend_draws_names_as_their_lines_are_drawn():
    """Also where there are more lines than colours."""
    names = [f"<{index}>" for index in range(len(COLOURS) + 2)]
    chart = line_chart(
        [0, 1], {name: [0.0, float(index)] for index, name in enumerate(names)}, "hours", with_names=False
    )
    strokes = [re.findall(r'stroke="#[^>]*', text) for text in (chart, legend(names))]
    drawn, named = [[stroke.rstrip("/") for stroke in found] for found in strokes]
    assert drawn == named and len(set(drawn)) == len(names)
    assert "&lt;3&gt;" in legend(names) and "&lt;3&gt;" not in chart


def test_a_wide_table_scrolls():
    assert table(["a"], [["b & c"]], is_wide=True) == f'<div class="wide">{table(["a"], [["b & c"]])}</div>'


@pytest.mark.parametrize("x, lines", [([], {}), ([1], {"a": [1.0]}), ([1, 2], {"a": [None, None]}), ([1, 2], {})])
def test_too_little_for_a_chart(x, lines):
    assert "Too few points" in line_chart(x, lines, "hours")


def test_what_is_folded_opens_on_request():
    for state, kind in ((True, "good"), (False, "bad"), (None, "soft")):
        closed = folded("a & b", "<p>inside</p>", note="1 < 2", is_good=state)
        assert closed.startswith("<details><summary>a &amp; b") and f'class="{kind}">1 &lt; 2<' in closed
    assert folded("a", "<p>inside</p>", is_open=True) == "<details open><summary>a</summary><p>inside</p></details>"


def test_numbers_are_named():
    assert "<b>1,024</b><span>frames &amp; more</span>" in numbers([("1,024", "frames & more")])


def test_a_picture_says_what_it_shows():
    assert 'alt="&quot;one&quot;"' in picture(b"not really a JPEG", alt='"one"')


def test_a_chart_shows_zero_where_lines_cross_it():
    across = [
        path.get("d") for path in ElementTree.fromstring(line_chart([0, 1], {"a": [-1.0, 3.0]}, "s")).iter("path")
    ]
    (line,) = polylines(line_chart([0, 1], {"a": [-1.0, 3.0]}, "s"))
    height = float(across[0].split()[1].split("H")[0])
    assert height == pytest.approx(line[0][1] + (line[1][1] - line[0][1]) / 4, abs=0.2)
    assert "<path" not in line_chart([0, 1], {"a": [1.0, 3.0]}, "s")
