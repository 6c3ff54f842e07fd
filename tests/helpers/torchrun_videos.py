"""gen_videos.py under torchrun, in one of whose processes no video can be written.

python torchrun_videos.py RANK arguments of gen_videos.py
"""

from dnnlib import openmp  # noqa: F401  (before torch)

# isort: split
import os
import sys
from typing import Any

import gen_videos
from dnnlib.errors import UserError
from training.sampling import frame_files


def broken(path: Any, *more: Any, **others: Any) -> None:
    """Fail as a full disk does."""
    raise UserError(f"No space left to write {path.name}: free some space.")


if __name__ == "__main__":
    rank, *arguments = sys.argv[1:]
    if os.environ["RANK"] == rank:
        frame_files.write_video = broken
    gen_videos.main(arguments, prog_name="gen_videos.py")
