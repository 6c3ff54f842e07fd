"""Clips out of tracks: where they begin and end, and which ones are not worth fitting a head to."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from preprocessing.options import ChoosingOptions
from preprocessing.records import FaceTrack, Scan, SourceVideo

MAX_GAP = 0.2  # seconds without a face that are bridged; longer ones end a clip


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A stretch of a track that becomes a clip, if nothing speaks against it.

    Attributes:
        name: of the clip.
        video: it is from.
        track: the number of the track in the scan.
        start, stop: its frames in the track: start, start + 1, ..., stop - 1.
        fps: frames a second.
        fault: why it is left out; None if nothing is known against it.
    """

    name: str
    video: SourceVideo
    track: int
    start: int
    stop: int
    fps: float
    fault: str | None = None

    @property
    def frames(self) -> int:
        """Number of its frames."""
        return self.stop - self.start

    def first(self, scan: Scan) -> int:
        """Return the number of its first frame in the video."""
        return scan.tracks[self.track].first + self.start


def cut_tracks(video: SourceVideo, scan: Scan, options: ChoosingOptions) -> Iterator[Segment]:
    """Yield the segments of a video's tracks, with a fault those that are left out.

    A video of one frame, or a picture, gives clips of one frame; else they have `min_frames` at least.
    """
    shortest = 1 if scan.frames == 1 else options.min_frames
    for number, track in enumerate(scan.tracks):
        for start, stop in _stretches(track.found, round(MAX_GAP * scan.fps), options.max_frames):
            fault = _fault(track, slice(start, stop), shortest, options)
            yield Segment(
                name=_name(video, track.first + start, number, alone=scan.frames == len(scan.tracks) == 1),
                video=video,
                track=number,
                start=start,
                stop=stop,
                fps=scan.fps,
                fault=fault,
            )


def _name(video: SourceVideo, first: int, track: int, alone: bool) -> str:
    """Return a clip's name, which says where it is from; a picture of one face is called what its file is."""
    return video.name if alone else f"{video.name}/{first:06d}-{track}"


def _stretches(found: np.ndarray, max_gap: int, max_frames: int) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of stretches without long gaps, which begin and end with a frame that is there.

    Those of more than `max_frames` frames are divided into equal parts.
    """
    numbers = np.flatnonzero(found)
    if len(numbers) == 0:
        return
    breaks = np.flatnonzero(np.diff(numbers) > max_gap + 1) + 1
    for group in np.split(numbers, breaks):
        start, stop = int(group[0]), int(group[-1]) + 1
        parts = -(-(stop - start) // max_frames)
        edges = [start + (stop - start) * part // parts for part in range(parts + 1)]
        yield from zip(edges[:-1], edges[1:], strict=True)


def _fault(track: FaceTrack, frames: slice, shortest: int, options: ChoosingOptions) -> str | None:
    """Return why a stretch of a track is left out before anything is fitted to it; None if it is not."""
    count = frames.stop - frames.start
    if count < shortest:
        return f"too short: {count} frames (--min-frames={shortest})"
    found = track.found[frames]
    if not found.any():
        return "no face in it"
    sharpness = float(np.median(track.sharpness[frames][found]))
    if sharpness < options.min_sharpness:
        return f"blurred: sharpness {sharpness:.1f} (--min-sharpness={options.min_sharpness:g})"
    return None
