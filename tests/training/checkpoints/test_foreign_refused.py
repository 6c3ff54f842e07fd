"""training.checkpoints.foreign: hostile, damaged and other networks' files get a sentence, nothing in them is run."""

import math
import pickle
from pathlib import Path

import pytest
import torch

from dnnlib.errors import UserError
from tests.helpers.foreign_files import RUN, Persistent
from training.checkpoints.opener import open_checkpoint, open_snapshot

NO_NUMBERS = torch.full([8], math.nan)


@pytest.mark.parametrize(
    "name, value, match",
    [
        ("generator_ema.decoder.net.0.weight", torch.zeros(8, 5), "1 entries of G_ema are not those of .*, decoder"),
        ("generator.decoder.net.4.weight", torch.zeros(8, 4), "entries of G are not those .* decoder.net.4.weight"),
        ("generator_ema.decoder.net.0.bias", NO_NUMBERS, "numbers that are not finite"),
        ("generator_ema.decoder.net.0.bias", torch.zeros(8).long(), "no floating-point numbers"),
        ("generator_ema.decoder.net.0.bias", "text", "decoder.net.0.bias is no tensor"),
        ("generator_ema.backbone.mapping.embed.weight", torch.zeros(8, 26), "cameras have 26 numbers, not 25"),
        ("generator_ema.backbone.synthesis.b8.conv1.weight", torch.zeros(9, 8, 3, 3), "entries of G are not those"),
        ("img_discriminator.b8.conv0.bias", torch.zeros(3), "1 entries of D_img"),
        ("generator_ema.superresolution.block1.conv1.noise_const", torch.zeros(48, 48), "power of two"),
    ],
)
def test_other_networks_are_refused(pv3d, name, value, match):
    path = pv3d(**{name: value})
    with pytest.raises(UserError, match=f"The PV3D checkpoint {path} does not fit.*{match}") as error:
        open_snapshot(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "choices, match",
    [
        ({"clamp_mode": "relu"}, "clamp_mode is 'relu'"),
        ({"ray_start": "auto"}, "rendering option near is 'auto'"),
        ({"depth_resolution": 10**9}, "depth_samples is 1000000000"),
        ({"c_scale": math.inf}, "not finite"),
        ({"ray_end": math.nan}, "finite number"),
        ({"ray_end": 1.0}, "near < far"),
        ({"extra": {"G": RUN}}, "module G has no state"),
        ({"attributes": {"_parameters": {"x": RUN}}}, "entry x is no tensor"),
        ({"attributes": {"_modules": {}}}, "no backbone"),
    ],
)
def test_other_eg3d_networks_are_refused(eg3d, choices, match):
    path = eg3d(**choices)
    with pytest.raises(UserError, match=f"The EG3D checkpoint {path} does not fit.*{match}") as error:
        open_snapshot(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("network", ["G", "G_ema"])
def test_modules_without_end(eg3d, network):
    wide = Persistent(torch.nn.Identity())
    for _ in range(30):
        wide = Persistent(torch.nn.Identity(), _modules={"a": wide, "b": wide})
    path = eg3d(extra={network: wide})
    with pytest.raises(UserError, match="nested without end"):
        open_snapshot(path)


def test_eval_as_the_persistent_function(eg3d, here):
    data = eg3d().read_bytes()
    for name, other in (
        (b"\x8c\x17torch_utils.persistence", b"\x8c\x08builtins"),
        (b"\x8c\x1b_reconstruct_persistent_obj", b"\x8c\x04eval"),
    ):
        assert data.count(name) == 1
        data = data.replace(name, other)
    (here / "a.pkl").write_bytes(data)
    with pytest.raises(UserError, match="the module G has no state"):
        open_snapshot(here / "a.pkl")


def test_a_checkpoint_without_averaged_generator(pv3d):
    path = pv3d()
    model = torch.load(path, weights_only=True)["model"]
    generators = {name: value for name, value in model.items() if "discriminator" not in name}
    torch.save({"model": generators}, path)
    assert set(open_snapshot(path).weights) == {"G", "G_ema"}
    torch.save({"model": {name: value for name, value in generators.items() if "_ema" not in name}}, path)
    with pytest.raises(UserError, match="no averaged generator"):
        open_snapshot(path)


def unknown(path: Path) -> None:
    """Opening this file must end with the sentence for damaged and unknown files."""
    sentence = f"The checkpoint {path} is damaged or was cut short, or it is not a checkpoint of this software"
    with pytest.raises(UserError, match=sentence):
        open_checkpoint(path)


def test_files_of_other_kinds(here):
    path = here / "a.pkl"
    path.write_text("hello")
    unknown(path)
    path.write_bytes(pickle.dumps({"G_ema": 1}, protocol=0))
    unknown(path)
    for content in ({"model": {"weight": "text"}}, {"model": RUN}):
        torch.save(content, path)
        unknown(path)


def test_pickles_that_were_cut_short(eg3d, here):
    data = eg3d().read_bytes()
    for size in (10, 1000, len(data) // 2, len(data) - 1):
        (here / "cut.pkl").write_bytes(data[:size])
        unknown(here / "cut.pkl")


def test_zips_that_were_cut_short_or_damaged(nets, pv3d):
    path = pv3d()
    data = path.read_bytes()
    path.write_bytes(data[:-100])
    unknown(path)
    bias = nets.G_ema.decoder.net[0].bias.detach()
    place = data.index(bias.numpy().tobytes())
    path.write_bytes(data[:place] + b"\0" + data[place + 1 :])
    with pytest.raises(UserError, match="is damaged or was cut short.*Bad CRC-32"):
        open_snapshot(path)
