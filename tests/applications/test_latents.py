"""Files of latents: what comes back, what they draw, and which are refused."""

from dataclasses import replace

import pytest
import torch

from applications.latents import (
    Latents,
    digest_of,
    digest_of_latents,
    load_latents,
    save_latents,
    tuned_generator,
)
from applications.sources import interpolated, latents_of, path_for, seeded_latents, with_motion_seed
from dnnlib.errors import UserError
from tests.helpers import tiny
from torch_utils import checkpoint
from training.cameras import frontal_label
from training.networks.generator import Generator
from training.sampling.clips import clip_spec, generate
from training.sampling.options import SamplingOptions

pytestmark = pytest.mark.usefixtures("one_thread")
MODEL = "model"


@pytest.fixture(scope="module")
def G() -> Generator:
    return tiny.generator()


def made_up(G: Generator, frames: int = 3, *, changing: bool = False, **parts: object) -> Latents:
    shape = (frames, G.num_ws, G.config.w_dim) if changing else (G.num_ws, G.config.w_dim)
    values = {
        "ws": tiny.normal(0, *shape),
        "z_motion": tiny.normal(1, frames, G.config.z_motion_dim),
        "times": torch.linspace(0, 1, frames),
        "cameras": tiny.labels(2, frames),
        "fps": 12.5,
        "model": MODEL,
        "tuned": {},
    }
    return Latents(**values | parts)


def images(G: Generator, spec, **options) -> torch.Tensor:
    return torch.cat([frames["image"] for frames in generate(G, spec, SamplingOptions(**options))])


def test_seeds_of_a_model_without_motion_layers_are_refused():
    with pytest.raises(UserError, match="give a model with motion layers"):
        latents_of("1", tiny.generator(generator__motion_generator="naive"), MODEL, tiny.labels(0, 2))


@pytest.mark.parametrize("changing", [False, True])
def test_a_file_gives_back_everything(G, tmp_path, changing):
    latents = made_up(G, changing=changing, tuned={"decoder.net.0.weight": tiny.normal(3, 8, 4)})
    save_latents(tmp_path / "latents.pt", latents)
    found = load_latents(tmp_path / "latents.pt", G, MODEL)
    assert digest_of_latents(found) == digest_of_latents(latents)
    assert (found.fps, found.model) == (12.5, MODEL) and found.tuned.keys() == latents.tuned.keys()
    torch.load(tmp_path / "latents.pt", weights_only=True)  # plain enough for anybody


def test_latents_of_a_seed_draw_its_clip(G):
    cameras = tiny.labels(5, 4)
    latents = seeded_latents(3, G, MODEL, cameras)
    torch.testing.assert_close(images(G, latents.spec()), images(G, clip_spec(G, 3, 3, cameras)), rtol=1e-4, atol=1e-5)
    other = with_motion_seed(latents, 8, G, cameras)
    torch.testing.assert_close(images(G, other.spec()), images(G, clip_spec(G, 3, 8, cameras)), rtol=1e-4, atol=1e-5)
    truncated = seeded_latents(3, G, MODEL, cameras, psi=0.5)
    wanted = images(G, clip_spec(G, 3, 3, cameras), psi=0.5)
    torch.testing.assert_close(images(G, truncated.spec()), wanted, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(images(G, latents.spec(), psi=0.5), wanted, rtol=1e-4, atol=1e-5)


def test_cameras_of_a_seed_that_the_mapping_network_sees_one_by_one(G):
    each = tiny.generator(generator__camera_mode="Non")
    cameras = tiny.labels(5, 4)
    latents = seeded_latents(3, each, MODEL, cameras)
    assert latents.ws.ndim == 3
    torch.testing.assert_close(
        images(each, latents.spec()), images(each, clip_spec(each, 3, 3, cameras)), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_frames_do_not_depend_on_the_batch(G, batch):
    latents = made_up(G, 5, changing=True)
    torch.testing.assert_close(
        images(G, latents.spec(), frames_per_batch=batch), images(G, latents.spec()), rtol=1e-4, atol=1e-5
    )


def test_an_interpolation_begins_and_ends_with_its_ends(G):
    a, b = (replace(made_up(G), ws=tiny.normal(seed, G.num_ws, G.config.w_dim)) for seed in (10, 11))
    b = replace(b, z_motion=tiny.normal(12, *b.z_motion.shape))
    cameras = tiny.labels(4, 6)
    ends = {}
    for what in ("appearance", "motion", "both"):
        between = interpolated(a, b, cameras, what)
        ws = between.ws if between.ws.ndim == 3 else between.ws.expand(6, -1, -1)
        ends[what] = (ws[0], ws[-1], between.z_motion[0] * between.times[0], between.z_motion[-1] * between.times[-1])
    middle_a, middle_b = (latents.z_motion[1] * latents.times[1] for latents in (a, b))
    for what, wanted in {
        "appearance": (a.ws, b.ws, middle_a, middle_a),
        "motion": (a.ws, a.ws, middle_a, middle_b),
        "both": (a.ws, b.ws, middle_a, middle_b),
    }.items():
        for found, right in zip(ends[what], wanted, strict=True):
            torch.testing.assert_close(found, right)


def test_a_clip_shows_its_own_cameras_and_a_picture_its_one(G):
    clip, picture = made_up(G, 5), made_up(G, 1)
    bank = tiny.labels(1, 2, 7)
    assert torch.equal(path_for(clip, bank, "own", 5), clip.cameras)
    assert torch.equal(path_for(picture, bank, "own", 4), picture.cameras.expand(4, -1))
    assert torch.equal(path_for(picture, bank, "frontal", 4), frontal_label().expand(4, -1))


def test_tuned_weights_are_put_into_a_copy(G):
    tuned = {name: value + 1 for name, value in G.state_dict().items() if name == "decoder.net.0.bias"}
    assert tuned
    copy = tuned_generator(G, made_up(G, tuned=tuned))
    assert copy is not G and tuned_generator(G, made_up(G)) is G
    for name, value in copy.state_dict().items():
        assert torch.equal(value, tuned.get(name, G.state_dict()[name]))


def test_a_digest_is_that_of_the_weights(G):
    other = tiny.generator()
    assert digest_of(G) == digest_of(other)
    next(other.parameters()).data.add_(1e-6)
    assert digest_of(G) != digest_of(other)


WRONG = {
    "other weights": ({"model": "another"}, "belong to another model: they were found with other weights"),
    "other w": ({"ws": torch.zeros(3, 8)}, r"belong to another model: ws is \[3, 8\]"),
    "other motion": ({"z_motion": torch.zeros(3, 5)}, "belong to another model: motion codes have 5 numbers"),
    "other layer": ({"tuned": {"nothing": torch.zeros(1)}}, "belong to another model: the tuned nothing"),
    "frames that differ": ({"times": torch.zeros(2)}, "damaged: parts have shapes"),
    "ws of other frames": ({"ws": torch.zeros(2, 9, 8)}, "damaged: parts have shapes"),
    "no frame": ({"times": torch.zeros(0)}, "damaged: parts have shapes"),
    "cameras": ({"cameras": torch.zeros(3, 24)}, "damaged: parts have shapes"),
    "not finite": ({"z_motion": torch.full([3, 8], torch.nan)}, "damaged: they hold numbers"),
    "beyond the end": ({"times": torch.full([3], 1.5)}, "damaged: they hold numbers"),
    "half": ({"times": torch.zeros(3, dtype=torch.float16)}, "damaged: a part is no tensor"),
    "a rate": ({"fps": 0.0}, "damaged: their rate"),
    "tuned": ({"tuned": {"decoder": 1}}, "damaged: the tuned weights"),
    "tuned half": ({"tuned": {"decoder": torch.zeros(1, dtype=torch.bfloat16)}}, "damaged: the tuned weights"),
    "blind camera": ({"cameras": torch.zeros(3, 25)}, "damaged: a camera sees nothing"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_files_are_refused(G, tmp_path, case):
    parts, sentence = WRONG[case]
    save_latents(tmp_path / "latents.pt", made_up(G, **parts))
    with pytest.raises(UserError, match=sentence):
        load_latents(tmp_path / "latents.pt", G, MODEL)


def test_other_files_and_names_are_refused(G, tmp_path):
    checkpoint.save(tmp_path / "latents.pt", {"ws": 1}, "latents")
    with pytest.raises(UserError, match="damaged: they lack cameras, fps"):
        load_latents(tmp_path / "latents.pt", G, MODEL)
    checkpoint.save(tmp_path / "state.pt", {}, "state")
    with pytest.raises(UserError, match=r"a training state.*but a file of latents"):
        load_latents(tmp_path / "state.pt", G, MODEL)
    for name, sentence in ((str(2**63), "too large"), (str(tmp_path / "no.pt"), "is neither a seed")):
        with pytest.raises(UserError, match=sentence):
            latents_of(name, G, MODEL, tiny.labels(0, 2))
    changing = made_up(G, changing=True)
    with pytest.raises(UserError, match="one appearance"):
        interpolated(changing, made_up(G), tiny.labels(0, 2), "both")
