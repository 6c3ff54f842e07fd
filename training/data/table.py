"""The clips of a dataset as columns: names, cameras, frame rates of millions of frames, of which few are looked at."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, overload

import numpy as np

from dnnlib.columns import Columns, Texts, as_columns
from dnnlib.errors import UserError
from dnnlib.files import shown
from dnnlib.names import frame_numbers, natural_key, order_notes, plain
from dnnlib.video import is_frame_rate
from training.camera_checks.labels import LabelColumn
from training.cameras import CAMERA_DIM
from training.data.files import INDEX, Files, ZipFiles, fault_of_name, read_index

DEFAULT_FPS = 25.0  # of a clip without a proper frame rate

# --- Views ------------------------------------------------------------------------------------------------------------


class ClipTable:
    """The columns that `build_table` makes."""

    def __init__(self, columns: Columns):
        self.columns = columns
        self.starts = columns["starts"]  # int64 [C + 1], of the clips' frames among all
        self.cameras = columns["cameras"]  # float32 [N, 25]
        self.frames = columns.texts("frames")
        self.names = columns.texts("clips")
        self.identities = columns.texts("identities")
        self.notes: list[str] = columns.about["notes"]

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def is_reordered(self) -> bool:
        """Whether the order of some clip's frames is not that of the text of their names."""
        return bool(self.columns["is reordered"].any())

    @property
    def lengths(self) -> list[int]:
        """Frames of each clip."""
        return np.diff(self.starts).tolist()


@dataclass(frozen=True)
class Clip:
    """One clip of a table, read where it is looked at."""

    table: ClipTable
    number: int

    def __len__(self) -> int:
        return self.end - self.start

    @property
    def start(self) -> int:
        """Number of the first frame among all."""
        return int(self.table.starts[self.number])

    @property
    def end(self) -> int:
        """Number of the last frame among all, and 1."""
        return int(self.table.starts[self.number + 1])

    @property
    def name(self) -> str:
        return self.table.names.text(self.number)

    @property
    def frames(self) -> tuple[str, ...]:
        """The frames' paths inside the dataset, in order."""
        return tuple(self.raw_frames.decode().split("\0")[:-1])

    @property
    def raw_frames(self) -> bytes:
        """The frames' paths, a zero byte behind each."""
        return self.table.frames.raw(self.start, self.end)

    def frame(self, number: int) -> str:
        """Return the path of a frame. IndexError if there are fewer."""
        if not 0 <= number < len(self):
            raise IndexError(number)
        return self.table.frames.text(self.start + number)

    @property
    def cameras(self) -> np.ndarray:
        """Cameras float32 [F, 25], not to be written to."""
        return self.table.cameras[self.start : self.end]

    @property
    def members(self) -> np.ndarray:
        """The numbers of the frames among the members of the zip, int64 [F]; -1 of one that is missing."""
        return self.table.columns["members"][self.start : self.end]

    @property
    def fps(self) -> float:
        return float(self.table.columns["fps"][self.number])

    @property
    def identity(self) -> str | None:
        has_one = self.table.columns["has identity"][self.number]
        return self.table.identities.text(self.number) if has_one else None

    @property
    def is_reordered(self) -> bool:
        """Whether the order of the frames is not that of the text of their names."""
        return bool(self.table.columns["is reordered"][self.number])


class Clips(Sequence[Clip]):
    """The clips of a table, in order of their names."""

    def __init__(self, table: ClipTable):
        self._table = table

    def __len__(self) -> int:
        return len(self._table)

    @overload
    def __getitem__(self, number: int) -> Clip: ...

    @overload
    def __getitem__(self, number: slice) -> list[Clip]: ...

    def __getitem__(self, number: int | slice) -> Clip | list[Clip]:
        numbers = range(len(self))[number]
        return Clip(self._table, numbers) if isinstance(numbers, int) else [self[i] for i in numbers]


class CameraPaths(Sequence[np.ndarray]):
    """The cameras float32 [F, 25] of each of some clips."""

    def __init__(self, clips: Sequence[Clip]):
        self._clips = clips

    def __len__(self) -> int:
        return len(self._clips)

    def __getitem__(self, number: Any) -> Any:
        return self._clips[number].cameras


# --- From the index to the table --------------------------------------------------------------------------------------


def build_table(files: Files) -> Columns:
    """Read a dataset's index into columns; without "clips" (an EG3D image dataset) every frame is a clip.

    UserError if the index is missing, damaged, without cameras, or a frame has two or none.
    """
    path = files.path
    labels = LabelColumn()

    def take(name: str, label: object) -> None:
        if fault := fault_of_name(name):
            raise UserError(
                f"{INDEX} of {path} lists the unsafe path {shown(repr(name))} ({fault}): use relative paths inside it."
            )
        labels.add(name, label)
        _require_sound(labels, path)

    index = read_index(files, take)
    described = described_clips(index)
    if not isinstance(described, dict | None):
        raise UserError(f'"clips" in {INDEX} of {path} must be an object: {{clip: {{"fps": 25}}}}.')
    cameras = labels.cameras()
    _require_sound(labels, path)
    names = labels.names
    clips = _grouped(names, described is not None)
    order = np.concatenate([_in_order(clips[clip], names, cameras, path) for clip in clips])
    frames = [names[place] for place in order]
    starts = np.cumsum([0, *map(len, clips.values())])
    of_clips = [frames[start:end] for start, end in pairwise(starts.tolist())]
    about = [_about((described or {}).get(clip)) for clip in clips]
    columns = {
        "starts": starts,
        "cameras": cameras[order],
        "fps": np.array([fps for fps, _ in about]),
        "has identity": np.array([identity is not None for _, identity in about]),
        "is reordered": np.array([frames != sorted(frames) for frames in of_clips]),
        **as_columns("clips", Texts.of(clips)),
        **as_columns("frames", Texts.of(frames)),
        **as_columns("identities", Texts.of(identity or "" for _, identity in about)),
    }
    if isinstance(files, ZipFiles):
        columns["members"] = files.members.numbers(frames)
    if described is None:
        note = stills_note(frames)
        notes = [note] if note else []
    else:
        notes = order_notes(_file_names(clips, of_clips), "clips")
    return Columns(columns, {"notes": notes})


def _require_sound(labels: LabelColumn, path: Path) -> None:
    """Raise UserError if a label is no camera."""
    for names in labels.broken.values():
        raise UserError(
            f"Frame {shown(names[0])} of {path} has no valid camera ({CAMERA_DIM} finite numbers): "
            f"`python dataset_tool.py check {path}` lists all such frames."
        )


def _grouped(names: list[str], by_folder: bool) -> dict[str, list[int]]:
    """Return the places of the frames of each clip, by the clips' names, which are in order."""
    groups: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        groups.setdefault(folder_of(name) if by_folder else name, []).append(place)
    return {clip: groups[clip] for clip in sorted(groups, key=natural_key)}


def folder_of(name: str) -> str:
    """Return the folder that a plain path is in; that of a file at the top is a dot."""
    return name.rpartition("/")[0] or "."


def _in_order(places: list[int], names: list[str], cameras: np.ndarray, path: Path) -> np.ndarray:
    """Return the places of a clip's frames in the order of their names. UserError if a frame has two cameras."""
    ordered = sorted(places, key=lambda place: natural_key(names[place]))
    for place, following in pairwise(ordered):
        if names[place] == names[following] and not np.array_equal(cameras[place], cameras[following]):
            raise UserError(
                f"{INDEX} of {path} has two cameras of frame {shown(names[place])}: leave one of them there."
            )
    return np.array(ordered)


def _about(description: object) -> tuple[float, str | None]:
    """Return the frame rate and the identity that the index has of a clip, which may be anything."""
    about = description if isinstance(description, dict) else {}
    fps = about.get("fps")
    identity = about.get("identity")
    return (
        float(fps) if is_frame_rate(fps) else DEFAULT_FPS,
        str(identity) if isinstance(identity, str | int | float) else None,
    )


def _file_names(clips: dict[str, list[int]], frames: list[list[str]]) -> Iterator[tuple[str, list[str]]]:
    """Yield each clip with its frames' names in its folder."""
    for clip, names in zip(clips, frames, strict=True):
        yield clip, [name.rpartition("/")[2] for name in names]


def described_clips(index: dict) -> object:
    """Return "clips" of an index; of an object, with plain names."""
    described = index.get("clips")
    return {plain(name): about for name, about in described.items()} if isinstance(described, dict) else described


def stills_note(names: Collection[str]) -> str | None:
    """Return what to say of frames without "clips", which are stills, that look like clips; None if they do not.

    They do where folders hold several frames of consecutive numbers, as those of EG3D's own stills may, too.
    """
    folders: dict[str, list[str]] = {}
    for name in names:
        folder, _, file = name.rpartition("/")
        if folder:
            folders.setdefault(folder, []).append(file)
    like_clips = sum(_is_sequence(files) for files in folders.values())
    if not like_clips:
        return None
    return (
        f"no clips are described, so that each of {len(names)} frames is a still picture; if the {like_clips} folders "
        f'of consecutive frames are clips, add "clips": {{}} to {INDEX}.'
    )


def _is_sequence(files: list[str]) -> bool:
    numbers = sorted(frame_numbers(files) or [])
    return len(numbers) > 1 and numbers == list(range(numbers[0], numbers[0] + len(numbers)))
