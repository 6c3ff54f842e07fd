"""What `dataset_tool.py` does for one clip, in a worker process: convert a published one, render a procedural one."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL.Image

from dnnlib.errors import UserError
from dnnlib.files import read_json, require_file
from dnnlib.video import read_frames, video_info
from training import synthetic
from training.cameras import CAMERA_DIM
from training.clip_files import DEPTH_SUFFIX, encode_depth, encode_png
from training.clip_writer import ClipRecord

VIDEOS, CAMERAS = 'recrop_faces', 'smoothed_camera2world'
LAYOUT = f'it needs {VIDEOS}/*.mp4 and {CAMERAS}/*.json (docs/data.md)'
SEED_STRIDE = 2 ** 20                    # clips of neighbouring dataset seeds stay apart


@dataclass(frozen=True)
class SynthJob:
    """Clip `index` of the procedural dataset `seed`."""
    seed: int
    index: int
    frames: int
    resolution: int
    fps: float
    depth: bool


@dataclass(frozen=True)
class ConvertJob:
    """One clip of the published layout."""
    video: Path
    cameras: Path
    resolution: int | None
    max_frames: int | None
    skip_broken: bool                    # return the reason instead of raising it


def synth_clip(job: SynthJob) -> ClipRecord:
    """Render a procedural clip."""
    clip = synthetic.render_clip(job.seed * SEED_STRIDE + job.index, job.resolution, job.frames, job.fps)
    frames = [(f'{i:05d}.png', encode_png(frame)) for i, frame in enumerate(clip.frames)]
    depths = clip.depth if job.depth else []
    extras = [(f'{i:05d}{DEPTH_SUFFIX}', encode_depth(depth)) for i, depth in enumerate(depths)]
    name = f'{job.index:05d}'
    return ClipRecord(name, frames, clip.cameras, job.fps, identity=f'{job.seed}-{name}', extras=extras)


def convert_jobs(source: Path, resolution: int | None, max_frames: int | None, skip_broken: bool) -> list[ConvertJob]:
    """The clips of a folder in the published layout: those of its *.list, else all videos.

    UserError if the folder is not in this layout.
    """
    videos, cameras = source / VIDEOS, source / CAMERAS
    if not source.is_dir():
        raise UserError(f'The source folder {source} does not exist: check --source.')
    if not videos.is_dir() or not cameras.is_dir():
        raise UserError(f'{source} is not in the published layout: {LAYOUT}.')
    names = _listed(source) or sorted(path.name for path in videos.glob('*.mp4'))
    if not names:
        raise UserError(f'{videos} has no videos: {LAYOUT}.')
    return [ConvertJob(videos / f'{Path(name).stem}.mp4', cameras / f'{Path(name).stem}.json', resolution, max_frames,
                       skip_broken) for name in names]


def _listed(source: Path) -> list[str]:
    """The names in the folder's *.list files, each once, in order."""
    lines = [line.strip() for path in sorted(source.glob('*.list')) for line in path.read_text().splitlines()]
    return list(dict.fromkeys(Path(line.split()[0]).name for line in lines if line))


def convert_clip(job: ConvertJob) -> ClipRecord | str:
    """Decode, resize and encode a clip; UserError (or its text, with skip_broken) if it cannot be read."""
    try:
        return _convert(job)
    except UserError as error:
        if job.skip_broken:
            return str(error)
        raise UserError(f'{error} (--skip-broken leaves such clips out.)') from error


def _convert(job: ConvertJob) -> ClipRecord:
    cameras = _cameras(job.cameras)
    fps = video_info(job.video).fps
    frames, count = [], 0
    for pixels in read_frames(job.video):
        count += 1
        if job.max_frames is None or count <= job.max_frames:
            frames.append((f'{count - 1:05d}.png', encode_png(_resized(pixels, job).transpose(2, 0, 1))))
    if count != len(cameras):
        raise UserError(f'{job.video} has {count} frames but {job.cameras} has {len(cameras)} cameras: '
                        'they must match.')
    return ClipRecord(job.video.stem, frames, cameras[:len(frames)], fps)


def _resized(pixels: np.ndarray, job: ConvertJob) -> np.ndarray:
    """uint8 [H, W, 3] at the wanted side, antialiased."""
    height, width = pixels.shape[:2]
    if height != width:
        raise UserError(f'{job.video} is {width} x {height} pixels: clips must be square face crops.')
    side = job.resolution or height
    if side == height:
        return pixels
    return np.asarray(PIL.Image.fromarray(pixels).resize((side, side), PIL.Image.Resampling.LANCZOS))


def _cameras(path: Path) -> np.ndarray:
    """The cameras float [F, 25] of a file [[frame name, 25 numbers], ...]. UserError if it is not one."""
    entries = read_json(require_file(path, 'camera file'))
    try:
        cameras = np.array([label for _, label in entries], dtype=np.float64)
    except (TypeError, ValueError):
        cameras = np.zeros(0)
    if cameras.ndim != 2 or cameras.shape[1] != CAMERA_DIM or not np.isfinite(cameras).all():
        raise UserError(f'{path} is not a list of [frame name, 25 finite numbers]: write it again.')
    return cameras
