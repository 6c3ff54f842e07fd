"""The folder of everything that can be made or downloaded again, and may be deleted at any time."""

import os
from pathlib import Path


def cache_root() -> Path:
    """Return the cache's folder, which may not exist yet: PV3D_CACHE_DIR or ~/.cache/pv3d."""
    return Path(os.environ.get("PV3D_CACHE_DIR") or "~/.cache/pv3d").expanduser()
