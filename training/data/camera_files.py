"""Cameras that other trackers have found, each under the name of its frame, from the files that they write.

* JSON: EG3D's `{"labels": [[name, 25 numbers], ...]}`, the same list by itself, or `{name: camera}`, where a camera is
  25 numbers (training/cameras.py) or `{"R": 3 x 3, "t": [3]}`;
* CSV with a header line: `name` and 25 columns of any names, or `name` and 12 columns of R (by rows), then t;
* a folder of Deep3DFaceRecon's `.mat` files, named as the frames are.

R and t take points of the world to OpenCV's camera (x right, y down, z forward), or back for `cam2world`.
"""

import csv
import io
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import scipy.io
import torch

from dnnlib.errors import UserError
from dnnlib.files import parse_json, read_file, shown
from dnnlib.names import is_leftover, plain
from training.camera_checks.views import is_rotation
from training.cameras import CAMERA_DIM, RADIUS, intrinsics_matrix, label_fault, make_label, parse_label

MAX_BYTES = 2**28  # of a file of cameras: about 500,000 of them; a label in EG3D's takes 500
MAX_VALUES = 2**24
POSE_NUMBERS = 12  # R by rows, then t
# Deep3DFaceRecon (Deng et al., 2019): the face is turned by its angles, moved by its translation, and seen by a camera
# at z = 10 that looks along -z, y up.
DEEP3D_DISTANCE = 10.0
MIRRORED = "_mirror"  # ends the names of mirrored copies in EG3D's sets

Cameras = dict[str, np.ndarray]


def read_cameras(path: Path, pose: str, focal: float) -> Cameras:
    """Read the cameras of a file or folder.

    Args:
        pose: what R and t are, one of POSES; 25 numbers always hold cam2world.
        focal: length that goes with R and t, and with Deep3DFaceRecon's files, in sides of the frame.

    Returns:
        labels float64 [25] by the frames' names: paths without suffix.

    Raises:
        UserError: it is none of these, two cameras have one name, or one of them is impossible.
    """
    if not path.exists():
        raise UserError(f"The cameras {path} do not exist: check --cameras.")
    if path.is_dir():
        return _named([(file, _deep3d(path / file, focal)) for file in _mat_files(path)], path)
    suffix = path.suffix.lower()
    if suffix == ".json":
        return _from_json(path, pose, focal)
    if suffix == ".csv":
        return _from_csv(path, pose, focal)
    raise UserError(f"{path} is no .json, no .csv and no folder of .mat files: give --cameras one of these.")


def frame_key(name: str) -> str:
    """Return how frames and cameras are known to each other: the path without suffix, as text that compares."""
    whole = PurePosixPath(plain(name))
    return whole.with_suffix("").as_posix() if whole.suffix.lower() in KNOWN_SUFFIXES else whole.as_posix()


KNOWN_SUFFIXES = (".png", ".jpg", ".jpeg", ".mat")


def _named(entries: list[tuple[str, np.ndarray]], path: Path) -> Cameras:
    """Return cameras by their frames' names. UserError if there is none, or two have one name."""
    cameras: Cameras = {}
    for name, camera in entries:
        key = frame_key(name)
        if key in cameras:
            raise UserError(f"{path} has two cameras of {shown(key)}: keep one of them.")
        cameras[key] = camera
    if not cameras:
        raise UserError(f"There are no cameras in {path}.")
    return cameras


# --- JSON and CSV ----------------------------------------------------------------------------------------------------


def _from_json(path: Path, pose: str, focal: float) -> Cameras:
    try:
        content = parse_json(read_file(path, "camera file", MAX_BYTES), MAX_BYTES, MAX_VALUES)
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON ({error}): write it again or restore it.") from error
    if isinstance(content, dict):
        content = content["labels"] if isinstance(content.get("labels"), list) else list(content.items())
    if not isinstance(content, list) or not all(_is_entry(entry) for entry in content):
        raise UserError(f"{path} is no list of [frame name, camera] and no object {{frame name: camera}}.")
    return _named([(name, _camera(camera, pose, focal, f"{path}: {shown(name)}")) for name, camera in content], path)


def _is_entry(entry: Any) -> bool:
    return isinstance(entry, list | tuple) and len(entry) == 2 and isinstance(entry[0], str)


def _from_csv(path: Path, pose: str, focal: float) -> Cameras:
    try:
        text = read_file(path, "CSV file", MAX_BYTES).decode("utf-8-sig")
        rows = [row for row in csv.reader(io.StringIO(text)) if row]
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path} is no CSV ({error}): write it again.") from error
    if len(rows) < 2 or rows[0][0].strip().lower() not in ("name", "frame", "file"):
        raise UserError(f"{path} needs a header line that begins with `name`, and a line for each frame.")
    entries = []
    for number, row in enumerate(rows[1:], start=2):
        try:
            values: Any = [float(value) for value in row[1:]]
        except ValueError as error:
            raise UserError(f"Line {number} of {path}: {error}.") from error
        if len(values) == POSE_NUMBERS:
            values = {"R": np.reshape(values[:9], (3, 3)).tolist(), "t": values[9:]}
        entries.append((row[0].strip(), _camera(values, pose, focal, f"Line {number} of {path}")))
    return _named(entries, path)


def _camera(value: Any, pose: str, focal: float, where: str) -> np.ndarray:
    """Return a camera as label float64 [25]. UserError, which says where, if it is none."""
    if not isinstance(value, dict):
        if parse_label(value) is None:
            raise UserError(f"{where}: {label_fault(value)}. A camera is {CAMERA_DIM} finite numbers, or R and t.")
        return np.array(value, dtype=np.float64)
    try:
        rotation = np.array(value["R"], dtype=np.float64).reshape(3, 3)
        shift = np.array(value["t"], dtype=np.float64).reshape(3)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f'{where}: a camera is {CAMERA_DIM} numbers, or {{"R": 3 x 3, "t": [3]}}.') from error
    return label_of(rotation, shift, pose, focal, where)


def label_of(rotation: np.ndarray, shift: np.ndarray, pose: str, focal: float, where: str) -> np.ndarray:
    """Return the label of a rotation [3, 3] and a shift [3]. UserError if R is no rotation."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation, shift
    if not np.isfinite(matrix).all() or not is_rotation(matrix[None])[0]:
        raise UserError(f"{where}: R is no rotation: its rows have to be of length 1, at right angles, right-handed.")
    cam2world = np.linalg.inv(matrix) if pose == "world2cam" else matrix
    return make_label(torch.from_numpy(cam2world), intrinsics_matrix(focal)).numpy()


# --- Deep3DFaceRecon -------------------------------------------------------------------------------------------------


def _mat_files(folder: Path) -> list[str]:
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.mat"))
    return [file for file in files if not is_leftover(file)]


def _deep3d(path: Path, focal: float) -> np.ndarray:
    """Return the camera of a file of coefficients, 2.7 from the origin as EG3D scales it."""
    try:
        content = scipy.io.loadmat(path, variable_names=("angle", "trans"))
        angles = np.array(content["angle"], dtype=np.float64).reshape(3)
        shift = np.array(content["trans"], dtype=np.float64).reshape(3)
    except Exception as error:  # on damaged data loadmat raises nearly anything
        raise UserError(f"{path} has no `angle` and `trans` of three numbers each ({shown(str(error))}).") from error
    about_x, about_y, about_z = (turn(angle) for turn, angle in zip(TURNS, angles, strict=True))
    to_camera = np.diag([1.0, -1.0, -1.0])
    rotation = to_camera @ about_z @ about_y @ about_x
    place = to_camera @ shift + [0, 0, DEEP3D_DISTANCE]
    return label_of(rotation, place * (RADIUS / np.linalg.norm(place)), "world2cam", focal, str(path))


def _about(axis: int) -> Callable[[float], np.ndarray]:
    """Return a function from an angle in radians to the rotation about an axis, right-handed."""
    one, other = (axis + 1) % 3, (axis + 2) % 3

    def turn(angle: float) -> np.ndarray:
        matrix = np.eye(3)
        matrix[one, one] = matrix[other, other] = np.cos(angle)
        matrix[one, other], matrix[other, one] = -np.sin(angle), np.sin(angle)
        return matrix

    return turn


TURNS = tuple(_about(axis) for axis in range(3))
