"""An evaluation: metrics asked for, on a snapshot or on files, against a dataset; every number as a `Result`."""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from metrics.controls import Controls
from metrics.fvd import VideoDistances
from metrics.multiview_scores import MultiviewScores
from metrics.options import EvaluationOptions, EvaluationSubject
from metrics.protocols import CONTROLS, DISTRIBUTION, MULTIVIEW, Request
from metrics.results import Result
from torch_utils import distributed


class Family(Protocol):
    """Metrics that are computed together, of one subject."""

    def check(self, requests: Sequence[Request]) -> None:
        """Load the detectors; raise UserError where something is missing."""

    def results(self, requests: Sequence[Request]) -> Iterator[Result]:
        """Yield a result for each request."""


FAMILIES: list[tuple[tuple[str, ...], Callable[[EvaluationSubject, EvaluationOptions], Family]]] = [
    (DISTRIBUTION, VideoDistances),
    (MULTIVIEW, MultiviewScores),
    (CONTROLS, Controls),
]


def evaluate(requests: Sequence[Request], subject: EvaluationSubject, options: EvaluationOptions) -> Iterator[Result]:
    """Yield results as they are finished, family by family. Every process must go through all of them.

    Raises:
        UserError: what a metric needs is missing; before any work.
    """
    for family, wanted in prepare(requests, subject, options):
        yield from family.results(wanted)


def prepare(
    requests: Sequence[Request], subject: EvaluationSubject, options: EvaluationOptions
) -> list[tuple[Family, list[Request]]]:
    """Return the families with what is asked of each, their detectors loaded.

    Raises:
        UserError: what a metric needs is missing; on every process.
    """
    work = []
    for kinds, make_family in FAMILIES:
        wanted = [request for request in requests if request.kind in kinds]
        work.append((make_family(subject, options), wanted))
    with distributed.fail_together():
        for family, wanted in work:
            family.check(wanted)
    return work
