"""When training computes what: iterations of phases, schedules, EMA, status, snapshots, resume (PV3D A.1)."""

import time
from collections.abc import Generator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from dnnlib.errors import UserError
from dnnlib.files import file_checksum
from torch_utils import distributed
from torch_utils.gradients import GradientAverage
from torch_utils.runtime import peak_memory
from torch_utils.training_stats import Collector
from training.checkpoints.snapshots import Snapshot, StoredSnapshot, build_networks, build_optimizers, init_networks
from training.checkpoints.states import require_fit, restore_optimizer
from training.config import Config
from training.data.dataset import ClipDataset
from training.data.feed import Feed
from training.data.image_share import ImageShare
from training.data.loader import Batch
from training.data.pairs import ImageData, camera_bank, greatest_time, moving_clips, training_batches
from training.division import split_batch
from training.fakes import NO_VIDEOS, OTHER_TIMES, Fakes, FakeSource
from training.loss import Schedule, schedule
from training.phases import Phase, build_loss, build_phases
from training.runs.folder import RunFolder, Warn
from training.runs.health import Health, probe
from training.runs.hooks import Hooks, Status
from training.runs.progress import Progress


class Trainer:
    """A training run on this process's device: `restore` or `init_from`, then `train`.

    Args:
        run: the run's folder; only the main process writes to it.
        dtype: `precision` of generator and discriminators; None: float32.
        images: a dataset whose frames are images beside the clips, in the share that the configuration says.
        hooks: what to call at ticks, snapshots and iterations.
    """

    # --- Set up -------------------------------------------------------------------------------------------------------

    def __init__(
        self,
        config: Config,
        dataset: ClipDataset,
        run: RunFolder,
        device: torch.device,
        *,
        dtype: torch.dtype | None = None,
        hooks: Hooks | None = None,
        images: ClipDataset | None = None,
    ):
        options = config.training
        self.config = config
        self.run = run
        self.device = device
        self.hooks = hooks or Hooks()
        self.per_process, self.per_pass = split_batch(config, distributed.world_size())

        # Data.
        self.dataset = dataset
        self.images = images
        self.share = ImageShare.of(config)
        self.fakes = FakeSource(dataset.camera_paths, config, device, images.camera_paths if images else None)
        self.lengths = dataset.lengths
        self.videos = bool(moving_clips(self.lengths, options.window))  # whether there is a video to judge
        self.bank = camera_bank(dataset, seed=options.seed)

        # Networks and what trains them.
        self.networks = build_networks(config, options.seed, device, dtype)
        self.networks.G_ema.max_time = greatest_time(self.lengths, options.window)
        self.optimizers = build_optimizers(self.networks, config)
        self.loss = build_loss(self.networks, config, videos=self.videos)
        self.phases = build_phases(config)
        self.averages = {phase.name: GradientAverage(self.networks.parameters(phase.networks)) for phase in self.phases}

        # What a training state keeps besides them.
        self.progress = Progress()
        self.health = Health()
        self.stats = Collector()

    @property
    def notes(self) -> list[str]:
        """What the user should know before training starts."""
        return [] if self.videos or self.networks.D_vid is None else [NO_VIDEOS]

    def init_from(self, snapshot: StoredSnapshot, fresh_motion: bool = False) -> None:
        """Start from a snapshot's weights, by choice with a motion that begins anew.

        Random streams go on behind all that the weights have learned from, for the seed may be the same.
        """
        self.progress.inherited = init_networks(self.networks, snapshot, fresh_motion)
        self.progress.stream_start = round(snapshot.stream_kimg * 1000)

    # --- Resume -------------------------------------------------------------------------------------------------------

    def restore(self, warn: Warn = lambda line: None) -> bool:
        """Continue from the newest training state of the run's folder that can be used; return False if it has none.

        Args:
            warn: called with a sentence for each state that was passed over.

        Raises:
            UserError: no state can be used, or the processes do not see the same one.
        """
        # Every process reads the file, and changes nothing before all of it is checked.
        with distributed.fail_together():
            found = self.run.newest_state(self._require_fit, warn)
        file = None
        iteration = 0
        if found is not None:
            path, state = found
            file = f"{path.name} {file_checksum(path)[:8]}"
            iteration = state["progress"]["iteration"]
        files = distributed.gather(file)
        with distributed.fail_together():
            if len(set(files)) > 1:
                raise UserError(
                    f"The processes see different training states in {self.run.path} "
                    f"({', '.join(map(str, files))}): give an --outdir that all machines share."
                )
            if distributed.is_main():
                self.run.rewind(iteration)
        if found is None:
            return False

        # Take the state over.
        for name, module in self.networks.items():
            module.load_state_dict(state["networks"][name])
        for name, optimizer in self.optimizers.items():
            restore_optimizer(optimizer, state["optimizers"][name]["state"])
        self.progress = Progress(**state["progress"])
        self.health = Health(**state.get("health", {}))
        if "max_time" not in state and greatest_time([min(self.lengths)], self.config.training.window) < 1:
            warn(OTHER_TIMES)
            self.health.best.pop("health/motion", None)  # it was measured over times that are not trained any more
        return True

    def _require_fit(self, state: Any, path: Path) -> None:
        """UserError unless a training state is whole, finite and of this run's networks and optimisers."""
        require_fit(state, path, self.networks, self.optimizers, untrained=[] if self.videos else ["D_vid"])

    # --- Main loop ----------------------------------------------------------------------------------------------------

    def train(self) -> Progress:
        """Train until `kimg` clips are done, or until the stop hook says so; save at the end.

        Raises:
            UserError: a frame cannot be read, the disk is full, ... on any process; it ends all of them.
        """
        options = self.config.training
        end = _clips(options.kimg)
        stopped = False

        # A process that was killed behind its training state has left out the rest of that save.
        snapshot_exists = distributed.gather(self.run.snapshot_path(self.progress).exists())[0]
        if self.progress.clips and not snapshot_exists:
            self._save_snapshot()

        with Feed(self._batches(), self.device) as feed:
            if self.progress.clips < end:
                feed.fetch()
            feed.agree()
            while self.progress.clips < end and not stopped:
                # Phases, then the moving average.
                feed.require_batch()
                ticks_before = self._ticks()
                started = time.perf_counter()
                self.iterate(feed.batch)
                self._report_time(feed.waited, seconds=feed.seconds + time.perf_counter() - started)
                if distributed.is_main():
                    self.hooks.iteration(self.progress)

                # The next batch, while a GPU computes on this one; then the one exchange among hosts. Stop?
                if self.progress.clips < end:
                    feed.fetch()
                stopped = feed.agree(self.hooks.stop())
                done = stopped or self.progress.clips >= end
                ticks = self._ticks()

                # Status, every tick.
                if done or ticks > ticks_before:
                    self._report_status(done)

                # Snapshot, every `snap` ticks.
                if done or (options.snap and ticks // options.snap > ticks_before // options.snap):
                    self.save()
        return self.progress

    def iterate(self, batch: Batch) -> None:
        """Run every phase that is due on a batch of reals on the device, then update the moving average.

        Random numbers depend on the seed, the number of the iteration in its streams, and the phase alone.
        """
        now = schedule(self.config, self.progress.seen)
        for phase in self.phases:
            if phase.active and self.progress.iteration % phase.interval == 0:
                self._run_phase(phase, batch, now)
        self.progress.clips += self.config.training.batch
        self.progress.iteration += 1
        self._update_average()

    def _run_phase(self, phase: Phase, batch: Batch, now: Schedule) -> None:
        """Accumulate a phase's gradients over the passes, average them over the processes, step."""
        modules = self.networks.trained(phase.networks)
        fakes = self._make_fakes(phase) if phase.takes_fakes else None

        # Accumulate. Pass i takes clips i, i + passes, ... of this process.
        passes = self.per_process // self.per_pass
        for module in modules:
            module.requires_grad_(True)
        with self.averages[phase.name].overlapping():
            for i in range(passes):
                rows = slice(i, None, passes)
                report = phase.accumulate(
                    self.loss,
                    reals=self.loss.reals(batch, rows, now) if phase.takes_reals else None,
                    fakes=fakes.rows(rows) if fakes else None,
                    schedule=now,
                    gain=phase.interval / passes,
                )
                self.stats.report(report)
        for module in modules:
            module.requires_grad_(False)

        # Average.
        self.stats.report({"health/nonfinite_gradients": self.averages[phase.name].finish()})

        # Step.
        for name in phase.networks:
            optimizer = self.optimizers[name]
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if phase.tracks_mean_latent:
            distributed.average([self.networks.G.backbone.mapping.w_avg])

    @torch.no_grad()
    def _update_average(self) -> None:
        """Update the generator's EMA; its half-life grows with training until `ema_kimg_factor * batch` kimg."""
        options = self.config.training
        half_life = min(options.ema_kimg_factor * options.batch * 1000, options.ema_rampup * self.progress.seen)
        beta = 0.5 ** (options.batch / max(half_life, 1e-8))
        average, current = self.networks.G_ema, self.networks.G
        torch._foreach_lerp_(list(average.parameters()), list(current.parameters()), 1 - beta)
        torch._foreach_copy_(list(average.buffers()), list(current.buffers()))

    # --- Reals and fakes ----------------------------------------------------------------------------------------------

    def _batches(self) -> Generator[Batch, None, None]:
        """Yield this process's share of the reals, from where the run stands."""
        options = self.config.training
        begin = self.progress.stream_start
        images = ImageData(dataset=self.images, share=self.share, begin=begin) if self.images else None
        return training_batches(
            self.dataset,
            self.per_process,
            seed=options.seed,
            start=self.progress.stream_clips,
            rank=distributed.rank(),
            world=distributed.world_size(),
            workers=options.workers,
            window=options.window,
            frames=options.frames,
            mirror=options.mirror,
            images=images,
            pin=self.device.type == "cuda",
        )

    def _make_fakes(self, phase: Phase) -> Fakes:
        """Return this process's share of a phase's fakes; the whole is the same for any number of processes."""
        key = (self.config.training.seed, self.progress.stream_iteration, phase.index)
        own = slice(distributed.rank(), None, distributed.world_size())
        return self.fakes.draw(key, own, self.share.places(self.progress.clips))

    # --- Status and snapshots -----------------------------------------------------------------------------------------

    def _ticks(self) -> int:
        """Return the ticks that are over; the clips alone count, so that a run that goes on keeps its rhythm."""
        return self.progress.clips // _clips(self.config.training.tick)

    def _report_time(self, waited: float, seconds: float) -> None:
        """Count the `seconds` of an iteration, `waited` of which went by before its data was there."""
        self.progress.seconds += seconds
        share = waited / seconds
        per_kimg = seconds / self.config.training.batch * 1000
        self.stats.report({"time/data_wait": waited, "time/data_share": share, "time/sec_per_kimg": per_kimg})

    def _report_status(self, done: bool) -> None:
        """Write the means since the last status to the run's statistics, and pass them to the status hook."""
        stats = {name: value["mean"] for name, value in self.stats.collect().items()}
        for name, gigabytes in peak_memory(self.device).items():
            stats[f"memory/{name}"] = gigabytes
        now = schedule(self.config, self.progress.seen)
        stats["schedule/blur_sigma"] = now.blur_sigma
        stats["schedule/swap_probability"] = now.swap_probability
        stats |= self.share.statistics(self.progress.clips)
        with distributed.fail_together():
            if distributed.is_main():
                stats |= probe(self.networks.G_ema)
                warnings = self.health.update(stats, self.progress.kimg)
                self.run.log(self.progress, stats)
                self.hooks.status(Status(progress=self.progress, stats=stats, warnings=warnings, done=done))

    def save(self) -> None:
        """Write training state, pictures, snapshot, scores; the state first: a signal may have left little time."""
        with distributed.fail_together():
            if distributed.is_main():
                self.hooks.saving("training state")
                self.run.save_state(self._state(), self.progress, keep=self.config.training.keep)
        self._save_snapshot()

    def _save_snapshot(self) -> None:
        """Write all of a save but the state; the snapshot comes last of the files, as the sign that they are there."""
        with distributed.fail_together():
            if distributed.is_main():
                self.hooks.saving("pictures and snapshot")
                self.hooks.pictures(self.networks, self.run.path, self.progress.clips)
                self.run.show(self.progress)
                self.run.save_snapshot(self.config, self.networks, self.bank, self.progress)
        self.hooks.evaluate(self.snapshot(), self.run.snapshot_path(self.progress))

    def snapshot(self) -> Snapshot:
        """Return the averaged generator as it is now."""
        return Snapshot(
            G=self.networks.G_ema,
            config=self.config,
            camera_bank=self.bank,
            progress=self.progress.of_snapshot(),
        )

    def _state(self) -> dict[str, Any]:
        """Return what a training state keeps."""
        return {
            "networks": {name: dict(module.state_dict()) for name, module in self.networks.items()},
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "progress": vars(self.progress).copy(),
            "health": asdict(self.health),
            "max_time": self.networks.G_ema.max_time,
        }


def _clips(kimg: float) -> int:
    """Return the clips in `kimg` thousands, at least one."""
    return max(round(kimg * 1000), 1)
