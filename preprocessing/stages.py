"""The stages of preprocessing as jobs for worker processes: each finds its result in the work folder, or makes it.

scan     a video -> shots, tracks of faces, landmarks                (`scan`)
pose     a clip -> crops and cameras                                 (`posing`)
crop     a video -> the pixels of its clips' crops                   (`cropping`)
verify   a clip -> whether all of it shows one person, and who       (`verification`)
"""

import contextlib
import functools
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import cv2

from detectors.face_landmarks import FaceParts
from detectors.face_parts import face_parts
from dnnlib.errors import UserError
from dnnlib.files import read_json
from preprocessing.cropping import FLIP_FILE, ClipToCrop, crop_clips, frame_name
from preprocessing.cutting import Segment, cut_tracks
from preprocessing.frames import plan_reading, read_source
from preprocessing.options import FindingOptions, PreprocessOptions
from preprocessing.posing import PosedClip, load_posed, pose_clip, save_posed
from preprocessing.records import Scan, SourceVideo
from preprocessing.scan import load_scan, save_scan, scan_video
from preprocessing.stage_cache import StageCache, key_of
from preprocessing.verification import Verification, load_verification, save_verification, verify_crops
from training.data.frames import decode_frame

# A stage whose code changes what it finds gets another number here, so that results of the code before are not taken.
VERSIONS = {"scan": 1, "pose": 1, "crop": 1, "verify": 1}
SCAN_FILE, POSE_FILE, VERIFY_FILE = "scan.npz", "pose.npz", "verify.npz"
VERIFIED_EVERY = 2  # frames (PV3D section A.3)


@dataclass(frozen=True, kw_only=True)
class Workplace:
    """Where results are kept, and with which options they are made."""

    root: Path
    options: PreprocessOptions

    def of_video(self, video: SourceVideo) -> StageCache:
        """Return the results for a video."""
        return StageCache(self.root / "videos", video.name)

    def of_clip(self, segment: Segment) -> StageCache:
        """Return the results for a clip."""
        return StageCache(self.root / "clips", segment.name)

    def scan_key(self, video: SourceVideo) -> str:
        """Return the key of a video's scan: the file as it is, and how faces are found."""
        about = os.stat(video.path)
        state = [str(video.path.resolve()), about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino]
        return key_of("scan", VERSIONS["scan"], state, asdict(self.options.finding))

    def pose_key(self, segment: Segment) -> str:
        """Return the key of a clip's crops and cameras."""
        stretch = [segment.track, segment.start, segment.stop]
        options = asdict(self.options.cameras)
        return key_of("pose", VERSIONS["pose"], self.scan_key(segment.video), stretch, options)

    def crop_key(self, segment: Segment) -> str:
        """Return the key of a clip's pixels."""
        return key_of("crop", VERSIONS["crop"], self.pose_key(segment))

    def verify_key(self, segment: Segment) -> str:
        """Return the key of a clip's verification."""
        return key_of("verify", VERSIONS["verify"], self.crop_key(segment))

    def key(self, stage: str, segment: Segment) -> str:
        """Return the key of a stage's result for a clip."""
        keys = {"pose": self.pose_key, "crop": self.crop_key, "verify": self.verify_key}
        return keys[stage](segment)

    def segments(self, video: SourceVideo) -> list[Segment]:
        """Return the clips of a video that has been scanned."""
        return list(cut_tracks(video, self.scan(video), self.options.choosing))

    def forget(self, stage: str) -> None:
        """Remove all results of a stage."""
        for folder in self.root.glob(f"{'videos' if stage == 'scan' else 'clips'}/**/{stage}-*/"):
            shutil.rmtree(folder)

    def has(self, stage: str, segment: Segment) -> bool:
        """Return whether there is a result of a stage for a clip."""
        return self.of_clip(segment).find(stage, self.key(stage, segment)) is not None

    # --- Results that are there --------------------------------------------------------------------------------------

    def scan(self, video: SourceVideo) -> Scan:
        """Read a video's scan."""
        return _load_scan(self._result(self.of_video(video), "scan", self.scan_key(video)) / SCAN_FILE)

    def posed(self, segment: Segment) -> PosedClip:
        """Read a clip's crops and cameras."""
        return load_posed(self._result(self.of_clip(segment), "pose", self.pose_key(segment)) / POSE_FILE)

    def crops(self, segment: Segment) -> Path:
        """Return the folder of a clip's pixels."""
        return self._result(self.of_clip(segment), "crop", self.crop_key(segment))

    def flip_error(self, segment: Segment) -> float:
        """Read the error of a clip's cameras by the flip test, degrees."""
        return read_json(self.crops(segment) / FLIP_FILE)

    def verification(self, segment: Segment) -> Verification:
        """Read a clip's verification."""
        folder = self._result(self.of_clip(segment), "verify", self.verify_key(segment))
        return load_verification(folder / VERIFY_FILE)

    def _result(self, cache: StageCache, stage: str, key: str) -> Path:
        folder = cache.find(stage, key)
        if folder is None:
            raise UserError(f"A file in {self.root} or a source changed during the run: run the command again.")
        return folder


@functools.lru_cache(maxsize=2)  # a long video has many clips, each of which asks for it
def _load_scan(path: Path) -> Scan:
    return load_scan(path)


@functools.lru_cache(maxsize=1)
def parts_of(landmarks: str) -> FaceParts:
    """Return detector and landmarks, loaded once a process."""
    cv2.setNumThreads(1)
    return face_parts(landmarks)


# --- Jobs ------------------------------------------------------------------------------------------------------------


class _Unreadable(Exception):
    """A video that cannot be read, in words: a line of the report, which does not stop the run."""


def scan_job(video: SourceVideo, place: Workplace) -> str | None:
    """Scan a video; return why it cannot be read, or None."""
    try:
        key = place.scan_key(video)
    except OSError as error:
        return f"Cannot read {video.path} ({error.strerror})."
    cache = place.of_video(video)
    if cache.find("scan", key) is not None:
        return None
    try:
        with cache.making("scan", key) as (folder, cost):
            scan = _scan(video, place.options.finding)
            save_scan(folder / SCAN_FILE, scan)
            cost.frames = scan.frames
    except _Unreadable as error:
        return str(error)
    return None


def _scan(video: SourceVideo, options: FindingOptions) -> Scan:
    parts = parts_of(options.landmarks)
    try:
        return scan_video(video, plan_reading(video, options.fps), parts, detect_every=options.detect_every)
    except UserError as error:
        raise _Unreadable(str(error)) from error


def pose_job(segment: Segment, place: Workplace) -> None:
    """Find a clip's crops and cameras."""
    cache = place.of_clip(segment)
    key = place.pose_key(segment)
    if cache.find("pose", key) is not None:
        return
    with cache.making("pose", key) as (folder, cost):
        scan = place.scan(segment.video)
        posed = pose_clip(scan, segment, place.options.cameras, place.options.finding.landmarks)
        save_posed(folder / POSE_FILE, posed)
        cost.frames = segment.frames


def crop_job(segments: Sequence[Segment], place: Workplace) -> None:
    """Make the crops of clips of one video, in one pass over it."""
    missing = [segment for segment in segments if place.of_clip(segment).find("crop", place.crop_key(segment)) is None]
    if not missing:
        return
    video = missing[0].video
    scan = place.scan(video)
    clips = [_to_crop(segment, scan, place) for segment in missing]
    reading = plan_reading(video, place.options.finding.fps)
    with contextlib.closing(read_source(video, reading)) as frames:
        crop_clips(frames, clips, parts_of(place.options.finding.landmarks))


def _to_crop(segment: Segment, scan: Scan, place: Workplace) -> ClipToCrop:
    return ClipToCrop(
        first=segment.first(scan),
        posed=place.posed(segment),
        found=scan.tracks[segment.track].landmarks[segment.start : segment.stop],
        side=place.options.cameras.resolution,
        making=partial(place.of_clip(segment).making, "crop", place.crop_key(segment)),
    )


def verify_job(segment: Segment, place: Workplace) -> None:
    """Compare the faces of a clip with each other."""
    cache = place.of_clip(segment)
    key = place.verify_key(segment)
    if cache.find("verify", key) is not None:
        return
    with cache.making("verify", key) as (folder, cost):
        crops = place.crops(segment)
        numbers = range(0, segment.frames, VERIFIED_EVERY)
        images = [decode_frame((crops / frame_name(number)).read_bytes()) for number in numbers]
        save_verification(folder / VERIFY_FILE, verify_crops(images, VERIFIED_EVERY))
        cost.frames = len(images)
