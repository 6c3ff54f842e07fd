"""Labels from a file as one column of cameras, which takes 100 bytes each."""

from array import array

import numpy as np

from training.cameras import CAMERA_DIM, label_fault, parse_label

BATCH = 1024  # labels that are turned into cameras together


class LabelColumn:
    """Labels, which may be anything, as cameras, in order; those that are none are named.

    Attributes:
        names: of the cameras.
        broken: the names of the labels that are no cameras, by what is wrong with them.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.broken: dict[str, list[str]] = {}
        self._cameras = bytearray()  # float32 [N, 25]
        self._waiting: list[str] = []
        self._numbers = array("d")  # of the labels that wait

    def add(self, name: str, label: object) -> None:
        """Add a label; it shows in the attributes once there are more, or `cameras` was called."""
        if type(label) is list and len(label) == CAMERA_DIM:
            try:
                numbers = array("d", label)
            except (TypeError, OverflowError):  # no numbers, or very large ones
                pass
            else:
                self._waiting.append(name)
                self._numbers += numbers
                if len(self._waiting) == BATCH:
                    self._take_waiting()
                return
        self._take_waiting()
        camera = parse_label(label)
        if camera is None:
            self.broken.setdefault(label_fault(label), []).append(name)
        else:
            self.names.append(name)
            self._cameras += camera.tobytes()

    def cameras(self) -> np.ndarray:
        """Return the cameras float32 [N, 25]; no label can be added any more."""
        self._take_waiting()
        return np.frombuffer(self._cameras, np.float32).reshape(-1, CAMERA_DIM)

    def _take_waiting(self) -> None:
        if not self._waiting:
            return
        numbers = np.array(self._numbers).reshape(-1, CAMERA_DIM)
        with np.errstate(over="ignore"):  # too large a number becomes infinite
            cameras = numbers.astype(np.float32)
        is_sound = np.isfinite(cameras).min(axis=1)
        if is_sound.all():
            self.names += self._waiting
        else:
            for name, label, sound in zip(self._waiting, cameras, is_sound, strict=True):
                if sound:
                    self.names.append(name)
                else:
                    self.broken.setdefault(label_fault(label), []).append(name)
        self._cameras += cameras[is_sound].tobytes()
        self._waiting = []
        self._numbers = array("d")
