"""Gradients of all phases at the shipped model's weights, in several number formats, at the same places on rays."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from training import synthetic
from training.checkpoints.opener import open_snapshot
from training.checkpoints.snapshots import Networks, build_networks, init_networks
from training.config import FRAMES_PER_CLIP, preset
from training.fakes import Fakes, FakeSource
from training.judged import Frames
from training.loss import Loss, Schedule
from training.phases import build_phases
from training.rendering import renderer

MODEL = Path(__file__).parents[2] / "models" / "heads.pkl"
CONFIG = preset("demo")
CLIPS = 8
LARGE = 4096  # numbers from which a parameter's cosine counts: that of a few is noise
NOW = Schedule(blur_sigma=0.0, swap_probability=0.5)

Places = list[torch.Tensor]  # along the rays, of the fine pass


def procedural_clips() -> list[synthetic.SyntheticClip]:
    """Return the clips of two frames that reals and cameras are of."""
    return [
        synthetic.render_clip(seed, CONFIG.generator.img_resolution, FRAMES_PER_CLIP, fps=4) for seed in range(CLIPS)
    ]


def networks_in(dtype: torch.dtype | None) -> Networks:
    """Return the shipped model's networks."""
    networks = build_networks(CONFIG, 0, torch.device("cpu"), dtype)
    init_networks(networks, open_snapshot(MODEL))
    return networks


def drawn_fakes(clips: list[synthetic.SyntheticClip], index: int, draw: int = 0) -> Fakes:
    """Return the fakes of a phase, by its index; others for each `draw`."""
    source = FakeSource([clip.cameras for clip in clips], CONFIG, torch.device("cpu"))
    return source.draw((draw, 0, index), slice(None))


def real_frames(clips: list[synthetic.SyntheticClip], loss: Loss) -> Frames:
    """Return the frames of clips as a phase takes them."""
    images = torch.stack([torch.from_numpy(clip.frames) for clip in clips])
    cameras = torch.stack([torch.from_numpy(clip.cameras) for clip in clips])
    times = torch.tensor([0.0, 1.0]).expand(CLIPS, FRAMES_PER_CLIP)
    return loss.real_frames(images, times, cameras, NOW)


def gradients(
    networks: Networks, clips: list[synthetic.SyntheticClip], draw: int
) -> dict[str, dict[str, torch.Tensor]]:
    """Return the gradients for large parameters by phase and name."""
    loss = Loss(networks.G, networks.D_img, networks.D_vid, CONFIG)
    reals = real_frames(clips, loss)
    by_phase = {}
    for phase in build_phases(CONFIG):
        modules = {name: module for name, module in networks.items() if name in phase.networks}
        for module in modules.values():
            module.requires_grad_(True)
        phase.accumulate(loss, reals=reals, fakes=drawn_fakes(clips, phase.index, draw), schedule=NOW)
        found = {}
        for network, module in modules.items():
            for name, parameter in module.named_parameters():
                if parameter.numel() >= LARGE and parameter.grad is not None:
                    found[f"{network}.{name}"] = parameter.grad
            module.requires_grad_(False).zero_grad(set_to_none=True)
        by_phase[phase.name] = found
    return by_phase


@contextmanager
def noting_places() -> Iterator[Places]:
    """Note in a block where the fine passes look along the rays."""
    places: Places = []
    ours = renderer._fine_depths

    def noted(*arguments: object) -> torch.Tensor:
        places.append(ours(*arguments))
        return places[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(renderer, "_fine_depths", noted)
        yield places


@contextmanager
def looking_at(places: Places) -> Iterator[None]:
    """Let fine passes look in a block where others did."""
    again = iter(places)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(renderer, "_fine_depths", lambda *arguments: next(again))
        yield
