"""training.sampling.clips: clips depend on seeds and cameras alone; cameras of the mapping network; densities."""

import weakref
from dataclasses import replace

import pytest
import torch

from tests.helpers import tiny
from tests.helpers.recording import spy
from training.cameras import frontal_label, orbit_labels
from training.data.streams import Stream
from training.networks.generator import Generator
from training.sampling import pictures
from training.sampling.clips import (
    ClipSpec,
    clip_geometry,
    clip_spec,
    frame_times,
    generate,
    generate_views,
    latent_code,
)
from training.sampling.options import SamplingOptions

pytestmark = pytest.mark.usefixtures("one_thread")
FRAMES = 5


@pytest.fixture(scope="module")
def G() -> Generator:
    return tiny.generator()


def clip(G: Generator, seed: int = 3, motion_seed: int = 7) -> ClipSpec:
    return clip_spec(G, seed, motion_seed, orbit_labels(FRAMES))


def frames(G: Generator, spec: ClipSpec, **options) -> dict[str, torch.Tensor]:
    """All frames of a clip."""
    batches = list(generate(G, spec, SamplingOptions(**options)))
    return {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}


def test_codes_are_those_of_the_seeds():
    assert torch.equal(latent_code(3, 64, Stream.MOTION), latent_code(3, 64, Stream.MOTION))
    assert torch.equal(latent_code(3, 64, Stream.MOTION)[:16], latent_code(3, 16, Stream.MOTION)), "whatever the size"
    assert not torch.isclose(latent_code(3, 64, Stream.APPEARANCE), latent_code(3, 64, Stream.MOTION)).any()
    assert not torch.isclose(latent_code(3, 64, Stream.MOTION), latent_code(4, 64, Stream.MOTION)).any()
    many = latent_code(0, 100_000, Stream.APPEARANCE)
    assert many.dtype == torch.float32 and abs(many.mean()) < 0.02 and abs(many.std() - 1) < 0.02


def test_times_run_from_0_to_1(G):
    assert frame_times(5).tolist() == [0.0, 0.25, 0.5, 0.75, 1.0] and frame_times(1).tolist() == [0.0]
    assert frame_times(3, 0.5).tolist() == [0.0, 0.25, 0.5]
    spec = clip(G)
    assert spec.z.shape == (8,) and spec.z_motion.shape == (8,) and spec.times.shape == (FRAMES,)
    assert torch.equal(spec.z, latent_code(3, 8, Stream.APPEARANCE)) and torch.equal(
        spec.z_motion, latent_code(7, 8, Stream.MOTION)
    )


@pytest.mark.parametrize(
    "ablation",
    [
        {},
        {"generator__motion_generator": "naive"},
        {"generator__camera_mode": "Non"},
        {"generator__motion_code": "z_a"},
    ],
)
def test_frames_do_not_depend_on_the_batch(ablation):
    G = tiny.generator(**ablation)
    spec = clip(G)
    one = frames(G, spec, frames_per_batch=1)
    assert one["image"].shape == (FRAMES, 3, 32, 32) and torch.equal(one["camera"], spec.cameras)
    for size in (2, FRAMES, 100):
        other = frames(G, spec, frames_per_batch=size)
        assert torch.allclose(one["image"], other["image"], atol=1e-5)
        assert torch.allclose(one["image_depth"], other["image_depth"], atol=1e-5)
        steps = pictures.to_uint8(one["image"]).int() - pictures.to_uint8(other["image"]).int()
        assert steps.abs().max() <= 1
    again = frames(G, spec, frames_per_batch=2)
    assert torch.equal(again["image"], frames(G, spec, frames_per_batch=2)["image"]), "the same call, the same bits"


def test_appearance_motion_time_and_camera_all_matter(G):
    image = frames(G, clip(G))["image"]
    assert not torch.allclose(image, frames(G, clip(G, seed=4))["image"], atol=1e-3)
    other_motion = frames(G, clip(G, motion_seed=8))["image"]
    assert torch.allclose(image[0], other_motion[0], atol=1e-6), "at t = 0 the motion code is silent"
    assert not torch.allclose(image[-1], other_motion[-1], atol=1e-4)
    still = frames(G, replace(clip(G), cameras=frontal_label().expand(FRAMES, -1)))["image"]
    assert not torch.allclose(still[0], still[-1], atol=1e-4), "time alone"


@pytest.mark.parametrize(
    "mode, shared, rendered",
    [("MapT", True, "own"), ("Map", True, "own"), ("All", True, "first"), ("Non", False, "own")],
)
def test_camera_modes_at_inference(mode, shared, rendered, monkeypatch):
    """Section 3.4: MapT shares one camera of the mapping network over the clip, and renders each frame with its own."""
    G = tiny.generator(generator__camera_mode=mode)
    mapping, rendering = spy(monkeypatch, G, "mapping"), spy(monkeypatch, G, "render_planes")
    spec = clip(G)
    out = frames(G, spec, frames_per_batch=FRAMES)
    assert torch.equal(mapping[0].inputs[1], spec.cameras[:1] if shared else spec.cameras)
    assert torch.equal(out["camera"], spec.cameras[:1].expand(FRAMES, -1) if rendered == "first" else spec.cameras)
    _, ws, camera = rendering[0].inputs[:3]
    assert torch.equal(camera, out["camera"])
    assert len(ws) == (1 if shared else FRAMES), "shared ws modulate the weights once"


def test_shared_cameras_are_the_clip_s_first_in_every_batch(G, monkeypatch):
    calls = spy(monkeypatch, G, "mapping")
    spec = clip(G)
    frames(G, spec, frames_per_batch=2)
    assert len(calls) == 3
    assert all(torch.equal(row, spec.cameras[0]) for call in calls for row in call.inputs[1])


def test_side_views_keep_the_conditions_of_the_front_view(G, monkeypatch):
    front, side = frontal_label().expand(FRAMES, -1), frontal_label(0.4).expand(FRAMES, -1)
    calls, planes = spy(monkeypatch, G, "mapping"), spy(monkeypatch, G, "planes")
    options = SamplingOptions(frames_per_batch=2)
    pairs = list(generate_views(G, clip_spec(G, 3, 7, front), [front, side], options, with_points=True))
    assert len(planes) == len(calls) == 3, "both views from the same planes"
    assert all(torch.equal(row, front[0]) for call in calls for row in call.inputs[1])
    assert torch.equal(torch.cat([seen["camera"] for _, seen in pairs]), side)
    assert torch.equal(
        torch.cat([seen["image"] for seen, _ in pairs]),
        frames(G, clip_spec(G, 3, 7, front), frames_per_batch=2)["image"],
    )
    seen = torch.cat([seen["image"] for _, seen in pairs])
    assert not torch.allclose(seen, frames(G, clip_spec(G, 3, 7, side))["image"], atol=1e-4)
    assert pairs[0][1]["xyz"].shape[-1] == 3 and "weight_total" in pairs[0][0]


def test_truncation_and_resolution(G):
    mean = frames(G, clip(G), psi=0.0)["image"]
    other = clip(G, seed=4)
    assert torch.allclose(mean, frames(G, other, psi=0.0)["image"], atol=1e-5), "psi 0: one appearance for all"
    assert not torch.allclose(mean, frames(G, other, psi=0.0, cutoff=1)["image"], atol=1e-5)
    fine = frames(G, clip(G), neural_rendering_resolution=16)
    assert fine["image_depth"].shape[-1] == 16 and fine["image"].shape[-1] == 32


def test_nothing_is_learned_from_generated_frames(G):
    assert not next(generate(G, clip(G)))["image"].requires_grad


def test_densities_are_those_of_each_frame(G):
    spec = clip(G)
    points = tiny.normal(0, 50, 3) * 0.2
    functions = [geometry.density for geometry in clip_geometry(G, spec)]
    assert len(functions) == FRAMES
    values = [function(points) for function in functions]
    assert not torch.allclose(values[0], values[-1], atol=1e-5), "the head moves"
    camera = spec.cameras[:1]
    for index, value in enumerate(values):
        z, z_motion, t = spec.z[None], spec.z_motion[None], spec.times[index].view(1, 1)
        expected = G.sample(points[None], G.mapping(z, camera, z_motion, t), z_motion, t)["sigma"].flatten()
        assert value.shape == (50,) and torch.allclose(value, expected, atol=1e-5)


def test_a_clip_that_waits_for_its_turn_keeps_no_planes(monkeypatch):
    """A grid of many clips fits into memory."""
    G = tiny.generator()
    planes = []
    make_planes = G.planes

    def watched(*args):
        made = make_planes(*args)
        planes.append(weakref.ref(made))
        return made

    monkeypatch.setattr(G, "planes", watched)
    waiting = generate(G, clip_spec(G, 0, 0, frontal_label().expand(2, -1)), SamplingOptions(frames_per_batch=1))
    next(waiting)
    assert len(planes) == 1 and planes[0]() is None
