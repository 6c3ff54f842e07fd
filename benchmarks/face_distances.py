"""How far apart dlib's embeddings of one person's frames are, and those of several people: where thresholds come from.

    python benchmarks/face_distances.py ../shared/data/mini_voxceleb/recrop_faces ../shared/data/portraits

Every video of the folders is taken for a person of its own.
"""

import itertools
import sys
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from detectors.dlib_face import DlibEmbedder  # noqa: E402
from dnnlib import cli  # noqa: E402
from dnnlib.video import read_frames  # noqa: E402
from preprocessing.verification import distances_to_others  # noqa: E402

SHARES = (1, 5, 50, 95, 99)  # percentiles


@cli.command()
@click.argument("folders", type=click.Path(path_type=Path, exists=True, file_okay=False), nargs=-1, required=True)
@cli.option("--every", type=click.IntRange(1), default=4, help="Take every n-th frame.")
def main(folders: Sequence[Path], every: int) -> None:
    """Print percentiles of distances within clips and between clips of different people."""
    embedder = DlibEmbedder()
    clips = []
    for path in sorted(itertools.chain.from_iterable(folder.glob("*.mp4") for folder in folders)):
        frames = [frame for number, frame in enumerate(read_frames(path)) if number % every == 0]
        pixels = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)
        clips.append(embedder.embed(pixels).embeddings.numpy())
    within = np.concatenate([distances_to_others(clip) for clip in clips])
    strangers = []
    for one, other in itertools.permutations(clips, 2):
        strangers.append(distances_to_others(np.concatenate([one, other[:1]]))[-1:])
    means = np.stack([clip.mean(axis=0) for clip in clips])
    between = np.linalg.norm(means[:, None] - means[None], axis=2)[np.triu_indices(len(clips), 1)]
    report("a frame to the others of its clip", within)
    report("a stranger's frame in a clip", np.concatenate(strangers))
    report("mean to mean, two people", between)
    halves = [np.array_split(clip, 2) for clip in clips]
    within_clip = [np.linalg.norm(first.mean(axis=0) - second.mean(axis=0)) for first, second in halves]
    report("mean to mean, halves of a clip", np.array(within_clip))


def report(what: str, distances: np.ndarray) -> None:
    """Print a line of percentiles."""
    numbers = " ".join(f"{share}%: {np.percentile(distances, share):.3f}" for share in SHARES)
    ends = f"least {distances.min():.3f}, most {distances.max():.3f}"
    click.echo(f"{what:36s} n={len(distances):5d} {ends}, {numbers}")


if __name__ == "__main__":
    main()
