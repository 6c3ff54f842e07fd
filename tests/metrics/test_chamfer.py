"""metrics.chamfer: the reference's numbers and the paper's definition, invariances, exact nearest neighbours."""

import numpy as np
import pytest
import torch

from dnnlib.errors import UserError
from metrics.chamfer import OPAQUE, _nearest_squared_by_blocks, chamfer_distances, nearest_squared
from tests.helpers.golden_metrics import array, hold

RELATIVE = {"rtol": 1e-5}
PAPER_BIN = 1.05 / 48
PAIRS = [(0, 2), (3, 1), (0, 1), (3, 2)]
pytestmark = pytest.mark.usefixtures("one_thread")


def cloud(points: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(points, 3, generator=torch.Generator().manual_seed(seed)) * 0.2


def pair(a: torch.Tensor, b: torch.Tensor, opacity: torch.Tensor | None = None, bin_size: float = 1.0):
    opacity = torch.ones(2, len(a)) if opacity is None else opacity
    return chamfer_distances(torch.stack([a, b]), opacity, [(0, 1)], bin_size)


@pytest.fixture(scope="module")
def videos():
    xyz, opacity = array("chamfer", "xyz"), array("chamfer", "opacity")
    return [chamfer_distances(*views, PAIRS, PAPER_BIN) for views in zip(xyz, opacity, strict=True)]


def test_reference(videos):
    hold("chamfer", "pairs", PAIRS)
    hold("chamfer", "mask_counts", (array("chamfer", "opacity") > OPAQUE).sum(axis=(2, 3)))
    reference = np.stack([video.reference for video in videos])
    directions = np.stack([video.directions for video in videos])
    for name, tolerance in (("cd", RELATIVE), ("cd_f64", {"rtol": 1e-12})):
        hold("chamfer", name, reference, **tolerance)
    hold("chamfer", "cd_directions", directions, **RELATIVE)


def test_sums_and_means(videos):
    reference = np.stack([video.reference for video in videos])
    for name, value in (
        ("sum_all", np.nansum(reference)),
        ("mean_all_valid", np.nanmean(reference)),
        ("sum_first_two_videos", reference[:2].sum()),
        ("mean_first_two_videos", reference[:2].mean()),
    ):
        hold("chamfer", name, value, **RELATIVE)


def test_paper(videos):
    """Transparent points in neither cloud; in units of a bin."""
    paper = np.stack([video.paper for video in videos])
    hold("chamfer", "cd_both_clouds_masked_f64", paper * PAPER_BIN**2, rtol=1e-12)
    assert (paper[:1] * PAPER_BIN**2 > array("chamfer", "cd")[:1]).all(), "fewer neighbours are farther"


def test_medians_are_the_lower_of_two():
    """Means of the middle two give other values; built from our nearest neighbours, they are the golden file's."""
    xyz, opaque = array("chamfer", "xyz").reshape(3, 4, -1, 3), array("chamfer", "opacity").reshape(3, 4, -1) > OPAQUE
    averaged = np.full((3, 4), np.nan)
    for video in range(3):
        for k, (a, b) in enumerate(PAIRS):
            if opaque[video, a].any() and opaque[video, b].any():
                points, masks = torch.from_numpy(xyz[video]), opaque[video]
                both = (nearest_squared(points[i][masks[i]], points[j]) for i, j in ((a, b), (b, a)))
                averaged[video, k] = sum(np.median(distances) for distances in both)
    hold("chamfer", "cd_average_median_f64", averaged, rtol=1e-12)
    line = torch.tensor([[0.0, 0, 0], [1, 0, 0], [3, 0, 0], [7, 0, 0]])
    assert pair(line, torch.zeros(4, 3)).reference == pytest.approx([1 + 0]), "of 0, 1, 9, 49"


def test_invariances():
    a, b = cloud(300), cloud(300, 1)
    opacity = torch.rand(2, 300, generator=torch.Generator().manual_seed(2))
    found, turned = pair(a, b, opacity), pair(b, a, opacity.flip(0))
    assert found.paper == turned.paper and found.reference == turned.reference
    same = pair(a, a[torch.randperm(300, generator=torch.Generator().manual_seed(3))])
    assert same.paper == same.reference == [0.0], "of equal clouds, in any order"
    larger = pair(3 * a.double(), 3 * b.double(), opacity)
    np.testing.assert_allclose([larger.paper, larger.reference], [9 * found.paper, 9 * found.reference], rtol=1e-6)
    np.testing.assert_allclose(pair(a, b, opacity, bin_size=0.5).paper, 4 * found.paper, rtol=1e-12)
    far = torch.tensor([0.0, 0.0, 1000.0]).double()
    np.testing.assert_allclose(pair(a + far, b + far, opacity).paper, found.paper, rtol=1e-9)


def test_transparent_points():
    a, b = cloud(200), cloud(200, 1)
    opacity = torch.ones(2, 200)
    opacity[:, 100:] = OPAQUE  # exactly: not opaque
    found, surfaces = pair(a, b, opacity), pair(a[:100], b[:100])
    assert found.paper == surfaces.paper == surfaces.reference
    assert found.reference < found.paper
    empty = pair(a, b, torch.stack([torch.ones(200), torch.zeros(200)]))
    assert np.isnan([empty.paper, empty.reference]).all()


def test_the_distance_grows_as_geometry_is_perturbed():
    grid = torch.linspace(-0.2, 0.2, 32)
    x, y = (axis.flatten() for axis in torch.meshgrid(grid, grid, indexing="ij"))
    surface = lambda x, y: torch.stack([x, y, 0.1 * torch.sin(9 * x) * torch.cos(7 * y)], dim=-1)  # noqa: E731
    other = surface(x + 0.003, y - 0.002)  # the same surface at other points
    noise = cloud(len(x), 5)
    values = [
        float(pair(surface(x, y), other + scale * noise, bin_size=PAPER_BIN).paper[0])
        for scale in (0, 0.02, 0.05, 0.1, 0.3)
    ]
    assert values[0] < 0.1 and values == sorted(values) and values[-1] > 5 * values[0]


def test_nearest_neighbours_are_exact():
    queries, points = cloud(150).double(), cloud(400, 1).double()
    expected = ((queries[:, None] - points) ** 2).sum(dim=-1).amin(dim=1)
    for found in (nearest_squared(queries, points), _nearest_squared_by_blocks(queries, points, block=64)):
        assert found.dtype == torch.float64
        torch.testing.assert_close(found, expected, rtol=1e-14, atol=0)
    for nearest in (nearest_squared, _nearest_squared_by_blocks):
        assert (nearest(points, points) == 0).all()
        assert (nearest(torch.eye(3), torch.zeros(300, 3)) == 1).all(), "many equal points"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_same_on_a_gpu():
    xyz, opacity = (torch.from_numpy(array("chamfer", name)[0]) for name in ("xyz", "opacity"))
    here, there = (
        chamfer_distances(xyz.to(device), opacity.to(device), PAIRS, PAPER_BIN) for device in ("cpu", "cuda")
    )
    np.testing.assert_allclose(there.paper, here.paper, rtol=1e-12)
    np.testing.assert_allclose(there.reference, here.reference, rtol=1e-12)


def test_points_that_are_not_finite():
    broken = cloud(10)
    broken[3, 1] = float("inf")
    with pytest.raises(UserError, match="not finite"):
        pair(cloud(10), broken)
