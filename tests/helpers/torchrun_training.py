"""train.py under torchrun, with a fault injected into one of its processes.

python torchrun_training.py RANK '["function of fault_injection", argument, ...]' arguments of train.py
"""

from dnnlib import openmp  # noqa: F401  (before torch)

# isort: split
import json
import os
import sys

import train
from tests.helpers import fault_injection
from training.runs.pictures import SnapshotPictures

if __name__ == "__main__":
    rank, fault, *arguments = sys.argv[1:]
    if os.environ["RANK"] == rank:
        name, *rest = json.loads(fault)
        getattr(fault_injection, name)(*rest)
    SnapshotPictures.__call__ = lambda self, networks, folder, clips: None
    train.main(arguments, prog_name="train.py")
