"""benchmarks/applications.py: with the true latents in place of found ones, all numbers are known; the command runs."""

import json
import math

import pytest
import torch
from click.testing import CliRunner

from applications.jobs import Session
from applications.latents import Latents
from applications.options import InversionOptions
from applications.targets import Target
from benchmarks import applications
from benchmarks.application_cases import Bench, own_picture, rebuilt_clip, retargeted, unseen_head
from dnnlib.progress import Counter
from metrics import mouth
from torch_utils.startup import Machine

pytestmark = pytest.mark.usefixtures("one_thread")
OPTIONS = InversionOptions(steps=1)


class Knowing(Bench):
    """It knows the latents of the generator's own clips, and thinks that all else is clip 0."""

    def find(self, target: Target, options: InversionOptions, *, with_motion: bool) -> tuple[Latents, float]:
        kind, number = target.name.split()
        return self.seeded(int(number) if kind in ("seed", "clip") else 0, len(target)), 1.5


@pytest.fixture(scope="module")
def knowing(snapshot, tmp_path_factory) -> Knowing:
    session = Session.open(snapshot, tmp_path_factory.mktemp("bench"), Machine(device=torch.device("cpu")))
    regressor = mouth.train_mouth_regressor(32, effort=applications.HASTY)
    return Knowing(session=session, mouth=regressor, embedder=None, counter=Counter(1, unit="step", silent=True))


def test_the_true_appearance_is_exact_from_all_sides(knowing):
    assert own_picture(knowing, OPTIONS, 3) == {"psnr": math.inf, "psnr beside": math.inf, "seconds": 1.5}


def test_unseen_heads_are_compared_with_their_true_renders(knowing):
    """Another head is as far from them, whoever it is; the mean appearance is another one still."""
    first = unseen_head(knowing, OPTIONS, 0)
    second = unseen_head(knowing, OPTIONS, 1)
    for numbers in (first, second):
        assert 3 < numbers["psnr"] < 25
        assert 3 < numbers["psnr beside"] < 25
        assert numbers["psnr start"] != numbers["psnr"]
        assert numbers["identity"] is None
    assert first["psnr"] != second["psnr"]


def test_the_true_motion_is_exact_and_another_is_not(knowing):
    clip, numbers = rebuilt_clip(knowing, OPTIONS, 1, 4)
    assert numbers["psnr"] == math.inf
    assert numbers["mouth"] == pytest.approx(1)
    assert numbers["opening spread"] > 0
    assert numbers["control"] < 0.9999
    assert clip.seed == 1 and len(clip.frames) == 4


def test_a_motion_taken_over_is_that_of_the_driving_clip(knowing):
    first, _ = rebuilt_clip(knowing, OPTIONS, 0, 4)
    second, _ = rebuilt_clip(knowing, OPTIONS, 1, 4)
    itself = retargeted(knowing, first, first)
    assert itself["mouth"] == pytest.approx(1)
    other = retargeted(knowing, first, second)
    assert other["mouth"] == pytest.approx(other["own codes"]), "what was found is what is true"
    assert other["mouth"] != pytest.approx(other["control"])


def test_the_command(snapshot, tmp_path, monkeypatch):
    """Without identities, which take most of the time here."""
    monkeypatch.setattr(applications, "embedder_if_installed", lambda: None)
    out = tmp_path / "numbers.json"
    arguments = [f"--network={snapshot}", "--quick", "--priors=none,symmetry", f"--out={out}"]
    result = CliRunner().invoke(applications.main, arguments)
    assert result.exit_code == 0, (result.output, result.exc_info)
    for words in ("mouth regressor: correlation", "animate, own pictures", "symmetry", "retarget, own clips"):
        assert words in result.stdout
    written = json.loads(out.read_text())
    tasks = [(case["task"], case["variant"], case["seed"]) for case in written["cases"]]
    assert tasks == [
        ("animate, own pictures", "default", 0),
        ("animate, unseen heads", "none", 0),
        ("animate, unseen heads", "symmetry", 0),
        ("reconstruct, own clips", "default", 0),
        ("reconstruct, own clips", "default", 1),
        ("retarget, own clips", "default", 0),
        ("retarget, own clips", "default", 1),
    ]
    assert written["options"]["steps"] == applications.QUICK_STEPS
    assert written["priors"]["none"] == {"mean_pull": 0.0, "unity_pull": 0.0}


def test_means_leave_out_what_was_not_measured():
    rows = [{"a": 1.0, "b": None}, {"a": None, "b": None}, {"a": 4.0, "b": None}]
    assert applications.mean_of(rows, "a") == 2.5
    assert applications.mean_of(rows, "b") is None
    assert applications.in_words(None) == "-"
    assert applications.in_words(0.98765) == "0.9877"
