"""Presets hold the paper's numbers; configurations survive being saved; every impossible option is refused."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from dnnlib.errors import UserError
from dnnlib.options import from_dict, options_of, override, to_dict
from training.config import PRESETS, Config, LossConfig, preset, validate
from training.division import processes_that_pay, split_batch
from training.networks.discriminators import video_camera_dim

ROOT = Path(__file__).parents[2]


def test_a_configuration_does_not_load_torch():
    code = "import training.config, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_every_flag_has_a_heading_and_a_help_text():
    for option in options_of(Config):
        assert (option.flag is None) == (option.group is None) == (option.help is None), option
        assert option.flag is None or option.flag.startswith("--")


def test_every_default_is_allowed_by_its_declaration():
    validate(Config())


@pytest.mark.parametrize(
    "name, lambda_reg, gamma", [("voxceleb", 0.60, 2.0), ("celebvhq", 0.05, 4.0), ("talkinghead1kh", 0.50, 2.0)]
)
def test_presets_match_the_paper(name, lambda_reg, gamma):
    """PV3D A.1 and section 3."""
    config = preset(name)
    loss, training, g, rendering = config.loss, config.training, config.generator, config.generator.rendering
    assert (loss.lambda_reg, loss.gamma, loss.lambda_img, loss.lambda_vid) == (lambda_reg, gamma, 1.0, 0.65)
    assert (loss.reg_points, loss.reg_perturbation, loss.blur_sigma) == (1000, 0.004, 10.0)
    assert (loss.swap_start, loss.swap_end, loss.swap_fade_kimg) == (1.0, 0.5, 1000)
    assert (training.glr, training.dlr, training.betas, training.eps) == (0.0025, 0.002, (0.0, 0.99), 1e-8)
    assert (training.batch, training.g_reg_interval, training.d_reg_interval) == (16, 4, 16)
    assert training.kimg * 1000 == 300_000 * 16 and training.window == 16 and training.mirror
    assert (g.z_dim, g.z_motion_dim, g.w_dim, g.mapping_layers) == (512, 512, 512, 2)
    assert (g.plane_resolution, g.plane_channels, g.img_resolution, g.motion_blocks) == (256, 32, 512, 4)
    assert (g.motion_generator, g.motion_code, g.camera_mode, g.motion_weight) == ("modconv", "z_m", "MapT", False)
    assert [g.channels(r) for r in g.block_resolutions] == [512, 512, 512, 512, 512, 256, 128]
    assert (rendering.resolution, rendering.near, rendering.far, rendering.box_side) == (64, 2.25, 3.3, 1.0)
    assert (rendering.depth_samples, rendering.importance_samples, rendering.plane_axes) == (48, 48, "reference")


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_valid_and_survive_being_saved(name):
    config = validate(preset(name))
    assert from_dict(Config, json.loads(json.dumps(to_dict(config)))) == config
    split_batch(config, 1)


def test_overrides_replace_only_what_they_name():
    config = override(Config(), {"generator.rendering.near": 2.0, "loss.gamma": 9.0})
    expected = dataclasses.replace(
        Config(),
        loss=dataclasses.replace(LossConfig(), gamma=9.0),
        generator=dataclasses.replace(
            Config().generator, rendering=dataclasses.replace(Config().generator.rendering, near=2.0)
        ),
    )
    assert config == expected and Config().loss.gamma == 2.0


@pytest.mark.parametrize(
    "function",
    [
        lambda: preset("voxceleb512"),
        lambda: override(Config(), {"loss.gama": 1}),
        lambda: override(Config(), {"losses.gamma": 1}),
    ],
)
def test_unknown_names_are_refused(function):
    with pytest.raises(UserError, match="voxceleb512|loss.gama|losses.gamma"):
        function()


@pytest.mark.parametrize(
    "change, message",
    [
        ({"sampling": {}}, "does not know: sampling"),
        ({"loss": {"gama": 1.0}}, "LossConfig has options .*: gama"),
        ({"loss": 3}, "LossConfig is damaged.*int"),
        ({"loss": {"gamma": "2"}}, "LossConfig.gamma is '2'; expected float"),
        ({"loss": {"gamma": True}}, "LossConfig.gamma is True"),
        ({"training": {"batch": 2.0}}, "TrainingConfig.batch is 2.0; expected int"),
        ({"training": {"mirror": 1}}, "TrainingConfig.mirror is 1; expected bool"),
        ({"generator": {"rendering": []}}, "RenderingConfig is damaged.*list"),
        ({3: 4, "hue\n": 1}, r"does not know: 3, hue\\n\.$"),
        ({"generator": {"sr_channels": [8]}}, "a list; expected 2 num"),
        ({"generator": {"sr_channels": [8, "x"]}}, "sr_channels is 'x'; expected int"),
        ({"training": {"betas": 0.5}}, "betas is 0.5; expected 2 numbers"),
        ({"loss": {"gamma": 10**400}}, "a number of 1329 bits"),
        ({"generator": {"z_dim": -(10**5000)}}, "far out of range"),
        ({"generator": {"z_dim": {"a": 1}}}, "z_dim is a dict; expected int"),
    ],
)
def test_damaged_saved_configurations_are_refused(change, message):
    with pytest.raises(UserError, match=message):
        from_dict(Config, change)


def test_saved_numbers_may_lose_their_point():
    assert from_dict(Config, {"loss": {"gamma": 2}, "training": {"batch_gpu": None}}) == Config()
    assert isinstance(from_dict(Config, {"loss": {"gamma": 2}}).loss.gamma, float)


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("generator.motion_generator", "conv", "--motion-generator=conv is not .*one of modconv, mlp, naive"),
        ("generator.motion_code", "z", "--motion-code=z is not possible: it must be one of z_m, z_a"),
        ("generator.camera_mode", "map", "--camera-mode=map is not"),
        ("generator.camera_mode", "a\nb", r"--camera-mode=a\\nb is not"),
        ("generator.rendering.plane_axes", "xyz", "--plane-axes=xyz is not"),
        ("training.precision", "fp8", "--precision=fp8 is not"),
        ("generator.plane_resolution", 100, "--plane-resolution=100 is not possible: it must be a power of two and"),
        ("generator.plane_resolution", 4, "at least 8 and at most 1024"),
        ("generator.plane_resolution", 2048, "--plane-resolution=2048 is not"),
        ("generator.img_resolution", 8, "--img-resolution=8 is not"),
        ("generator.img_resolution", 513, "--img-resolution=513 is not"),
        ("generator.motion_blocks", 0, "--motion-blocks=0 is not possible: it must be at least 1"),
        ("generator.motion_blocks", 8, "--motion-blocks=8 is out of range.* choose 1 to 7"),
        ("generator.rendering.resolution", 3, "--neural-rendering-resolution=3 is not"),
        ("generator.rendering.resolution", 513, "--neural-rendering-resolution=513 is not"),
        ("generator.rendering.near", 0.0, "--near=0.0 is not possible: it must be a finite number and above 0"),
        ("generator.rendering.far", 2.25, "0 < near < far, not 2.25 and 2.25"),
        ("generator.rendering.box_side", 0.0, "generator.rendering.box_side=0.0 is not .* above 0"),
        ("generator.rendering.depth_samples", 1, "--depth-samples=1 is not possible: it must be at least 2"),
        ("generator.rendering.depth_samples", 2**14, "--depth-samples=16384 is not"),
        ("generator.rendering.importance_samples", -1, "--importance-samples=-1 is not"),
        ("loss.gamma", -1.0, "--gamma=-1.0 is not possible: it must be a finite number and at least 0"),
        ("loss.gamma", float("nan"), "--gamma=nan is not possible: it must be a finite number"),
        ("loss.lambda_img", -1.0, "--lambda-img=-1.0 is not"),
        ("loss.lambda_vid", -0.1, "--lambda-vid=-0.1 is not"),
        ("loss.lambda_reg", -0.1, "--lambda-reg=-0.1 is not"),
        ("loss.swap_start", float("inf"), "loss.swap_start=inf is not possible: it must be a finite number"),
        ("training.batch", 0, "--batch=0 is not possible: it must be at least 1 and at most 1048576"),
        ("training.batch_gpu", 0, "--batch-gpu=0 is not"),
        ("training.window", 0, "--window=0 is not"),
        ("training.kimg", float("inf"), "--kimg=inf is not"),
        ("training.kimg", 0.0, "--kimg=0.0 is not .* above 0"),
        ("training.tick", -1.0, "--tick=-1.0 is not"),
        ("training.betas", (0.0, float("nan")), "training.betas=nan is not"),
        ("training.betas", (0.0, 1.0), "training.betas=1.0 is not .* at least 0 and below 1"),
        ("training.g_reg_interval", 0, "training.g_reg_interval=0 is not"),
        ("training.g_reg_interval", None, "--method=pv3d regularises once in so many iterations: give both intervals"),
        ("training.d_reg_interval", None, "--method=pv3d regularises once in so many"),
        ("generator.channel_base", 8, "layers without channels"),
        ("discriminator.channel_base", 8, "layers without channels"),
        ("generator.z_dim", 0, "generator.z_dim=0 is not possible: it must be at least 1 and at most 8192"),
        ("generator.w_dim", 10**12, "at most 8192"),
        ("generator.sr_channels", (8, 10**9), "generator.sr_channels=1000000000 is not"),
        ("generator.mapping_layers", 10**9, "at most 64"),
    ],
)
def test_impossible_options_are_refused(key, value, message):
    with pytest.raises(UserError, match=message):
        validate(override(Config(), {key: value}))


def test_impossible_pairs_of_options_are_refused():
    with pytest.raises(UserError, match="both off"):
        validate(override(Config(), {"discriminator.image": False, "discriminator.video": False}))
    with pytest.raises(UserError, match="--depth-samples=3 is too small: .* at least 4"):
        validate(override(Config(), {"generator.rendering.depth_samples": 3}))
    validate(override(Config(), {"generator.rendering.depth_samples": 3, "generator.rendering.importance_samples": 0}))
    validate(override(Config(), {"generator.rendering.resolution": 512}))
    with pytest.raises(UserError, match="A frame of 46137344 samples along rays is too large"):
        validate(override(Config(), {"generator.rendering.resolution": 512, "generator.rendering.depth_samples": 128}))


@pytest.mark.parametrize(
    "batch, batch_gpu, processes, expected",
    [(16, None, 1, (16, 16)), (16, 4, 2, (8, 4)), (2, None, 1, (2, 2)), (8, 1, 8, (1, 1)), (24, 4, 2, (12, 4))],
)
def test_batches_are_split(batch, batch_gpu, processes, expected):
    config = override(Config(), {"training.batch": batch, "training.batch_gpu": batch_gpu})
    assert split_batch(config, processes) == expected


@pytest.mark.parametrize(
    "batch, batch_gpu, processes, message",
    [
        (16, None, 3, "--batch=16 is not divisible by the 3 processes; try --batch=18"),
        (16, 3, 1, "--batch-gpu=3 does not divide the 16 clips"),
        (16, 32, 1, "--batch-gpu=32 does not divide"),
        (12, 6, 1, "6 clips per forward pass do not split"),
        (3, None, 1, "3 clips per forward pass do not split"),
    ],
)
def test_batches_that_cannot_be_split(batch, batch_gpu, processes, message):
    config = override(Config(), {"training.batch": batch, "training.batch_gpu": batch_gpu})
    with pytest.raises(UserError, match=message):
        split_batch(config, processes)


def test_condition_of_the_video_discriminator():
    d = Config().discriminator
    assert video_camera_dim(d) == 50 and video_camera_dim(dataclasses.replace(d, video_cameras=False)) == 0


@pytest.mark.parametrize(
    "changes, cores, processes",
    [
        ({"batch": 8}, 1, 1),
        ({"batch": 8}, 2, 2),
        ({"batch": 8}, 64, 2),
        ({"batch": 4}, 2, 1),  # half a group
        ({"batch": 24}, 4, 3),
        ({"batch": 24}, 5, 3),
        ({"batch": 12}, 2, 1),  # 6 clips are no whole groups
        ({"batch": 16, "batch_gpu": 4}, 4, 4),
        ({"batch": 16, "batch_gpu": 8}, 4, 2),
        ({"batch": 16, "batch_gpu": 2}, 4, 1),
        ({"batch": 1}, 2, 1),
    ],
)
def test_processes_that_pay_keep_the_groups_of_one(changes, cores, processes):
    small = override(preset("demo"), {f"training.{name}": value for name, value in changes.items()})
    assert processes_that_pay(small, cores) == processes
    per_process, per_pass = split_batch(small, processes)
    assert processes == 1 or per_pass % small.discriminator.mbstd_group == 0
    large = override(small, {"generator.img_resolution": 512})
    assert processes_that_pay(large, cores) == 1
