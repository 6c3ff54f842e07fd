"""Every command of this checkout, as users call it."""

import click

import calc_metrics
import checkpoint_tool
import dataset_tool
import demo
import edit_videos
import gen_videos
import train
from benchmarks import (
    applications,
    compare_checkouts,
    detectors,
    face_distances,
    geometry,
    gradients,
    head_poses,
    kernels,
    large_datasets,
    phases,
    preprocessing,
    roofline,
    study,
    viewer,
)
from pv3d import doctor as pv3d_doctor
from torch_utils import doctor
from viewer import command as viewer_command

DOCTOR = "python -m torch_utils.doctor"
VIEWER = "viewer"  # python -m viewer
COMMANDS: dict[str, click.Command] = {
    "train.py": train.main,
    "gen_videos.py": gen_videos.main,
    "edit_videos.py": edit_videos.main,
    "calc_metrics.py": calc_metrics.main,
    "dataset_tool.py": dataset_tool.main,
    "checkpoint_tool.py": checkpoint_tool.main,
    "demo.py": demo.main,
    DOCTOR: doctor.main,
    VIEWER: viewer_command.main,
    "pv3d doctor": pv3d_doctor.main,
    "benchmarks/applications.py": applications.main,
    "benchmarks/compare_checkouts.py": compare_checkouts.main,
    "benchmarks/detectors.py": detectors.main,
    "benchmarks/face_distances.py": face_distances.main,
    "benchmarks/geometry.py": geometry.main,
    "benchmarks/gradients.py": gradients.main,
    "benchmarks/head_poses.py": head_poses.main,
    "benchmarks/kernels.py": kernels.main,
    "benchmarks/large_datasets.py": large_datasets.main,
    "benchmarks/phases.py": phases.main,
    "benchmarks/preprocessing.py": preprocessing.main,
    "benchmarks/roofline.py": roofline.main,
    "benchmarks/study.py": study.main,
    "benchmarks/viewer.py": viewer.main,
}
