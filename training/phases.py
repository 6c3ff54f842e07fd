"""The phases of a training iteration as data, which networks each trains, how often, and how; and their optimisers."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from training.checkpoints.snapshots import Networks
from training.config import Config
from training.loss import Fakes, Frames, Loss, Report, Schedule


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One part of an iteration: which networks it trains, how often, and the method of `Loss` that it calls."""

    name: str
    index: int  # part of the key of its random numbers: another one would give every run other numbers
    networks: tuple[str, ...]  # names of those that it trains
    interval: int  # it runs once in so many iterations, and its gradients weigh as much more (lazy regularisation)
    function: Callable[..., Report]  # method of Loss
    takes_reals: bool = False
    takes_fakes: bool = False
    tracks_mean_latent: bool = False  # whether it updates the generator's w_avg
    active: bool = True  # False: its weight is 0

    def accumulate(
        self, loss: Loss, *, reals: Frames | None, fakes: Fakes | None, schedule: Schedule, gain: float = 1.0
    ) -> Report:
        """Add the phase's gradients, times `gain`, to those of its networks; return what to report.

        Args:
            reals, fakes: only what the phase takes is looked at.
        """
        inputs: dict[str, Frames | Fakes | None] = {}
        if self.takes_reals:
            inputs["reals"] = reals
        if self.takes_fakes:
            inputs["fakes"] = fakes
        return self.function(loss, **inputs, schedule=schedule, gain=gain)


def build_phases(config: Config) -> list[Phase]:
    """Return the four phases of an iteration, in order."""
    options = config.discriminator
    present = {"D_img": options.image, "D_vid": options.video}
    discriminators = tuple(name for name, is_present in present.items() if is_present)
    return [
        Phase(
            name="g_main",
            index=0,
            networks=("G",),
            interval=1,
            function=Loss.g_main,
            takes_fakes=True,
        ),
        Phase(
            name="g_reg",
            index=1,
            networks=("G",),
            interval=config.training.g_reg_interval,
            function=Loss.g_reg,
            takes_fakes=True,
            active=config.loss.lambda_reg != 0,
        ),
        Phase(
            name="d_main",
            index=2,
            networks=discriminators,
            interval=1,
            function=Loss.d_main,
            takes_reals=True,
            takes_fakes=True,
            tracks_mean_latent=True,
        ),
        Phase(
            name="d_reg",
            index=3,
            networks=discriminators,
            interval=config.training.d_reg_interval,
            function=Loss.d_reg,
            takes_reals=True,
            active=config.loss.gamma != 0,
        ),
    ]


def build_optimizers(networks: Networks, config: Config) -> dict[str, torch.optim.Adam]:
    """Return Adam for each network by its name, corrected for lazy regularisation.

    A network gets a step for its loss in every iteration and one more in each `interval` for its regularisation, so
    learning rate and betas are rescaled by interval / (interval + 1).
    """
    options = config.training
    optimizers = {}
    for name, module in networks.items():
        if name == "G_ema":
            continue
        if name == "G":
            rate = options.glr
            interval = options.g_reg_interval
        else:
            rate = options.dlr
            interval = options.d_reg_interval
        ratio = interval / (interval + 1)
        first, second = options.betas
        betas = (first**ratio, second**ratio)
        optimizers[name] = torch.optim.Adam(
            module.parameters(), lr=rate * ratio, betas=betas, eps=options.eps, fused=True
        )
    return optimizers
