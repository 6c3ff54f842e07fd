"""The phases of an iteration as data: what each trains, how often, and which method of `Loss` computes it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from training.chain_loss import ChainLoss
from training.checkpoints.snapshots import Networks
from training.config import Config
from training.fakes import Fakes
from training.judged import Frames
from training.loss import Loss, Report, Schedule
from training.networks.patch_discriminators import ClipPatches, PairPatches

AnyLoss = Loss | ChainLoss
CHAIN_UPDATES = 5  # of the motion that moves latents, for one of the discriminators


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One part of an iteration: which networks it trains, how often, and the method of the loss that it calls."""

    name: str
    index: int  # part of the key of its random numbers: another one would give every run other numbers
    networks: tuple[str, ...]  # names of those that it trains
    interval: int = 1  # it runs once in so many iterations, and its gradients weigh as much more (lazy regularisation)
    function: Callable[..., Report]  # method of Loss, or ChainLoss
    takes_reals: bool = False
    takes_fakes: bool = False
    reuses_fakes: bool = False  # it takes those that another phase has made in this iteration
    tracks_mean_latent: bool = False  # whether it updates the generator's w_avg
    active: bool = True  # False: its weight is 0

    def accumulate(
        self, loss: AnyLoss, *, reals: Frames | None, fakes: Fakes | None, schedule: Schedule, gain: float = 1.0
    ) -> Report:
        """Call the function with those of `reals` and `fakes` that the phase takes; return what to report."""
        inputs: dict[str, Frames | Fakes | None] = {}
        if self.takes_reals:
            inputs["reals"] = reals
        if self.takes_fakes:
            inputs["fakes"] = fakes
        elif self.reuses_fakes:
            inputs["fakes"] = None
        return self.function(loss, **inputs, schedule=schedule, gain=gain)


def build_phases(config: Config) -> list[Phase]:
    """Return the phases of an iteration, in order: the paper's four, or those of a method of its own."""
    if config.generator.motion == "chain":
        return _chain_phases()
    G = ("G",)
    present = {"D_img": config.discriminator.image, "D_vid": config.discriminator.video}
    D = tuple(name for name, is_present in present.items() if is_present)
    reuses = config.training.reuse_fakes
    return [
        Phase(
            name="g_main",
            index=0,
            networks=G,
            function=Loss.g_main,
            takes_fakes=True,
            tracks_mean_latent=reuses,
        ),
        Phase(
            name="g_reg",
            index=1,
            networks=G,
            interval=config.training.g_reg_interval or 1,
            function=Loss.g_reg,
            takes_fakes=True,
            active=config.loss.lambda_reg != 0 or config.loss.lambda_motion != 0,
        ),
        Phase(
            name="d_main",
            index=2,
            networks=D,
            function=Loss.d_main,
            takes_reals=True,
            takes_fakes=not reuses,
            reuses_fakes=reuses,
            tracks_mean_latent=not reuses,
        ),
        Phase(
            name="d_reg",
            index=3,
            networks=D,
            interval=config.training.d_reg_interval or 1,
            function=Loss.d_reg,
            takes_reals=True,
            active=config.loss.gamma != 0,
        ),
    ]


def _chain_phases() -> list[Phase]:
    """Return the phases of MoCoGAN-HD: updates of the motion, with fakes of its own each, then one of its judges."""
    updates = [
        Phase(
            name="g_main" if index == 0 else f"g_main{index + 1}",
            index=index,
            networks=("G",),
            function=ChainLoss.g_main,
            takes_reals=True,
            takes_fakes=True,
        )
        for index in range(CHAIN_UPDATES)
    ]
    last = Phase(
        name="d_main",
        index=CHAIN_UPDATES,
        networks=("D_img", "D_vid"),
        function=ChainLoss.d_main,
        takes_reals=True,
        takes_fakes=True,
    )
    return [*updates, last]


def build_loss(networks: Networks, config: Config, *, videos: bool = True, **choices: Any) -> AnyLoss:
    """Return what the phases compute with these networks.

    Args:
        videos: whether there are any to judge; a network that judges nothing gets no gradients, and stays as it is.
        choices: further arguments of the loss.
    """
    D_img, D_vid = networks.D_img, networks.D_vid
    if isinstance(D_img, PairPatches) and isinstance(D_vid, ClipPatches):
        return ChainLoss(networks.G, D_img, D_vid, config, **choices)
    assert not isinstance(D_img, PairPatches) and not isinstance(D_vid, ClipPatches)
    return Loss(networks.G, D_img, D_vid if videos else None, config, **choices)
