"""The second pass over a video: crops of all its clips, and pictures of how they came about."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from detectors.face_landmarks import FaceParts
from dnnlib.errors import UserError
from dnnlib.files import write_json
from preprocessing import alignment
from preprocessing.flip_test import EVERY, FlipTest
from preprocessing.pictures import contact_sheet, crop_sheet
from preprocessing.posing import PosedClip
from preprocessing.stage_cache import Cost, core_seconds
from training.data.frames import encode_png

SHOWN = 8  # frames of a clip in its pictures
CUT_OUT_SIDE = 256  # pixels of a frame in the contact sheet
CUT_OUT_PART = 0.7  # of the cut-out that the crop fills
CONTACT_SHEET = "landmarks.jpg"
CROP_SHEET = "crops.jpg"
FLIP_FILE = "flip_error.json"


@dataclass(frozen=True, kw_only=True)
class ClipToCrop:
    """A clip whose crops are to be made.

    Attributes:
        first: number of its first frame in the video.
        posed: its crops and cameras.
        found: float32 [F, 68, 2], its landmarks as they were found.
        side: of the crops in pixels.
        making: context that yields the folder to fill, and the cost to fill in (`StageCache.making`).
    """

    first: int
    posed: PosedClip
    found: np.ndarray
    side: int
    making: Callable[[], contextlib.AbstractContextManager[tuple[Path, Cost]]]

    @property
    def stop(self) -> int:
        """Number of the first frame of the video after it."""
        return self.first + len(self.posed.to_crop)


@dataclass(kw_only=True)
class _OpenClip:
    """A clip that is being filled."""

    clip: ClipToCrop
    folder: Path
    cost: Cost
    cut_outs: list[np.ndarray] = field(default_factory=list)
    crops: list[np.ndarray] = field(default_factory=list)
    places: list[np.ndarray] = field(default_factory=list)  # maps [2, 3] from the video to the cut-outs
    flip_test: FlipTest


def crop_clips(frames: Iterator[np.ndarray], clips: Sequence[ClipToCrop], parts: FaceParts) -> None:
    """Write the crops of clips of one video, as 00000.png and so on, the flip test and two pictures of each.

    Args:
        frames: of the video, uint8 [H, W, 3], from its first one; only as many are asked for as are needed.
        clips: in any order. Each is finished as soon as its last frame has come.
        parts: that find landmarks, for the flip test.

    Raises:
        UserError: the video has fewer frames than it had.
    """
    waiting = sorted(clips, key=lambda clip: clip.first)
    last = max((clip.stop for clip in clips), default=0)
    open_clips: list[tuple[_OpenClip, contextlib.ExitStack]] = []
    with contextlib.ExitStack() as unfinished:
        started = core_seconds()
        for number, image in zip(range(last), frames, strict=False):
            while waiting and waiting[0].first <= number:
                stack = unfinished.enter_context(contextlib.ExitStack())
                clip = waiting.pop(0)
                folder, cost = stack.enter_context(clip.making())
                opened = _OpenClip(clip=clip, folder=folder, cost=cost, flip_test=FlipTest(parts))
                open_clips.append((opened, stack))
            for opened, _ in open_clips:
                _add(opened, number - opened.clip.first, image)
                now = core_seconds()
                opened.cost.seconds += now - started  # decoding goes to the first of those that share a frame
                started = now
            for opened, stack in [pair for pair in open_clips if pair[0].clip.stop == number + 1]:
                _finish(opened)
                stack.close()
                open_clips.remove((opened, stack))
        if waiting or open_clips:
            raise UserError("The video has changed while it was read: run the command again.")


def _add(opened: _OpenClip, place: int, image: np.ndarray) -> None:
    """Write frame `place` of a clip, and keep it for the pictures if it is one of those shown."""
    clip = opened.clip
    to_crop = clip.posed.to_crop[place]
    crop = alignment.warp(image, to_crop, clip.side)
    (opened.folder / frame_name(place)).write_bytes(encode_png(crop.transpose(2, 0, 1)))
    opened.cost.frames += 1
    if place % EVERY == 0:
        opened.flip_test.add(crop, alignment.apply(to_crop[None], clip.posed.landmarks[place][None])[0])
    if place in shown_frames(len(clip.posed.to_crop)):
        to_cut_out = _smaller(to_crop, clip.side)
        opened.cut_outs.append(alignment.warp(image, to_cut_out, CUT_OUT_SIDE, mirrored_edges=False))
        opened.crops.append(crop)
        opened.places.append(to_cut_out)


def frame_name(number: int) -> str:
    """Return the name of a frame's file, which is also that in the dataset."""
    return f"{number:05d}.png"


def shown_frames(frames: int) -> list[int]:
    """Return the numbers of the frames of a clip that are shown: evenly spaced, with the first and the last one."""
    return sorted({round(place) for place in np.linspace(0, frames - 1, min(SHOWN, frames))})


def _smaller(to_crop: np.ndarray, side: int) -> np.ndarray:
    """Return the map to a cut-out that shows the crop and what is around it, upright as the video is."""
    scale = float(alignment.scales(to_crop[None])[0]) * CUT_OUT_SIDE / side * CUT_OUT_PART
    middle = alignment.apply(alignment.invert(to_crop[None]), np.full((1, 1, 2), (side - 1) / 2))[0, 0]
    shift = (CUT_OUT_SIDE - 1) / 2 - scale * middle
    return np.concatenate([scale * np.eye(2), shift[:, None]], axis=1)


def _finish(opened: _OpenClip) -> None:
    """Judge the flip test and draw the pictures of a clip."""
    clip = opened.clip
    write_json(opened.folder / FLIP_FILE, opened.flip_test.error())
    shown = shown_frames(len(clip.posed.to_crop))
    to_cut_outs = np.stack(opened.places)
    poses = clip.posed.poses
    sheet = contact_sheet(
        opened.cut_outs,
        alignment.apply(to_cut_outs, clip.found[shown].astype(np.float64)),
        alignment.apply(to_cut_outs, clip.posed.landmarks[shown]),
    )
    (opened.folder / CONTACT_SHEET).write_bytes(sheet)
    sheet = crop_sheet(opened.crops, poses.shape, poses.rotations[shown], poses.translations[shown])
    (opened.folder / CROP_SHEET).write_bytes(sheet)
