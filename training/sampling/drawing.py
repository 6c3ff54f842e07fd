"""From clips to files: a video each or one of all, and meshes; each clip is made when its turn comes."""

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from operator import methodcaller
from pathlib import Path

import torch

from dnnlib.errors import UserError
from dnnlib.files import atomic_folder
from dnnlib.names import natural_key
from dnnlib.progress import Counter, counted
from dnnlib.video import write_video
from training.data.streams import Stream
from training.networks.generator import Generator
from training.sampling import pictures, records
from training.sampling.camera_paths import camera_path
from training.sampling.clips import ClipSpec, clip_spec, frame_times, generate, latent_code
from training.sampling.options import SHAPE, MeshFiles, Orbit, SamplingOptions, Shape
from training.sampling.records import Plain
from training.sampling.surfaces import lattices

# --- What is made -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Clip:
    """A clip that was asked for: the seeds of its appearance and its motion; None: those of given latents."""

    seed: int | None
    motion_seed: int | None

    @property
    def name(self) -> str:
        """The name of its files."""
        name = "latents" if self.seed is None else f"seed{self.seed:04d}"
        if self.motion_seed == self.seed:
            return name
        return f"{name}-motion{self.motion_seed:04d}"


@dataclass(frozen=True)
class Clips:
    """All clips that were asked for: appearances outermost; each with its own motion, or with every one of a list."""

    seeds: Sequence[int | None]  # None: the appearance of given latents
    motion_seeds: list[int] | None

    def __len__(self) -> int:
        return len(self.seeds) * (1 if self.motion_seeds is None else len(self.motion_seeds))

    def __iter__(self) -> Iterator[Clip]:
        if self.motion_seeds is None:
            return (Clip(seed, seed) for seed in self.seeds)
        return itertools.starmap(Clip, itertools.product(self.seeds, self.motion_seeds))


@dataclass(frozen=True, kw_only=True)
class Given:
    """Latents from a file, in place of seeds: as a clip of their own frames, and a digest of all that is in them."""

    spec: ClipSpec
    digest: str


@dataclass(frozen=True, kw_only=True)
class Product:
    """A file, or a folder of files, with its record beside it.

    Args:
        path: where it comes.
        frames: how many are drawn for it.
        options: returns what it follows from, but for the software.
        software: what makes it.
        write: makes it, at this path, counting its frames.
    """

    path: Path
    frames: int
    options: Callable[[], Plain]
    software: Plain
    write: Callable[[Path, Counter], None]

    def is_made(self) -> bool:
        """Return whether it is there. UserError if something else is."""
        return records.is_made(self.path, self.options, self.software)

    def make(self, counter: Counter) -> bool:
        """Make it unless it is there; return whether it was. UserError if something else is."""
        if self.is_made():
            counter.update(self.frames)
            return False
        with records.making(self.path, self.options(), self.software):
            self.write(self.path, counter)
        return True

    def files(self) -> list[Path]:
        """Return its files, once it is made."""
        if self.path.is_dir():
            return sorted(self.path.iterdir(), key=natural_key)
        return [self.path]


# --- How it is made ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """Clips of one generator, how their frames are drawn, and where they are written.

    Args:
        checksum: of the generator's file.
        precision: that it computes in.
        bank: real camera paths [N, F, 25].
        clips: which clips.
        given: the latents of clips without seeds.
        cameras: one of KINDS, or a path [F, 25].
        orbit: how far that of KINDS goes.
        frames: frames of each clip, T.
        sampling: how they are sampled.
        layers: pictures side by side, of LAYERS.
        shape: how meshes are made, and the layer of that name.
        depth_range: distances between which depth has its colours; None: `pictures.depth_range` of the first frame.
        fps: frames per second.
        software: what makes them (`records.software`).
        outdir: folder of all files.
    """

    G: Generator
    checksum: str
    precision: str
    bank: torch.Tensor
    clips: Clips
    given: Given | None = None
    cameras: str | torch.Tensor
    orbit: Orbit = Orbit()
    frames: int
    sampling: SamplingOptions
    layers: tuple[str, ...]
    shape: Shape
    depth_range: tuple[float, float] | None = None
    fps: float
    software: Plain
    outdir: Path

    def spec(self, clip: Clip) -> ClipSpec:
        """Return codes, times and cameras of a clip."""
        labels = camera_path(self.bank, clip.seed or 0, self.cameras, self.frames, self.orbit)
        if clip.seed is not None:
            assert clip.motion_seed is not None
            return clip_spec(self.G, clip.seed, clip.motion_seed, labels)
        assert self.given is not None
        own = replace(self.given.spec, cameras=labels)
        if clip.motion_seed is not None:
            code = latent_code(clip.motion_seed, own.z_motion.shape[1], Stream.MOTION)
            return replace(own, z_motion=code, times=frame_times(self.frames, self.G.max_time))
        if len(own.times) == 1:  # a picture: only the camera moves
            return replace(own, times=own.times.expand(self.frames))
        return own

    def videos(self) -> Iterator[Product]:
        """Yield one video per clip: seed0000.mp4."""
        for clip in self.clips:
            yield self._product(f"{clip.name}.mp4", [clip], self._picture_options(), partial(self._write_video, clip))

    def grid(self, columns: int, rows: int) -> Iterator[Product]:
        """Yield one video of all clips, grid.mp4. UserError if their number is another."""
        if len(self.clips) != columns * rows:
            raise UserError(
                f"--grid={columns}x{rows} has {columns * rows} places but there are {len(self.clips)} clips: "
                "change --grid, --seeds or --motion-seeds."
            )
        options = {**self._picture_options(), "grid": [columns, rows]}
        yield self._product("grid.mp4", self.clips, options, partial(self._write_grid, columns))

    def meshes(self, files: MeshFiles) -> Iterator[Product]:
        """Yield a folder per clip of its frames' meshes, in world units: shapes/<clip>/frame000.ply."""
        frames = files.numbers(self.frames)
        options = {
            **self.shape.options(),
            "shape_format": files.format,
            "shape_frames": frames,
            "neural_rendering_resolution": self.sampling.neural_rendering_resolution,
        }
        for clip in self.clips:
            write = partial(self._write_meshes, clip, files)
            yield replace(self._product(f"shapes/{clip.name}", [clip], options, write), frames=len(frames))

    def _product(
        self, name: str, clips: Clips | list[Clip], options: Plain, write: Callable[[Path, Counter], None]
    ) -> Product:
        return Product(
            path=self.outdir / name,
            frames=len(clips) * self.frames,
            options=cache(lambda: {**self._options(clips), **options}),
            software=self.software,
            write=write,
        )

    def _picture_options(self) -> Plain:
        return {
            "layers": list(self.layers),
            "neural_rendering_resolution": self.sampling.neural_rendering_resolution,
            "fps": self.fps,
            "depth_range": None if self.depth_range is None else list(self.depth_range),
            **(self.shape.options() if SHAPE in self.layers else {}),
        }

    def _options(self, clips: Iterable[Clip]) -> Plain:
        """Return what pictures and meshes of clips follow from."""
        seeds = []
        cameras = hashlib.sha256()
        for clip in clips:
            spec = self.spec(clip)
            seeds.append([clip.seed, clip.motion_seed])
            cameras.update(spec.cameras.cpu().numpy().tobytes())
        return {
            "network": self.checksum,
            "precision": self.precision,
            "seeds": seeds,  # of appearance and motion
            **({} if self.given is None else {"latents": self.given.digest}),
            "cameras": self.cameras if isinstance(self.cameras, str) else "file",
            "camera_labels": cameras.hexdigest(),
            "frames": self.frames,
            "times": [spec.times[0].item(), spec.times[-1].item()],  # first and last
            "trunc": self.sampling.psi,
            "trunc_cutoff": self.sampling.cutoff,
        }

    def _pictures(self, clip: Clip, sampling: SamplingOptions) -> Iterator[torch.Tensor]:
        """Yield pictures uint8 [3, R, R * layers] of a clip's frames, one at a time."""
        # In a grid every clip waits here for its next turn: with pictures of 8 bits and nothing of what they came from.
        shapes = self._shapes(clip) if SHAPE in self.layers else iter(())
        shown = self.depth_range
        for out in generate(self.G, self.spec(clip), sampling):
            shown = shown or pictures.depth_range(out["image_depth"][:1])
            drawn = {layer: pictures.layer(layer, out, self.G.config, shown) for layer in self.layers if layer != SHAPE}
            if SHAPE in self.layers:
                drawn[SHAPE] = torch.stack(list(itertools.islice(shapes, len(out["image"]))))
            del out
            yield from torch.cat([drawn[layer].cpu() for layer in self.layers], dim=3)

    def _shapes(self, clip: Clip) -> Iterator[torch.Tensor]:
        """Yield pictures uint8 [3, R, R] of the surface of a clip's frames."""
        found = lattices(self.G, self.spec(clip), self.sampling, self.shape)
        return map(methodcaller("picture", self.shape.all_parts), found)  # keeps nothing of a frame until the next

    def _write_video(self, clip: Clip, path: Path, counter: Counter) -> None:
        drawn = counted(self._pictures(clip, self.sampling), counter)
        write_video(path, (frame.permute(1, 2, 0).numpy() for frame in drawn), self.fps, comment=records.SYNTHETIC)

    def _write_grid(self, columns: int, path: Path, counter: Counter) -> None:
        sampling = replace(self.sampling, frames_per_batch=1)  # all clips are in memory at once
        runs = [counted(self._pictures(clip, sampling), counter) for clip in self.clips]
        moments = zip(*runs, strict=True)
        drawn = (pictures.image_grid(torch.stack(cells), columns) for cells in moments)
        write_video(path, drawn, self.fps, comment=records.SYNTHETIC)

    def _write_meshes(self, clip: Clip, files: MeshFiles, path: Path, counter: Counter) -> None:
        chosen = files.numbers(self.frames)
        found = counted(lattices(self.G, self.spec(clip), self.sampling, self.shape, chosen), counter)
        with atomic_folder(path) as folder:
            for index, lattice in zip(chosen, found, strict=True):
                lattice.mesh(self.shape.all_parts).save(folder / files.name(index, self.frames))
