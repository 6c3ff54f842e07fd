"""Videos and folders of pictures that are aligned already, with cameras of another tracker, matched by name."""

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from dnnlib.errors import UserError
from dnnlib.files import read_file, shown
from dnnlib.names import few, is_leftover, listed, not_taken, plain
from dnnlib.video import VIDEO_SUFFIXES
from training.data.camera_files import MIRRORED, Cameras, frame_key
from training.data.convert import ConvertJob, convert_clip, resized
from training.data.files import MAX_FILE_BYTES, fault_of_name
from training.data.frames import FRAME_SUFFIXES, decode_frame, encode_png
from training.data.published import SourceClip, frame_order
from training.data.writer import ClipRecord

PICTURES_FPS = 25.0  # of folders of pictures, which do not say


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What to make of clips: side to resize to, frames to take at most (None: all), whether to skip broken ones."""

    resolution: int | None
    max_frames: int | None
    skip_broken: bool


@dataclass(frozen=True, kw_only=True)
class PicturesJob:
    """A folder of pictures that becomes a clip, with a camera for each."""

    name: str
    pictures: tuple[Path, ...]
    cameras: np.ndarray  # float64 [F, 25]
    wanted: Wanted


def aligned_jobs(
    source: Path,
    cameras: Cameras,
    wanted: Wanted,
) -> tuple[list[ConvertJob | PicturesJob], list[str]]:
    """List the clips of a folder: every video, whose frames are `<name>/<number>`, and every folder of pictures.

    Returns:
        jobs: in natural order of the clips' names.
        notes: sentences about files and cameras that are not taken.

    Raises:
        UserError: there is no clip, or a file has no camera and is not to be skipped.
    """
    if not source.is_dir():
        raise UserError(f"The source folder {source} does not exist: check --source.")
    videos, folders, rest = _split_files(source)
    matching = _Matching(source, cameras, wanted)
    for name in listed([*videos, *folders]):
        if name in videos:
            matching.add_video(name, videos[name])
        else:
            matching.add_pictures(name, folders[name])
    missing = matching.missing
    if missing and not wanted.skip_broken:
        raise UserError(
            f"--cameras has no camera of {len(missing)} files, {shown(few(missing))}: names must agree, such as "
            "clip/00000 for the first frame of clip.mp4 (--skip-broken leaves such files out)."
        )
    if not matching.jobs:
        raise UserError(f"No video or folder of pictures in {source} has a camera: compare names with --cameras.")
    notes = not_taken("files that are no videos or pictures", rest)
    notes += not_taken("files without a camera", missing)
    notes += not_taken("mirrored copies of pictures, which training makes itself", matching.copies)
    notes += not_taken("videos of some of whose frames there is no camera", matching.gaps)
    return matching.jobs, notes + matching.surplus_notes()


class _Matching:
    """Clips as they find their cameras.

    Attributes:
        jobs: the clips so far.
        missing: files that have no camera.
        copies: mirrored copies of pictures.
        gaps: sentences about videos that are left out, as they have no camera of some frames.
    """

    def __init__(self, source: Path, cameras: Cameras, wanted: Wanted) -> None:
        self._source = source
        self._wanted = wanted
        self._left: dict[str, dict[str, np.ndarray]] = defaultdict(dict)  # by clip, then by frame
        for key, camera in cameras.items():
            clip, _, frame = key.rpartition("/")
            self._left[clip][frame] = camera
        self.jobs: list[ConvertJob | PicturesJob] = []
        self.missing: list[str] = []
        self.copies: list[str] = []
        self.gaps: list[str] = []

    def add_video(self, name: str, file: str) -> None:
        """Give a video the cameras of its frames, by their numbers. UserError if these leave a gap, unless skipped."""
        known = self._left.pop(name, {})
        if not known:
            self.missing.append(file)
            return
        path = self._source / file
        frames = list(known)
        try:
            order = frame_order(frames, path)
        except UserError:
            if not self._wanted.skip_broken:
                raise
            self.gaps.append(file)
            return
        labels = np.stack([known[frames[place]] for place in order])
        clip = SourceClip(name, path, self._source, labels=labels)
        self.jobs.append(ConvertJob(clip=clip, **vars(self._wanted)))

    def add_pictures(self, name: str, files: Sequence[str]) -> None:
        """Give each picture of a folder its camera, by its name. UserError if two have one name."""
        known = self._left[name]
        by_frame: dict[str, str] = {}
        for file in files:
            frame = frame_key(PurePosixPath(file).name)
            if frame in by_frame:
                both = f"{shown(by_frame[frame])} and {shown(file)}"
                raise UserError(f"{both} in {self._source} would be one frame: keep one of them.")
            by_frame[frame] = file
        paths, labels = [], []
        for frame, file in by_frame.items():
            if frame.endswith(MIRRORED) and frame.removesuffix(MIRRORED) in by_frame:
                self.copies.append(file)
            elif frame in known:
                paths.append(self._source / file)
                labels.append(known.pop(frame))
            else:
                self.missing.append(file)
        if paths:
            clip = name or _clip_name(self._source.resolve().name)
            cameras = np.stack(labels)
            job = PicturesJob(name=clip, pictures=tuple(paths), cameras=cameras, wanted=self._wanted)
            self.jobs.append(job)

    def surplus_notes(self) -> list[str]:
        """Return sentences about cameras that nothing has taken."""
        names = [f"{clip}/{frame}" if clip else frame for clip, known in self._left.items() for frame in known]
        copies = [name for name in names if name.endswith(MIRRORED)]
        others = [name for name in names if not name.endswith(MIRRORED)]
        notes = not_taken("cameras of nothing that is there", listed(others))
        return notes + not_taken("cameras of mirrored copies, which training makes itself", listed(copies))


def convert_aligned(job: ConvertJob | PicturesJob) -> ClipRecord | str:
    """Decode, resize and encode a clip; UserError (or its text, with skip_broken) if it cannot be read."""
    if isinstance(job, ConvertJob):
        return convert_clip(job)
    frames = []
    side = None
    for number, path in enumerate(job.pictures[: job.wanted.max_frames]):
        try:
            pixels = decode_frame(read_file(path, "picture", MAX_FILE_BYTES)).transpose(1, 2, 0)
        except (OSError, ValueError) as error:
            reason = f"Cannot read the picture {path} ({error}): save it again as PNG or JPEG."
            if job.wanted.skip_broken:
                return reason
            raise UserError(f"{reason} (--skip-broken leaves such clips out.)") from error
        picture = resized(pixels, path, job.wanted.resolution).transpose(2, 0, 1)
        side = picture.shape[1]
        frames.append((f"{number:05d}.png", encode_png(np.ascontiguousarray(picture))))
    return ClipRecord(name=job.name, frames=frames, cameras=job.cameras[: len(frames)], fps=PICTURES_FPS, side=side)


# --- Files -----------------------------------------------------------------------------------------------------------


def _split_files(source: Path) -> tuple[dict[str, str], dict[str, list[str]], list[str]]:
    """Return videos by their names, pictures by their folders, both as paths below the source, and other files."""
    videos: dict[str, str] = {}
    folders: dict[str, list[str]] = defaultdict(list)
    rest = []
    for path in listed(_walk(source)):
        whole = PurePosixPath(plain(path))
        suffix = whole.suffix.lower()
        if suffix in VIDEO_SUFFIXES:
            name = _clip_name(whole.with_suffix("").as_posix())
            if name in videos:
                raise UserError(
                    f"{shown(videos[name])} and {shown(path)} in {source} would be one clip: rename one of them."
                )
            videos[name] = path
        elif suffix in FRAME_SUFFIXES:
            folder = whole.parent.as_posix()
            folders["" if folder == "." else _clip_name(folder)].append(path)
        else:
            rest.append(path)
    both = [name for name in videos if name in folders]
    if both:
        raise UserError(f"{shown(both[0])} is a video and a folder of pictures in {source}: rename one of them.")
    return videos, dict(folders), rest


def _walk(root: Path) -> Iterator[str]:
    for folder, _, files in os.walk(root):
        for file in files:
            path = (Path(folder) / file).relative_to(root).as_posix()
            if not is_leftover(path):
                yield path


def _clip_name(name: str) -> str:
    fault = fault_of_name(name)
    if fault:
        raise UserError(f"No clip can be called {shown(repr(name))} ({fault}): rename it.")
    return name
