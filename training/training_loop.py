"""When training computes what: iterations of phases, schedules, EMA, status, snapshots, resume (PV3D A.1)."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from dnnlib.errors import UserError
from torch_utils import distributed
from torch_utils.random_numbers import Streams, normal
from torch_utils.runtime import peak_memory
from torch_utils.training_stats import Collector
from training.checkpoints.snapshots import Networks, Snapshot, StoredSnapshot, build_networks, init_networks
from training.checkpoints.states import require_fit
from training.config import Config, split_batch
from training.data.dataset import ClipDataset
from training.data.pairs import CameraSampler, camera_bank, training_batches
from training.loss import Fakes, Loss, Schedule, schedule
from training.runs.folder import RunFolder
from training.runs.health import Health, probe
from training.runs.progress import Progress

PHASES = ("g_main", "g_reg", "d_main", "d_reg")


@dataclass
class Status:
    """What one status line knows."""

    progress: Progress
    stats: dict[str, float]  # means since the last status
    warnings: list[str] = field(default_factory=list)  # troubles that have begun
    done: bool = False


@dataclass
class Hooks:
    """What the loop calls above it."""

    status: Callable[[Status], None] = lambda status: None  # every tick, on the main process
    iteration: Callable[[Progress], None] = lambda progress: None  # every iteration, on the main process
    pictures: Callable[[Networks, Path, int], None] = lambda networks, folder, clips: None
    evaluate: Callable[[Snapshot, Path], None] = lambda snapshot, path: None  # on every process
    stop: Callable[[], bool] = lambda: False  # True: save and return


@dataclass
class Optimizers:
    """Adam for each network, corrected for lazy regularisation."""

    by_name: dict[str, torch.optim.Adam] = field(default_factory=dict)

    @classmethod
    def build(cls, networks: Networks, config: Config) -> "Optimizers":
        """Learning rate and betas are rescaled by interval / (interval + 1)."""
        t = config.training
        by_name = {}
        for name, module in networks.items():
            if name == "G_ema":
                continue
            lr, interval = (t.glr, t.g_reg_interval) if name == "G" else (t.dlr, t.d_reg_interval)
            ratio = interval / (interval + 1)
            betas = tuple(beta**ratio for beta in t.betas)
            by_name[name] = torch.optim.Adam(module.parameters(), lr=lr * ratio, betas=betas, eps=t.eps, fused=True)
        return cls(by_name)


class Trainer:
    """One training run on this process's device.

    Args:
        run: the run's folder; only the main process writes to it.
        hooks: what to call at ticks, snapshots and iterations.
    """

    def __init__(
        self,
        config: Config,
        dataset: ClipDataset,
        run: RunFolder,
        device: torch.device,
        dtype: torch.dtype | None = None,
        hooks: Hooks | None = None,
    ):
        self.config, self.dataset, self.run, self.device, self.hooks = config, dataset, run, device, hooks or Hooks()
        self.per_process, self.per_pass = split_batch(config, distributed.world_size())
        self.networks = build_networks(config, config.training.seed, device, dtype)
        self.optimizers = Optimizers.build(self.networks, config)
        nets = self.networks
        self.loss = Loss(nets.G, nets.D_img, nets.D_vid, config)
        sequences = [clip.cameras for clip in dataset.clips]
        self.cameras = CameraSampler(sequences, window=config.training.window, mirror=config.training.mirror)
        self.bank = camera_bank(dataset, seed=config.training.seed)
        self.progress = Progress()
        self.stats, self.health = Collector(), Health()

    def restore(self, tell: Callable[[str], None] = lambda line: None) -> bool:
        """Continues from the newest training state of the run's folder that can be used; False if there is none.

        Every process reads the file, and changes nothing before all of it is checked.

        Args:
            tell: hears which states were passed over.

        Raises:
            UserError: no state can be used, or the processes do not see the same one.
        """
        with distributed.fail_together():
            found = self.run.newest_state(self._require_fit, tell)
        names = distributed.gather(found and found[0].name)
        with distributed.fail_together():
            if len(set(names)) > 1:
                raise UserError(
                    f"The processes see different training states in {self.run.path} "
                    f"({', '.join(map(str, names))}): give an --outdir that all machines share."
                )
            if distributed.is_main():
                self.run.rewind(found[1]["progress"]["iteration"] if found else 0)
        if found is None:
            return False
        state = found[1]
        for name, module in self.networks.items():
            module.load_state_dict(state["networks"][name])
        for name, optimizer in self.optimizers.by_name.items():
            # Learning rates and the like are the configuration's; how they are stored depends on torch's version.
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": state["optimizers"][name]["state"], "param_groups": groups})
        self.progress = Progress(**state["progress"])
        self.health = Health(**state.get("health", {}))
        return True

    def _require_fit(self, state: Any, path: Path) -> None:
        require_fit(state, path, self.networks, self.optimizers.by_name)

    def init_from(self, snapshot: StoredSnapshot) -> None:
        """Starts from a snapshot's weights."""
        self.progress.inherited = init_networks(self.networks, snapshot)

    def train(self) -> Progress:
        """Trains until `kimg` clips are done, or until the stop hook says so; saves at the end.

        Raises:
            UserError: a frame cannot be read, the disk is full, ... on any process; it ends all of them.
        """
        t = self.config.training
        stopped = False
        if self.progress.clips and not distributed.gather(self.run.snapshot_path(self.progress).exists())[0]:
            self._show()  # what a kill behind the training state left out
        with contextlib.closing(self._batches()) as batches:
            while self.progress.clips < _clips(t.kimg) and not stopped:
                tick = self._tick()
                self._timed_iteration(batches)
                stopped = any(distributed.gather(self.hooks.stop()))
                done = self.progress.clips >= _clips(t.kimg) or stopped
                if done or self._tick() > tick:
                    self._report(done)
                if done or (t.snap and self._tick() // t.snap > tick // t.snap):
                    self.save()
        return self.progress

    def _timed_iteration(self, batches: Iterator[dict[str, torch.Tensor]]) -> None:
        started = time.perf_counter()
        with distributed.fail_together():
            batch = next(batches)
        waited = time.perf_counter() - started
        self.iterate(batch)
        seconds = time.perf_counter() - started
        self.stats.report("time/data_wait", waited)
        self.stats.report("time/data_share", waited / seconds)
        self.progress.seconds += seconds
        self.stats.report("time/sec_per_kimg", seconds / self.config.training.batch * 1000)
        if distributed.is_main():
            self.hooks.iteration(self.progress)

    def _tick(self) -> int:
        """Ticks that are over; of the clips alone, so that a run that goes on keeps its rhythm."""
        return self.progress.clips // _clips(self.config.training.tick)

    def _batches(self) -> Iterator[dict[str, torch.Tensor]]:
        t = self.config.training
        return training_batches(
            self.dataset,
            self.per_process,
            seed=t.seed,
            start=self.progress.clips,
            rank=distributed.rank(),
            world=distributed.world_size(),
            workers=t.workers,
            window=t.window,
            mirror=t.mirror,
        )

    def iterate(self, batch: dict[str, torch.Tensor]) -> None:
        """One iteration: every phase that is due, then the moving average. Random numbers depend on the iteration."""
        t = self.config.training
        now = schedule(self.config, self.progress.seen)
        batch = {name: value.to(self.device, non_blocking=True) for name, value in batch.items()}
        for index, phase in enumerate(PHASES):
            interval = {"g_reg": t.g_reg_interval, "d_reg": t.d_reg_interval}.get(phase, 1)
            if self.progress.iteration % interval == 0:
                key = (t.seed, self.progress.iteration, index)
                self._run_phase(phase, interval, batch, now, key)
        self.progress.clips += t.batch
        self.progress.iteration += 1
        self._update_average()

    def _run_phase(
        self, phase: str, interval: int, batch: dict[str, torch.Tensor], now: Schedule, key: tuple[int, ...]
    ) -> None:
        """Accumulates the gradients of one phase over the passes, averages them over processes, steps."""
        names = ["G"] if phase.startswith("g") else [n for n in self.optimizers.by_name if n != "G"]
        if phase == "g_reg" and self.config.loss.lambda_reg == 0 or phase == "d_reg" and self.config.loss.gamma == 0:
            return
        modules = [getattr(self.networks, name) for name in names]
        fakes = self._fakes(key) if phase != "d_reg" else None
        for module in modules:
            module.requires_grad_(True)
        passes = self.per_process // self.per_pass
        for i in range(passes):
            rows = slice(i, None, passes)
            self._accumulate(phase, _rows(batch, rows), fakes and fakes.rows(rows), now, interval / passes)
        for module in modules:
            module.requires_grad_(False)
        bad = distributed.average_gradients(p for module in modules for p in module.parameters())
        self.stats.report("health/nonfinite_gradients", bad)
        for name in names:
            self.optimizers.by_name[name].step()
            self.optimizers.by_name[name].zero_grad(set_to_none=True)
        if phase == "d_main":
            distributed.average([self.networks.G.backbone.mapping.w_avg])

    def _accumulate(self, phase: str, batch, fakes: Fakes | None, now: Schedule, gain: float) -> None:
        if phase.startswith("g"):
            report = getattr(self.loss, phase)(fakes, now, gain)
        else:
            reals = self.loss.real_frames(batch["frames"], batch["times"], batch["cameras"], now)
            report = (
                self.loss.d_main(reals, fakes, now, gain) if phase == "d_main" else self.loss.d_reg(reals, now, gain)
            )
        for name, value in report.items():
            self.stats.report(name, value)

    def _fakes(self, key: tuple[int, ...]) -> Fakes:
        """This process's share of the fakes of one phase; the whole is the same for any number of processes."""
        g, batch = self.config.generator, self.config.training.batch
        own = slice(distributed.rank(), None, distributed.world_size())
        random = Streams.seeded(key, range(batch)[own], self.device)
        z, z_motion = (normal([len(random), dim], random, self.device) for dim in (g.z_dim, g.z_motion_dim))
        times, cameras = self.cameras.sample(key, batch)
        _, others = self.cameras.sample((*key, batch), batch)
        return Fakes(z, z_motion, *(value[own].to(self.device) for value in (times, cameras, others)), random)

    @torch.no_grad()
    def _update_average(self) -> None:
        """EMA of the generator; its half-life grows with training until `ema_kimg_factor * batch` kimg."""
        t = self.config.training
        half_life = min(t.ema_kimg_factor * t.batch * 1000, t.ema_rampup * self.progress.seen)
        beta = 0.5 ** (t.batch / max(half_life, 1e-8))
        average, current = self.networks.G_ema, self.networks.G
        torch._foreach_lerp_(list(average.parameters()), list(current.parameters()), 1 - beta)
        for old, new in zip(average.buffers(), current.buffers(), strict=True):
            old.copy_(new)

    def _report(self, done: bool) -> None:
        stats = {name: value["mean"] for name, value in self.stats.collect().items()}
        stats |= {f"memory/{name}": value for name, value in peak_memory(self.device).items()}
        now = schedule(self.config, self.progress.seen)
        stats |= {"schedule/blur_sigma": now.blur_sigma, "schedule/swap_probability": now.swap_probability}
        with distributed.fail_together():
            if distributed.is_main():
                stats |= probe(self.networks.G_ema)
                warnings = self.health.look(stats, self.progress.kimg)
                self.run.log(self.progress, stats)
                self.hooks.status(Status(self.progress, stats, warnings, done))

    def save(self) -> None:
        """Training state, pictures, snapshot, scores; the state first, for a signal may have left little time."""
        with distributed.fail_together():
            if distributed.is_main():
                self.run.save_state(self._state(), self.progress)
        self._show()

    def _show(self) -> None:
        """All of a save but the state; the snapshot is the sign that it was done."""
        with distributed.fail_together():
            if distributed.is_main():
                self.hooks.pictures(self.networks, self.run.path, self.progress.clips)
                self.run.save_snapshot(self.config, self.networks, self.bank, self.progress)
        self.hooks.evaluate(self.snapshot(), self.run.snapshot_path(self.progress))

    def snapshot(self) -> Snapshot:
        """The averaged generator as it is now."""
        return Snapshot(self.networks.G_ema, self.config, self.bank, {"kimg": self.progress.seen / 1000})

    def _state(self) -> dict[str, Any]:
        return {
            "networks": {name: dict(module.state_dict()) for name, module in self.networks.items()},
            "optimizers": {name: opt.state_dict() for name, opt in self.optimizers.by_name.items()},
            "progress": vars(self.progress).copy(),
            "health": asdict(self.health),
        }


def _clips(kimg: float) -> int:
    """Clips in `kimg` thousands, at least one."""
    return max(round(kimg * 1000), 1)


def _rows(batch: dict[str, torch.Tensor], rows: slice) -> dict[str, torch.Tensor]:
    return {name: value[rows] for name, value in batch.items()}
