"""Which videos and pictures there are to take clips from, what they are called, and who is in them."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from dnnlib.errors import UserError
from dnnlib.files import read_file, shown
from dnnlib.names import few, is_leftover, listed, not_taken, plain
from dnnlib.video import VIDEO_SUFFIXES
from preprocessing.records import SourceVideo
from training.data.files import fault_of_name
from training.data.frames import FRAME_SUFFIXES

PICTURE_SUFFIXES = FRAME_SUFFIXES
MAX_SPEAKER_BYTES = 2**26  # of a file of speakers


def is_picture(path: Path) -> bool:
    """Return whether a source is a picture, which becomes a clip of one frame."""
    return path.suffix.lower() in PICTURE_SUFFIXES


def list_sources(
    source: Path,
    speakers: Path | None = None,
    work: Path | None = None,
) -> tuple[list[SourceVideo], list[str]]:
    """List the videos and pictures of a folder and the folders in it, or a single one.

    Args:
        speakers: text file with a line `name speaker` for each, where the name is a path below the folder, with or
            without suffix, or a folder of them.
        work: folder of results, which may be in that folder and is no source.

    Returns:
        videos: in natural order of their names.
        notes: sentences about files that are not taken.

    Raises:
        UserError: there is none, two would have one name, or the file of speakers names none of them.
    """
    if not source.exists():
        raise UserError(f"The source {source} does not exist: check --source.")
    files, rest = _split_files(source, work)
    if not files:
        raise UserError(
            f"{source} has no videos or pictures ({', '.join((*VIDEO_SUFFIXES, *PICTURE_SUFFIXES))}): check --source."
        )
    labels = _read_speakers(speakers) if speakers is not None else {}
    by_name: dict[str, SourceVideo] = {}
    for file in files:
        name = _name_of(file)
        path = source / file if source.is_dir() else source
        if name in by_name:
            raise UserError(f"{by_name[name].path} and {path} would have one name: rename or move one of them.")
        by_name[name] = SourceVideo(name=name, path=path, speaker=_speaker_of(file, labels))
    notes = not_taken("files that are no videos or pictures", rest)
    if speakers is not None:
        notes += _unnamed(by_name, speakers)
    return list(by_name.values()), notes


def _split_files(source: Path, work: Path | None) -> tuple[list[str], list[str]]:
    """Return the paths below a source of videos and pictures, and of other files, in natural order."""
    if not source.is_dir():
        return ([source.name], []) if _is_taken(source.name) else ([], [source.name])
    taken: list[str] = []
    rest: list[str] = []
    for path in listed(_walk(source, work)):
        kind = taken if _is_taken(path) else rest
        kind.append(path)
    return taken, rest


def _is_taken(path: str) -> bool:
    return path.lower().endswith((*VIDEO_SUFFIXES, *PICTURE_SUFFIXES))


def _walk(root: Path, work: Path | None) -> Iterator[str]:
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if work is None or (Path(folder) / name).resolve() != work.resolve()]
        for file in files:
            path = (Path(folder) / file).relative_to(root).as_posix()
            if not is_leftover(path):
                yield path


def _name_of(path: str) -> str:
    """Return a source's name: its path without suffix, as a dataset may have it in a clip's name."""
    name = PurePosixPath(plain(path)).with_suffix("").as_posix()
    fault = fault_of_name(name)
    if fault:
        raise UserError(f"No clip can be called after {shown(repr(path))} ({fault}): rename it.")
    return name


# --- Speakers --------------------------------------------------------------------------------------------------------


def _read_speakers(path: Path) -> dict[str, str]:
    """Read who is in which video: {name: speaker}."""
    try:
        text = read_file(path, "file of speakers", MAX_SPEAKER_BYTES).decode("utf-8-sig")
    except ValueError as error:
        raise UserError(f"{path} is no text ({error}): write a line `name speaker` for each video.") from error
    labels: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        name, _, speaker = line.strip().replace("\t", " ").replace(",", " ").rpartition(" ")
        name = plain(name.strip())
        if not name or not speaker:
            raise UserError(f"Line {number} of {path} is not `name speaker`: {shown(repr(line))}.")
        if labels.setdefault(name, speaker) != speaker:
            raise UserError(f"{path} names two speakers of {shown(name)}: {labels[name]} and {speaker}.")
    return labels


def _speaker_of(path: str, labels: dict[str, str]) -> str | None:
    """Return the speaker of a video: by its path, its name, or the innermost folder that has one."""
    for name in _known_as(path):
        if name in labels:
            return labels[name]
    return None


def _known_as(path: str) -> list[str]:
    whole = PurePosixPath(plain(path))
    return [whole.as_posix(), whole.with_suffix("").as_posix(), *(folder.as_posix() for folder in whole.parents)]


def _unnamed(by_name: dict[str, SourceVideo], speakers: Path) -> list[str]:
    """Return a sentence about videos whose speaker is not given; UserError if that is all of them."""
    names = [name for name, video in by_name.items() if video.speaker is None]
    if len(names) == len(by_name):
        raise UserError(f"{speakers} names no speaker of any video: {shown(names[0])}, for one, is not in it.")
    if not names:
        return []
    return [f"No speaker is given for {len(names)} videos, which are told apart by their faces: {shown(few(names))}."]
