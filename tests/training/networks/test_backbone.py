"""The backbone: golden features of every block, the rows of ws, where motion enters, noise."""

import pytest
import torch

from tests.helpers import golden
from tests.helpers.recording import recorded
from tests.helpers.tiny import config, normal, seeded
from training.networks.backbone import SynthesisNetwork

BLOCKS = (4, 8, 16, 32, 64, 128, 256)


def test_every_block_matches_golden(scene):
    for r in BLOCKS:
        x, img = scene.blocks[f"b{r}"][0].output
        golden.check("generator", f"b{r}_x_stat", golden.stat(x))
        golden.check("generator", f"b{r}_img_stat", golden.stat(img))
        if r <= 8:
            golden.check("generator", f"b{r}_x", x[:, :64])
            golden.check("generator", f"b{r}_img", img)


def test_planes_match_golden(scene):
    """Channels 0 to 31 are the first plane, and so on."""
    planes = scene.planes.flatten(1, 2)
    golden.check("generator", "planes_s9", planes[:, :, ::9, ::9])
    golden.check("generator", "planes_stat", golden.stat(planes))


def test_planes_match_golden_in_float64(scene64):
    for r in (4, 8):
        golden.check("generator_f64", f"b{r}_img", scene64.blocks[f"b{r}"][0].output[1])
    golden.check("generator_f64", "planes_stat", golden.stat(scene64.planes.flatten(1, 2)))


def network(dtype=torch.float64, **changes):
    with seeded(0):
        synthesis = SynthesisNetwork(config(**changes).generator).requires_grad_(False).to(dtype)
    for name, parameter in synthesis.named_parameters():
        if name.endswith("noise_strength"):
            parameter.fill_(0.3)
    return synthesis


def inputs(synthesis, count=3, dtype=torch.float64):
    ws = normal(0, count, synthesis.num_ws, 8, dtype=dtype)
    return ws, normal(1, count, 8, dtype=dtype), torch.linspace(0.1, 0.9, count, dtype=dtype).unsqueeze(1)


def test_each_layer_sees_its_row_of_ws():
    """b4: conv1 0, torgb 1; then conv0 shares the row of the torgb before it; 14 rows for 256 x 256 planes."""
    synthesis = network(generator__plane_resolution=256, generator__channel_base=512, generator__channel_max=2)
    assert synthesis.num_ws == 14
    layers = [
        name.removesuffix(".affine")
        for name, _ in synthesis.named_modules()
        if name.endswith(".affine") and "motion" not in name
    ]
    ws = torch.arange(14.0, dtype=torch.float64).reshape(1, 14, 1).expand(1, 14, 8)
    with recorded(synthesis, *(f"{layer}.affine" for layer in layers)) as calls:
        synthesis(ws, *inputs(synthesis, 1)[1:])
    seen = {layer: int(calls[f"{layer}.affine"][0].inputs[0].unique().item()) for layer in layers}
    expected = {"b4.conv1": 0, "b4.torgb": 1}
    for i, r in enumerate(BLOCKS[1:]):
        expected |= {f"b{r}.conv0": 2 * i + 1, f"b{r}.conv1": 2 * i + 2, f"b{r}.torgb": 2 * i + 3}
    assert seen == expected and max(seen.values()) == 13


@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_motion_layers_stand_in_the_first_blocks(blocks):
    synthesis = network(generator__motion_blocks=blocks)
    have = [r for r in synthesis.resolutions if synthesis.get_submodule(f"b{r}").motion_time_fuser is not None]
    assert have == synthesis.resolutions[:blocks]


def test_motion_enters_behind_the_first_convolution():
    """At 4 x 4, which has only one, behind conv1; else between conv0 and conv1."""
    synthesis = network()
    names = [f"b{r}.{layer}" for r in (4, 8) for layer in ("conv1", "motion_time_fuser", "torgb")] + ["b8.conv0"]
    with recorded(synthesis, *names) as calls:
        synthesis(*inputs(synthesis))
    calls = {name: call[0] for name, call in calls.items()}
    for source, target in [
        ("b4.conv1", "b4.motion_time_fuser"),
        ("b4.motion_time_fuser", "b4.torgb"),
        ("b4.motion_time_fuser", "b8.conv0"),
        ("b8.conv0", "b8.motion_time_fuser"),
        ("b8.motion_time_fuser", "b8.conv1"),
        ("b8.conv1", "b8.torgb"),
    ]:
        assert calls[target].inputs[0] is calls[source].output, f"{source} feeds {target}"


def test_one_row_of_ws_serves_all_frames():
    synthesis = network()
    ws, z_motion, t = inputs(synthesis)
    shared = synthesis(ws[:1], z_motion, t)
    torch.testing.assert_close(shared, synthesis(ws[:1].expand_as(ws), z_motion, t))


def test_frames_do_not_mix():
    synthesis = network()
    args = inputs(synthesis)
    together = synthesis(*args)
    for i in range(3):
        torch.testing.assert_close(synthesis(*(a[i : i + 1] for a in args)), together[i : i + 1])


def test_noise_modes():
    synthesis = network()
    args = inputs(synthesis)
    const, none = synthesis(*args), synthesis(*args, "none")
    assert torch.equal(const, synthesis(*args, "const")) and not torch.allclose(const, none)
    first, again, other = (synthesis(*args, "random", torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other) and not torch.allclose(first, const)


def test_convolutions_and_planes_can_be_in_half_precision():
    synthesis = network(torch.float32)
    args = inputs(synthesis, dtype=torch.float32)
    exact = synthesis(*args)
    with recorded(synthesis, "b8", "b16") as calls:
        half = synthesis(*args, dtype=torch.bfloat16)
    assert {value.dtype for value in calls["b16"][0].output} == {torch.bfloat16}
    assert half.dtype == torch.bfloat16 and (half - exact).norm() < 0.05 * exact.norm()
