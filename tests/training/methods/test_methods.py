"""training.methods: what every method is, what it refuses, how large its networks are, and which file is of which."""

import math
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

import train
from dnnlib.errors import UserError
from dnnlib.options import flags_of, from_dict, options_of, override, to_dict, value_of
from tests.helpers import tiny
from tests.helpers.train_command import refused
from torch_utils import checkpoint
from training.checkpoints.opener import load_generator, open_snapshot
from training.checkpoints.shapes import network_shapes
from training.checkpoints.snapshots import Networks, init_networks, save_snapshot
from training.config import PRESETS, Config, preset, validate
from training.methods import METHODS
from training.networks.generator import Generator

BASELINES = sorted(METHODS.keys() - {"pv3d"})
EACH = pytest.mark.parametrize("method", METHODS)


# --- Settings ---------------------------------------------------------------------------------------------------------


@EACH
@pytest.mark.parametrize("cfg", PRESETS)
def test_every_method_is_possible_at_every_preset(cfg, method):
    config = validate(preset(cfg, method))
    assert config.method == method
    for key, value in METHODS[method].fixed.items():
        assert value_of(config, key) == value, key


@pytest.mark.parametrize("cfg", PRESETS)
def test_pv3d_is_the_preset_as_it_was(cfg):
    assert preset(cfg) == override(Config(), PRESETS[cfg])


@EACH
def test_keys_and_flags_are_those_of_the_configuration(method):
    chosen = METHODS[method]
    keys = {option.key for option in options_of(Config)}
    flags = flags_of(Config)
    for table in (chosen.fixed, chosen.defaults, *chosen.of_presets.values()):
        assert table.keys() <= keys
    assert chosen.refused.keys() <= set(flags.values())
    assert chosen.of_presets.keys() <= PRESETS.keys()
    for key in chosen.fixed:
        assert key not in flags or flags[key] in chosen.refused, "a flag that would make another method of it"


@pytest.mark.parametrize("method", BASELINES)
def test_a_configuration_that_contradicts_its_method_is_refused(method):
    with pytest.raises(UserError, match=f"--method={method} means generator.motion = .*, not layers"):
        validate(override(preset("demo", method), {"generator.motion": "layers"}))


def test_files_without_a_method_are_of_pv3d():
    old = to_dict(preset("demo"))
    del old["method"]
    assert from_dict(Config, old) == preset("demo")


# --- Networks ---------------------------------------------------------------------------------------------------------


def numbers(config: Config, name: str) -> int:
    return sum(math.prod(shape) for shape in network_shapes(config, [name])[name].values())


def test_sizes_at_512():
    """EG3D is PV3D without motion layers and the raw image's layer; 3DVidGen adds a small network."""
    ours = preset("voxceleb")
    static = preset("voxceleb", "eg3d")
    moving = preset("voxceleb", "3dvidgen-eg3d")
    shapes = network_shapes(ours, ["G"])["G"]
    motion = [name for name in shapes if ".motion_time_fuser." in name or name.startswith("to_img_raw.")]
    assert numbers(static, "G") == numbers(ours, "G") - sum(math.prod(shapes[name]) for name in motion)
    network = (512 + 1) * 128 + (128 + 1) * 128 + (128 + 1) * 64
    assert numbers(moving, "G") == numbers(static, "G") + network
    assert network == 90_432
    # Without cameras the video discriminator has one logit, and no mapping network.
    assert network_shapes(moving, ["D_vid"])["D_vid"]["b512.fromrgb.weight"] == (64, 7, 1, 1)
    assert network_shapes(moving, ["D_vid"])["D_vid"]["b4.out.weight"] == (1, 512)
    assert numbers(moving, "D_img") == numbers(static, "D_img") == numbers(ours, "D_img")


@EACH
def test_the_networks_are_those_of_the_configuration(method):
    config = tiny.config(method=method)
    networks = tiny.networks(config)
    assert {name for name, _ in networks.items()} >= {"G", "G_ema", "D_img"}
    assert (networks.D_vid is None) == (method == "eg3d")
    names = set(networks.G.state_dict())
    assert any("motion_time_fuser" in name for name in names) == (method == "pv3d")
    assert any(name.startswith("to_img_raw.") for name in names) == (method == "pv3d")
    assert any(name.startswith("point_motion.") for name in names) == (method == "3dvidgen-eg3d")
    assert any(name.startswith("chain.") for name in names) == (method == "eg3d-mcghd")


# --- Files ------------------------------------------------------------------------------------------------------------


def saved(tmp_path: Path, method: str) -> tuple[Path, Networks]:
    """Return the path of a snapshot of a method, and its networks."""
    config = tiny.config(method=method)
    networks = tiny.networks(config)
    path = tmp_path / f"{method}.pkl"
    save_snapshot(path, config, networks, torch.zeros(1, 2, 25), {"kimg": 3.0})
    return path, networks


@EACH
def test_snapshots_know_their_method(tmp_path, method):
    path, networks = saved(tmp_path, method)
    found = load_generator(path)
    assert found.config.method == method
    expected = networks.G_ema.state_dict()
    assert found.G.state_dict().keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in found.G.state_dict().items())


def test_a_snapshot_of_an_unknown_method_is_refused_in_a_sentence(tmp_path):
    path, _ = saved(tmp_path, "pv3d")
    payload = checkpoint.load(path, "snapshot")
    payload["config"]["method"] = "stylenerf"
    checkpoint.save(path, payload, "snapshot")
    with pytest.raises(UserError, match="--method=stylenerf is not possible: it must be one of pv3d, eg3d") as error:
        load_generator(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def frames(G: Generator) -> dict[str, torch.Tensor]:
    """Return two frames at two times."""
    camera = tiny.labels(2, 2)
    ws = G.mapping(tiny.normal(0, 2, 8), camera)
    return G.synthesis(ws, camera, tiny.normal(1, 2, 8), torch.tensor([[0.2], [0.9]]))


@torch.no_grad()
@pytest.mark.parametrize("method", ["pv3d", "3dvidgen-eg3d", "eg3d"])  # and eg3d-mcghd: test_eg3d_mcghd
def test_every_method_starts_from_eg3d(tmp_path, method):
    """With learned weights of motion layers PV3D starts at EG3D's frames; without, only what moves is its own."""
    config = tiny.config(method="eg3d")
    static = tiny.networks(config)
    static.G.decoder.net[0].bias.data.fill_(0.5)
    path = tmp_path / "eg3d.pkl"
    save_snapshot(path, config, static, torch.zeros(1, 2, 25), {"kimg": 3.0})
    learned = {"generator__motion_weight": True} if method == "pv3d" else {}
    networks = tiny.networks(tiny.config(method=method, **learned))
    before = {name: value.clone() for name, value in networks.G.state_dict().items()}
    assert init_networks(networks, open_snapshot(path)) == 3000
    source = static.G.state_dict()
    for name, value in networks.G.state_dict().items():
        if name in source:
            assert torch.equal(value, source[name]), name
        elif name.startswith("point_motion."):
            assert torch.equal(value, before[name]), name
    theirs = networks.D_img.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in static.D_img.state_dict().items())
    if method != "3dvidgen-eg3d":
        expected = frames(static.G)
        for name, value in frames(networks.G).items():
            torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "theirs, own", [("pv3d", "eg3d"), ("pv3d", "3dvidgen-eg3d"), ("3dvidgen-eg3d", "pv3d"), ("pv3d", "eg3d-mcghd")]
)
def test_a_motion_that_a_method_does_not_have_is_refused(tmp_path, theirs, own):
    path, _ = saved(tmp_path, theirs)
    networks = tiny.networks(tiny.config(method=own))
    with pytest.raises(UserError, match=f"is of --method={theirs}, which moves in another way"):
        init_networks(networks, open_snapshot(path))


@pytest.mark.parametrize("method", BASELINES)
def test_there_is_no_fresh_motion_without_motion_layers(tmp_path, method):
    path, networks = saved(tmp_path, method)
    with pytest.raises(UserError, match="--fresh-motion is not possible"):
        init_networks(networks, open_snapshot(path), fresh_motion=True)


# --- The command ------------------------------------------------------------------------------------------------------


def train_command(tmp_path, *more: str) -> Result:
    arguments = [f"--outdir={tmp_path}", f"--data={tmp_path / 'none'}", "--dry-run", "--device=cpu", *more]
    return CliRunner().invoke(train.main, arguments)


@pytest.mark.parametrize("method", BASELINES)
def test_flags_that_do_nothing_are_refused(tmp_path, method):
    values = {"--motion-generator": "mlp", "--motion-code": "z_a", "--camera-mode": "All", "--plane-axes": "orthogonal"}
    switches = {option.flag for option in options_of(Config) if option.kind is bool}
    for flag, why in METHODS[method].refused.items():
        given = flag if flag in switches else f"{flag}={values.get(flag, 1)}"
        line = refused(train_command(tmp_path, "--cfg=demo", given, f"--method={method}"))
        assert line == f"Error: {flag} is not possible with --method={method}, for {why}: leave it out."


def test_a_switch_that_is_off_is_refused_too(tmp_path):
    line = refused(train_command(tmp_path, "--method=eg3d", "--cfg=demo", "--no-video-discriminator"))
    assert "--video-discriminator is not possible with --method=eg3d" in line


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("method, batch", [("pv3d", 8), ("eg3d", 16), ("3dvidgen-eg3d", 8), ("eg3d-mcghd", 4)])
def test_help_shows_the_defaults_of_the_method(method, batch, order):
    arguments = [f"--method={method}", "--cfg=demo"][::order]
    text = " ".join(CliRunner().invoke(train.main, [*arguments, "--help"]).output.split())
    assert f"--batch INTEGER Clips per iteration over all processes. [default: {batch}]" in text
    for name in METHODS:
        assert f"{name}: {METHODS[name].about}" in text
