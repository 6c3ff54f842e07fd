"""Which detector and landmarks there are, by name; only those asked for need their packages."""

from detectors.face_landmarks import FaceParts
from dnnlib.errors import UserError


def face_parts(name: str) -> FaceParts:
    """Return the parts of a name, `dlib` or `mesh`. UserError if their packages are not installed."""
    if name == "dlib":
        from detectors.dlib_landmarks import DlibFaceParts

        return DlibFaceParts()
    if name == "mesh":
        from detectors.face_mesh import MeshFaceParts

        return MeshFaceParts()
    raise UserError(f"--landmarks={name} is unknown: choose dlib or mesh.")
