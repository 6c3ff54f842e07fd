"""Where everything is kept that can be made or downloaded again."""

import os
from pathlib import Path


def cache_root() -> Path:
    """Folder of everything that is compiled: PV3D_CACHE_DIR or ~/.cache/pv3d."""
    return Path(os.environ.get("PV3D_CACHE_DIR") or Path.home() / ".cache" / "pv3d")
