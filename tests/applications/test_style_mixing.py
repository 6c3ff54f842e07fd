"""applications.style_mixing: rows of w change places, and the grid shows whose they are."""

import pytest
import torch

from applications.style_mixing import appearance_codes, appearances, mix, mixing_grid, motion_rows
from dnnlib.errors import UserError
from tests.helpers import tiny
from training.cameras import frontal_label
from training.data.streams import Stream
from training.sampling.clips import clip_spec, generate, latent_code
from training.sampling.options import SamplingOptions
from training.sampling.pictures import to_uint8

pytestmark = pytest.mark.usefixtures("one_thread")

SIDE = 32
ONE = SamplingOptions(frames_per_batch=1)
CAMERA = frontal_label(0.1)


@pytest.fixture(scope="module")
def G():
    return tiny.generator()


def mapped(G, seeds, t=0.6, options=ONE):
    z_motion = latent_code(9, G.config.z_motion_dim, Stream.MOTION)
    return appearances(G, appearance_codes(G, seeds), camera=CAMERA, z_motion=z_motion, t=t, options=options)


def grid(G, layers=None, options=ONE, t=0.6):
    """Return a grid of two rows and three columns as cells uint8 [3, 4, R, R, 3]."""
    picture = mixing_grid(
        G, mapped(G, [1, 2], t), mapped(G, [3, 4, 5], t), camera=CAMERA, t=t, layers=layers, options=options
    )
    assert picture.shape == (3 * SIDE, 4 * SIDE, 3)
    return torch.from_numpy(picture).unflatten(0, (3, SIDE)).unflatten(2, (4, SIDE)).transpose(1, 2)


def assert_alike(picture, other):
    """Compare pictures uint8: floats may differ in their last bits, with the place in memory, and round otherwise."""
    assert (picture.int() - other.int()).abs().max() <= 1


LAYERS = [
    (slice(0, 2), [0, 1]),
    (slice(None, 3), [0, 1, 2]),
    (slice(2, None), [2, 3]),
    (slice(0, 4, 2), [0, 2]),
    (slice(None), [0, 1, 2, 3]),
    ([3, 0], [0, 3]),
    ([], []),
    (range(1, 3), [1, 2]),
]


@pytest.mark.parametrize("layers, rows", LAYERS)
def test_the_rows_in_layers_are_of_b(layers, rows):
    a, b = tiny.normal(0, 4, 8), tiny.normal(1, 4, 8)
    mixed = mix(a, b, layers)
    for row in range(4):
        torch.testing.assert_close(mixed[row], (b if row in rows else a)[row], rtol=0, atol=0)


def test_batches_of_latents_broadcast():
    a, b = tiny.normal(0, 2, 1, 4, 8), tiny.normal(1, 3, 4, 8)
    mixed = mix(a, b, [1])
    assert mixed.shape == (2, 3, 4, 8)
    torch.testing.assert_close(mixed[1, 2], mix(a[1, 0], b[2], [1]), rtol=0, atol=0)


@pytest.mark.parametrize("layers, row", [([4], 4), ([0, -1], -1), (slice(0, 6), 4), (slice(-2, None), -2)])
def test_rows_that_are_not_there_are_refused(layers, row):
    with pytest.raises(UserError, match=f"no row {row}: choose layers from 0 to 3"):
        mix(tiny.normal(0, 4, 8), tiny.normal(1, 4, 8), layers)


@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_motion_rows_are_the_convolutions_of_blocks_with_motion(blocks):
    G = tiny.generator(generator__motion_blocks=blocks)
    synthesis = G.backbone.synthesis
    moving = [getattr(synthesis, f"b{side}") for side in synthesis.resolutions]
    convolutions = sum(block.num_convs for block in moving if block.motion_time_fuser is not None)
    assert motion_rows(G) == slice(0, convolutions)


def test_headings_are_the_frames_of_the_seeds(G):
    cells = grid(G, t=0.0)
    assert not cells[0, 0].any()
    for cell, seed in [(cells[0, 1], 3), (cells[0, 3], 5), (cells[1, 0], 1), (cells[2, 0], 2)]:
        [out] = generate(G, clip_spec(G, seed, 9, CAMERA[None]), ONE)
        assert_alike(cell, to_uint8(out["image"])[0].permute(1, 2, 0))


def test_all_rows_of_b_are_b_and_none_are_a(G):
    of_columns, of_rows = grid(G, slice(None)), grid(G, [])
    for a in range(1, 3):
        for b in range(1, 4):
            assert_alike(of_columns[a, b], of_columns[0, b])
            assert_alike(of_rows[a, b], of_rows[a, 0])


def test_by_default_the_rows_of_motion_are_mixed(G):
    default = grid(G)
    assert_alike(default, grid(G, motion_rows(G)))
    for other in ([], slice(None)):
        assert (default.int() - grid(G, other).int()).abs().max() > 5


def test_a_grid_does_not_depend_on_batches(G):
    assert_alike(grid(G), grid(G, options=SamplingOptions(frames_per_batch=5)))


def test_truncation_moves_latents_to_their_mean(G):
    whole = mapped(G, [1, 2]).ws
    half = mapped(G, [1, 2], options=SamplingOptions(psi=0.5, cutoff=3)).ws
    mean = G.backbone.mapping.w_avg
    torch.testing.assert_close(half[:, :3], (whole[:, :3] + mean) / 2)
    torch.testing.assert_close(half[:, 3:], whole[:, 3:], rtol=0, atol=0)


def test_a_cell_moves_as_its_row_where_appearance_drives_the_motion():
    G = tiny.generator(generator__motion_code="z_a")
    codes = appearance_codes(G, [1, 2])
    torch.testing.assert_close(mapped(G, [1, 2]).z_motion, codes, rtol=0, atol=0)
    of_columns = grid(G, slice(None))
    changed = of_columns[1, 1] != of_columns[0, 1]  # by the row's motion, for w is the column's
    assert changed.float().mean() > 0.1
    of_rows = grid(G, [])
    assert_alike(of_rows[1, 2], of_rows[1, 0])
