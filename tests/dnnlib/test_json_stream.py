"""dnnlib.json_stream: the same values and the same refusals as of the whole text, wherever it is cut into pieces."""

import json

import pytest

from dnnlib.files import parse_json
from dnnlib.json_stream import MAX_ITEM, STREAMED, parse_stream
from tests.hostile import hostile_indexes

MOST = 10**6  # values
ALIKE = [row for row in hostile_indexes.ROWS if "MB of" not in row[0] and "10000 times" not in row[0]]


def pieces(text: bytes, length: int):
    return (text[start : start + length] for start in range(0, len(text), length))


def streamed(text: bytes, length: int = 7) -> object:
    """Return what the text means, the streamed list in its place again."""
    items: list = []
    value = parse_stream(pieces(text, length), "labels", items.append, max_values=MOST)
    if isinstance(value, dict) and value.get("labels") is STREAMED:
        assert items
        value["labels"] = items
    else:
        assert items == []
    return value


@pytest.mark.parametrize(
    "text",
    [
        '{"labels": [["a/b.png", [1.5, -2e-3, 1E+5]], [], {}, "é", 12, null, true], "clips": {"a": {"fps": 25}}}',
        ' { "clips" : 123.25e2 , "labels" : [ 1 , 22 , 333 ] , "x" : -0.5 } \n',
        '{"labels": []}',
        '{"labels": {"a": [1]}, "b": [[]]}',
        "{}",
        "[1, 2, 3]",
        "12345.75e1",
        '"text"',
    ],
)
def test_every_length_of_pieces_gives_what_json_gives(text):
    data = text.encode()
    for length in range(1, len(data) + 1):
        assert streamed(data, length) == json.loads(text), length
    assert streamed(b"\xef\xbb\xbf" + data, 3) == json.loads(text)


@pytest.mark.parametrize("content", [pytest.param(row[1], id=row[0]) for row in ALIKE])
def test_hostile_texts_are_taken_or_refused_as_whole_ones_are(content):
    data = content()
    try:
        expected = parse_json(data)
    except ValueError:
        with pytest.raises(ValueError, match="."):
            streamed(data, 1000)
    else:
        assert repr(streamed(data, 1000)) == repr(expected)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"labels": [1, 2', "missing"),
        ('{"labels": [1 2]}', "missing"),
        ('{"labels": [1,]}', "Expecting value"),
        ('{"labels": [1]} 2', "behind its end"),
        ('{"labels": [1], "labels": [2]}', "stands 2 times"),
        ('{"clips": {"a": 1, "a": 2}}', "stands 2 times"),
        ("{1: 2}", "quotes"),
        ("", "Expecting value"),
    ],
)
def test_what_is_wrong_is_said(text, reason):
    for length in (1, 5, 1000):
        with pytest.raises(ValueError, match=reason):
            streamed(text.encode(), length)


def test_values_are_counted_before_they_are_made():
    with pytest.raises(ValueError, match="more than 10 values"):
        parse_stream([b'{"labels": [' + b"0," * 20 + b"0]}"], "labels", print, max_values=10)


def test_an_item_without_end_is_given_up():
    taken = 0

    def endless():
        nonlocal taken
        yield b'{"labels": ["'
        while True:
            taken += 1
            yield b"x" * 2**16

    with pytest.raises(ValueError, match="Unterminated"):
        parse_stream(endless(), "labels", print, max_values=10)
    assert taken * 2**16 < 8 * MAX_ITEM
