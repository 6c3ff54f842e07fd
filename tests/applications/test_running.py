"""A whole inversion in a folder: tuning, going on after any stop, what is left behind."""

from dataclasses import replace
from pathlib import Path

import PIL.Image
import pytest
import torch

from applications import running
from applications.inversion import Work
from applications.latents import digest_of, digest_of_latents, tuned_generator
from applications.options import InversionOptions
from applications.running import PICTURE, STATE, Inversion
from applications.tuning import Tuning
from dnnlib.errors import UserError
from tests.helpers import tiny
from tests.helpers.inverting import comparison, finish, own_target, search
from training.networks.generator import Generator
from training.sampling.clips import generate

pytestmark = pytest.mark.usefixtures("one_thread")
OPTIONS = InversionOptions(steps=6, starts=2, restarts=2, tune_steps=4, frames_per_step=2)


class Stopped(Exception):
    """The process ends here."""


@pytest.fixture(scope="module")
def G() -> Generator:
    return tiny.generator()


def inversion(G: Generator, folder: Path, options: InversionOptions = OPTIONS, **parts: object) -> Inversion:
    target = own_target(G, frames=3)
    values = {
        "G": G,
        "model": digest_of(G),
        "target": target,
        "comparison": comparison(target),
        "options": options,
        "with_motion": True,
        "work": Work(frames_per_pass=2),
        "folder": folder,
        "silent": True,
    }
    return Inversion(**values | parts)


@pytest.fixture
def saves_each_step(monkeypatch) -> None:
    monkeypatch.setattr(running, "SAVE_SECONDS", 0.0)


@pytest.mark.usefixtures("saves_each_step")
@pytest.mark.parametrize("stop", [1, 3, 5, 7, 9])  # in the search, and in the tuning
def test_it_goes_on_to_the_bit(G, tmp_path, stop):
    whole = inversion(G, tmp_path / "whole").run()
    count = 0

    def end() -> None:
        nonlocal count
        count += 1
        if count == stop:
            raise Stopped

    with pytest.raises(Stopped):
        inversion(G, tmp_path / "cut", after_step=end).run()
    assert (tmp_path / "cut" / STATE).exists() and (tmp_path / "cut" / PICTURE).exists()
    steps = []
    gone_on = inversion(G, tmp_path / "cut", after_step=lambda: steps.append(1)).run()
    assert len(steps) <= 11 - stop  # of ten; the last step of a stage is not kept
    assert digest_of_latents(gone_on.latents) == digest_of_latents(whole.latents)
    assert gone_on.losses == whole.losses


@pytest.mark.usefixtures("saves_each_step")
def test_the_picture_has_inputs_above_results(G, tmp_path):
    inversion(G, tmp_path).run()
    assert PIL.Image.open(tmp_path / PICTURE).size == (3 * 32, 2 * 32)


@pytest.mark.usefixtures("saves_each_step")
@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"options": replace(OPTIONS, lr=0.01)}, "options"),
        ({"model": "b"}, "model"),
        ({"with_motion": False}, "motion"),
    ],
)
def test_another_inversion_does_not_go_on_from_it(G, tmp_path, change, name):
    inversion(G, tmp_path).run()
    with pytest.raises(UserError, match=rf"another (with_)?{name}.*choose another --outdir"):
        inversion(G, tmp_path, **change).run()


@pytest.mark.usefixtures("saves_each_step")
def test_nothing_is_left_behind(G, tmp_path):
    one = inversion(G, tmp_path)
    one.run()
    one.forget()
    assert not list(tmp_path.iterdir())


def shown(G: Generator, latents) -> torch.Tensor:
    return torch.cat([frames["image"] for frames in generate(G, latents.spec())])


def tuned(G: Generator, **options: object) -> Tuning:
    target = own_target(G, frames=2)
    found = search(G, target, steps=3, with_motion=True)
    finish(found)
    chosen = InversionOptions(tune_steps=25, tune_lr=3e-3, **options)
    return Tuning(G, found.latents("m"), comparison(target), chosen, Work(frames_per_pass=4))


def test_tuning_comes_closer_and_leaves_pivot_and_generator(G):
    before = digest_of(G)
    stage = tuned(G, locality=0.0)
    losses = [stage.step() for _ in range(25)]
    assert losses[-1] < 0.7 * losses[0] and digest_of(G) == before
    latents = stage.latents()
    assert torch.equal(latents.ws, stage.pivot.ws)
    copy = tuned_generator(G, latents)
    torch.testing.assert_close(shown(copy, latents), shown(stage.G, latents))
    mapping = {name: value for name, value in copy.state_dict().items() if "mapping" in name}
    assert mapping and all(torch.equal(value, G.state_dict()[name]) for name, value in mapping.items())


def test_locality_keeps_other_appearances(G):
    """The more weight, the less an appearance that is none of the pivot changes."""
    changes = []
    for locality in (0.0, 30.0):
        stage = tuned(G, locality=locality)
        for _ in range(25):
            stage.step()
        other = replace(stage.pivot, ws=stage.pivot.ws + tiny.normal(9, 1, G.config.w_dim))
        changes.append((shown(stage.G, other) - shown(G, other)).square().mean().item())
    assert changes[1] < 0.5 * changes[0]
