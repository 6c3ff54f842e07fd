"""training.checkpoints.foreign: the networks inside PV3D checkpoints and EG3D pickles; hostile ones get a sentence."""

import copy
import math
import os
import pickle
from dataclasses import replace

import pytest
import torch

from dnnlib.errors import UserError
from tests.helpers import foreign_files, golden, tiny
from tests.helpers.foreign_files import MARKER, Persistent, pv3d, static
from training.checkpoints.foreign_config import generator_config
from training.checkpoints.opener import load_generator, open_checkpoint, open_snapshot
from training.checkpoints.shapes import network_shapes
from training.checkpoints.snapshots import MOTION, StoredSnapshot, init_networks, with_fresh_motion
from training.config import GeneratorConfig, RenderingConfig
from training.networks.discriminators import ImageDiscriminator, VideoDiscriminator
from training.networks.generator import Generator


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder of its own, in which nothing may be made by a hostile file."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert not (tmp_path / MARKER).exists(), "something in the file was run"


@pytest.fixture
def nets():
    """Tiny networks with w_avg and G unlike G_ema."""
    networks = tiny.networks(tiny.config())
    for seed, G in enumerate((networks.G, networks.G_ema)):
        G.backbone.mapping.w_avg.copy_(tiny.normal(seed, 8))
        G.decoder.net[0].bias.data.copy_(tiny.normal(seed + 2, 8))
    return networks


@pytest.fixture
def eg3d(nets, here):
    """Function that writes a pickle as EG3D does, from the tiny networks without motion and raw image layers."""

    def write(name="eg3d.pkl", **choices):
        return foreign_files.eg3d(nets, here / name, **choices)

    return write


def built(opened: StoredSnapshot, name: str = "G_ema") -> Generator:
    G = Generator(opened.config.generator).requires_grad_(False).eval()
    G.load_state_dict(opened.weights[name])
    return G


@torch.no_grad()
def frames(G: Generator, scale: float = 1.0) -> dict[str, torch.Tensor]:
    """Two frames at two times."""
    z = tiny.normal(0, 2, 8)
    motion = tiny.normal(1, 2, G.config.z_motion_dim)
    camera = tiny.labels(2, 2)
    ws = G.mapping(z, camera * scale, truncation_psi=0.7)
    return G.synthesis(ws, camera, motion, torch.tensor([[0.2], [0.9]]))


def same(a, b, **tolerance):
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], **tolerance)


def test_pv3d_comes_back(nets, here):
    path = pv3d(nets, here / "a.pt")
    opened = open_snapshot(path)
    assert open_checkpoint(path).origin == "PV3D" and not opened.static and opened.notes == ()
    for name, module in nets.items():
        same(opened.weights[name], dict(module.state_dict()), rtol=0, atol=0)
    options = tiny.config()
    found = opened.config.generator  # of the rendering, the file says only the decoder's width
    assert replace(found, rendering=options.generator.rendering) == options.generator
    assert opened.config.discriminator == options.discriminator
    assert opened.camera_bank.shape == (15, 16, 25) and opened.progress == {"kimg": 0.0}
    opened = replace(opened, config=replace(opened.config, generator=options.generator))
    same(frames(built(opened)), frames(nets.G_ema), rtol=0, atol=0)
    same(frames(built(opened, "G")), frames(nets.G), rtol=0, atol=0)


def test_the_papers_networks_are_recognised():
    lines = (golden.FOLDER / "state_dict_keys.txt").read_text().splitlines()
    parts, part = {}, {}
    for line in lines:
        if line.startswith("# "):
            part = parts.setdefault(line.split()[1].rstrip(":"), {})
        else:
            name, shape = line.split()[:2]
            part[name] = () if shape == "scalar" else tuple(map(int, shape.split("x")))
    config = tiny.config()
    found = generator_config(parts["generator"], RenderingConfig(), static=False)
    assert replace(found, sr_channels=None) == GeneratorConfig() and found.sr_channels == (256, 128)
    assert network_shapes(replace(config, generator=found), ["G"])["G"] == parts["generator"]


def test_buffers_that_we_lack_and_filters_that_they_lack(nets, here):
    extra = {"generator_ema.renderer.plane_axes": torch.zeros(3, 3, 3), "generator_ema.steps": torch.tensor(3)}
    path = pv3d(nets, here / "a.pt", **extra)
    content = torch.load(path, weights_only=True)
    filters = [name for name in content["model"] if name.endswith("resample_filter")]
    for name in filters:
        del content["model"][name]
    torch.save(content, path)
    assert filters
    same(open_snapshot(path).weights["G_ema"], dict(nets.G_ema.state_dict()), rtol=0, atol=0)


@pytest.mark.parametrize(
    "changes, match",
    [
        (
            {"generator_ema.decoder.net.0.weight": torch.zeros(8, 5)},
            "1 entries of G_ema are not those of our networks, de",
        ),
        ({"generator.decoder.net.4.weight": torch.zeros(8, 4)}, "entries of G are not those .* decoder.net.4.weight"),
        ({"generator_ema.decoder.net.0.bias": torch.full([8], math.nan)}, "numbers that are not finite"),
        ({"generator_ema.decoder.net.0.bias": torch.zeros(8).long()}, "no floating-point numbers"),
        ({"generator_ema.decoder.net.0.bias": "text"}, "decoder.net.0.bias is no tensor"),
        ({"generator_ema.backbone.mapping.embed.weight": torch.zeros(8, 26)}, "cameras have 26 numbers, not 25"),
        ({"generator_ema.backbone.synthesis.b8.conv1.weight": torch.zeros(9, 8, 3, 3)}, "entries of G are not those"),
        ({"img_discriminator.b8.conv0.bias": torch.zeros(3)}, "1 entries of D_img"),
        ({"generator_ema.superresolution.block1.conv1.noise_const": torch.zeros(48, 48)}, "power of two"),
    ],
)
def test_other_networks_are_refused(nets, here, changes, match):
    with pytest.raises(UserError, match=match) as error:
        open_snapshot(pv3d(nets, here / "a.pt", **changes))
    assert "a.pt" in str(error.value) and "\n" not in str(error.value)


def test_eg3d_comes_back_as_a_static_generator(nets, eg3d):
    path = eg3d()
    checkpoint = open_snapshot(path)
    assert open_checkpoint(path).origin == "EG3D" and checkpoint.static
    assert set(checkpoint.weights) == {"G", "G_ema", "D_img"}
    made_up = checkpoint.weights["G_ema"].keys() - dict(static(nets.G_ema).state_dict()).keys()
    assert all(MOTION in name or name.startswith("to_img_raw.") for name in made_up)
    assert len(made_up) == 4 + 3 * 14
    options = tiny.config().generator
    assert checkpoint.config.generator == replace(options, motion_weight=True, motion_blocks=3, z_motion_dim=512)
    for name, G in (("G", nets.G), ("G_ema", nets.G_ema)):
        same(frames(built(checkpoint, name)), frames(static(G)), rtol=1e-5, atol=1e-5)
    same(checkpoint.weights["D_img"], dict(nets.D_img.state_dict()), rtol=0, atol=0)


def test_eg3ds_factors_are_folded_in(nets, eg3d):
    checkpoint = open_snapshot(
        eg3d(c_scale=0.5, decoder_lr_mul=2, ray_start=2.0, disparity_space_sampling=True, white_back=True)
    )
    reference = static(nets.G_ema)
    for parameter in reference.decoder.parameters():
        parameter.data *= 2
    rendering = replace(reference.config.rendering, near=2.0, disparity=True, white_background=True)
    assert checkpoint.config.generator.rendering == rendering
    reference.config = replace(reference.config, rendering=rendering)
    same(frames(built(checkpoint)), frames(reference, 0.5), rtol=1e-5, atol=1e-5)
    assert not open_snapshot(eg3d(c_gen_conditioning_zero=True)).config.generator.camera_conditioning


@pytest.mark.parametrize("learned", [False, True])
def test_training_starts_from_eg3d_with_fresh_motion(nets, eg3d, learned):
    checkpoint = open_snapshot(eg3d())
    G = tiny.networks(tiny.config(generator__motion_weight=learned)).G
    before = copy.deepcopy(G.state_dict())
    G.load_state_dict(with_fresh_motion(checkpoint.weights["G"], G))
    for name, value in G.state_dict().items():
        if name.endswith("motion_time_fuser.weight"):
            assert value == 0
        else:
            fresh = ".motion_time_fuser." in name
            assert torch.equal(value, before[name] if fresh else checkpoint.weights["G"][name]), name
    if learned:
        same(frames(G.eval()), frames(static(nets.G)), rtol=1e-5, atol=1e-5)


class Call:
    """Pickles to a call of any function."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize(
    "options, match",
    [
        ({"clamp_mode": "relu"}, "clamp_mode is 'relu'"),
        ({"ray_start": "auto"}, "rendering option near is 'auto'"),
        ({"depth_resolution": 10**9}, "depth_samples is 1000000000"),
        ({"c_scale": math.inf}, "not finite"),
        ({"ray_end": math.nan}, "finite number"),
        ({"ray_end": 1.0}, "near < far"),
        ({"extra": {"G": Call(os.system, f"touch {MARKER}")}}, "module G has no state"),
        ({"attributes": {"_parameters": {"x": Call(os.system, f"touch {MARKER}")}}}, "entry x is no tensor"),
        ({"attributes": {"_modules": {}}}, "no backbone"),
    ],
)
def test_other_eg3d_networks_are_refused(eg3d, options, match):
    with pytest.raises(UserError, match=match) as error:
        open_snapshot(eg3d(**options))
    assert "The EG3D checkpoint" in str(error.value) and "\n" not in str(error.value)


def test_modules_without_end(eg3d):
    endless = {}
    endless["x"] = Persistent(torch.nn.Identity(), _modules=endless)
    wide = Persistent(torch.nn.Identity())
    for _ in range(30):
        wide = Persistent(torch.nn.Identity(), _modules={"a": wide, "b": wide})
    for extra in ({"G_ema": wide}, {"G": wide}):
        with pytest.raises(UserError, match="nested without end"):
            open_snapshot(eg3d(extra=extra))


def test_hostile_extras_are_never_looked_at(nets, eg3d, here):
    checkpoint = open_snapshot(eg3d(extra={"augment_pipe": Call(os.system, f"touch {MARKER}")}))
    assert checkpoint.static
    torch.save({"model": Call(os.system, f"touch {MARKER}")}, here / "a.pt")
    unknown(here / "a.pt")


def test_eval_as_the_persistent_function(eg3d, here):
    data = eg3d().read_bytes()
    old, new = (b"\x8c" + bytes([len(name)]) + name for name in (b"torch_utils.persistence", b"builtins"))
    (here / "a.pkl").write_bytes(
        data.replace(old, new).replace(b"\x8c\x1b_reconstruct_persistent_obj", b"\x8c\x04eval")
    )
    assert data.count(old) == 1
    with pytest.raises(UserError, match="the module G has no state"):
        open_snapshot(here / "a.pkl")


def unknown(path):
    """Opening this file ends with the sentence for damaged and unknown files."""
    with pytest.raises(UserError, match=f"The checkpoint {path} is damaged or was cut short, or it is not a check"):
        open_checkpoint(path)


def test_files_of_other_kinds(here):
    (here / "text.pkl").write_text("hello")
    (here / "old.pkl").write_bytes(pickle.dumps({"G_ema": 1}, protocol=0))
    torch.save({"model": {"weight": "text"}}, here / "other.pt")
    for name in ("text.pkl", "old.pkl", "other.pt"):
        unknown(here / name)
    torch.save({"model": {"weight": torch.zeros(1)}}, here / "unfit.pt")
    with pytest.raises(UserError, match="it has no averaged generator"):
        open_snapshot(here / "unfit.pt")


def test_damaged_files(nets, eg3d, here):
    data = eg3d().read_bytes()
    for size in (10, 1000, len(data) // 2, len(data) - 1):
        (here / "cut.pkl").write_bytes(data[:size])
        unknown(here / "cut.pkl")
    data = pv3d(nets, here / "a.pt").read_bytes()
    (here / "cut.pt").write_bytes(data[:-100])
    unknown(here / "cut.pt")
    numbers = nets.G_ema.decoder.net[0].bias.detach().numpy().tobytes()
    place = data.index(numbers)
    (here / "flipped.pt").write_bytes(data[:place] + b"\0" + data[place + 1 :])
    with pytest.raises(UserError, match="flipped.pt is damaged or was cut short.*Bad CRC-32"):
        open_snapshot(here / "flipped.pt")


def test_discriminators_are_optional(nets, here):
    path = pv3d(nets, here / "a.pt")
    content = torch.load(path, weights_only=True)
    content["model"] = {name: value for name, value in content["model"].items() if "discriminator" not in name}
    torch.save(content, path)
    assert set(open_snapshot(path).weights) == {"G", "G_ema"}
    content["model"] = {name: value for name, value in content["model"].items() if "_ema" not in name}
    torch.save(content, path)
    with pytest.raises(UserError, match="no averaged generator"):
        open_snapshot(path)


def test_ablations_of_the_discriminators_come_back(here):
    options = tiny.config(discriminator__video_dt=False, discriminator__video_cameras=False)
    networks = tiny.networks(options)
    checkpoint = open_snapshot(pv3d(networks, here / "a.pt"))
    assert checkpoint.config.discriminator == options.discriminator
    D_img, D_vid = (kind(32, checkpoint.config.discriminator) for kind in (ImageDiscriminator, VideoDiscriminator))
    D_img.load_state_dict(checkpoint.weights["D_img"])
    D_vid.load_state_dict(checkpoint.weights["D_vid"])


def test_names_behind_a_parallel_wrapper(nets, here):
    content = torch.load(pv3d(nets, here / "a.pt"), weights_only=True)
    for wrapped in (
        {f"module.{name}": value for name, value in content["model"].items()},
        {name.replace(".", ".module.", 1): value for name, value in content["model"].items()},
    ):
        torch.save({"model": wrapped}, here / "b.pt")
        checkpoint = open_snapshot(here / "b.pt")
        for name, module in nets.items():
            same(checkpoint.weights[name], dict(module.state_dict()), rtol=0, atol=0)


@pytest.mark.parametrize(
    "judge, why",
    [
        (lambda nets: Persistent(nets.D_vid), "entries of D_img are not those"),
        (lambda nets: Call(os.system, f"touch {MARKER}"), "has no state"),
    ],
)
def test_eg3d_with_another_discriminator_is_of_use(nets, eg3d, judge, why):
    path = eg3d(extra={"D": judge(nets)})
    loaded = load_generator(path)
    same(frames(loaded.G), frames(static(nets.G_ema)), rtol=1e-5, atol=1e-5)
    fresh, started = (tiny.networks(tiny.config(generator__motion_weight=True)) for _ in range(2))
    assert init_networks(started, open_snapshot(path)) == 0
    same(dict(started.D_img.state_dict()), dict(fresh.D_img.state_dict()), rtol=0, atol=0)
    same(frames(started.G.eval()), frames(static(nets.G)), rtol=1e-5, atol=1e-5)
    (note,) = loaded.notes
    assert "is left out, and training would begin with a fresh one" in note and why in note
    assert open_snapshot(path).notes == (note,)
    assert load_generator(eg3d()).notes == ()
