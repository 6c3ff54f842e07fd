"""How well heads' poses are found on faces turned by known angles, and where the head model comes from.

    python benchmarks/head_poses.py evaluate --data ../shared/data/turned_faces
    python benchmarks/head_poses.py calibrate --data ../shared/data/turned_faces --crops ../shared/data/mini_voxceleb

The data: pictures of faces, each turned by known yaw and pitch about the axes of its own head in front of a camera of
EG3D's focal length at distance 2.7, listed in turned.json. `evaluate` leaves one face out of the calibration at a time.
`calibrate` writes preprocessing/data/head_model.json, whose origin is where the published crops have it: the point that
stays in the middle of the frame when heads turn.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from detectors.face_landmarks import FaceParts  # noqa: E402
from detectors.face_parts import face_parts  # noqa: E402
from dnnlib import cli  # noqa: E402
from dnnlib.files import atomic_path  # noqa: E402
from dnnlib.video import read_frames  # noqa: E402
from preprocessing.head_model import (  # noqa: E402
    FILE,
    HeadModel,
    features,
    head_model,
    mirrored_points,
    view_angles,
)
from preprocessing.head_pose import FRONTAL, fit_parts  # noqa: E402
from preprocessing.options import LANDMARKS  # noqa: E402
from preprocessing.records import INNER  # noqa: E402
from training.cameras import FOCAL, RADIUS  # noqa: E402
from training.data.frames import decode_frame  # noqa: E402

# Ridge regression of the faults: how strongly coefficients are held at 0. Chosen on the four faces, one left out at a
# time; from 0.1 to 1 the errors change by 0.1 degrees.
RIDGE = 0.3
ALIGNMENTS = 5  # times that faces are aligned with their mean
TRACKED_EVERY = 3  # frames of the published crops that are looked at
DIGITS = 5  # decimals in the file


@dataclass(frozen=True, kw_only=True)
class TurnedFace:
    """Pictures of one face: landmarks [N, 68, 2] in parts of the side from the middle, and known turns [N, 3, 3].

    A turn takes a point of the head from where it is in the picture with yaw and pitch 0 to where it is.
    """

    landmarks: np.ndarray
    turns: np.ndarray
    yaw: np.ndarray  # degrees
    pitch: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Triangulated:
    """A face's landmarks in the head's own axes [68, 3], and the rotations [N, 3, 3] in which it was seen."""

    shape: np.ndarray
    rotations: np.ndarray


data_option = cli.option(
    "--data",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    required=True,
    help="Folder with turned.json and the pictures.",
)


@cli.group()
def main() -> None:
    """Evaluate and calibrate the poses of heads."""


@main.command()
@data_option
@cli.option("--shipped", is_flag=True, help="Judge the model that is shipped, on faces that it was not made from.")
def evaluate(data: Path, shipped: bool) -> None:
    """Print errors of rotation relative to each face's frontal picture, each face left out of the calibration."""
    for name in LANDMARKS:
        faces = read_faces(data, face_parts(name))
        seen = [triangulate(face) for face in faces]
        rows = []
        for number, face in enumerate(faces):
            others = [place for place in range(len(faces)) if place != number]
            left_out = learn([faces[place] for place in others], [seen[place] for place in others])
            rows.append(errors_of(face, head_model(name) if shipped else left_out))
            click.echo(f"{name} face {number}: {summary(rows[-1:])}")
        click.echo(f"{name}, all: {summary(rows)}")


@main.command()
@data_option
@cli.option(
    "--crops",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    required=True,
    help="Folder of clips in the published crop: recrop_faces/*.mp4.",
)
def calibrate(data: Path, crops: Path) -> None:
    """Write the head models of both kinds of landmarks."""
    models = {}
    for name in LANDMARKS:
        parts = face_parts(name)
        faces = read_faces(data, parts)
        model = learn(faces, [triangulate(face) for face in faces])
        origin, scale = published_origin(crops, parts, model)
        click.echo(f"{name}: origin of the published crops {origin.round(4)}, size {scale:.4f}")
        models[name] = {
            "shape": ((model.shape - origin) * scale).round(DIGITS).tolist(),
            "faults": model.faults.round(DIGITS).tolist(),
        }
    text = json.dumps(models, separators=(",", ":")).replace("],[", "],\n[")
    with atomic_path(ROOT / "preprocessing" / "data" / FILE) as path:
        path.write_text(text + "\n", encoding="utf-8")


# --- Data ------------------------------------------------------------------------------------------------------------


def read_faces(data: Path, parts: FaceParts) -> list[TurnedFace]:
    """Find the landmarks of all pictures; those in which no face is found are left out."""
    entries = json.loads((data / "turned.json").read_text(encoding="utf-8"))
    faces = []
    for number in sorted({entry["face"] for entry in entries}):
        kept = []
        for entry in [entry for entry in entries if entry["face"] == number]:
            landmarks = find_landmarks(data / entry["file"], parts)
            if landmarks is None:
                click.echo(f"{parts.name}: no face in {entry['file']}")
            else:
                kept.append((entry, landmarks))
        yaw = np.array([entry["yaw"] for entry, _ in kept], dtype=float)
        pitch = np.array([entry["pitch"] for entry, _ in kept], dtype=float)
        turns = Rotation.from_euler("XY", np.stack([pitch, -yaw], axis=1), degrees=True)
        landmarks = np.stack([landmarks for _, landmarks in kept])
        faces.append(TurnedFace(landmarks=landmarks, turns=turns.as_matrix(), yaw=yaw, pitch=pitch))
    return faces


def find_landmarks(path: Path, parts: FaceParts) -> np.ndarray | None:
    """Return the landmarks [68, 2] of the face in a picture, in parts of its side from its middle."""
    image = np.ascontiguousarray(decode_frame(path.read_bytes()).transpose(1, 2, 0))
    return landmarks_in(image, parts)


def landmarks_in(image: np.ndarray, parts: FaceParts) -> np.ndarray | None:
    """Return landmarks as `scan_video` finds them: from the face's own region, not from the detector's."""
    regions = parts.detect(image)
    if not regions:
        return None
    first, _ = parts.landmarks(image, regions[0])
    landmarks, _ = parts.landmarks(image, parts.region_of(first))
    side = image.shape[0]
    return (landmarks - (side - 1) / 2) / side


# --- Calibration -----------------------------------------------------------------------------------------------------


def triangulate(face: TurnedFace) -> Triangulated:
    """Find the landmarks in space that are seen where they are, and how the head stood before it was turned.

    The axes of the turns are the head's; its rotation in the frontal picture about x and y is the one that leaves the
    least error.
    """

    def with_start(start: np.ndarray) -> tuple[float, Triangulated]:
        rotations = Rotation.from_rotvec([*start, 0]).as_matrix() @ face.turns
        shape = intersect(face.landmarks, rotations)
        error = project(shape, rotations) - face.landmarks
        return float((error[:, INNER] ** 2).mean()), Triangulated(shape=shape, rotations=rotations)

    simplex = [[0, 0], [0.1, 0], [0, 0.1]]
    best = minimize(
        lambda start: with_start(start)[0], [0, 0], method="Nelder-Mead", options={"initial_simplex": simplex}
    )
    return with_start(best.x)[1]


def intersect(landmarks: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """Return the points [68, 3] that are nearest to the rays of landmarks [N, 68, 2], by least squares."""
    seen = FRONTAL @ rotations
    rows = seen[:, None, :2] - landmarks[..., None] / FOCAL * seen[:, None, 2:]  # [N, 68, 2, 3]
    values = landmarks / FOCAL * RADIUS
    points = [
        np.linalg.lstsq(rows[:, number].reshape(-1, 3), values[:, number].ravel(), rcond=None)[0]
        for number in range(landmarks.shape[1])
    ]
    return np.stack(points)


def project(shape: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """Return where points [68, 3] of a turned head at distance 2.7 are seen [N, 68, 2], in parts of the side."""
    seen = shape @ (FRONTAL @ rotations).transpose(0, 2, 1) + [0, 0, RADIUS]
    return FOCAL * seen[:, :, :2] / seen[:, :, 2:]


def learn(faces: Sequence[TurnedFace], seen: Sequence[Triangulated]) -> HeadModel:
    """Return the mean face of several, and what the detector gets wrong about them from the side."""
    mean = symmetric(np.mean([one.shape for one in seen], axis=0))
    for _ in range(ALIGNMENTS):
        turns = [align(one.shape, mean) for one in seen]
        shapes = [(one.shape - shift) @ turn for one, (turn, shift) in zip(seen, turns, strict=True)]
        mean = symmetric(np.mean(shapes, axis=0))
    terms, errors = [], []
    for face, one, (turn, _) in zip(faces, seen, turns, strict=True):
        yaw, pitch = view_angles(FRONTAL @ one.rotations @ turn)
        error = face.landmarks - project(one.shape, one.rotations)
        terms += [features(yaw, pitch), features(-yaw, pitch)]
        errors += [error, mirrored_points(error)]
    x = np.concatenate(terms)
    y = np.concatenate(errors).reshape(len(x), -1)
    faults = np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ y)
    return HeadModel(shape=mean, faults=faults.reshape(-1, *mean.shape[:1], 2))


def symmetric(shape: np.ndarray) -> np.ndarray:
    """Return the mean of a shape [68, 3] and its mirror image."""
    return (shape + mirrored_points(shape)) / 2


def align(shape: np.ndarray, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the turn [3, 3] and the shift [3] that take a mean face to a shape, by its inner landmarks."""
    middle, mean_middle = shape[INNER].mean(axis=0), mean[INNER].mean(axis=0)
    turn, _ = Rotation.align_vectors(shape[INNER] - middle, mean[INNER] - mean_middle)
    matrix = turn.as_matrix()
    return matrix, middle - matrix @ mean_middle


def published_origin(crops: Path, parts: FaceParts, model: HeadModel) -> tuple[np.ndarray, float]:
    """Return the point of the head that stays in the middle of the published crops, and 2.7 by its distance there."""
    rotations, translations = [], []
    for path in sorted((crops / "recrop_faces").glob("*.mp4")):
        images = [image for number, image in enumerate(read_frames(path)) if number % TRACKED_EVERY == 0]
        landmarks = [found for image in images if (found := landmarks_in(image, parts)) is not None]
        fit = fit_parts(np.stack(landmarks), model)
        rotations.append(fit.rotations)
        translations.append(fit.translations)
    turned, shifted = np.concatenate(rotations), np.concatenate(translations)
    across = np.linalg.lstsq(turned[:, :2].reshape(-1, 3), -shifted[:, :2].ravel(), rcond=None)[0]
    origin = np.array([0.0, across[1], across[2]])  # symmetric
    return origin, float(RADIUS / (turned @ origin + shifted)[:, 2].mean())


# --- Evaluation ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Errors:
    """Of the pictures of a face but the frontal one: angles off [N], yaw found and true [N], degrees."""

    angle: np.ndarray
    yaw: np.ndarray
    true_yaw: np.ndarray


def errors_of(face: TurnedFace, model: HeadModel) -> Errors:
    """Fit a head to all pictures of a face and compare its rotations relative to the frontal one."""
    rotations = FRONTAL @ fit_parts(face.landmarks, model).rotations
    frontal = (face.yaw == 0) & (face.pitch == 0)
    relative = rotations[frontal][0].T @ rotations
    off = Rotation.from_matrix(relative @ face.turns.transpose(0, 2, 1)).magnitude()
    yaw, _ = view_angles(FRONTAL @ relative)
    others = ~frontal
    return Errors(angle=np.degrees(off)[others], yaw=np.degrees(yaw)[others], true_yaw=face.yaw[others])


def summary(rows: Sequence[Errors]) -> str:
    """Return mean errors over all turns, small and large ones, and the slope of yaw."""
    angle, yaw, true = (np.concatenate([getattr(row, name) for row in rows]) for name in ("angle", "yaw", "true_yaw"))
    small, large = np.abs(true) <= 20, np.abs(true) >= 30
    slope = (yaw * true).sum() / (true**2).sum()
    means = f"mean {angle.mean():.2f}, to 20 {angle[small].mean():.2f}, 30 to 40 {angle[large].mean():.2f} degrees"
    return f"{means}, slope of yaw {slope:.3f}"


if __name__ == "__main__":
    main()
