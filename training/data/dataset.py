"""A dataset as clips: a folder or zip of `<clip>/<frame>.png|jpg` and `dataset.json` (docs/data.md), read on demand."""

import hashlib
import itertools
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from dnnlib.columns import Columns
from dnnlib.errors import UserError
from dnnlib.files import shown
from training.data.files import DAMAGE, ZipFiles, open_files
from training.data.fingerprints import Fingerprinted
from training.data.frames import DEPTH_SUFFIX, decode_depth, decode_frame
from training.data.kept import kept_columns, known_columns
from training.data.table import CameraPaths, Clip, Clips, ClipTable, build_table

KIND = "clips"  # of the columns that are kept
DIGEST = "digest"


class ClipDataset(Fingerprinted):
    """The clips of a folder or zip, which every process that gets the dataset opens for itself.

    Args:
        path: the folder or zip.
        resolution: side of the frames to deliver; None for the stored one. Stored frames may be larger by a whole
            factor, and are then averaged down.

    Raises:
        UserError: nothing is there, it has no cameras, it is damaged, or it has another resolution.
    """

    def __init__(self, path: str | Path, resolution: int | None = None):
        self.path = Path(path)
        self._files = open_files(self.path)
        self._table = ClipTable(self._columns())
        self.clips = Clips(self._table)
        self.stored_resolution = self._stored_resolution()
        self.resolution = resolution or self.stored_resolution
        if self.stored_resolution % self.resolution:
            raise UserError(
                f"The dataset {self.path} has frames of {self.stored_resolution} pixels, which do not "
                f"shrink to {self.resolution}: convert its source with --resolution={self.resolution}."
            )

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process needs: of a large zip little, for the columns are in the cache."""
        state = vars(self).copy()
        del state["clips"]
        return state | {"_table": self._table.columns if self._kept_as is None else None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        columns = known_columns(KIND, self._kept_as) if self._kept_as is not None else state["_table"]
        self._table = ClipTable(columns)
        self.clips = Clips(self._table)

    @property
    def _kept_as(self) -> str | None:
        """What the columns of a large zip are kept by."""
        return self._files.key if isinstance(self._files, ZipFiles) else None

    def _columns(self) -> Columns:
        build = partial(build_table, self._files)
        return build() if self._kept_as is None else kept_columns(KIND, self._kept_as, build)

    @property
    def num_clips(self) -> int:
        """Number of clips."""
        return len(self.clips)

    @property
    def num_frames(self) -> int:
        """Number of frames of all clips."""
        return len(self.cameras)

    @property
    def lengths(self) -> list[int]:
        """Frames of each clip."""
        return self._table.lengths

    @property
    def cameras(self) -> np.ndarray:
        """Cameras of all frames float32 [N, 25], clip by clip; not to be written to."""
        return self._table.cameras

    @property
    def camera_paths(self) -> CameraPaths:
        """Cameras of each clip float32 [F, 25]; not to be written to."""
        return CameraPaths(self.clips)

    @property
    def notes(self) -> list[str]:
        """Sentences about what the dataset leaves open."""
        return [f"{self.path}: {note}" for note in self._table.notes]

    @cached_property
    def names_and_sizes(self) -> str:
        """64 hexadecimal digits of the frames' names, file sizes and cameras, and of the resolution.

        This was the fingerprint that earlier versions gave to their runs, so that it never changes: names are in the
        order of their text.
        """
        return self._digested("names and sizes", self._digest_names_and_sizes)

    def _digested(self, name: str, digest: Callable[[], str]) -> str:
        """Return a digest of the whole dataset, which of a large zip is computed once on a machine."""
        if self._kept_as is None:
            return digest()
        key = f"{name}, {self.resolution} pixels, {self._kept_as}"
        kept = kept_columns(DIGEST, key, lambda: Columns({}, {"digest": digest()}))
        return kept.about["digest"]

    def _digest_names_and_sizes(self) -> str:
        digest = hashlib.sha256(str(self.resolution).encode())
        for clip in sorted(self.clips, key=lambda clip: clip.name):
            frames, order = clip.raw_frames, np.arange(len(clip))
            if clip.is_reordered:
                names = clip.frames
                order = np.array(sorted(range(len(clip)), key=names.__getitem__))
                frames = "\0".join([*sorted(names), ""]).encode()
            digest.update(clip.name.encode() + b"\0" + frames)
            digest.update(self._sizes(clip)[order].astype("<i8").tobytes())
            digest.update(clip.cameras[order].tobytes())
        return digest.hexdigest()

    def _sizes(self, clip: Clip) -> np.ndarray:
        """Return the bytes of the files of a clip's frames; -1 of one that is missing."""
        if isinstance(self._files, ZipFiles):
            return self._files.members.sizes(clip.members)
        return np.array([self._files.size(frame) for frame in clip.frames])

    @property
    def is_reordered(self) -> bool:
        """Whether earlier versions read the frames of a clip in another order, that of the text of their names."""
        return self._table.is_reordered

    def at_a_glance(self) -> str:
        """Return names and sizes of the frames; of a zip, whose directory has their checksums, all of the content."""
        return self.fingerprint() if isinstance(self._files, ZipFiles) else self.names_and_sizes

    def _read_fingerprint(self) -> str:
        """Digest the frames' names in order, their contents and cameras, and the resolution.

        The path does not count, nor whether it is a folder or a zip of it.
        """
        return self._digested("content", self._digest_content)

    def _digest_content(self) -> str:
        digest = hashlib.sha256(str(self.resolution).encode())
        for clip, contents in zip(self.clips, self._contents(), strict=True):
            digest.update(clip.name.encode() + b"\0" + clip.raw_frames + "\0".join([*contents, ""]).encode())
            digest.update(clip.cameras.tobytes())
        return digest.hexdigest()

    def _contents(self) -> Iterator[list[str]]:
        """Yield a text for each frame of each clip that changes with its content.

        It is the same for a zip, whose directory has the CRC-32 of all, as for a folder. Reading a file that has
        another one fails.
        """
        if isinstance(self._files, ZipFiles):
            yield from (self._files.members.checksums(clip.members) for clip in self.clips)
            return
        marks = iter(self._files.checksums([frame for clip in self.clips for frame in clip.frames]))
        for clip in self.clips:
            yield list(itertools.islice(marks, len(clip)))

    def read_frame(self, clip_index: int, frame_index: int) -> np.ndarray:
        """Read one frame, uint8 [3, R, R]. UserError if it is missing, damaged or of another size."""
        name = self.clips[clip_index].frame(frame_index)
        frame = self._decode(name, decode_frame)
        _, height, width = frame.shape
        stored = self.stored_resolution
        if height != stored or width != stored:
            raise UserError(
                f"Frame {shown(name)} of {self.path} is {width} x {height} pixels, others "
                f"are {stored} x {stored}: `python dataset_tool.py check {self.path}` lists all such."
            )
        return shrink(frame, stored // self.resolution)

    def read_depth(self, clip_index: int, frame_index: int) -> np.ndarray:
        """Read the true depth of a procedural frame, float32 [S, S] at the stored resolution S.

        It is the distance along the rays through the pixels' centres, world units. UserError if the dataset has none.
        """
        frame = PurePosixPath(self.clips[clip_index].frame(frame_index))
        return self._decode(str(frame.with_suffix(DEPTH_SUFFIX)), decode_depth)

    def _decode(self, name: str, decode: Callable[[bytes], np.ndarray]) -> np.ndarray:
        advice = f"`python dataset_tool.py check {self.path}` lists all broken frames"
        try:
            return decode(self._files.read(name))
        except KeyError:
            raise UserError(f"Frame {shown(name)} of {self.path} is missing: {advice}.") from None
        except DAMAGE as error:
            raise UserError(
                f"Frame {shown(name)} of {self.path} is unreadable or truncated ({shown(str(error))}): {advice}."
            ) from error

    def _stored_resolution(self) -> int:
        """Return the side of the first frame. UserError if it is not square."""
        name = self.clips[0].frame(0)
        _, height, width = self._decode(name, decode_frame).shape
        if height != width:
            raise UserError(
                f"Frame {shown(name)} of {self.path} is {width} x {height} pixels: frames must be square, "
                "crop them or use `python dataset_tool.py preprocess`."
            )
        return height


def shrink(frame: np.ndarray, factor: int) -> np.ndarray:
    """Average uint8 [3, H, W] over factor x factor pixels."""
    if factor == 1:
        return frame
    channels, height, width = frame.shape
    blocks = frame.reshape(channels, height // factor, factor, width // factor, factor)
    return (blocks.mean(axis=(2, 4)) + 0.5).astype(np.uint8)
