"""Names of metrics: what each asks for, and what is no name."""

import pytest

from dnnlib.errors import UserError
from metrics.protocols import PV3D, STYLEGAN_V, parse_request, parse_requests
from metrics.video_sources import Window


@pytest.mark.parametrize(
    "name, kind, videos, window, style",
    [
        ("fvd", "fvd", 5000, Window(16, 1), PV3D),
        ("fvd5k_16f", "fvd", 5000, Window(16, 1), PV3D),
        ("fvd512_16f", "fvd", 512, Window(16, 1), PV3D),
        ("kvd300_16f", "kvd", 300, Window(16, 1), PV3D),
        ("fvd2048_16f", "fvd", 2048, Window(16, 1), STYLEGAN_V),
        ("fvd2048_128f", "fvd", 2048, Window(128, 1), STYLEGAN_V),
        ("fvd2048_128f_subsample8f", "fvd", 2048, Window(16, 8), STYLEGAN_V),
        ("id", "id", 1000, Window(), PV3D),
        ("id-dlib", "id-dlib", 1000, Window(), PV3D),
        ("cd200", "cd", 200, Window(), PV3D),
        ("id-dlib20", "id-dlib", 20, Window(), PV3D),
        ("we", "we", 1000, Window(), PV3D),
        ("pose", "pose", 256, Window(), PV3D),
    ],
)
def test_names(name, kind, videos, window, style):
    request = parse_request(name)
    assert (request.metric, request.kind, request.videos, request.window, request.style) == (
        name,
        kind,
        videos,
        window,
        style,
    )


@pytest.mark.parametrize(
    "name",
    [
        "fid",
        "fvd_",
        "fvd0_16f",
        "fvd1_16f",
        "fvd512_8f",
        "cd_16f",
        "fvd2048_16f_x8",
        "cd 2",
        "fvd512_16f_subsample8f",
        "FVD",
    ],
)
def test_what_is_no_metric(name):
    with pytest.raises(UserError, match="--metrics"):
        parse_request(name)


def test_lists_name_each_once():
    assert [request.metric for request in parse_requests("cd, we,cd,")] == ["cd", "we"]
    with pytest.raises(UserError, match="empty"):
        parse_requests(" ,")


def test_a_window_spans_its_stride():
    assert Window(16, 8).span == 121 and Window(16).span == 16
