"""Parameter names and shapes are those of the public checkpoints; the golden weights are what they should be."""

import numpy as np
import pytest

from tests.helpers import golden

FIXTURES = {
    "generator": "generator",
    "img_discriminator": "image_discriminator",
    "vid_discriminator": "video_discriminator",
}


def published(network: str) -> dict[str, tuple[tuple[int, ...], bool]]:
    """(shape, trainable) of every entry by name, in order."""
    entries, section = {}, None
    for line in (golden.FOLDER / "state_dict_keys.txt").read_text().splitlines():
        if line.startswith("#"):
            section = line.removeprefix("# ").split(":")[0]
        elif line and section == network:
            name, shape, *buffer = line.split()
            sides = () if shape == "scalar" else tuple(int(side) for side in shape.split("x"))
            entries[name] = sides, not buffer
    return entries


@pytest.fixture(params=FIXTURES)
def named(request):
    return request.param, request.getfixturevalue(FIXTURES[request.param])


def test_names_and_shapes_are_the_published_ones(named):
    name, network = named
    parameters = dict(network.named_parameters())
    ours = {key: (tuple(value.shape), key in parameters) for key, value in network.state_dict().items()}
    assert ours == published(name)


def test_number_of_parameters(named):
    expected = {"generator": 44320383, "img_discriminator": 31359744, "vid_discriminator": 31372608}
    assert sum(p.numel() for p in named[1].parameters()) == expected[named[0]]


def test_golden_weights_are_filled_as_they_were_for_the_reference(named):
    name, network = named
    arrays, state = golden.load("weights_check"), network.state_dict()
    names = [str(key) for key in arrays[f"{name}_names"]]
    assert names == [key for key in published(name) if not key.endswith("resample_filter")]
    values = [state[key].numpy().astype(np.float64) for key in names]
    golden.check("weights_check", f"{name}_sum", [value.sum() for value in values], tolerance=1e-12)
    golden.check("weights_check", f"{name}_l2", [np.linalg.norm(value) for value in values], tolerance=1e-12)
    golden.check("weights_check", f"{name}_first", [value.flat[0] for value in values], tolerance=1e-30)
