"""An evaluation: metrics asked for, on a snapshot or on files, against a dataset; every number as a `Result`."""

from collections.abc import Iterator, Sequence

from metrics.controls import Controls
from metrics.fvd import Distances
from metrics.multiview_scores import MultiviewScores
from metrics.protocols import CONTROLS, DISTRIBUTION, MULTIVIEW, Request
from metrics.results import Result
from metrics.setting import Setting, Subject
from torch_utils import distributed

FAMILIES = ((DISTRIBUTION, Distances), (MULTIVIEW, MultiviewScores), (CONTROLS, Controls))


def evaluate(requests: Sequence[Request], subject: Subject, setting: Setting) -> Iterator[Result]:
    """Results as they are finished, family by family. Every process must go through all of them.

    Raises:
        UserError: what a metric needs is missing; told before any work.
    """
    for scorer, wanted in ready(requests, subject, setting):
        yield from scorer.results(wanted)


def ready(requests: Sequence[Request], subject: Subject, setting: Setting):
    """Families with what is asked of each, their detectors loaded. UserError where something is missing."""
    work = [
        (family(subject, setting), [request for request in requests if request.kind in kinds])
        for kinds, family in FAMILIES
    ]
    with distributed.fail_together():
        for scorer, wanted in work:
            scorer.check(wanted)
    return work
