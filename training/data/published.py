"""The published PV3D layout: which clips there are, which files are not taken, and whose cameras are whose.

It is a folder with videos in `recrop_faces` and a camera file for each in `smoothed_camera2world`, both perhaps in
folders of the same names; and perhaps a `*.list` that names the clips to take.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from dnnlib.errors import UserError
from dnnlib.files import read_file, shown
from dnnlib.names import few, frame_numbers, listed, not_taken, plain
from dnnlib.video import VIDEO_SUFFIXES
from training.data.files import INDEX, MAX_NAME, fault_of_name

VIDEOS, CAMERAS = "recrop_faces", "smoothed_camera2world"
CAMERA_SUFFIX = ".json"
LAYOUT = f"it needs {VIDEOS}/*.mp4 and {CAMERAS}/*.json (docs/data.md)"
LIST_SUFFIX = ".list"
MAX_LIST_BYTES = 2**24  # of a *.list; that of all clips published has 1 MB


@dataclass(frozen=True)
class SourceClip:
    """A clip: its name, which is the path of its files without suffix, and these; they need not exist.

    Attributes:
        labels: float64 [F, 25], if its cameras are known already and `cameras` only says where from.
    """

    name: str
    video: Path
    cameras: Path
    labels: np.ndarray | None = None


def published_clips(source: Path) -> tuple[list[SourceClip], list[str]]:
    """List the clips of a folder in the published layout: those of its *.list, else all videos.

    Returns:
        clips: in the order of the lists, or of their names.
        notes: sentences about files that are not taken.

    Raises:
        UserError: the folder is not in this layout, or two files would be one clip.
    """
    videos, cameras = source / VIDEOS, source / CAMERAS
    if not source.is_dir():
        raise UserError(f"The source folder {source} does not exist: check --source.")
    if not videos.is_dir() or not cameras.is_dir():
        raise UserError(f"{source} is not in the published layout: {LAYOUT}. Ordinary videos are for `preprocess`.")
    found = _Files(videos, VIDEO_SUFFIXES)
    camera_files = _Files(cameras, (CAMERA_SUFFIX,))
    lists = listed(path.name for path in source.iterdir() if path.suffix.lower() == LIST_SUFFIX)
    notes = found.notes("no videos") + camera_files.notes("no files of cameras")
    lines = [line for name in lists for line in _lines(source / name)]
    if lines:
        names, again = _named(lines, found)
        rest = found.others(names)
        notes += not_taken(f"videos that are not in {shown(few(lists))}", rest)
        notes += not_taken(f"lines of {shown(few(lists))} that name a clip again", again)
    else:
        names = list(found.by_name)
    if not names:
        there = f", but {shown(few(found.rest))}" if found.rest else ""
        raise UserError(f"{videos} has no videos{there}: {LAYOUT}.")
    notes += not_taken("files of cameras without video", camera_files.others(found.by_name))
    clips = []
    for name in names:
        if fault := _fault_of_clip(name):
            raise UserError(
                f"No clip can be called {shown(repr(name))} ({fault}): rename it in {videos}, {cameras} and *.list."
            )
        video = found.path(name, default=".mp4")
        clips.append(SourceClip(name, video, camera_files.path(name, default=CAMERA_SUFFIX)))
    return clips, notes


def _fault_of_clip(name: str) -> str | None:
    """Return why a clip cannot have a name, which becomes that of a folder of the dataset; None if it can."""
    return "it begins with the name of the index" if name.split("/")[0] == INDEX else fault_of_name(name)


class _Files:
    """The files of some suffixes in a folder and the folders in it.

    Attributes:
        by_name: the files' paths by their names, which are plain paths without suffix; both in natural order.
        by_last_part: these names, by what is behind their last slash.
        rest: the paths of the files of other suffixes.
    """

    def __init__(self, root: Path, suffixes: tuple[str, ...]):
        self.root = root
        self.by_name: dict[str, list[str]] = {}
        self.by_last_part: dict[str, list[str]] = {}
        self.rest: list[str] = []
        for path in listed(_walk(root)):
            if not path.lower().endswith(suffixes):
                self.rest.append(path)
                continue
            name = plain(_without_suffix(path))
            if name not in self.by_name:
                self.by_last_part.setdefault(PurePosixPath(name).name, []).append(name)
            self.by_name.setdefault(name, []).append(path)

    def path(self, name: str, default: str) -> Path:
        """Return the one file of a name, with the suffix `default` if there is none. UserError if there are several."""
        files = self.by_name.get(name, [f"{name}{default}"])
        if len(files) > 1:
            raise UserError(
                f"{shown(files[0])} and {shown(files[1])} in {self.root} would be one clip: rename or move one of them."
            )
        return self.root / files[0]

    def others(self, names: Iterable[str]) -> list[str]:
        """Return the paths of the files of all other names."""
        known = set(names)
        return [file for name, files in self.by_name.items() if name not in known for file in files]

    def notes(self, what: str) -> list[str]:
        """Return a sentence about files of other suffixes, if there are any."""
        return not_taken(f"files in {self.root.name} that are {what}", self.rest)


def _walk(root: Path) -> Iterator[str]:
    """Yield the paths below a folder of files, and, with a slash, of links to folders, which are not entered."""
    for folder, folders, files in os.walk(root):
        here = Path(folder)
        yield from ((here / name).relative_to(root).as_posix() for name in files)
        yield from (f"{(here / name).relative_to(root)}/" for name in folders if (here / name).is_symlink())


def _without_suffix(path: str) -> str:
    return PurePosixPath(path).with_suffix("").as_posix()


# --- Lists ------------------------------------------------------------------------------------------------------------


def _lines(path: Path) -> list[str]:
    """Return a list's lines that are not empty. UserError if it is no text."""
    try:
        text = read_file(path, "list of clips", MAX_LIST_BYTES).decode("utf-8-sig")
    except ValueError as error:
        raise UserError(f"{path} is no list of clips ({error}): write it again, a name a line.") from error
    return [line.strip() for line in text.split("\n") if line.strip()]


def _named(lines: list[str], found: _Files) -> tuple[list[str], list[str]]:
    """Return the names of the clips that lines of lists mean, each once, in order; and the lines that name one again.

    UserError if two lines of different folders mean one video, or a line means several.
    """
    first: dict[str, tuple[str, str]] = {}  # line, and its folders that are not there, by name
    again = []
    for line in lines:
        name, folders = _meant(line, found)
        if name not in first:
            first[name] = line, folders
            continue
        before, before_folders = first[name]
        if folders and before_folders and folders != before_folders:
            raise UserError(
                f"The list names {shown(before)} and {shown(line)}, which would be one clip, for {found.root} does not "
                "have these folders: keep the videos in them there, and their cameras likewise."
            )
        again.append(line)
    return list(first), again


def _meant(line: str, found: _Files) -> tuple[str, str]:
    """Return the name of the clip that a line of a list means, which need not exist, and the folders in front of it.

    The line is a path below the folder of videos, with or without suffix, perhaps with other folders in front; or the
    last part of one such path. Other columns may follow a name with a suffix.
    """
    first, *others = line.split()
    columns = [first] if others and _stripped(first) != first else []
    for text in map(plain, [line, *columns]):
        parts = PurePosixPath(text).parts if len(text) <= MAX_NAME else ()
        for start in range(len(parts)):
            path = "/".join(parts[start:])
            for name in (path, _stripped(path)):
                if name in found.by_name:
                    return name, "/".join(parts[:start])
        same = found.by_last_part.get(_stripped(text), []) if len(parts) == 1 else []
        if len(same) > 1:
            raise UserError(
                f"The list names {shown(line)}, but there are {shown(few(same))}: add the folders to the list."
            )
        if same:
            return same[0], ""
    whole = PurePosixPath(_stripped(plain(line)))
    return (whole.name, whole.parent.as_posix()) if fault_of_name(whole.as_posix()) else (whole.as_posix(), "")


def _stripped(path: str) -> str:
    """Return a path without the suffix of a video or a camera file."""
    return _without_suffix(path) if path.lower().endswith((*VIDEO_SUFFIXES, CAMERA_SUFFIX)) else path


# --- Cameras ----------------------------------------------------------------------------------------------------------


def frame_order(names: Sequence[str], path: Path) -> list[int]:
    """Return where the cameras of the first, second, ... frame are in a camera file, by the frames' names in it.

    The first may have any number: clips are cut from longer videos.

    Raises:
        UserError: the names do not number the frames without gap, each once.
    """
    numbers = frame_numbers([plain(name) for name in names])
    advice = "number its frames 00000.png, 00001.png and so on"
    if numbers is None:
        raise UserError(f"The names in {path} ({shown(few(names))}) do not say which frame is whose: {advice}.")
    order = sorted(range(len(names)), key=lambda place: numbers[place])
    for before, after in zip(order, order[1:], strict=False):
        if numbers[before] == numbers[after]:
            twice = f"{shown(names[before])} and {shown(names[after])}"
            raise UserError(f"{path} has two cameras of frame {numbers[after]} ({twice}): {advice}.")
        if numbers[before] + 1 < numbers[after]:
            gap = f"{shown(names[before])} and {shown(names[after])}"
            raise UserError(f"{path} has no camera of frame {numbers[before] + 1} (between {gap}): {advice}.")
    return order
