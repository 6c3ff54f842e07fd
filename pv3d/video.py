"""Frames of a model: as tensors, as pictures, and as files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from dnnlib.errors import UserError
from dnnlib.files import refuse_existing
from dnnlib.video import is_frame_rate
from dnnlib.video_formats import FORMATS
from pv3d.arguments import require_count
from training.config import GeneratorConfig
from training.sampling import pictures
from training.sampling.frame_files import as_arrays, clipped, save_arrays, write_frames
from training.sampling.options import DEFAULT_FPS, FRAME_LAYERS

Layers = str | Sequence[str]  # such as "rgb,depth" or ["rgb", "depth"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Video:
    """Frames of a model, one or more; tensors are on the model's device.

    Args:
        image: [T, 3, R, R] in about [-1, 1], as the generator gives it: not clipped.
        image_raw: [T, 3, r, r], alike, before the super-resolution.
        depth: [T, 1, r, r], distance along each ray, world units.
        cameras: labels [T, 25].
        times: [T].
        config: of the generator.
    """

    image: torch.Tensor
    image_raw: torch.Tensor
    depth: torch.Tensor
    cameras: torch.Tensor
    times: torch.Tensor
    config: GeneratorConfig

    def __len__(self) -> int:
        return len(self.image)

    def __repr__(self) -> str:
        side = self.image.shape[-1]
        return f"<pv3d.Video of {len(self)} {'frame' if len(self) == 1 else 'frames'}, {side} x {side}>"

    @property
    def rgb(self) -> torch.Tensor:
        """The frames [T, 3, R, R] in [0, 1]: clipped, so that what is whiter than white has no gradient."""
        return clipped(self.image)

    @property
    def normals(self) -> torch.Tensor:
        """Unit vectors [T, 3, r, r] that face the camera, in its axes: x right, y down, z forward."""
        return pictures.normals_from_depth(self.depth.float(), self.cameras)

    @torch.no_grad()
    def pictures(
        self, layers: Layers = "rgb", *, scale: int = 1, depth_range: tuple[float, float] | None = None
    ) -> torch.Tensor:
        """Return pictures uint8 [T, 3, R * scale, R * scale * layers]: layers side by side, those of `gen_videos.py`.

        Args:
            layers: of rgb, depth, normals.
            scale: how many times larger than the frames.
            depth_range: distances between which depth has its colours; None: what the first frame shows.

        Raises:
            ValueError: no such layer, no such scale, a range without depth or of no length.
        """
        names = _names(layers)
        size = self.config.img_resolution * require_count("scale", scale)
        shown = self._shown(names, depth_range)
        frames = {"image": self.image, "image_depth": self.depth, "camera": self.cameras}
        drawn = [pictures.enlarged(pictures.layer(name, frames, self.config, shown), size) for name in names]
        return torch.cat(drawn, dim=3).cpu()

    def _shown(self, names: Sequence[str], depth_range: tuple[float, float] | None) -> tuple[float, float]:
        """Return the distances between which depth has its colours."""
        if depth_range is None:
            return pictures.depth_range(self.depth[:1]) if "depth" in names else (0.0, 1.0)
        if "depth" not in names:
            raise ValueError("depth_range does nothing without the layer depth: leave it out, or add that.")
        near, far = depth_range
        if not 0 <= near < far < float("inf"):
            raise ValueError(f"depth_range is {depth_range}: the first distance must be less than the second.")
        return near, far

    def save(
        self,
        path: str | Path,
        *,
        layers: Layers | None = None,
        fps: float | None = None,
        scale: int = 1,
        depth_range: tuple[float, float] | None = None,
    ) -> None:
        """Write a file, atomically, of the format that its suffix names.

        .mp4, .webm and .gif are videos; .png is a picture of one frame; no suffix is a folder of them, frame000.png and
        so on, which must not be there yet; .npz holds arrays: rgb, depth and normals as here, cameras and times.

        Args:
            layers: as of `pictures`; of .npz, which of the arrays. None: rgb; of .npz, all.
            fps: frames a second of videos; None: 25.
            scale, depth_range: as of `pictures`.

        Raises:
            ValueError: as of `pictures`, or an argument does nothing for this format, or a .png has several frames.
            UserError: another suffix, the disk is full, or ffmpeg is missing.
        """
        path = Path(path)
        suffix = path.suffix.lower()
        if fps is not None and (suffix not in FORMATS or not is_frame_rate(fps)):
            raise ValueError(f"fps={fps} is not possible for {path}: leave it out.")
        if suffix == ".npz":
            if scale != 1 or depth_range is not None:
                raise ValueError(f"scale and depth_range do nothing for {path}, which holds arrays: leave them out.")
            return self._save_arrays(path, _names(FRAME_LAYERS if layers is None else layers))
        if suffix not in ("", ".png", *FORMATS):
            raise UserError(f"{path}: end the name in {', '.join(FORMATS)}, .png, .npz, or nothing for a folder.")
        if suffix == ".png" and len(self) > 1:
            raise ValueError(f"{path} is one picture, but there are {len(self)} frames: give a folder, without .png.")
        if suffix == "":
            refuse_existing(path)
        drawn = self.pictures("rgb" if layers is None else layers, scale=scale, depth_range=depth_range)
        write_frames(path, as_arrays(drawn), count=len(self), fps=DEFAULT_FPS if fps is None else fps)

    def _save_arrays(self, path: Path, names: Sequence[str]) -> None:
        save_arrays(path, {name: getattr(self, name) for name in (*names, "cameras", "times")})


def _names(layers: Layers) -> list[str]:
    """Return the names of layers. ValueError if there are none, or others."""
    names = layers.split(",") if isinstance(layers, str) else list(layers)
    wrong = [name for name in names if name not in FRAME_LAYERS]
    if wrong or not names:
        raise ValueError(f"layers={layers!r}: choose of {', '.join(FRAME_LAYERS)}.")
    return names
