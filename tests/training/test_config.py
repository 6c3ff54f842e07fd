"""Presets hold the paper's numbers; configurations survive being saved; every impossible option is refused."""

import dataclasses
import json

import pytest

from dnnlib.errors import UserError
from training.config import (
    PRESETS,
    Config,
    LossConfig,
    from_dict,
    override,
    preset,
    split_batch,
    to_dict,
    validate,
    video_camera_dim,
)


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
    assert from_dict(json.loads(json.dumps(to_dict(config)))) == config
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
        from_dict(change)


def test_saved_numbers_may_lose_their_point():
    assert from_dict({"loss": {"gamma": 2}, "training": {"batch_gpu": None}}) == Config()
    assert isinstance(from_dict({"loss": {"gamma": 2}}).loss.gamma, float)


@pytest.mark.parametrize(
    "option, value, message",
    [
        ("generator.motion_generator", "conv", "--motion-generator=conv is not one of modconv, mlp, naive"),
        ("generator.motion_code", "z", "--motion-code=z is not one of"),
        ("generator.camera_mode", "map", "--camera-mode=map is not one of"),
        ("generator.rendering.plane_axes", "xyz", "--plane-axes=xyz is not one of"),
        ("training.precision", "fp8", "--precision=fp8 is not one of"),
        ("generator.plane_resolution", 100, "plane resolution 100 must be a power of two"),
        ("generator.plane_resolution", 4, "plane resolution 4 must"),
        ("generator.plane_resolution", 2048, "plane resolution 2048 must"),
        ("generator.img_resolution", 8, "image resolution 8 must"),
        ("generator.img_resolution", 513, "image resolution 513 must"),
        ("generator.motion_blocks", 0, "--motion-blocks=0 is out of range.* choose 1 to 7"),
        ("generator.motion_blocks", 8, "--motion-blocks=8 is out of range.* choose 1 to 7"),
        ("generator.rendering.resolution", 3, "--neural-rendering-resolution=3 is out of range"),
        ("generator.rendering.resolution", 513, "--neural-rendering-resolution=513 is out of range"),
        ("generator.rendering.near", 0.0, "0 < near < far, not 0.0 and 3.3"),
        ("generator.rendering.far", 2.25, "0 < near < far, not 2.25 and 2.25"),
        ("loss.gamma", -1.0, "must not be negative"),
        ("loss.lambda_img", -1.0, "must not be negative"),
        ("loss.lambda_vid", -0.1, "must not be negative"),
        ("loss.lambda_reg", -0.1, "must not be negative"),
        ("training.batch", 0, "--batch and --batch-gpu must be at least 1"),
        ("training.batch_gpu", 0, "--batch and --batch-gpu must be at least 1"),
        ("training.window", 0, "--window must be at least 1"),
        ("generator.channel_base", 8, "layers without channels"),
        ("discriminator.channel_base", 8, "layers without channels"),
        ("loss.gamma", float("nan"), "loss.gamma is nan: give a finite number"),
        ("training.kimg", float("inf"), "training.kimg is inf"),
        ("training.betas", (0.0, float("nan")), "training.betas is nan"),
        ("training.betas", (0.0, 1.0), "betas from 0 to"),
        ("training.kimg", 0.0, "must be above 0"),
        ("training.tick", -1.0, "must be above 0"),
        ("generator.z_dim", 0, "generator.z_dim is 0: choose 1 to 8192"),
        ("generator.w_dim", 10**12, "choose 1 to 8192"),
        ("generator.sr_channels", (8, 10**9), "generator.sr_channels is 1000000000: choose"),
        ("generator.mapping_layers", 10**9, "choose 1 to 64"),
        ("training.g_reg_interval", 0, "choose 1 to"),
        ("generator.rendering.box_side", 0.0, "cube must be above 0"),
        ("generator.rendering.depth_samples", 2**14, "depth_samples is 16384"),
        ("generator.camera_mode", "a\nb", r"--camera-mode=a\\nb is not one of"),
    ],
)
def test_impossible_options_are_refused(option, value, message):
    with pytest.raises(UserError, match=message):
        validate(override(Config(), {option: value}))


def test_impossible_pairs_of_options_are_refused():
    with pytest.raises(UserError, match="both off"):
        validate(override(Config(), {"discriminator.image": False, "discriminator.video": False}))
    with pytest.raises(UserError, match="--depth-samples must be at least 4"):
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
