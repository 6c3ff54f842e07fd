"""Options of preprocessing: the one place of their defaults, ranges, flags and help texts."""

from dataclasses import dataclass

from dnnlib.options import option

FINDING = "Faces"
CAMERAS = "Cameras"
CHOOSING = "What is kept"
STAGES = ("scan", "pose", "crop", "verify")  # in the order in which they are done (`stages`)
LANDMARKS = ("dlib", "mesh")
CENTRES = ("origin", "depth")


@dataclass(frozen=True, kw_only=True)
class FindingOptions:
    """How faces are found."""

    landmarks: str = option(
        "dlib",
        FINDING,
        "--landmarks",
        "Detector and landmarks: dlib (no commercial use), or mesh, MediaPipe's (free, faster, smoother).",
        choices=LANDMARKS,
    )
    detect_every: int = option(
        5, FINDING, "--detect-every", "Look for faces in every n-th frame; track them between.", low=1, high=100
    )
    fps: float | None = option(None, FINDING, "--fps", "Resample videos to so many frames a second.", low=1, high=1000)


@dataclass(frozen=True, kw_only=True)
class CameraOptions:
    """How crops and cameras follow from landmarks. Times are standard deviations of Gaussians."""

    resolution: int = option(512, CAMERAS, "--resolution", "Side of the frames in pixels.", low=16, high=4096)
    smooth_landmarks: float = option(
        0.04, CAMERAS, "--smooth-landmarks", "Low-pass on landmarks in time, seconds.", low=0, high=10
    )
    smooth_cameras: float = option(
        0.08, CAMERAS, "--smooth-cameras", "Low-pass on cameras in time, seconds.", low=0, high=10
    )
    centre: str = option(
        "origin",
        CAMERAS,
        "--centre",
        "Point at distance 2.7 from cameras: the world's origin, or the one at depth 0.175 (EG3D's realigned set).",
        choices=CENTRES,
    )


@dataclass(frozen=True, kw_only=True)
class ChoosingOptions:
    """Which tracks become clips. Frames are those of the clip; pixels those of the source."""

    min_frames: int = option(32, CHOOSING, "--min-frames", "Leave out shorter clips of videos.", low=1)
    max_frames: int = option(256, CHOOSING, "--max-frames", "Cut longer tracks into clips of equal length.", low=2)
    min_size: float = option(
        200.0, CHOOSING, "--min-size", "Least side of a crop in pixels of the source; the face fills half of it.", low=1
    )
    min_sharpness: float = option(
        4.0, CHOOSING, "--min-sharpness", "Least sharpness: deviation of the Laplacian of the face, grey levels.", low=0
    )
    max_outside: float = option(
        0.25, CHOOSING, "--max-outside", "Largest part of a crop beyond the edges of the source.", low=0, high=1
    )
    max_yaw: float = option(60.0, CHOOSING, "--max-yaw", "Largest turn to a side, degrees.", low=1, high=90)
    max_pitch: float = option(40.0, CHOOSING, "--max-pitch", "Largest turn up or down, degrees.", low=1, high=90)
    max_residual: float = option(
        0.02, CHOOSING, "--max-residual", "Largest error of the fitted head, parts of the crop's side.", above=0
    )
    max_flip_error: float = option(
        4.0, CHOOSING, "--max-flip-error", "Largest error of the flip test, degrees.", above=0
    )
    verify: bool = option(
        True, CHOOSING, "--verify", "Leave out clips with more than two frames that look like somebody else."
    )
    per_identity: int = option(2, CHOOSING, "--per-identity", "Most clips of one person; 0: all.", low=0)


@dataclass(frozen=True, kw_only=True)
class PreprocessOptions:
    """Everything that decides what comes out."""

    finding: FindingOptions = FindingOptions()
    cameras: CameraOptions = CameraOptions()
    choosing: ChoosingOptions = ChoosingOptions()
