"""Who is in which clip, and which clips of a person are taken."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage

# Distance of mean embeddings below which two clips show one person. By benchmarks/face_distances.py on 18 clips, halves
# of a clip are at most 0.24 apart, two people (but one pair, which is one person) at least 0.31.
SAME_PERSON = 0.28
MOST_CLUSTERED = 20_000  # clips whose distances fit into memory (1.6 GB)


@dataclass(frozen=True, kw_only=True)
class ClipFace:
    """What is known about who is in a clip, and how good it is.

    Attributes:
        name: of the clip.
        speaker: who is in it, if the user has said so.
        embedding: float64 [128], the mean of its frames'; None if they have not been looked at.
        quality: clips of a person with more of it are taken first; of equal ones the next number decides.
    """

    name: str
    speaker: str | None
    embedding: np.ndarray | None
    quality: tuple[float, ...]


def identify(clips: Sequence[ClipFace]) -> dict[str, str]:
    """Return the person of each clip by its name: the speaker, or who it looks like.

    Clips without speaker are clustered by their embeddings (agglomerative, average linkage); a person found so is
    called after the first of its clips. A clip without either is a person of its own. The order of the clips does not
    matter.
    """
    found = {clip.name: clip.speaker or clip.name for clip in clips}
    unknown = {clip.name: clip.embedding for clip in clips if clip.speaker is None and clip.embedding is not None}
    names = sorted(unknown)
    for start in range(0, len(names), MOST_CLUSTERED):
        group = names[start : start + MOST_CLUSTERED]
        clusters = _clusters(np.stack([unknown[name] for name in group]))
        first: dict[int, str] = {}
        for name, cluster in zip(group, clusters, strict=True):
            found[name] = first.setdefault(cluster, name)
    return found


def choose(clips: Sequence[ClipFace], identities: dict[str, str], most: int) -> set[str]:
    """Return the names of the clips to take: of each person the best ones, at most so many; 0: all.

    Of equally good ones the first by name is taken.
    """
    by_person: dict[str, list[ClipFace]] = {}
    for clip in sorted(clips, key=lambda clip: ([-number for number in clip.quality], clip.name)):
        by_person.setdefault(identities[clip.name], []).append(clip)
    return {clip.name for those in by_person.values() for clip in those[: most or None]}


def _clusters(embeddings: np.ndarray) -> list[int]:
    """Return the cluster of each embedding [n, D]."""
    if len(embeddings) == 1:
        return [0]
    tree = linkage(embeddings, method="average")
    return fcluster(tree, SAME_PERSON, criterion="distance").tolist()
