"""Parameter names and shapes are those of the public checkpoints; the golden weights are what they should be."""

import numpy as np
import pytest

from tests.helpers import golden

FIXTURES = {
    "generator": "generator",
    "img_discriminator": "image_discriminator",
    "vid_discriminator": "video_discriminator",
}
PARAMETERS = {"generator": 44320383, "img_discriminator": 31359744, "vid_discriminator": 31372608}


def published(network: str) -> dict[str, tuple[tuple[int, ...], bool]]:
    """(shape, trainable) of every entry by name, in order."""
    entries = {}
    section = ""
    text = (golden.FOLDER / "state_dict_keys.txt").read_text()
    for line in text.splitlines():
        name, shape, *buffer = line.split()
        if name == "#":
            section = shape.rstrip(":")
        elif section == network:
            sides = [] if shape == "scalar" else shape.split("x")
            entries[name] = tuple(map(int, sides)), not buffer
    return entries


@pytest.fixture(params=FIXTURES)
def named(request):
    network = request.getfixturevalue(FIXTURES[request.param])
    return request.param, network


def test_names_and_shapes_are_the_published_ones(named):
    name, network = named
    parameters = dict(network.named_parameters())
    ours = {}
    for key, value in network.state_dict().items():
        ours[key] = tuple(value.shape), key in parameters
    assert ours == published(name)


def test_number_of_parameters(named):
    name, network = named
    sizes = [parameter.numel() for parameter in network.parameters()]
    assert sum(sizes) == PARAMETERS[name]


def test_golden_weights_are_filled_as_they_were_for_the_reference(named):
    name, network = named
    names = [str(key) for key in golden.load("weights_check")[f"{name}_names"]]
    assert names == [key for key in published(name) if not key.endswith("resample_filter")]
    state = network.state_dict()
    sums, norms, firsts = [], [], []
    for key in names:
        values = state[key].numpy().astype(np.float64)
        sums.append(values.sum())
        norms.append(np.linalg.norm(values))
        firsts.append(values.flat[0])
    golden.check("weights_check", f"{name}_sum", sums, tolerance=1e-12)
    golden.check("weights_check", f"{name}_l2", norms, tolerance=1e-12)
    golden.check("weights_check", f"{name}_first", firsts, tolerance=1e-30)
