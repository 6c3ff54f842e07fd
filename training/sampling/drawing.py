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
from dnnlib.progress import Counter, counted
from training.data.streams import Stream
from training.networks.generator import Generator
from training.sampling import frame_files, pictures
from training.sampling.camera_paths import camera_path
from training.sampling.clip_list import Clip, Clips
from training.sampling.clips import ClipSpec, clip_spec, clip_times, generate, latent_code
from training.sampling.labels import Strips, below
from training.sampling.latent_paths import interpolated_spec
from training.sampling.options import ARRAYS, PICTURES, SHAPE, MeshFiles, Orbit, SamplingOptions, Shape
from training.sampling.records import Plain, Product
from training.sampling.surfaces import lattices


@dataclass(frozen=True, kw_only=True)
class Given:
    """Latents from a file, in place of seeds: as a clip of their own frames, and a digest of all that is in them."""

    spec: ClipSpec
    digest: str


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
        mapped_with: camera [25] that codes are mapped with; None: that which the model's camera mode says.
        frames: frames of each clip, T.
        sampling: how they are sampled.
        layers: pictures side by side, of LAYERS.
        shape: how meshes are made, and the layer of that name.
        depth_range: distances between which depth has its colours; None: `pictures.depth_range` of the first frame.
        scale: how many times larger pictures are shown than they are made.
        labels: whether a strip above each cell says which clip it is, and which layers.
        format: of files, one of FORMATS.
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
    mapped_with: torch.Tensor | None = None
    frames: int
    sampling: SamplingOptions
    layers: tuple[str, ...]
    shape: Shape
    depth_range: tuple[float, float] | None = None
    scale: int = 1
    labels: bool = False
    format: str = "mp4"
    fps: float
    software: Plain
    outdir: Path

    def spec(self, clip: Clip) -> ClipSpec:
        """Return codes, times and cameras of a clip."""
        labels = camera_path(self.bank, clip.seed or 0, self.cameras, self.frames, self.orbit)
        if clip.seed is not None:
            assert clip.motion_seed is not None
            if clip.way:
                return interpolated_spec(self.G, clip.way, clip.motion_seed, labels, self.mapped_with)
            return replace(clip_spec(self.G, clip.seed, clip.motion_seed, labels), mapped_with=self.mapped_with)
        assert self.given is not None
        own = replace(self.given.spec, cameras=labels)
        if clip.motion_seed is not None:
            code = latent_code(clip.motion_seed, own.z_motion.shape[1], Stream.MOTION)
            return replace(own, z_motion=code, times=clip_times(self.G, self.frames))
        if len(own.times) == 1:  # a picture: only the camera moves
            return replace(own, times=own.times.expand(self.frames))
        return own

    def videos(self) -> Iterator[Product]:
        """Yield one file, or a folder of pictures, per clip: seed0000.mp4. UserError if a label has no room."""
        for clip in self.clips:
            if self.format == ARRAYS:
                options, write = self._array_options(), partial(self._write_arrays, clip)
            else:
                self._strips([clip])
                options, write = self._picture_options(), partial(self._write_video, clip)
            yield self._product(frame_files.name_of(clip.name, self.format), [clip], options, write)

    def grid(self, columns: int, rows: int) -> Iterator[Product]:
        """Yield one file of all clips, grid.mp4. UserError if their number is another, or a label has no room."""
        if len(self.clips) != columns * rows:
            raise UserError(
                f"--grid={columns}x{rows} has {columns * rows} places but there are {len(self.clips)} clips: "
                "change --grid, --seeds or --motion-seeds."
            )
        self._strips(self.clips)
        options = {**self._picture_options(), "grid": [columns, rows]}
        name = frame_files.name_of("grid", self.format)
        yield self._product(name, self.clips, options, partial(self._write_grid, columns))

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
        """Return what pictures follow from beside clips; where an option is at its default, what older records have."""
        return {
            **self._array_options(),
            **({} if self.format == PICTURES else {"fps": self.fps}),
            "depth_range": None if self.depth_range is None else list(self.depth_range),
            **({} if self.scale == 1 else {"scale": self.scale}),
            **({"labels": True} if self.labels else {}),
            **(self.shape.options() if SHAPE in self.layers else {}),
        }

    def _array_options(self) -> Plain:
        """Return what arrays follow from beside clips."""
        return {
            **({} if self.format == Drawing.format else {"format": self.format}),
            "layers": list(self.layers),
            "neural_rendering_resolution": self.sampling.neural_rendering_resolution,
        }

    def _options(self, clips: Iterable[Clip]) -> Plain:
        """Return what pictures and meshes of clips follow from."""
        seeds = []
        ways = []
        cameras = hashlib.sha256()
        for clip in clips:
            spec = self.spec(clip)
            seeds.append([clip.seed, clip.motion_seed])
            ways.append(list(clip.way))
            cameras.update(spec.cameras.cpu().numpy().tobytes())
        return {
            "network": self.checksum,
            "precision": self.precision,
            "seeds": seeds,  # of appearance and motion
            **({"interpolate": ways} if any(ways) else {}),
            **({} if self.given is None else {"latents": self.given.digest}),
            "cameras": self.cameras if isinstance(self.cameras, str) else "file",
            "camera_labels": cameras.hexdigest(),
            **({} if self.mapped_with is None else {"mapped_with": self.mapped_with.tolist()}),
            "frames": self.frames,
            "times": [spec.times[0].item(), spec.times[-1].item()],  # first and last
            "trunc": self.sampling.psi,
            "trunc_cutoff": self.sampling.cutoff,
        }

    def _pictures(self, clip: Clip, sampling: SamplingOptions) -> Iterator[torch.Tensor]:
        """Yield pictures uint8 [3, R * scale, R * scale * layers] of a clip's frames, one at a time."""
        return layered(
            self.G, self.spec(clip), sampling, self.layers, shape=self.shape, shown=self.depth_range, side=self._side
        )

    @property
    def _side(self) -> int:
        return self.G.config.img_resolution * self.scale

    def _strips(self, clips: Clips | list[Clip]) -> Strips | None:
        """Return the strips above clips that are shown together; None without labels. UserError if they lack room."""
        if not self.labels:
            return None
        with_motion = not all(clip.has_own_motion for clip in clips)
        strips = Strips([clip.words(with_motion) for clip in clips], self.layers, self._side)
        strips.check(self.scale)
        return strips

    def _write_video(self, clip: Clip, path: Path, counter: Counter) -> None:
        drawn = counted(self._pictures(clip, self.sampling), counter)
        strips = self._strips([clip])
        shown = drawn if strips is None else below(strips.draw(0), drawn)
        frame_files.write_frames(path, frame_files.as_arrays(shown), count=self.frames, fps=self.fps)

    def _write_grid(self, columns: int, path: Path, counter: Counter) -> None:
        runs = [counted(self._pictures(clip, self.sampling), counter) for clip in self.clips]
        strips = self._strips(self.clips)
        if strips is not None:
            runs = [below(strips.draw(place), run) for place, run in enumerate(runs)]
        moments = zip(*runs, strict=True)
        drawn = (pictures.image_grid(torch.stack(cells), columns) for cells in moments)
        frame_files.write_frames(path, drawn, count=self.frames, fps=self.fps)

    def _write_arrays(self, clip: Clip, path: Path, counter: Counter) -> None:
        spec = self.spec(clip)
        batches: dict[str, list[torch.Tensor]] = {name: [] for name in (*self.layers, "cameras")}
        for out in generate(self.G, spec, self.sampling):
            for name in self.layers:
                batches[name].append(frame_files.layer_array(name, out).cpu())
            batches["cameras"].append(out["camera"].cpu())
            counter.update(len(out["camera"]))
        arrays = {name: torch.cat(parts) for name, parts in batches.items()}
        frame_files.save_arrays(path, {**arrays, "times": spec.times})

    def _write_meshes(self, clip: Clip, files: MeshFiles, path: Path, counter: Counter) -> None:
        chosen = files.numbers(self.frames)
        found = counted(lattices(self.G, self.spec(clip), self.sampling, self.shape, chosen), counter)
        with atomic_folder(path) as folder:
            for index, lattice in zip(chosen, found, strict=True):
                lattice.mesh(self.shape.all_parts).save(folder / files.name(index, self.frames))


# --- Pictures of a clip -----------------------------------------------------------------------------------------------


def layered(
    G: Generator,
    clip: ClipSpec,
    sampling: SamplingOptions,
    layers: Sequence[str],
    *,
    shape: Shape,
    shown: tuple[float, float] | None,
    side: int | None = None,
) -> Iterator[torch.Tensor]:
    """Yield pictures uint8 [3, S, S * layers] of a clip's frames, one at a time.

    Args:
        layers: side by side, of LAYERS.
        shown: the distances between which depth has its colours; None: `pictures.depth_range` of the first frame.
        side: of a picture, S; None: that of the images.
    """
    # In a grid every clip waits here for its next turn: with pictures of 8 bits and nothing of what they came from.
    shapes = _shapes(G, clip, sampling, shape) if SHAPE in layers else iter(())
    for out in generate(G, clip, sampling):
        shown = shown or pictures.depth_range(out["image_depth"][:1])
        drawn = {layer: pictures.layer(layer, out, G.config, shown) for layer in layers if layer != SHAPE}
        if SHAPE in layers:
            drawn[SHAPE] = torch.stack(list(itertools.islice(shapes, len(out["image"]))))
        del out
        large = [pictures.enlarged(drawn[layer], side or G.config.img_resolution).cpu() for layer in layers]
        yield from torch.cat(large, dim=3)


def _shapes(G: Generator, clip: ClipSpec, sampling: SamplingOptions, shape: Shape) -> Iterator[torch.Tensor]:
    """Yield pictures uint8 [3, R, R] of the surface of a clip's frames."""
    found = lattices(G, clip, sampling, shape)
    return map(methodcaller("picture", shape.all_parts), found)  # keeps nothing of a frame until the next
