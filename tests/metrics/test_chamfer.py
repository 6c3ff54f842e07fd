"""metrics.chamfer: the reference's numbers and the paper's definition, invariances, exact nearest neighbours."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from dnnlib.errors import UserError
from metrics.chamfer import OPAQUE, ChamferDistances, _nearest_squared_by_blocks, chamfer_distances, nearest_squared
from metrics.multiview import PAIRS_GEOMETRY
from tests.helpers.golden_metrics import array, hold
from tests.helpers.tiny import normal

RELATIVE = 1e-5
PAPER_BIN = 1.05 / 48
pytestmark = pytest.mark.usefixtures("one_thread")


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def cloud(points: int, seed: int = 0) -> torch.Tensor:
    return 0.2 * normal(seed, points, 3)


def compare(
    a: torch.Tensor, b: torch.Tensor, opacity: torch.Tensor | None = None, bin_size: float = 1.0
) -> ChamferDistances:
    """Compare two clouds [N, 3]; both are opaque unless an opacity [2, N] is given."""
    if opacity is None:
        opacity = torch.ones(2, len(a))
    points = torch.stack([a, b])
    return chamfer_distances(points, opacity, [(0, 1)], bin_size)


# --- The reference's numbers ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def videos() -> list[ChamferDistances]:
    """The golden file's three videos."""
    xyz = array("chamfer", "xyz")
    opacity = array("chamfer", "opacity")
    return [
        chamfer_distances(points, mask, PAIRS_GEOMETRY, PAPER_BIN) for points, mask in zip(xyz, opacity, strict=True)
    ]


def test_reference(videos):
    hold("chamfer", "pairs", PAIRS_GEOMETRY)
    opaque = array("chamfer", "opacity") > OPAQUE
    counts = opaque.sum(axis=(2, 3))
    hold("chamfer", "mask_counts", counts)
    reference = [video.reference for video in videos]
    hold("chamfer", "cd", reference, rtol=RELATIVE)
    hold("chamfer", "cd_f64", reference, rtol=1e-12)
    directions = [video.directions for video in videos]
    hold("chamfer", "cd_directions", directions, rtol=RELATIVE)


@pytest.mark.parametrize(
    "name, videos_counted, reduce",
    [
        ("sum_all", 3, np.nansum),
        ("mean_all_valid", 3, np.nanmean),
        ("sum_first_two_videos", 2, np.sum),
        ("mean_first_two_videos", 2, np.mean),
    ],
)
def test_sums_and_means(videos, name, videos_counted, reduce):
    reference = [video.reference for video in videos[:videos_counted]]
    hold("chamfer", name, reduce(reference), rtol=RELATIVE)


def test_paper(videos):
    """Transparent points are in neither cloud; in units of a bin."""
    paper = [video.paper * PAPER_BIN**2 for video in videos]
    hold("chamfer", "cd_both_clouds_masked_f64", paper, rtol=1e-12)
    farther = paper[0] > array("chamfer", "cd")[0]
    assert farther.all(), "for there are fewer neighbours"


def test_medians_are_the_lower_of_two():
    """Means of the middle two give other values; built from our nearest neighbours, they are the golden file's."""
    averaged = np.full((3, 4), np.nan)
    xyz = torch.from_numpy(array("chamfer", "xyz"))
    opacity = torch.from_numpy(array("chamfer", "opacity"))
    points = xyz.flatten(2, 3)
    opaque = opacity.flatten(2) > OPAQUE
    for video in range(3):
        for pair, (a, b) in enumerate(PAIRS_GEOMETRY):
            all_a = points[video, a]
            all_b = points[video, b]
            surface_a = all_a[opaque[video, a]]
            surface_b = all_b[opaque[video, b]]
            if len(surface_a) == 0 or len(surface_b) == 0:
                continue
            there = nearest_squared(surface_a, all_b)
            back = nearest_squared(surface_b, all_a)
            averaged[video, pair] = np.median(there) + np.median(back)
    hold("chamfer", "cd_average_median_f64", averaged, rtol=1e-12)


def test_the_lower_median_of_four_points():
    line = torch.zeros(4, 3)
    line[:, 0] = torch.tensor([0, 1, 3, 7])
    found = compare(line, torch.zeros(4, 3))
    assert found.reference == [1 + 0], "of 0, 1, 9, 49"


# --- Invariances ------------------------------------------------------------------------------------------------------


@pytest.fixture
def opacity() -> torch.Tensor:
    return torch.rand(2, 300, generator=generator(2))


def test_the_order_of_views_does_not_matter(opacity):
    a = cloud(300)
    b = cloud(300, 1)
    found = compare(a, b, opacity)
    turned = compare(b, a, opacity.flip(0))
    assert found.paper == turned.paper
    assert found.reference == turned.reference


def test_the_order_of_points_does_not_matter():
    a = cloud(300)
    order = torch.randperm(300, generator=generator(3))
    same = compare(a, a[order])
    assert same.paper == same.reference == [0.0]


def test_units_and_places(opacity):
    a = cloud(300).double()
    b = cloud(300, 1).double()
    found = compare(a, b, opacity)
    larger = compare(3 * a, 3 * b, opacity)
    assert larger.paper == pytest.approx(9 * found.paper, rel=1e-6)
    assert larger.reference == pytest.approx(9 * found.reference, rel=1e-6)
    half_bins = compare(a, b, opacity, bin_size=0.5)
    assert_allclose(half_bins.paper, 4 * found.paper, rtol=1e-12)
    far = torch.tensor([0.0, 0.0, 1000.0])
    moved = compare(a + far, b + far, opacity)
    assert_allclose(moved.paper, found.paper, rtol=1e-9)


def test_transparent_points():
    a = cloud(200)
    b = cloud(200, 1)
    half_opaque = torch.ones(2, 200)
    half_opaque[:, 100:] = OPAQUE  # exactly: not opaque
    found = compare(a, b, half_opaque)
    surfaces = compare(a[:100], b[:100])
    assert found.paper == surfaces.paper == surfaces.reference
    assert found.reference < found.paper


def test_a_transparent_view_has_no_distance():
    opacity = torch.ones(2, 200)
    opacity[1] = 0
    found = compare(cloud(200), cloud(200, 1), opacity)
    assert np.isnan(found.paper).all()
    assert np.isnan(found.reference).all()


def wavy_surface(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    waves_of_x = torch.sin(9 * x)
    waves_of_y = torch.cos(7 * y)
    z = 0.1 * waves_of_x * waves_of_y
    return torch.stack([x, y, z], dim=-1)


def test_the_distance_grows_as_geometry_is_perturbed():
    grid = torch.linspace(-0.2, 0.2, 32)
    x, y = torch.cartesian_prod(grid, grid).T
    surface = wavy_surface(x, y)
    at_other_points = wavy_surface(x + 0.003, y - 0.002)
    noise = cloud(len(x), 5)
    values = []
    for scale in (0, 0.02, 0.05, 0.1, 0.3):
        perturbed = at_other_points + scale * noise
        found = compare(surface, perturbed, bin_size=PAPER_BIN)
        values.append(float(found.paper[0]))
    assert values == sorted(values)
    assert values[0] < 0.1
    assert values[-1] > 5 * values[0]


# --- Nearest neighbours -----------------------------------------------------------------------------------------------


def test_nearest_neighbours_are_exact():
    queries = cloud(150).double()
    points = cloud(400, 1).double()
    differences = queries[:, None] - points
    distances = differences.square().sum(dim=-1)
    expected = distances.amin(dim=1)
    by_tree = nearest_squared(queries, points)
    by_blocks = _nearest_squared_by_blocks(queries, points, block=64)
    for found in (by_tree, by_blocks):
        assert found.dtype == torch.float64
        torch.testing.assert_close(found, expected, rtol=1e-14, atol=0)


@pytest.mark.parametrize("nearest", [nearest_squared, _nearest_squared_by_blocks])
def test_nearest_neighbours_of_equal_points(nearest):
    points = cloud(400, 1).double()
    assert (nearest(points, points) == 0).all()
    many_equal = torch.zeros(300, 3)
    assert (nearest(torch.eye(3), many_equal) == 1).all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_same_on_a_gpu():
    xyz = torch.from_numpy(array("chamfer", "xyz")[0])
    opacity = torch.from_numpy(array("chamfer", "opacity")[0])
    here = chamfer_distances(xyz, opacity, PAIRS_GEOMETRY, PAPER_BIN)
    xyz = xyz.to("cuda")
    opacity = opacity.to("cuda")
    there = chamfer_distances(xyz, opacity, PAIRS_GEOMETRY, PAPER_BIN)
    assert_allclose(there.paper, here.paper, rtol=1e-12)
    assert_allclose(there.reference, here.reference, rtol=1e-12)


def test_points_that_are_not_finite():
    broken = cloud(10)
    broken[3, 1] = float("inf")
    with pytest.raises(UserError, match="not finite"):
        compare(cloud(10), broken)
